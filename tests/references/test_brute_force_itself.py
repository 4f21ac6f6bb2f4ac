"""The loops are checked too: against scikit-learn, published values of KEEP's loss, and values known by hand."""

import math

import brute_force as ref
import brute_force_metrics as loops
import numpy as np
import pytest
from sklearn import metrics as sk

DIAMOND = {"root": [], "a": ["root"], "b": ["root"], "c": ["a", "b"], "d": ["c"], "e": ["b"], "other": []}


# Published value of KEEP's loss by (variant, number of groups, group size), worked out apart from the loops: cosine of
# image i and text j is sin(1 + 7 i + 3 j), the scale is 20, groups 0 and 1 are related.
PUBLISHED = {
    ("hp-hn", 6, 2): 37.453645745199026,
    ("lhp-hn", 6, 2): 20.175291127542685,
    ("hp-lhn", 6, 2): 25.421317734379045,
    ("lhp-lhn", 6, 2): 11.678263400457617,
    ("hp-hn", 3, 4): 40.820014172202036,
    ("lhp-hn", 3, 4): 24.825994907711095,
    ("hp-lhn", 3, 4): 25.29547272458489,
    ("lhp-lhn", 3, 4): 11.222952885981151,
}


@pytest.mark.parametrize(("variant", "num_groups", "size"), PUBLISHED)
def test_group_loops_give_the_published_values(variant: str, num_groups: int, size: int) -> None:
    similarity = [[math.sin(1 + 7 * i + 3 * j) for j in range(12)] for i in range(12)]
    exclude = [[{g, h} == {0, 1} for h in range(num_groups)] for g in range(num_groups)]
    actual = ref.group_metric(similarity, size, 20.0, exclude, variant, compat="keep")
    assert actual == pytest.approx(PUBLISHED[variant, num_groups, size], abs=1e-10)


def test_values_known_by_hand() -> None:
    equal = [[0.3] * 128 for _ in range(128)]
    assert ref.group_metric(equal, 4, 25.0, compat="keep") == pytest.approx(math.log(1 + 31 * 16))
    assert ref.group_metric(equal, 4, 25.0) == pytest.approx(math.log(32))
    same = [[1.0, 0.0]] * 4
    everyone = [[i == j for j in range(4)] for i in range(4)]
    assert ref.info_nce(same, same, 10.0, everyone) == pytest.approx(math.log(4))
    assert ref.sigmoid_loss([[1.0]], [[1.0]], 2.0, -2.0, [[True]]) == pytest.approx(math.log(2))
    # Groups of one: both positives are 1, so the weight is 1 and the loss is the log of 1 + exp((s - 1) / T).
    assert ref.adasp([[1.0, 0.0], [0.0, 1.0]], 1, 0.5) == pytest.approx(math.log(1 + math.exp(-2)))


@pytest.mark.parametrize("seed", range(40))
def test_metric_loops_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num = int(rng.integers(4, 40))
    positive, score = rng.integers(0, 2, num) > 0, rng.integers(0, 7, num) / 5
    positive[:2] = True, False
    assert loops.auroc(positive, score) == pytest.approx(sk.roc_auc_score(positive, score))
    precision = sk.average_precision_score(positive, score)
    assert loops.average_precision(positive.tolist(), score) == pytest.approx(precision)
    false_rate, true_rate, _ = sk.roc_curve(positive, score, drop_intermediate=False)
    best = true_rate[1 - false_rate >= 0.95].max()
    assert loops.sensitivity_at_specificity(positive, score, 0.95) == pytest.approx(best)
    truth = rng.integers(0, 3, num)
    answer = np.where(rng.random(num) < 0.5, truth, rng.integers(0, 3, num))
    labels = sorted(set(truth.tolist()))
    f1 = sk.f1_score(truth, answer, labels=labels, average=None, zero_division=0)
    assert loops.f1_per_class(truth.tolist(), answer.tolist(), labels) == pytest.approx(f1.tolist())
    recall = sk.recall_score(truth, answer, labels=labels, average="macro", zero_division=0)
    assert loops.balanced_accuracy(truth.tolist(), answer.tolist()) == pytest.approx(recall)


def test_hierarchy_loops_by_hand() -> None:
    assert loops.ancestors(DIAMOND, "d") == {"c", "a", "b", "root"}
    assert loops.depth(DIAMOND, "d") == 3
    assert loops.tree_distance(DIAMOND, "d", "e") == 3
    assert loops.tree_distance(DIAMOND, "d", "other") is None
    assert loops.lowest_common_ancestors(DIAMOND, "d", "e") == {"b"}
    assert loops.lowest_common_ancestors(DIAMOND, "c", "d") == {"c"}
    assert loops.related(DIAMOND, "d", "root")
    assert not loops.related(DIAMOND, "d", "e")
    assert loops.ranks([0.5, 0.5, 0.9, 0.1], 0) == (2, 3, 2.5)

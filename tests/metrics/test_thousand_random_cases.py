"""On 1,000 random cases each, with ties, single classes and few samples, metrics equal scikit-learn's."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as oracle

from medvlp.metrics import calibration, classification, curves, overlap, ranking

CASES = range(1000)


def answers(seed):
    rng = np.random.default_rng([1, seed])
    num, num_classes = int(rng.integers(1, 30)), int(rng.integers(1, 6))
    return rng.integers(0, num_classes, num), rng.integers(0, num_classes, num), num_classes


def scored(seed):
    """Constant scores in a third, heavy ties in another; one class only in many of the short ones."""
    rng = np.random.default_rng([2, seed])
    num = int(rng.integers(2, 30))
    return rng.random(num) < (0.5, 0.1, 0.9)[seed % 3], rng.integers(0, (1, 3, 1000)[seed // 3 % 3], num) / 1000


def equal(ours, theirs, seed):
    assert float(ours) == pytest.approx(float(theirs), abs=1e-12, nan_ok=True), seed


def compare(cases, ours, theirs, undefined):
    """Count how many cases are undefined, so that a test that compares nothing fails."""
    skipped = 0
    for seed in CASES:
        case = cases(seed)
        if undefined(*case):
            assert np.isnan(ours(*case)), seed
            skipped += 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            equal(ours(*case), theirs(*case), seed)
    assert skipped < 500
    return skipped


def never(*_):
    return False


def test_hard_answers():
    compare(answers, lambda t, p, _: classification.accuracy(t, p), lambda t, p, _: oracle.accuracy_score(t, p), never)
    compare(answers, classification.balanced_accuracy, lambda t, p, _: oracle.balanced_accuracy_score(t, p), never)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_f1(average):
    compare(
        answers,
        lambda t, p, k: classification.f1(t, p, k, average),
        lambda t, p, _: oracle.f1_score(t, p, average=average),
        never,
    )


def test_score_curves():
    one_class = lambda t, _: t.all() or not t.any()  # noqa: E731
    assert compare(scored, curves.auroc, oracle.roc_auc_score, one_class) > 50
    assert compare(scored, curves.average_precision, oracle.average_precision_score, lambda t, _: not t.any()) > 30


def test_brier_and_log_loss():
    def case(seed):
        rng = np.random.default_rng([3, seed])
        num, num_classes = int(rng.integers(1, 20)), int(rng.integers(2, 6))
        raw = rng.integers(1, 6, (num, num_classes)).astype(float)
        return rng.integers(0, num_classes, num), raw / raw.sum(1, keepdims=True)

    labels = lambda p: range(p.shape[1])  # noqa: E731
    compare(case, calibration.log_loss, lambda t, p: oracle.log_loss(t, p, labels=labels(p)), never)
    compare(scored, calibration.binary_brier, lambda t, p: oracle.brier_score_loss(t, p, pos_label=True), never)
    two = lambda t, p: calibration.brier(t.astype(int), np.stack([1 - p, p], 1))  # noqa: E731
    compare(scored, two, lambda t, p: 2 * oracle.brier_score_loss(t, p, pos_label=True), never)


def test_gain():
    def case(seed):
        rng = np.random.default_rng([4, seed])
        shape = (1, int(rng.integers(2, 12)))
        return rng.integers(0, (1, 3, 99)[seed % 3], shape) / 7, rng.integers(0, 3, shape), (None, 1, 3)[seed // 3 % 3]

    ours = lambda s, g, k: ranking.ndcg(s, g, k)[0]  # noqa: E731
    compare(case, ours, lambda s, g, k: oracle.ndcg_score(g, s, k=k), lambda s, g, k: not g.any())


def test_masks():
    def case(seed):
        rng = np.random.default_rng([5, seed])
        shape = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
        return rng.random(shape) < 0.4, rng.random(shape) < 0.5

    empty = lambda t, _: not t.any()  # noqa: E731
    compare(case, overlap.dice, lambda t, p: oracle.f1_score(t.ravel(), p.ravel()), empty)
    compare(case, overlap.iou, lambda t, p: oracle.jaccard_score(t.ravel(), p.ravel()), empty)


def test_means_over_queries_and_images_skip_the_undefined():
    from medvlp.metrics.localisation import mean_over_images

    value = np.array([0.2, np.nan, 0.6, 1.0])
    weight = np.array([[1, 5, 1, 0], [0, 3, 0, 0]])
    for mean in (ranking.mean_gain, mean_over_images):
        assert mean(value) == pytest.approx(0.6)
        assert mean(value, weight) == pytest.approx([0.4, np.nan], nan_ok=True)

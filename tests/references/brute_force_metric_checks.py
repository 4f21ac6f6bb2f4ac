"""One check per metric: random cases, with ties, one class and weights, on which product and loops must agree."""

import math
from collections.abc import Callable, Sequence

import brute_force_metrics as ref
import numpy as np
from scipy.sparse import csr_matrix

NUM_CASES = 60


def near(actual: object, expected: float, what: object) -> None:
    """Equal to 1e-9, or both undefined."""
    value = np.asarray(actual)
    assert value.ndim == 0, what
    if math.isnan(expected):
        assert math.isnan(value), (what, value, expected)
    else:
        assert abs(float(value) - expected) < 1e-9, (what, value, expected)


def repeated(values: Sequence, weight: np.ndarray) -> list:
    """A sample of weight w occurs w times: what integer weights mean."""
    return [value for value, times in zip(values, weight, strict=True) for _ in range(int(times))]


def weighted_too(function: Callable, arrays: list[np.ndarray], options: dict, loops: Callable, seed: int) -> None:
    """Compare without weights, with one row of weights, and with three rows at once."""
    near(function(*arrays, **options), loops(*(a.tolist() for a in arrays)), seed)
    weight = np.random.default_rng([99, seed]).integers(0, 4, size=(3, len(arrays[0])))
    expected = [loops(*(repeated(a.tolist(), row) for a in arrays)) for row in weight]
    near(function(*arrays, weight=weight[0], **options), expected[0], seed)
    np.testing.assert_allclose(function(*arrays, weight=weight, **options), expected, atol=1e-9, err_msg=str(seed))


def answers(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    rng = np.random.default_rng([21, seed])
    num, num_classes = int(rng.integers(1, 25)), int(rng.integers(2, 6))
    truth = rng.integers(0, max(1, num_classes - seed % 2), num)
    answer = np.where(rng.random(num) < 0.5, truth, rng.integers(0, num_classes, num))
    return truth, answer, num_classes


def scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Yes/no truths and scores with many ties; one class only in some."""
    rng = np.random.default_rng([22, seed])
    num = int(rng.integers(1, 60))
    truth = rng.random(num) < (0.5, 0.1, 0.9, 0.0, 1.0)[seed % 5]
    return truth, rng.integers(-3, (1, 4, 40)[seed % 3], num) / 7


def defined(needs_negative: bool, loops: Callable) -> Callable:
    """NaN where the truth lacks the classes the metric needs."""

    def call(truth: list[bool], score: list[float]) -> float:
        return loops(truth, score) if any(truth) and (not needs_negative or not all(truth)) else math.nan

    return call


def macro_f1(truth: list[int], answer: list[int]) -> float:
    labels = sorted({*truth, *answer})
    return sum(ref.f1_per_class(truth, answer, labels)) / len(labels) if labels else math.nan


def weighted_f1(truth: list[int], answer: list[int]) -> float:
    labels = sorted(set(truth))
    each = zip(labels, ref.f1_per_class(truth, answer, labels), strict=True)
    return sum(truth.count(label) * f1 for label, f1 in each) / len(truth) if truth else math.nan


def binary_f1(truth: list[int], answer: list[int]) -> float:
    return ref.f1_per_class(truth, answer, [1])[0] if any(truth) or any(answer) else math.nan


def check_accuracy(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, _ = answers(seed)
        weighted_too(function, [truth, answer], {}, lambda t, a: ref.accuracy(t, a) if t else math.nan, seed)


def check_balanced_accuracy(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, num = answers(seed)
        loops = lambda t, a: ref.balanced_accuracy(t, a) if t else math.nan  # noqa: E731
        weighted_too(function, [truth, answer], {"num_classes": num}, loops, seed)


def check_f1(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, num = answers(seed)
        for average, loops in (("macro", macro_f1), ("weighted", weighted_f1)):
            weighted_too(function, [truth, answer], {"num_classes": num, "average": average}, loops, seed)


def check_binary_f1(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, _ = answers(seed)
        weighted_too(function, [np.minimum(truth, 1), np.minimum(answer, 1)], {}, binary_f1, seed)


def check_auroc(function: Callable) -> None:
    for seed in range(NUM_CASES):
        weighted_too(function, list(scores(seed)), {}, defined(True, ref.auroc), seed)


def check_average_precision(function: Callable) -> None:
    for seed in range(NUM_CASES):
        weighted_too(function, list(scores(seed)), {}, defined(False, ref.average_precision), seed)


def check_roc_point(function: Callable) -> None:
    for seed in range(NUM_CASES):
        for limit in (0.95, 0.5):
            loops = defined(True, lambda t, s, limit=limit: ref.sensitivity_at_specificity(t, s, limit))
            weighted_too(function, list(scores(seed)), {"specificity": limit}, loops, seed)


def check_confusion_matrix(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, num = answers(seed)
        pairs = list(zip(truth.tolist(), answer.tolist(), strict=True))
        expected = [[pairs.count((i, j)) for j in range(num)] for i in range(num)]
        assert np.asarray(function(truth, answer, num)).tolist() == expected, seed


def check_class_scores(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, num = answers(seed)
        found = function(truth, answer, num)
        pairs = list(zip(truth.tolist(), answer.tolist(), strict=True))
        for label in range(num):
            hit, support = pairs.count((label, label)), truth.tolist().count(label)
            answered, others = answer.tolist().count(label), [a for t, a in pairs if t != label]
            expected = {
                "support": support,
                "answered": answered,
                "sensitivity": hit / support if support else math.nan,
                "precision": hit / answered if answered else math.nan,
                "specificity": sum(1 for a in others if a != label) / len(others) if others else math.nan,
                "f1": ref.f1_per_class(*zip(*pairs, strict=True), [label])[0] if support + answered else math.nan,
            }
            assert set(found) == set(expected)
            for name, value in expected.items():
                near(found[name][label], value, (seed, label, name))


def check_sensitivity(function: Callable) -> None:
    for seed in range(NUM_CASES):
        loops = lambda y, s: (sum(map(lambda p, v: p and v >= 0.1, y, s)) / sum(y)) if any(y) else math.nan  # noqa: E731
        weighted_too(function, list(scores(seed)), {"threshold": 0.1}, loops, seed)


def check_specificity(function: Callable) -> None:
    for seed in range(NUM_CASES):

        def loops(truth: list[bool], score: list[float]) -> float:
            low = [s for p, s in zip(truth, score, strict=True) if not p]
            return sum(1 for s in low if s < 0.1) / len(low) if low else math.nan

        weighted_too(function, list(scores(seed)), {"threshold": 0.1}, loops, seed)


def check_threshold_at_specificity(function: Callable) -> None:
    """The lowest threshold among the scores that keeps it; above all scores where none does."""
    for seed in range(NUM_CASES):
        # Some with 20 different negatives, so that exactly one in 20 (or two in 20) may be called positive.
        truth, score = (
            scores(seed) if seed % 4 else (np.arange(25) >= 20, np.random.default_rng(seed).permutation(25) / 3)
        )
        limit = (0.95, 0.9)[seed // 4 % 2]
        low = [s for p, s in zip(truth, score, strict=True) if not p]
        threshold = function(truth, score, limit)
        if not low:
            assert math.isnan(threshold), seed
            continue
        keeps = [t for t in set(score.tolist()) if sum(1 for s in low if s < t) / len(low) >= limit - 1e-12]
        called = sorted(s for s in score.tolist() if s >= threshold)
        assert called == sorted(s for s in score.tolist() if keeps and s >= min(keeps)), seed


def check_threshold_at_best_f1(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, score = scores(seed)
        threshold = function(truth, score)
        if not truth.any():
            assert math.isnan(threshold), seed
            continue
        by_f1 = {t: ref.f1_per_class(truth.tolist(), (score >= t).tolist(), [True])[0] for t in set(score.tolist())}
        best = max(by_f1.values())
        near(threshold, max(t for t, f1 in by_f1.items() if f1 > best - 1e-12), seed)


def check_roc_curve(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, score = scores(seed)
        if truth.any() and not truth.all():
            points = [(0.0, 0.0)]
            for threshold in sorted(set(score.tolist()), reverse=True):
                called = score >= threshold
                points.append(
                    (float((called & ~truth).sum() / (~truth).sum()), float((called & truth).sum() / truth.sum()))
                )
            np.testing.assert_allclose(np.stack(function(truth, score), axis=1), points, atol=1e-12, err_msg=str(seed))


def check_precision_recall_curve(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, score = scores(seed)
        if truth.any():
            called = [score >= threshold for threshold in sorted(set(score.tolist()), reverse=True)]
            points = [((c & truth).sum() / c.sum(), (c & truth).sum() / truth.sum()) for c in called]
            np.testing.assert_allclose(np.stack(function(truth, score), axis=1), points, atol=1e-12, err_msg=str(seed))


def ranks_with_gaps(seed: int) -> np.ndarray:
    rng = np.random.default_rng([29, seed])
    rank = rng.integers(2, 20, size=int(rng.integers(1, 12))) / 2
    return np.where(rng.random(rank.shape) < 0.2, math.nan, rank)


def mean_known(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def check_recall_at(function: Callable) -> None:
    for seed in range(NUM_CASES):
        for k in (1, 3):
            loops = lambda rank, k=k: mean_known([r if math.isnan(r) else float(r <= k) for r in rank])  # noqa: E731
            weighted_too(function, [ranks_with_gaps(seed)], {"k": k}, loops, seed)


def check_mean_reciprocal_rank(function: Callable) -> None:
    for seed in range(NUM_CASES):
        weighted_too(function, [ranks_with_gaps(seed)], {}, lambda rank: mean_known([1 / r for r in rank]), seed)


def check_similarity_ranks(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([23, seed])
        similarity = rng.integers(0, 5, size=(4, int(rng.integers(1, 9)))) / 4
        positive = rng.random(similarity.shape) < 0.3
        found = function(similarity, positive)
        for query, (row, marks) in enumerate(zip(similarity.tolist(), positive.tolist(), strict=True)):
            expected = (math.nan,) * 3
            if any(marks):
                best = max(s for s, mark in zip(row, marks, strict=True) if mark)
                wrong = [s for s, mark in zip(row, marks, strict=True) if not mark]
                expected = ref.ranks([best, *wrong], 0)
            for value, name in zip(expected, ("optimistic", "pessimistic", "realistic"), strict=True):
                near(getattr(found, f"{name}_Q")[query], value, (seed, query, name))


def check_retrieval_ranks(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([24, seed])
        num_owners, num_queries = int(rng.integers(1, 6)), int(rng.integers(1, 7))
        owner = rng.permutation(np.concatenate([np.arange(num_owners), rng.integers(0, num_owners, 6)]))
        # Integer coordinates: ties are exact, and no two different scores are closer than the tolerance.
        gallery, query = rng.integers(-2, 3, size=(len(owner), 3)), rng.integers(-2, 3, size=(num_queries, 3))
        grouped = seed % 2 == 0
        target = rng.integers(0, num_owners if grouped else len(owner), num_queries)
        options = {"owner_G": owner} if grouped else {}
        found = function(query.astype(float), gallery.astype(float), target, chunk=(1, 2, 512)[seed % 3], **options)
        for q in range(num_queries):
            row = [float(sum(a * b for a, b in zip(query[q], item, strict=True))) for item in gallery.tolist()]
            if grouped:
                row = [max(s for s, o in zip(row, owner, strict=True) if o == u) for u in range(num_owners)]
            expected = ref.ranks(row, int(target[q]))
            for value, name in zip(expected, ("optimistic", "pessimistic", "realistic"), strict=True):
                near(getattr(found, f"{name}_Q")[q], value, (seed, q, name))


def random_dag(seed: int) -> ref.Parents:
    """Random multi-parent DAG with one or two roots; ids are shuffled so that order means nothing."""
    rng = np.random.default_rng([25, seed])
    num, num_roots = int(rng.integers(3, 14)), 1 + seed % 2
    ids = [f"N:{number}" for number in rng.permutation(num)]
    parents: ref.Parents = {node: [] for node in ids}
    for position in range(num_roots, num):
        count = int(rng.integers(1, min(3, position) + 1))
        parents[ids[position]] = [ids[p] for p in rng.choice(position, size=count, replace=False)]
    return parents


def closure(parents: ref.Parents) -> csr_matrix:
    ids = sorted(parents)
    return csr_matrix([[b in ref.steps_up(parents, a) for b in ids] for a in ids], dtype=bool)


def check_ancestor_credit(function: Callable) -> None:
    for seed in range(NUM_CASES):
        parents = random_dag(seed)
        ids, rng = sorted(parents), np.random.default_rng([26, seed])
        node = rng.choice(len(ids), size=min(5, len(ids)), replace=False)
        node[0] = -1 if seed % 3 == 0 else node[0]
        found = np.asarray(function(closure(parents), node))
        for i, a in enumerate(node):
            for j, b in enumerate(node):
                left, right = (
                    {x for x in ref.steps_up(parents, ids[n]) if parents[x]} if n >= 0 else set() for n in (a, b)
                )
                shared = 2 * len(left & right) / (len(left) + len(right)) if left or right else 0.0
                near(found[i, j], 1.0 if i == j else shared, (seed, i, j))


def check_equal_or_ancestor(function: Callable) -> None:
    for seed in range(NUM_CASES):
        parents = random_dag(seed)
        ids = sorted(parents)
        found = np.asarray(function(closure(parents), np.arange(len(ids))))
        expected = [[a == b or b in ref.ancestors(parents, a) for b in ids] for a in ids]
        assert found.tolist() == expected, seed


def check_class_distances(function: Callable) -> None:
    for seed in range(NUM_CASES):
        parents = random_dag(seed)
        concepts: list[str | None] = [*sorted(parents), None]
        found = np.asarray(function(lambda a, b, p=parents: ref.tree_distance(p, a, b), concepts))
        for i, a in enumerate(concepts):
            for j, b in enumerate(concepts):
                if a is None and b is None:
                    continue
                steps = None if a is None or b is None else ref.tree_distance(parents, a, b)
                near(found[i, j], math.nan if steps is None else steps, (seed, i, j))


def check_hierarchical_accuracy(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, num = answers(seed)
        credit = np.random.default_rng([27, seed]).random((num, num))
        loops = lambda t, a, c=credit: sum(map(lambda i, j: c[i, j], t, a)) / len(t) if t else math.nan  # noqa: E731
        weighted_too(function, [truth, answer], {"credit_KK": credit}, loops, seed)


def check_mistake_distance(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, answer, num = answers(seed)
        rng = np.random.default_rng([28, seed])
        distance = rng.integers(1, 9, size=(num, num)).astype(float)
        distance[rng.random((num, num)) < 0.2] = math.nan
        np.fill_diagonal(distance, 0.0)

        def loops(t: list[int], a: list[int], d: np.ndarray = distance) -> float:
            known = [d[i, j] for i, j in zip(t, a, strict=True) if i != j and not math.isnan(d[i, j])]
            return float(sum(known) / len(known)) if known else math.nan

        weighted_too(function, [truth, answer], {"distance_KK": distance}, loops, seed)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "classification.accuracy": check_accuracy,
    "classification.balanced_accuracy": check_balanced_accuracy,
    "classification.confusion_matrix": check_confusion_matrix,
    "classification.class_scores": check_class_scores,
    "classification.f1": check_f1,
    "classification.binary_f1": check_binary_f1,
    "curves.auroc": check_auroc,
    "curves.average_precision": check_average_precision,
    "curves.roc_point_sensitivity": check_roc_point,
    "curves.sensitivity": check_sensitivity,
    "curves.specificity": check_specificity,
    "curves.threshold_at_specificity": check_threshold_at_specificity,
    "curves.threshold_at_best_f1": check_threshold_at_best_f1,
    "curves.roc_curve": check_roc_curve,
    "curves.precision_recall_curve": check_precision_recall_curve,
    "ranking.recall_at": check_recall_at,
    "ranking.mean_reciprocal_rank": check_mean_reciprocal_rank,
    "ranking.similarity_ranks": check_similarity_ranks,
    "ranking.retrieval_ranks": check_retrieval_ranks,
    "hierarchy.ancestor_credit": check_ancestor_credit,
    "hierarchy.equal_or_ancestor": check_equal_or_ancestor,
    "hierarchy.class_distances": check_class_distances,
    "hierarchy.hierarchical_accuracy": check_hierarchical_accuracy,
    "hierarchy.mistake_distance": check_mistake_distance,
}

"""Statistics of the knowledge table: errors, detectable differences, verdicts; and how its page is filled."""

import itertools

import numpy as np
import pytest

from benchmarks.knowledge import statistics
from benchmarks.knowledge.measure import recall_by_luck, reciprocal_rank_by_luck
from medvlp.metrics import paired


def test_the_smallest_detectable_difference_is_found_in_four_of_five_repetitions():
    rng = np.random.default_rng(0)
    num_cases, spread, repetitions = 80, 0.4, 4000
    error = spread / np.sqrt(num_cases)
    true = paired.smallest_detectable(error)
    means = rng.normal(true, spread, (repetitions, num_cases)).mean(1)
    assert np.mean(np.abs(means) > 1.96 * error) == pytest.approx(0.8, abs=0.02)
    assert np.mean(np.abs(means - true) > 1.96 * error) == pytest.approx(0.05, abs=0.01)  # without one: 5 %


def test_the_error_of_a_difference_is_that_of_repeated_sets_of_cases():
    """The bootstrap's standard error against drawing fresh cases, for a paired difference of accuracies."""
    from medvlp.metrics.bootstrap import draw_weights

    rng = np.random.default_rng(0)
    fresh = lambda: (rng.random(150) < 0.7, rng.random(150) < 0.5)  # noqa: E731
    repeated = [np.mean(first) - np.mean(second) for first, second in (fresh() for _ in range(2000))]
    first, second = fresh()
    weight_SN = np.concatenate(list(draw_weights(range(150), 2000, 0)))
    draw = lambda hit: paired.Measured(np.array([hit.mean()]), weight_SN @ hit / 150, 150)  # noqa: E731
    found = paired.difference(draw(first), draw(second))
    assert found.standard_error == pytest.approx(np.std(repeated), rel=0.12)
    assert found.value == pytest.approx(first.mean() - second.mean())


def test_degenerate_differences_are_told_apart():
    same = paired.Measured(np.array([0.5]), np.full(100, 0.5), 10)
    other = paired.Measured(np.array([1.0]), np.full(100, 1.0), 10)
    lone = paired.Measured(np.array([0.5]), np.linspace(0, 1, 100), 1)
    verdicts = [
        statistics.verdict(paired.difference(*pair), float("nan"))
        for pair in ((same, same), (other, same), (lone, same))
    ]
    assert verdicts == [
        "no difference detected (the same on every draw)",
        "higher (the same on every draw, so without an error)",
        "cannot be told: fewer than two cases",
    ]


def test_holm_and_what_it_does_to_a_verdict():
    assert paired.holm([0.01, 0.04, float("nan"), 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert paired.holm([]) == []
    found = paired.Difference(0.2, 0.01, 0.4, 0.09, 0.25, 0.03)
    assert statistics.verdict(found, 0.03) == "higher"
    assert statistics.verdict(found, 0.2) == "higher, but not after correction"


def test_averages_over_sets_are_means_with_smaller_errors():
    rng = np.random.default_rng(0)
    pairs = [
        tuple(paired.Measured(np.array([0.5 + 0.1 * k]), 0.5 + rng.normal(0, 0.1, 5000), 20) for k in (1, 0))
        for _ in range(4)
    ]
    pooled, single = paired.mean_difference(pairs), paired.difference(*pairs[0])
    assert pooled.value == pytest.approx(0.1)
    assert pooled.standard_error == pytest.approx(single.standard_error / 2, rel=0.1)


def test_luck_equals_all_orders():
    right = np.array([[True, False, False, True, False, False], [False, False, False, False, False, True]])
    for query, found in enumerate(zip(recall_by_luck(right, 2), reciprocal_rank_by_luck(right), strict=True)):
        wanted = np.flatnonzero(right[query])
        ranks = [1 + min(order.index(i) for i in wanted) for order in itertools.permutations(range(6))]
        assert found[0] == pytest.approx(np.mean([rank <= 2 for rank in ranks]))
        assert found[1] == pytest.approx(np.mean([1 / rank for rank in ranks]))

"""Robustness: scores, drops and mean drop on paired draws."""

import numpy as np
import pytest

from medvlp.metrics.robustness import robustness


def accuracy(right_N):
    right_N = np.asarray(right_N, float)

    def statistic(weight):
        if weight is None:
            return right_N.mean()
        return (weight * right_N).sum(-1) / weight.sum(-1)

    return statistic


RIGHT = np.array([1, 1, 1, 1, 0, 1, 1, 1])


def test_values_are_plain_differences():
    worse = {1: RIGHT * (np.arange(8) > 1), 2: RIGHT * (np.arange(8) > 3)}
    found = robustness({2: accuracy(worse[2]), 0: accuracy(RIGHT), 1: accuracy(worse[1])}, range(8))
    assert list(found.score) == [0, 1, 2]
    assert found.score[0].value == 7 / 8
    assert found.drop[1].value == 2 / 8
    assert found.drop[2].value == 4 / 8
    assert found.mean_drop.value == 3 / 8
    assert found.mean_drop.low <= 3 / 8 <= found.mean_drop.high
    assert found.mean_drop.low >= 0


def test_draws_are_paired_so_an_equal_score_drops_by_nothing():
    found = robustness({0: accuracy(RIGHT), 1: accuracy(RIGHT)}, range(8))
    assert (found.mean_drop.value, found.mean_drop.low, found.mean_drop.high) == (0, 0, 0)
    assert found.score[0].low < found.score[0].high


def test_cases_widen_the_interval():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.integers(0, 2, 20), 10)
    by_case = robustness({0: accuracy(np.ones(200)), 1: accuracy(right)}, np.repeat(range(20), 10)).mean_drop
    by_row = robustness({0: accuracy(np.ones(200)), 1: accuracy(right)}, range(200)).mean_drop
    assert by_case.high - by_case.low > 2 * (by_row.high - by_row.low)


@pytest.mark.parametrize("severities", [[0], [1, 2], []])
def test_missing_severities_are_refused(severities):
    with pytest.raises(ValueError, match="severity 0"):
        robustness(dict.fromkeys(severities, accuracy(RIGHT)), range(8))

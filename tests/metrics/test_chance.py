"""The random floor of retrieval equals enumeration of every order, and the median rank its definition."""

import itertools

import numpy as np
import pytest

from medvlp.metrics import ranking
from medvlp.metrics.chance import RandomOrder

RIGHT = np.array([1, 2, 0, 1, 3])
NUM = 5


def orders(num_right):
    """Rank of the best right item in each of the 120 orders."""
    return np.array([1 + min(order.index(i) for i in range(num_right)) for order in itertools.permutations(range(NUM))])


@pytest.mark.parametrize("k", [1, 2, 4, 5, 9])
def test_recall_equals_enumeration(k):
    expected = [(orders(p) <= k).mean() for p in RIGHT if p > 0]
    assert RandomOrder(RIGHT, NUM).recall_at(k) == pytest.approx(np.mean(expected))
    weight = np.array([[1, 1, 1, 1, 1], [0, 3, 5, 0, 1]])
    drawn = RandomOrder(RIGHT, NUM).recall_at(k, weight)
    assert drawn == pytest.approx([np.mean(expected), (3 * expected[1] + expected[3]) / 4])


def test_reciprocal_rank_and_median_equal_enumeration():
    every = [orders(p) for p in RIGHT if p > 0]
    chance = RandomOrder(RIGHT, NUM)
    assert chance.mean_reciprocal_rank() == pytest.approx(np.mean([(1 / rank).mean() for rank in every]))
    pooled = np.sort(np.concatenate(every))
    assert chance.median_rank() == pooled[(len(pooled) + 1) // 2 - 1]
    assert np.isnan(RandomOrder([0, 0], 3).median_rank())
    assert np.isnan(RandomOrder([0, 0], 3).recall_at(1))


def test_simulation_of_the_whole_path():
    rng = np.random.default_rng(0)
    right_QG = rng.random((400, 30)) < 0.08
    right_QG[np.arange(400), rng.integers(0, 30, 400)] = True
    chance = RandomOrder(right_QG.sum(1), 30)
    found = np.concatenate([ranking.similarity_ranks(rng.random((400, 30)), right_QG).realistic_Q for _ in range(25)])
    assert ranking.recall_at(found, 5) == pytest.approx(float(chance.recall_at(5)), abs=0.015)
    assert ranking.mean_reciprocal_rank(found) == pytest.approx(float(chance.mean_reciprocal_rank()), abs=0.015)
    assert abs(ranking.median_rank(found) - chance.median_rank()) <= 1
    wrong = 5 * right_QG.sum(1).mean() / 30  # the usual shortcut k * p / G is not it
    assert abs(wrong - float(chance.recall_at(5))) > 0.03


def test_median_rank():
    rank = np.array([4.0, 1.0, np.nan, 2.0, 9.0])
    assert ranking.median_rank(rank) == 2  # half of four queries reach it
    assert ranking.median_rank(rank, [0, 1, 1, 0, 2]) == 9
    drawn = ranking.median_rank(rank, [[1, 1, 1, 1, 1], [0, 0, 3, 0, 0], [3, 0, 0, 0, 0]])
    assert drawn[[0, 2]].tolist() == [2, 4]
    assert np.isnan(drawn[1])
    assert np.isnan(ranking.median_rank(np.array([])))
    for num in (1, 2, 7, 8):
        values = np.random.default_rng(num).permutation(num) + 1.0
        assert ranking.median_rank(values) == np.percentile(values, 50, method="inverted_cdf")

"""Retrieval ranks count ties three ways and do not depend on the chunk size."""

import numpy as np
import pytest

from medvlp.metrics import ranking


def test_ties_by_hand():
    ranks = ranking.similarity_ranks([[0.9, 0.5, 0.5, 0.1], [1, 1, 1, 1]], [[0, 1, 0, 0], [0, 0, 0, 1]])
    assert ranks.optimistic_Q.tolist() == [2, 1]
    assert ranks.pessimistic_Q.tolist() == [3, 4]
    assert ranks.realistic_Q.tolist() == [2.5, 2.5]


def test_constant_embedding_does_not_look_perfect():
    ones = np.ones((50, 4), dtype=np.float32) / 2
    ranks = ranking.retrieval_ranks(ones, ones, np.arange(50))
    assert ranking.recall_at(ranks.optimistic_Q, 1) == 1
    assert ranking.recall_at(ranks.realistic_Q, 1) == 0
    assert ranks.realistic_Q[0] == 25.5


def test_other_positives_do_not_count_against_the_best():
    ranks = ranking.similarity_ranks([[0.9, 0.8, 0.7]], [[0, 1, 1]])
    assert ranks.realistic_Q.tolist() == [2]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_owner_scores_as_its_best_row(chunk):
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(20, 8)), rng.normal(size=(60, 8))
    owner = rng.permutation(np.arange(60) % 15)
    target = rng.integers(0, 15, 20)
    ranks = ranking.retrieval_ranks(query, gallery, target, owner_G=owner, chunk=chunk, tolerance=0.0)
    for q in range(20):
        best = np.array([(gallery[owner == u] @ query[q]).max() for u in range(15)])
        assert ranks.realistic_Q[q] == 1 + (best > best[target[q]]).sum()


def test_recall_and_mrr():
    rank = np.array([1.0, 2.0, 4.0, np.nan])
    assert ranking.recall_at(rank, 2) == pytest.approx(2 / 3)
    assert ranking.mean_reciprocal_rank(rank) == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert ranking.recall_at(rank, 1, [[1, 1, 1, 1], [0, 1, 0, 1]]).tolist() == pytest.approx([1 / 3, 0])
    assert np.isnan(ranking.mean_reciprocal_rank(np.array([np.nan])))

"""Retrieval: the rank of the right item, with ties counted three ways, in bounded memory.

With b better and t equally good wrong items, the rank is ``1 + b`` (optimistic), ``1 + b + t`` (pessimistic) or
their mean (realistic). A constant score then has recall@1 of 1, 0 and about 0: quoting the first alone is how a
broken model looks perfect. The realistic rank is the default (Berrendorf et al. 2020, arXiv 2002.06914).

Shape legend: Q queries, G gallery rows, U owners of gallery rows, D embedding size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, answer, mean_defined, weights

Ties = Literal["optimistic", "pessimistic", "realistic"]


@dataclass(frozen=True)
class Ranks:
    """Rank of the best right item of each query, 1 is best."""

    optimistic_Q: Floats
    pessimistic_Q: Floats

    @property
    def realistic_Q(self) -> Floats:
        """Mean of the optimistic and the pessimistic rank."""
        return (self.optimistic_Q + self.pessimistic_Q) / 2


def similarity_ranks(similarity_QG: ArrayLike, positive_QG: ArrayLike, tolerance: float = 0.0) -> Ranks:
    """Rank the best positive of each query among the non-positives.

    Args:
        similarity_QG: Scores, larger is better.
        positive_QG: True where the item answers the query; other positives never count against the best one.
        tolerance: Scores this close are tied (for embeddings in float32, about 1e-6).

    Returns:
        Ranks; NaN for a query without a positive.
    """
    similarity_QG = np.asarray(similarity_QG, dtype=np.float64)
    positive_QG = np.asarray(positive_QG, dtype=bool)
    best_Q1 = np.where(positive_QG, similarity_QG, -np.inf).max(1, keepdims=True)
    wrong_QG = ~positive_QG
    better_Q = (wrong_QG & (similarity_QG > best_Q1 + tolerance)).sum(1).astype(np.float64)
    as_good_Q = (wrong_QG & (similarity_QG >= best_Q1 - tolerance)).sum(1).astype(np.float64)
    missing_Q = ~positive_QG.any(1)
    better_Q[missing_Q] = as_good_Q[missing_Q] = np.nan
    return Ranks(1 + better_Q, 1 + as_good_Q)


def retrieval_ranks(
    query_QD: ArrayLike,
    gallery_GD: ArrayLike,
    target_Q: ArrayLike,
    *,
    owner_G: ArrayLike | None = None,
    chunk: int = 512,
    tolerance: float = 1e-6,
) -> Ranks:
    """Rank each query's target among all gallery owners by cosine (or any dot product), chunk by chunk.

    Args:
        query_QD: Query embeddings, L2-normalised for cosine.
        gallery_GD: Gallery embeddings.
        target_Q: Owner number of the right answer of each query.
        owner_G: Owner number of each gallery row, 0..U-1 and each present; an owner scores as its best row.
            Without it every row is its own owner.
        chunk: Queries scored at a time; memory is ``chunk * G`` floats.
        tolerance: Scores this close are tied.
    """
    query_QD, gallery_GD, target_Q = np.asarray(query_QD), np.asarray(gallery_GD), np.asarray(target_Q)
    owner_G = np.arange(len(gallery_GD)) if owner_G is None else np.asarray(owner_G)
    order_G = np.argsort(owner_G, kind="stable")
    owners_U, start_U = np.unique(owner_G[order_G], return_index=True)
    assert np.array_equal(owners_U, np.arange(len(owners_U))), "every owner 0..U-1 needs a gallery row"
    gallery_GD = gallery_GD[order_G]
    parts = []
    for begin in range(0, len(query_QD), chunk):
        score_CU = np.maximum.reduceat(query_QD[begin : begin + chunk] @ gallery_GD.T, start_U, axis=1)
        positive_CU = np.arange(len(owners_U)) == target_Q[begin : begin + chunk, None]
        parts.append(similarity_ranks(score_CU, positive_CU, tolerance))
    if not parts:
        return Ranks(np.zeros(0), np.zeros(0))
    return Ranks(
        np.concatenate([part.optimistic_Q for part in parts]), np.concatenate([part.pessimistic_Q for part in parts])
    )


def recall_at(rank_Q: NDArray[np.floating], k: int, weight: ArrayLike | None = None) -> Floats:
    """Share of queries whose rank is at most ``k``; queries without a positive (NaN) do not count."""
    return mean_defined(np.where(np.isnan(rank_Q), np.nan, rank_Q <= k), weight)


def mean_reciprocal_rank(rank_Q: NDArray[np.floating], weight: ArrayLike | None = None) -> Floats:
    """Mean of 1 / rank; queries without a positive (NaN) do not count."""
    return mean_defined(1 / rank_Q, weight)


def median_rank(rank_Q: NDArray[np.floating], weight: ArrayLike | None = None) -> Floats:
    """Smallest rank that at least half of the queries reach; queries without a positive (NaN) do not count."""
    weight_SQ = weights(weight, len(rank_Q)) * ~np.isnan(rank_Q)
    order_Q = np.argsort(rank_Q, kind="stable")
    reached_SQ = np.cumsum(weight_SQ[:, order_Q], axis=1)
    total_S = reached_SQ[:, -1] if len(rank_Q) > 0 else np.zeros(len(weight_SQ))
    if len(rank_Q) == 0:
        return answer(np.full(len(weight_SQ), np.nan), weight)
    place_S = (reached_SQ >= total_S[:, None] / 2).argmax(1)
    return answer(np.where(total_S > 0, rank_Q[order_Q][place_S], np.nan), weight)


def ndcg(
    similarity_QG: ArrayLike,
    relevance_QG: ArrayLike,
    k: int | None = None,
    *,
    ties: Ties = "realistic",
    tolerance: float = 0.0,
) -> Floats:
    """Normalised discounted cumulative gain of each query (Järvelin and Kekäläinen 2002, with the gain as it is).

    The item at place r weighs ``1 / log2(1 + r)``; the sum is divided by that of the best order. Items of equal score
    share their places evenly (McSherry and Najork 2008), so a constant score has the value of a random order; or the
    most relevant of them come first (optimistic) or last (pessimistic).

    Args:
        similarity_QG: Scores, larger is better.
        relevance_QG: Gain of each item, not negative; True and False for right and wrong.
        k: Places counted; None counts all.
        ties: How items of equal score stand.
        tolerance: Scores are tied along a chain of neighbours that lie this close.

    Returns:
        (Q,), NaN for a query without relevant items; average with :func:`mean_gain`.
    """
    similarity_QG = np.asarray(similarity_QG, dtype=np.float64)
    relevance_QG = np.asarray(relevance_QG, dtype=np.float64)
    assert similarity_QG.shape == relevance_QG.shape, (similarity_QG.shape, relevance_QG.shape)
    assert bool((relevance_QG >= 0).all()), "gains have to be zero or more"
    num_items = similarity_QG.shape[1]
    discount_G = 1 / np.log2(np.arange(num_items) + 2.0)
    discount_G[num_items if k is None else k :] = 0.0
    out_Q = np.full(len(similarity_QG), np.nan)
    for q, (score_G, gain_G) in enumerate(zip(similarity_QG, relevance_QG, strict=True)):
        best = np.sort(gain_G)[::-1] @ discount_G
        if best > 0:
            order_G = np.argsort(-score_G, kind="stable")
            new_G = np.append(True, np.diff(score_G[order_G]) < -tolerance)
            if ties == "realistic":
                start_T = np.flatnonzero(new_G)
                share_T = np.add.reduceat(discount_G, start_T) / np.diff(np.append(start_T, num_items))
                out_Q[q] = np.add.reduceat(gain_G[order_G], start_T) @ share_T / best
            else:
                sign = -1 if ties == "optimistic" else 1
                placed_G = np.lexsort((sign * gain_G[order_G], np.cumsum(new_G)))
                out_Q[q] = gain_G[order_G][placed_G] @ discount_G / best
    return out_Q


def mean_gain(gain_Q: NDArray[np.floating], weight: ArrayLike | None = None) -> Floats:
    """Mean of :func:`ndcg` over queries; those without relevant items (NaN) do not count."""
    return mean_defined(gain_Q, weight)

"""What a random order of the gallery scores in retrieval, computed exactly.

With G gallery items of which p answer the query, the best right one lies within the first r of a random order with
probability ``1 - C(G - p, r) / C(G, r)``. Everything below is read off that distribution, query by query.

Shape legend: Q queries, G gallery items, P different numbers of right items, S sets of weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, answer, ratio, weights


class RandomOrder:
    """The rank of the best right item under a random order, for queries with different numbers of right items.

    Args:
        num_right_Q: Right items of each query; zero means that it does not count.
        num_gallery: Gallery items.
    """

    def __init__(self, num_right_Q: ArrayLike, num_gallery: int) -> None:
        num_right_Q = np.asarray(num_right_Q, dtype=np.int64)
        assert (num_right_Q <= num_gallery).all(), "more right items than gallery items"
        self.right_P, self.which_Q = np.unique(num_right_Q, return_inverse=True)
        self.reached_PG = np.stack([_reached(int(p), num_gallery) for p in self.right_P] or [np.zeros(num_gallery)])

    def recall_at(self, k: int, weight: ArrayLike | None = None) -> Floats:
        """Expected share of queries whose rank is at most ``k``."""
        return self._mean(self.reached_PG[:, min(k, self.reached_PG.shape[1]) - 1], weight)

    def mean_reciprocal_rank(self, weight: ArrayLike | None = None) -> Floats:
        """Expected mean of 1 / rank."""
        exactly_PG = np.diff(self.reached_PG, axis=1, prepend=0.0)
        return self._mean(exactly_PG @ (1 / np.arange(1, exactly_PG.shape[1] + 1)), weight)

    def median_rank(self, weight: ArrayLike | None = None) -> Floats:
        """Smallest rank that at least half of the queries are expected to reach."""
        share_SP = self._weight(weight)
        total_S = share_SP.sum(1)
        reached_SG = share_SP @ self.reached_PG
        place_S = (reached_SG >= total_S[:, None] / 2 - 1e-12).argmax(1) + 1.0
        return answer(np.where(total_S > 0, place_S, np.nan), weight)

    def _weight(self, weight: ArrayLike | None) -> Floats:
        weight_SQ = weights(weight, len(self.which_Q))
        return np.stack(
            [weight_SQ[:, self.which_Q == p].sum(1) * (right > 0) for p, right in enumerate(self.right_P)], axis=1
        )

    def _mean(self, value_P: Floats, weight: ArrayLike | None) -> Floats:
        share_SP = self._weight(weight)
        return answer(ratio(share_SP @ value_P, share_SP.sum(1)), weight)


def _reached(num_right: int, num_gallery: int) -> NDArray[np.float64]:
    """Probability (G,) that one of ``num_right`` items is among the first 1, 2, ... of a random order."""
    missed, out = 1.0, np.empty(num_gallery)
    for taken in range(num_gallery):
        missed *= max(0, num_gallery - num_right - taken) / (num_gallery - taken)
        out[taken] = 1 - missed
    return out

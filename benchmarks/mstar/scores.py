"""Retrieval between modalities, and the question of the arrangement, with intervals by case.

Shape legend: C test cases, A seeds, S bootstrap draws, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.metrics.bootstrap import draws, interval
from medvlp.metrics.chance import RandomOrder
from medvlp.metrics.curves import auroc
from medvlp.metrics.ranking import median_rank, recall_at, retrieval_ranks

DIRECTIONS = tuple(
    f"{left} to {right}"
    for left in ("slide", "report", "genes")
    for right in ("slide", "report", "genes")
    if left != right
)


def ranks(embedding: Mapping[str, NDArray[Any]]) -> dict[str, list[float]]:
    """Return the realistic rank (C,) of each case's own counterpart, per direction.

    Args:
        embedding: Unit vectors (C, D) by modality, same cases in the same order.
    """
    found = {}
    for direction in DIRECTIONS:
        left, right = direction.split(" to ")
        target_C = np.arange(len(embedding[left]))
        found[direction] = retrieval_ranks(embedding[left], embedding[right], target_C).realistic_Q.tolist()
    return found


def retrieval(records: Sequence[Mapping[str, Any]], keys: Sequence[str], num_draws: int) -> dict[str, dict[str, Any]]:
    """Return, per direction, recall at 1 and 5 and the median rank: means over seeds, intervals by case, chance.

    Args:
        records: One per seed, with ``ranks`` of :func:`ranks`.
        keys: The test cases.
        num_draws: Bootstrap draws.
    """
    chance = RandomOrder(np.ones(len(keys)), len(keys))
    out = {}
    for direction in DIRECTIONS:
        rank_AC = np.array([record["ranks"][direction] for record in records])
        statistics = {
            "recall@1": lambda w, r=rank_AC: _mean([recall_at(row, 1, w) for row in r]),
            "recall@5": lambda w, r=rank_AC: _mean([recall_at(row, 5, w) for row in r]),
            "median_rank": lambda w, r=rank_AC: _mean([median_rank(row, w) for row in r]),
        }
        out[direction] = with_intervals(statistics, keys, num_draws)
        out[direction]["chance"] = {
            "recall@1": float(chance.recall_at(1)),
            "recall@5": float(chance.recall_at(5)),
            "median_rank": float(chance.median_rank()),
        }
    return out


def difference(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], keys: Sequence[str], num_draws: int
) -> dict[str, Any]:
    """Return how far recall at 5 of ``one`` lies above that of ``other``, mean over all directions, paired by case."""
    rank_AC, base_AC = (
        np.array([record["ranks"][direction] for record in records for direction in DIRECTIONS])
        for records in (one, other)
    )

    def statistic(w: Any) -> Any:
        return _mean([recall_at(row, 5, w) for row in rank_AC]) - _mean([recall_at(row, 5, w) for row in base_AC])

    return with_intervals({"recall@5": statistic}, keys, num_draws)["recall@5"]  # type: ignore[no-any-return]


def arrangement(
    records: Sequence[Mapping[str, Any]], bands_C: NDArray[np.bool_], keys: Sequence[str], num_draws: int
) -> dict[str, Any]:
    """Return the AUROC of telling bands from scattered tiles by the two wordings, mean over seeds."""
    score_AC = np.array([record["bands"] for record in records])
    statistic = {"auroc": lambda w: _mean([auroc(bands_C, row, w) for row in score_AC])}
    return with_intervals(statistic, keys, num_draws)["auroc"]  # type: ignore[no-any-return]


def with_intervals(statistics: Mapping[str, Any], keys: Sequence[str], num_draws: int) -> dict[str, Any]:
    """Return value, low and high of each statistic, by a bootstrap of cases."""
    drawn = draws(statistics, keys, num_draws, seed=0)
    out = {}
    for name, statistic in statistics.items():
        found = interval(float(statistic(None)), drawn[name], len(set(keys)))
        out[name] = {"value": found.value, "low": found.low, "high": found.high}
    return out


def _mean(values: Sequence[Any]) -> Any:
    return np.mean(np.stack([np.asarray(value, dtype=np.float64) for value in values]), axis=0)

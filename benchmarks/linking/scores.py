"""Scores of mentions and links with intervals that resample documents.

Shape letters: N mentions or documents, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.text.linking.fit import Document, Truth
from medvlp.metrics.bootstrap import Interval, Statistic, intervals, paired_difference

Answers = list[list[int]]
"""Rows of the concepts linked to each gold mention, mentions of all documents in order; [] is none."""


def rights(documents: Sequence[Document], answers: Answers, truth: Truth) -> np.ndarray:
    """Tell of each gold mention whether its answer is right."""
    gold = [mention.ids for document in documents for mention in document.mentions]
    return np.array([truth.right(rows, ids) for rows, ids in zip(answers, gold, strict=True)], dtype=float)


def cases(documents: Sequence[Document]) -> list[str]:
    """Return the document of each gold mention."""
    return [document.key for document in documents for _ in document.mentions]


def mean_interval(value_N: np.ndarray, case_N: Sequence[str], num_draws: int) -> dict[str, float]:
    """Mean with interval."""
    return _plain(intervals({"mean": lambda weight: _mean(value_N, weight)}, case_N, num_draws)["mean"])


def mean_difference(
    first_N: np.ndarray, second_N: np.ndarray, case_N: Sequence[str], num_draws: int
) -> dict[str, float]:
    """Paired difference of two means with interval."""
    found = paired_difference(lambda w: _mean(first_N, w), lambda w: _mean(second_N, w), case_N, num_draws)
    return _plain(found)


def f1_statistics(count_N3: np.ndarray) -> dict[str, Statistic]:
    """Precision, recall and F1 of weights, from hits, found and wanted of each document (N, 3)."""

    def ratio(top: Any, bottom: Any) -> Statistic:
        return lambda weight: _ratio(count_N3 @ top, count_N3 @ bottom, weight)

    hit, found, wanted = np.eye(3)
    return {"precision": ratio(hit, found), "recall": ratio(hit, wanted), "f1": ratio(2 * hit, found + wanted)}


def f1_scores(count_N3: np.ndarray, case_N: Sequence[str], num_draws: int) -> dict[str, dict[str, float]]:
    """The same with intervals."""
    found = intervals(f1_statistics(count_N3), case_N, num_draws)
    return {name: _plain(value) for name, value in found.items()}


def span_counts(documents: Sequence[Document], spans: Sequence[set[tuple[int, int]]], strict: bool) -> np.ndarray:
    """Hits, found, wanted per document (N, 3); without ``strict`` each gold mention may pair with one that overlaps."""
    counts = []
    for document, found in zip(documents, spans, strict=True):
        gold = {(mention.start, mention.end) for mention in document.mentions}
        hits = len(gold & found) if strict else _paired(sorted(gold), sorted(found))
        counts.append((hits, len(found), len(gold)))
    return np.array(counts, dtype=float)


def _paired(gold: list[tuple[int, int]], found: list[tuple[int, int]]) -> int:
    """Number of one-to-one pairs of overlapping spans, first come first served from the left."""
    pairs, position = 0, 0
    for start, end in gold:
        while position < len(found) and found[position][1] <= start:
            position += 1
        if position < len(found) and found[position][0] < end:
            pairs += 1
            position += 1
    return pairs


def _mean(value_N: np.ndarray, weight: Any) -> Any:
    return np.asarray(value_N.mean()) if weight is None else weight @ value_N / weight.sum(1)


def _ratio(top_N: np.ndarray, bottom_N: np.ndarray, weight: Any) -> Any:
    if weight is None:
        return np.asarray(top_N.sum() / bottom_N.sum()) if bottom_N.sum() else np.asarray(np.nan)
    with np.errstate(invalid="ignore"):
        return (weight @ top_N) / (weight @ bottom_N)


def _plain(value: Interval) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}

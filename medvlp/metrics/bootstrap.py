"""Percentile intervals by resampling cases, for any metric that takes weights; differences are paired.

Cases (patients, slides) are drawn with replacement, and all samples of a drawn case come with it: samples of a case
are not independent, and resampling them one by one gives intervals that are too narrow. A draw is a row of integer
weights, so a metric scores a whole block of draws in one call.

Shape legend: N samples, C cases, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.metrics._weighted import Floats

_BLOCK_NUMBERS = 4_000_000

Statistic = Callable[[Any], Any]
"""Takes weights: None for the plain value, (S, N) for draws; returns a 0-d array or (S,)."""


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval; NaN bounds where fewer than two cases or draws define it."""

    value: float
    low: float
    high: float
    num_draws: int


def draw_weights(case_N: Sequence[Any], num_draws: int, seed: int, block: int | None = None) -> Iterator[Floats]:
    """Yield blocks of bootstrap weights (<= block, N): how often each sample's case was drawn.

    Args:
        case_N: Case of each sample.
        num_draws: Draws in all.
        seed: Seed; the draws do not depend on ``block``.
        block: Draws at a time; None takes up to 50, and fewer of many samples, so that a block stays below 32 MB.
    """
    block = min(50, max(1, _BLOCK_NUMBERS // max(1, len(case_N)))) if block is None else block
    _, case_index_N = np.unique(np.asarray(case_N), return_inverse=True)
    num_cases = int(case_index_N.max()) + 1 if len(case_index_N) > 0 else 0
    if num_cases == 0:
        return
    rng = np.random.default_rng(seed)
    share_C = np.full(num_cases, 1 / num_cases)
    for begin in range(0, num_draws, block):
        count_SC = rng.multinomial(num_cases, share_C, size=min(block, num_draws - begin))
        yield count_SC.astype(np.float64)[:, case_index_N]


def draws(statistics: Mapping[str, Statistic], case_N: Sequence[Any], num_draws: int, seed: int) -> dict[str, Floats]:
    """Return the bootstrap distribution (S,) of each statistic, all on the same draws (so they pair)."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in statistics}
    for weight_SN in draw_weights(case_N, num_draws, seed):
        for name, statistic in statistics.items():
            parts[name].append(np.asarray(statistic(weight_SN), dtype=np.float64))
    return {name: np.concatenate(part) if part else np.zeros(0) for name, part in parts.items()}


def interval(value: float, draw_S: Floats, num_cases: int, level: float = 0.95) -> Interval:
    """Percentile interval of a distribution; draws where the metric is undefined (NaN) are left out and counted."""
    defined_S = draw_S[~np.isnan(draw_S)]
    if num_cases < 2 or len(defined_S) < 2 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"), len(defined_S))
    low, high = np.percentile(defined_S, [50 * (1 - level), 50 * (1 + level)])
    return Interval(value, float(low), float(high), len(defined_S))


def intervals(
    statistics: Mapping[str, Statistic],
    case_N: Sequence[Any],
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Value and percentile interval of every statistic, resampled by case.

    Args:
        statistics: Name to metric with its data bound, for example ``lambda w: accuracy(target, answer, w)``.
        case_N: Case of each sample.
        num_draws: Bootstrap draws.
        seed: Seed of the draws; equal seeds give equal intervals.
        level: Coverage.
    """
    num_cases = len(set(case_N))
    drawn = draws(statistics, case_N, num_draws, seed)
    return {name: interval(float(stat(None)), drawn[name], num_cases, level) for name, stat in statistics.items()}


def paired_difference(
    first: Statistic,
    second: Statistic,
    case_N: Sequence[Any],
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of ``first - second`` for two systems on the same samples, both scored on the same draws."""

    def difference(weight: Any) -> Any:
        return np.asarray(first(weight)) - np.asarray(second(weight))

    return intervals({"difference": difference}, case_N, num_draws, seed, level)["difference"]

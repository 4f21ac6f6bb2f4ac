"""Differences between arms on the same cases: intervals, the smallest difference the set could show, and verdicts.

All from the bootstrap by case: a score is the mean over seeds, arms are drawn together, so a difference is paired. The
cases are the only source of chance here; scores by seed stand beside, because three seeds say little about a fourth.

The smallest detectable difference of a two-sided test at 5 % with 80 % power is ``(z_0.975 + z_0.8) · SE``, that is
``2.80 · SE``, with SE the standard deviation of the paired difference over draws. P values are ``2 (1 - Φ(|d| / SE))``,
corrected over all printed differences by Holm's step-down rule.

Shape legend: R seeds, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from medvlp.metrics.bootstrap import Interval, interval

Floats = NDArray[np.float64]
ALPHA, POWER = 0.05, 0.8
NONE, UNKNOWN = "no difference detected", "cannot be told"


@dataclass(frozen=True)
class Measured:
    """One score of one system on one question: a value per seed, and their mean on every bootstrap draw."""

    by_seed_R: Floats
    draw_S: Floats
    num_cases: int

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.by_seed_R.mean())

    def interval(self) -> Interval:
        """Mean over seeds with its 95 % interval."""
        return interval(self.value, self.draw_S, self.num_cases)


@dataclass(frozen=True)
class Difference:
    """A paired difference; ``smallest`` is the smallest detectable one, NaN where no draw differs from another."""

    value: float
    low: float
    high: float
    standard_error: float
    smallest: float
    p_value: float


def difference(first: Measured, second: Measured) -> Difference:
    """Return ``first - second``, both on the same draws."""
    return _of_draws(first.value - second.value, first.draw_S - second.draw_S, first.num_cases)


def mean_difference(pairs: Sequence[tuple[Measured, Measured]]) -> Difference:
    """Return the mean of several sets' differences; the sets are drawn apart from one another."""
    values = [first.value - second.value for first, second in pairs]
    draw_S = np.mean([first.draw_S - second.draw_S for first, second in pairs], axis=0)
    return _of_draws(float(np.mean(values)), draw_S, min(first.num_cases for first, _ in pairs))


def _of_draws(value: float, draw_S: Floats, num_cases: int) -> Difference:
    found = interval(value, draw_S, num_cases)
    nan = float("nan")
    defined_S = draw_S[~np.isnan(draw_S)]
    if np.isnan(found.low):
        return Difference(value, nan, nan, nan, nan, nan)
    error = float(np.std(defined_S, ddof=1))
    if error < 1e-12:  # every draw alike: the bootstrap has nothing to say about its own precision
        return Difference(value, found.low, found.high, 0.0, nan, nan)
    p_value = 2 * (1 - NormalDist().cdf(abs(value) / error))
    return Difference(value, found.low, found.high, error, smallest_detectable(error), p_value)


def smallest_detectable(standard_error: float) -> float:
    """Return ``(z_0.975 + z_0.8) · standard_error``: found significant in 80 % of repetitions, were it true."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)) * standard_error


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979); NaN stays and does not count."""
    p_N = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p_N))
    order = known[np.argsort(p_N[known], kind="stable")]
    out_N = np.full(len(p_N), np.nan)
    if len(order) > 0:
        out_N[order] = np.minimum(1, np.maximum.accumulate(p_N[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in out_N]


def verdict(found: Difference, p_holm: float) -> str:
    """Say in words what a difference shows; a null result is told as one, with what the set could have shown."""
    if np.isnan(found.low):
        return f"{UNKNOWN}: fewer than two cases"
    if np.isnan(found.smallest):
        same = "the same on every draw"
        return f"{NONE} ({same})" if found.value == 0 else f"{_direction(found.value)} ({same}, so without an error)"
    if found.low <= 0 <= found.high:
        return f"{NONE} (could have seen ≥ {found.smallest:.3f})"
    if p_holm > ALPHA:
        return f"{_direction(found.value)}, but not after correction"
    return _direction(found.value)


def _direction(value: float) -> str:
    return "higher" if value > 0 else "lower"

"""Means over seeds with t intervals; a seed redraws world, weights and rewiring, so seeds are the unit of chance.

Shape legend: R seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds; ends and p value are NaN with fewer than two seeds."""

    value: float
    low: float
    high: float
    p_value: float
    by_seed_R: tuple[float, ...]


def t_mean(value_R: Sequence[float]) -> Mean:
    """Return mean, 95 % t interval (R - 1 degrees of freedom) and the p value of the mean against 0, two-sided.

    Of paired differences this is the paired t test. Seeds without a value (NaN) are left out. Where all values are
    equal the interval has no width, and p is 1 for zeros and 0 else.
    """
    known_R = np.array([value for value in value_R if not math.isnan(value)], dtype=np.float64)
    if len(known_R) == 0:
        return Mean(math.nan, math.nan, math.nan, math.nan, tuple(value_R))
    mean = float(known_R.mean())
    if len(known_R) < 2:
        return Mean(mean, math.nan, math.nan, math.nan, tuple(value_R))
    error = float(known_R.std(ddof=1) / math.sqrt(len(known_R)))
    if error == 0.0:
        return Mean(mean, mean, mean, float(mean == 0.0), tuple(value_R))
    freedom = len(known_R) - 1
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Mean(mean, mean - half, mean + half, p_value, tuple(value_R))

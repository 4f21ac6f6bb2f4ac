"""Shared shape handling: every metric takes optional sample weights and answers once per row of them.

Shape legend: N samples, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def weights(weight: ArrayLike | None, num: int) -> Floats:
    """Return weights as (S, N); ``None`` gives one row of ones, (N,) one row."""
    if weight is None:
        return np.ones((1, num))
    weight_SN = np.atleast_2d(np.asarray(weight, dtype=np.float64))
    assert weight_SN.shape[1] == num, f"weights for {weight_SN.shape[1]} samples, {num} given"
    return weight_SN


def answer(value_S: Floats, weight: ArrayLike | None) -> Floats:
    """Return a 0-d array where one set of weights was meant, (S,) where several were."""
    return value_S[0] if weight is None or np.ndim(weight) == 1 else value_S


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def nanmean_columns(value_SK: Floats) -> Floats:
    """Mean over the defined columns of each row; NaN where none is defined, without a warning."""
    defined_SK = ~np.isnan(value_SK)
    return ratio(np.where(defined_SK, value_SK, 0.0).sum(1), defined_SK.sum(1).astype(np.float64))


def mean_defined(value_N: Floats, weight: ArrayLike | None) -> Floats:
    """Weighted mean over the samples that are not NaN; NaN where there is none."""
    weight_SN = weights(weight, len(value_N)) * ~np.isnan(value_N)
    return answer(ratio(weight_SN @ np.nan_to_num(value_N), weight_SN.sum(1)), weight)

"""Metrics of probabilities as statements of frequency.

Shape legend: N samples, B bins, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medvlp.metrics._weighted import Floats, answer, ratio, weights


def expected_calibration_error(
    right_N: ArrayLike, confidence_N: ArrayLike, weight: ArrayLike | None = None, num_bins: int = 15
) -> Floats:
    """Mean distance between confidence and share of right answers over bins of equal width (Guo et al. 2017, eq. 3).

    Args:
        right_N: Whether each answer is right (for one class of many: whether it is present).
        confidence_N: Its probability, in [0, 1]; bin b holds (b / B, (b + 1) / B], the first one 0 too.
        weight: Sample weights, (N,) or (S, N).
        num_bins: B.
    """
    right_N = np.asarray(right_N, dtype=np.float64)
    confidence_N = np.asarray(confidence_N, dtype=np.float64)
    weight_SN = weights(weight, len(right_N))
    bin_N = np.clip(np.ceil(confidence_N * num_bins).astype(int) - 1, 0, num_bins - 1)
    member_NB = (bin_N[:, None] == np.arange(num_bins)).astype(np.float64)
    # The gap of a bin times its weight is |sum of (confidence - right)|, so empty bins add nothing.
    gap_SB = np.abs((weight_SN * (confidence_N - right_N)) @ member_NB)
    return answer(ratio(gap_SB.sum(1), weight_SN.sum(1)), weight)

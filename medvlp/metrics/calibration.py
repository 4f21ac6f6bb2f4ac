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


def brier(target_N: ArrayLike, probability_NK: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Mean squared distance between the probabilities and the truth, summed over classes (Brier 1950, eq. 2).

    0 is best, 2 the worst for any number of classes; for two classes twice :func:`binary_brier`. NaN without samples.

    Args:
        target_N: True class numbers.
        probability_NK: Probabilities of every class.
        weight: Sample weights, (N,) or (S, N).
    """
    probability_NK = np.asarray(probability_NK, dtype=np.float64)
    true_NK = np.asarray(target_N)[:, None] == np.arange(probability_NK.shape[1])
    return _mean(((probability_NK - true_NK) ** 2).sum(1), weight)


def binary_brier(target_N: ArrayLike, probability_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Mean squared distance between one class's probability and its presence; NaN without samples."""
    target_N = np.asarray(target_N, dtype=np.float64)
    return _mean((np.asarray(probability_N, dtype=np.float64) - target_N) ** 2, weight)


def log_loss(target_N: ArrayLike, probability_NK: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Mean of ``-log`` of the true class's probability, infinite where that is 0; NaN without samples."""
    probability_NK = np.asarray(probability_NK, dtype=np.float64)
    true_N = probability_NK[np.arange(len(probability_NK)), np.asarray(target_N, dtype=np.int64)]
    loss_N = np.full(len(true_N), np.inf)
    loss_N[true_N > 0] = -np.log(true_N[true_N > 0])
    weight_SN = weights(weight, len(loss_N))
    # A sample that was not drawn weighs nothing even where its loss is infinite.
    loss_SN = np.where(weight_SN > 0, loss_N, 0.0)
    return answer(ratio((weight_SN * loss_SN).sum(1), weight_SN.sum(1)), weight)


def _mean(value_N: Floats, weight: ArrayLike | None) -> Floats:
    weight_SN = weights(weight, len(value_N))
    return answer(ratio(weight_SN @ value_N, weight_SN.sum(1)), weight)

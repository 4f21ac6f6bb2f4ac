"""Selective prediction: what is risked if only the surest answers are given, the others handed to a person.

A sample is answered where ``confidence >= threshold``. Samples of equal confidence are answered together or not at all,
so nothing depends on the order of samples. Thresholds are given; ``medvlp.zeroshot.trust`` fits them, never on test.

Shape legend: N samples, T distinct confidences, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medvlp.metrics._weighted import Floats, answer, ratio, weights


def _steps(loss_N: ArrayLike, confidence_N: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Return falling thresholds (T,), and the weight and the loss of what is answered at each (S, T)."""
    loss_N, confidence_N = np.asarray(loss_N, dtype=np.float64), np.asarray(confidence_N, dtype=np.float64)
    assert loss_N.shape == confidence_N.shape, (loss_N.shape, confidence_N.shape)
    weight_SN = weights(weight, len(loss_N))
    order_N = np.argsort(-confidence_N, kind="stable")
    sorted_N = confidence_N[order_N]
    last_T = np.flatnonzero(np.append(np.diff(sorted_N) != 0, True)) if len(loss_N) > 0 else np.zeros(0, dtype=int)
    taken_SN = weight_SN[:, order_N]
    lost_SN = taken_SN * loss_N[order_N]
    return sorted_N[last_T], np.cumsum(taken_SN, 1)[:, last_T], np.cumsum(lost_SN, 1)[:, last_T]


def risk_coverage_curve(loss_N: ArrayLike, confidence_N: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return coverage, risk and threshold (T,) each, from the surest samples to all (El-Yaniv and Wiener 2010).

    Args:
        loss_N: Loss of each answer: whether it is wrong, or any number that is 0 for a perfect one.
        confidence_N: Higher means surer.
    """
    threshold_T, taken_1T, lost_1T = _steps(loss_N, confidence_N, None)
    return taken_1T[0] / max(1, len(np.asarray(loss_N))), ratio(lost_1T[0], taken_1T[0]), threshold_T


def aurc(loss_N: ArrayLike, confidence_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Area under the risk-coverage curve (Geifman, Uziel and El-Yaniv 2019, arXiv 1805.08206); lower is better.

    The mean over samples of the risk of everything at least as sure as the sample. A constant confidence has the risk
    of answering all. NaN without samples.

    Args:
        loss_N: As in :func:`risk_coverage_curve`.
        confidence_N: As in :func:`risk_coverage_curve`.
        weight: Sample weights, (N,) or (S, N).
    """
    _, taken_ST, lost_ST = _steps(loss_N, confidence_N, weight)
    step_ST = np.diff(taken_ST, axis=1, prepend=0.0)
    # Before the first drawn sample nothing is taken: risk undefined, step zero.
    risk_ST = np.nan_to_num(ratio(lost_ST, taken_ST))
    return answer(ratio((step_ST * risk_ST).sum(1), step_ST.sum(1)), weight)


def risk_at_coverage(
    loss_N: ArrayLike, confidence_N: ArrayLike, coverage: float, weight: ArrayLike | None = None
) -> Floats:
    """Risk of the fewest surest samples that reach a share ``coverage``, chosen on these very samples.

    Describes the curve. For a threshold that has not seen the answers use :func:`selective_risk`. NaN without samples.
    """
    _, taken_ST, lost_ST = _steps(loss_N, confidence_N, weight)
    if taken_ST.shape[1] == 0:
        return answer(np.full(len(taken_ST), np.nan), weight)
    place_S1 = (taken_ST >= (coverage - 1e-9) * taken_ST[:, -1:]).argmax(1)[:, None]
    risk_ST = ratio(lost_ST, taken_ST)
    return answer(np.take_along_axis(risk_ST, place_S1, axis=1)[:, 0], weight)


def selective_risk(
    loss_N: ArrayLike, confidence_N: ArrayLike, threshold: float, weight: ArrayLike | None = None
) -> Floats:
    """Mean loss of the samples with ``confidence >= threshold``; NaN where there is none, or for a NaN threshold."""
    taken_N = np.asarray(confidence_N, dtype=np.float64) >= threshold
    weight_SN = weights(weight, len(taken_N)) * taken_N
    return answer(ratio(weight_SN @ np.asarray(loss_N, dtype=np.float64), weight_SN.sum(1)), weight)


def coverage(confidence_N: ArrayLike, threshold: float, weight: ArrayLike | None = None) -> Floats:
    """Share of samples with ``confidence >= threshold``; NaN without samples, or for a NaN threshold."""
    weight_SN = weights(weight, len(np.asarray(confidence_N)))
    if np.isnan(threshold):
        return answer(np.full(len(weight_SN), np.nan), weight)
    taken_N = (np.asarray(confidence_N, dtype=np.float64) >= threshold).astype(np.float64)
    return answer(ratio(weight_SN @ taken_N, weight_SN.sum(1)), weight)

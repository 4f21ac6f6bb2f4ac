"""Metrics of scores against a yes/no truth: AUROC, average precision, sensitivity at a specificity.

A sample is called positive where ``score >= threshold``. Samples of equal score are one step of a curve, so ties
count half in AUROC and never depend on the order of the samples. Undefined (one class only) is NaN.

Shape legend: N samples, T distinct scores, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medvlp.metrics._weighted import Floats, answer, ratio, weights

_SLACK = 1e-9


def _steps(target_N: ArrayLike, score_N: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Return falling thresholds (T,) and the summed weight of true and false positives at each (S, T)."""
    target_N, score_N = np.asarray(target_N, dtype=bool), np.asarray(score_N, dtype=np.float64)
    assert target_N.shape == score_N.shape, (target_N.shape, score_N.shape)
    weight_SN = weights(weight, len(score_N))
    if len(score_N) == 0:
        return np.zeros(0), np.zeros((len(weight_SN), 0)), np.zeros((len(weight_SN), 0))
    order_N = np.argsort(-score_N, kind="stable")
    sorted_N = score_N[order_N]
    last_T = np.append(np.flatnonzero(np.diff(sorted_N)), len(sorted_N) - 1)
    all_SN = weight_SN[:, order_N]
    true_SN = all_SN * target_N[order_N]
    np.cumsum(all_SN, axis=1, out=all_SN)
    np.cumsum(true_SN, axis=1, out=true_SN)
    true_ST = true_SN[:, last_T]
    return sorted_N[last_T], true_ST, all_SN[:, last_T] - true_ST


def auroc(target_N: ArrayLike, score_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Area under the ROC curve, by trapezoids over distinct scores (ties count half)."""
    _, true_ST, false_ST = _steps(target_N, score_N, weight)
    if true_ST.shape[1] == 0:
        return answer(np.full(len(true_ST), np.nan), weight)
    rise_ST = true_ST - np.diff(true_ST, axis=1, prepend=0.0) / 2
    area_S = np.einsum("st,st->s", rise_ST, np.diff(false_ST, axis=1, prepend=0.0))
    return answer(ratio(area_S, true_ST[:, -1] * false_ST[:, -1]), weight)


def average_precision(target_N: ArrayLike, score_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Sum of precision over steps of recall, without interpolation; NaN without a positive."""
    _, true_ST, false_ST = _steps(target_N, score_N, weight)
    if true_ST.shape[1] == 0:
        return answer(np.full(len(true_ST), np.nan), weight)
    precision_ST = np.nan_to_num(ratio(true_ST, true_ST + false_ST))
    area_S = np.einsum("st,st->s", precision_ST, np.diff(true_ST, axis=1, prepend=0.0))
    return answer(ratio(area_S, true_ST[:, -1]), weight)


def roc_curve(target_N: ArrayLike, score_N: ArrayLike) -> tuple[Floats, Floats]:
    """Return false and true positive rates from (0, 0) to (1, 1), one point per distinct score."""
    _, true_1T, false_1T = _steps(target_N, score_N, None)
    true_T, false_T = np.append(0.0, true_1T[0]), np.append(0.0, false_1T[0])
    return ratio(false_T, false_T[-1]), ratio(true_T, true_T[-1])


def precision_recall_curve(target_N: ArrayLike, score_N: ArrayLike) -> tuple[Floats, Floats]:
    """Return precision and recall at each distinct score, from strict to lenient."""
    _, true_1T, false_1T = _steps(target_N, score_N, None)
    num_true = true_1T[0, -1:] if true_1T.shape[1] > 0 else np.zeros(1)
    return ratio(true_1T[0], true_1T[0] + false_1T[0]), ratio(true_1T[0], num_true)


def roc_point_sensitivity(
    target_N: ArrayLike, score_N: ArrayLike, specificity: float = 0.95, weight: ArrayLike | None = None
) -> Floats:
    """Highest sensitivity at no less than ``specificity``, threshold chosen on these very samples.

    An optimistic figure: the threshold has seen the answers. Report it labelled so, beside the sensitivity at a
    threshold that was fitted elsewhere (:func:`threshold_at_specificity`).
    """
    _, true_ST, false_ST = _steps(target_N, score_N, weight)
    if true_ST.shape[1] == 0:
        return answer(np.full(len(true_ST), np.nan), weight)
    allowed_S = (1 - specificity + _SLACK) * false_ST[:, -1]
    best_S = np.where(false_ST <= allowed_S[:, None], true_ST, 0.0).max(1)
    best_S[false_ST[:, -1] == 0] = np.nan
    return answer(ratio(best_S, true_ST[:, -1]), weight)


def threshold_at_specificity(target_N: ArrayLike, score_N: ArrayLike, specificity: float = 0.95) -> float:
    """Lowest threshold that keeps ``specificity`` on these samples; NaN without a negative one."""
    threshold_T, _, false_1T = _steps(target_N, score_N, None)
    if len(threshold_T) == 0 or false_1T[0, -1] == 0:
        return float("nan")
    good_T = false_1T[0] <= (1 - specificity + _SLACK) * false_1T[0, -1]
    if not good_T.any():
        return float(np.nextafter(threshold_T[0], np.inf))
    return float(threshold_T[good_T].min())


def threshold_at_best_f1(target_N: ArrayLike, score_N: ArrayLike) -> float:
    """Threshold of highest F1 on these samples (the strictest of equals); NaN without a positive one."""
    threshold_T, true_1T, false_1T = _steps(target_N, score_N, None)
    if len(threshold_T) == 0 or true_1T[0, -1] == 0:
        return float("nan")
    f1_T = 2 * true_1T[0] / (true_1T[0] + false_1T[0] + true_1T[0, -1])
    return float(threshold_T[int(np.argmax(f1_T))])


def sensitivity(target_N: ArrayLike, score_N: ArrayLike, threshold: float, weight: ArrayLike | None = None) -> Floats:
    """Share of positive samples with ``score >= threshold``; NaN without any, or for a NaN threshold."""
    return _share_called(np.asarray(target_N, dtype=bool), score_N, threshold, weight)


def specificity(target_N: ArrayLike, score_N: ArrayLike, threshold: float, weight: ArrayLike | None = None) -> Floats:
    """Share of negative samples with ``score < threshold``; NaN without any, or for a NaN threshold."""
    return 1 - _share_called(~np.asarray(target_N, dtype=bool), score_N, threshold, weight)


def _share_called(among_N: Any, score_N: ArrayLike, threshold: float, weight: ArrayLike | None) -> Floats:
    weight_SN = weights(weight, len(among_N))
    if np.isnan(threshold):
        return answer(np.full(len(weight_SN), np.nan), weight)
    called_N = np.asarray(score_N) >= threshold
    hit_S = weight_SN @ (among_N & called_N).astype(np.float64)
    return answer(ratio(hit_S, weight_SN @ among_N.astype(np.float64)), weight)

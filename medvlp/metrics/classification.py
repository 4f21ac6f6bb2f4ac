"""Metrics of hard answers: accuracy, balanced accuracy, F1, the confusion matrix.

Every function takes class numbers and optional weights (N,) or (S, N), and returns a 0-d array or (S,).
What is undefined is NaN, never a silent zero. Definitions are those of scikit-learn, which the tests use as oracle.

Shape legend: N samples, K classes, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medvlp.metrics._weighted import Floats, answer, nanmean_columns, ratio, weights


def confusion_matrix(
    target_N: ArrayLike, predicted_N: ArrayLike, num_classes: int, weight: ArrayLike | None = None
) -> Floats:
    """Count samples by (true class, answered class).

    Returns:
        (K, K), or (S, K, K) for several sets of weights; rows are the true classes.
    """
    target_N, predicted_N = np.asarray(target_N), np.asarray(predicted_N)
    cell_N = target_N * num_classes + predicted_N
    if weight is None:
        return np.bincount(cell_N, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.float64)
    weight_SN = weights(weight, len(target_N))
    order_N = np.argsort(cell_N, kind="stable")
    cells, starts = np.unique(cell_N[order_N], return_index=True)
    count = np.zeros((len(weight_SN), num_classes**2))
    if len(cells) > 0:
        count[:, cells] = np.add.reduceat(weight_SN[:, order_N], starts, axis=1)
    return answer(count.reshape(-1, num_classes, num_classes), weight)


def accuracy(target_N: ArrayLike, predicted_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Share of samples answered right; NaN without samples."""
    right_N = np.asarray(target_N) == np.asarray(predicted_N)
    weight_SN = weights(weight, len(right_N))
    return answer(ratio(weight_SN @ right_N.astype(np.float64), weight_SN.sum(1)), weight)


def balanced_accuracy(
    target_N: ArrayLike, predicted_N: ArrayLike, num_classes: int, weight: ArrayLike | None = None
) -> Floats:
    """Mean recall over the classes that occur in ``target_N``."""
    recall_SK = class_scores(target_N, predicted_N, num_classes, _rows(weight, target_N))["sensitivity"]
    return answer(nanmean_columns(recall_SK), weight)


def f1(
    target_N: ArrayLike,
    predicted_N: ArrayLike,
    num_classes: int,
    average: str = "macro",
    weight: ArrayLike | None = None,
) -> Floats:
    """F1 averaged over classes.

    Args:
        target_N: True class numbers.
        predicted_N: Answered class numbers.
        num_classes: K.
        average: ``macro`` (plain mean over classes that occur as truth or answer) or ``weighted`` (by true count).
        weight: Sample weights, (N,) or (S, N).
    """
    scores = class_scores(target_N, predicted_N, num_classes, _rows(weight, target_N))
    if average == "macro":
        return answer(nanmean_columns(scores["f1"]), weight)
    assert average == "weighted", average
    total_S = (np.nan_to_num(scores["f1"]) * scores["support"]).sum(1)
    return answer(ratio(total_S, scores["support"].sum(1)), weight)


def class_scores(
    target_N: ArrayLike, predicted_N: ArrayLike, num_classes: int, weight: ArrayLike | None = None
) -> dict[str, Floats]:
    """Return ``sensitivity``, ``precision``, ``specificity``, ``f1``, ``support`` and ``answered`` of every class.

    Each value has shape (K,), or (S, K) for several sets of weights. NaN: no such class among truths
    (sensitivity), among answers (precision), or in neither (F1).
    """
    count = confusion_matrix(target_N, predicted_N, num_classes, weight)
    hit = np.diagonal(count, axis1=-2, axis2=-1)
    support, answered = count.sum(-1), count.sum(-2)
    total = count.sum((-2, -1))[..., None]
    return {
        "sensitivity": ratio(hit, support),
        "precision": ratio(hit, answered),
        "specificity": ratio(total - support - answered + hit, total - support),
        "f1": ratio(2 * hit, support + answered),
        "support": support,
        "answered": answered,
    }


def binary_f1(target_N: ArrayLike, predicted_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """F1 of the positive class of one yes/no question; NaN where it is neither true nor answered."""
    target_N, predicted_N = np.asarray(target_N, dtype=bool), np.asarray(predicted_N, dtype=bool)
    weight_SN = weights(weight, len(target_N))
    hit_S = weight_SN @ (target_N & predicted_N).astype(np.float64)
    either_S = weight_SN @ (target_N.astype(np.float64) + predicted_N)
    return answer(ratio(2 * hit_S, either_S), weight)


def _rows(weight: ArrayLike | None, target_N: ArrayLike) -> Floats:
    return weights(weight, len(np.asarray(target_N)))

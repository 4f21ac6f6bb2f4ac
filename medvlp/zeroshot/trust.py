"""What is fitted so that a probability can be trusted: a temperature, a rule for abstaining, conformal quantiles.

Every function takes the name of the split its samples come from and refuses one named test; the metrics that judge the
result are in ``medvlp.metrics`` (``calibration``, ``selective``, ``conformal``, ``hedging``).

Shape legend: M development samples, N samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medvlp.errors import DataError
from medvlp.metrics import conformal, hedging, selective
from medvlp.zeroshot.classifier import Floats, refuse_test, softmax, to_numpy

_SHARPEST, _FLATTEST = 1e3, 1e-3  # of 1 / temperature
_SMALLEST = 1e-300
HEDGES = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.99)


def tempered(probability_NK: Any, temperature: float) -> Floats:
    """Return the probabilities (N, K) at a temperature: logits divided by it (Guo et al. 2017, eq. 9).

    Args:
        probability_NK: Probabilities; their logarithms serve as logits.
        temperature: Above 1 flattens, below 1 sharpens; the order of classes stays.
    """
    assert temperature > 0, "a temperature has to be positive"
    return softmax(_logits(to_numpy(probability_NK)) / temperature)


def fit_temperature(target_M: Any, probability_MK: Any, split: str) -> float:
    """Return the temperature of least log loss (Guo et al. 2017); for one class of many pass ``[1 - p, p]``.

    Args:
        target_M: True class numbers.
        probability_MK: Probabilities.
        split: Name of the split these samples come from.

    Raises:
        DataError: If ``split`` is test, the samples cannot be used, or no temperature is best: where every answer is
            right the loss only falls as the temperature does, and where the order of classes is of no use it only
            falls as the temperature rises.
    """
    target_M, probability_MK = _checked(target_M, probability_MK, split)
    logit_MK = _logits(probability_MK)
    true_M = logit_MK[np.arange(len(target_M)), target_M]

    def slope(sharpness: float) -> float:
        """Derivative of the log loss by 1 / temperature; it rises, since the loss is convex in it."""
        return float(((softmax(sharpness * logit_MK) * logit_MK).sum(1) - true_M).mean())

    if np.ptp(logit_MK, axis=1).max() < 1e-12:
        return 1.0  # every class equally probable on every sample: no temperature changes anything
    low, high = _FLATTEST, _SHARPEST
    if slope(high) <= 1e-12:  # rounding may leave a hair above zero
        raise DataError(
            "every answer is right, so no temperature is best", item=split, remedy="leave it at 1 or use more samples"
        )
    if slope(low) >= 0:
        raise DataError(
            "probabilities say nothing about the truth, so no temperature is best",
            item=split,
            remedy="check the order of classes",
        )
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def fit_abstention(loss_M: Any, confidence_M: Any, split: str, *, risk: float = 0.05) -> float:
    """Return the lowest confidence at which answering keeps the mean loss of these samples at or below ``risk``.

    The risk is kept here, not guaranteed elsewhere. Infinite where no threshold keeps it: then nothing is answered.

    Args:
        loss_M: Loss of each answer, for example whether it is wrong.
        confidence_M: Higher means surer; answered is what reaches the threshold.
        split: Name of the split these samples come from.
        risk: Mean loss allowed.

    Raises:
        DataError: If ``split`` is test or the samples cannot be used.
    """
    refuse_test(split)
    loss_M, confidence_M = to_numpy(loss_M), to_numpy(confidence_M)
    if loss_M.shape != confidence_M.shape or loss_M.ndim != 1 or len(loss_M) == 0:
        raise DataError(f"losses {loss_M.shape} and confidences {confidence_M.shape} do not pair", item=split)
    if not (np.isfinite(loss_M).all() and np.isfinite(confidence_M).all()):
        raise DataError("a loss or a confidence is not finite", item=split, remedy="check the model's weights")
    _, risk_T, threshold_T = selective.risk_coverage_curve(loss_M, confidence_M)
    good_T = risk_T <= risk + 1e-12
    return float(threshold_T[good_T].min()) if good_T.any() else math.inf


def fit_conformal(
    target_M: Any,
    probability_MK: Any,
    split: str,
    *,
    miss: float = 0.1,
    kind: conformal.Kind = "least_ambiguous",
    by_class: bool = False,
) -> Floats:
    """Return the quantile for sets that miss the truth at a rate of at most ``miss`` (split conformal prediction).

    It is the ``ceil((M + 1) (1 - miss))``-th smallest nonconformity of the true classes (Vovk et al. 2005). Coverage
    holds on average over exchangeable samples: independent ones from the same population, one per case. Where there
    are too few samples the quantile is infinite and every class is in the set.

    Args:
        target_M: True class numbers.
        probability_MK: Probabilities.
        split: Name of the split these samples come from.
        miss: Rate at which the truth may be missed, between 0 and 1.
        kind: See :func:`medvlp.metrics.conformal.nonconformity`.
        by_class: One quantile per class, from its own samples, so that coverage holds in every class.

    Returns:
        A 0-d array, or (K,) by class, for :func:`medvlp.metrics.conformal.prediction_sets`.

    Raises:
        DataError: If ``split`` is test or the samples cannot be used.
    """
    target_M, probability_MK = _checked(target_M, probability_MK, split)
    if not 0 < miss < 1:
        raise DataError(f"miss is {miss}", item=split, remedy="give a rate between 0 and 1, for example 0.1")
    odd_M = conformal.nonconformity(probability_MK, kind)[np.arange(len(target_M)), target_M]
    if not by_class:
        return np.asarray(_quantile(odd_M, miss))
    return np.array([_quantile(odd_M[target_M == k], miss) for k in range(probability_MK.shape[1])])


def fit_hedging(
    target_M: Any,
    probability_MK: Any,
    where: hedging.Places,
    split: str,
    *,
    accuracy: float = 0.9,
    thresholds: Sequence[float] = HEDGES,
) -> float:
    """Return the mass threshold of most specific answers whose accuracy on these samples reaches ``accuracy``.

    Infinite where none does. Of equally specific ones the lowest threshold is taken.

    Args:
        target_M: True class numbers.
        probability_MK: Probabilities.
        where: From :func:`medvlp.metrics.hedging.places`.
        split: Name of the split these samples come from.
        accuracy: Share of answered samples that has to be right.
        thresholds: Candidates.

    Raises:
        DataError: If ``split`` is test or the samples cannot be used.
    """
    target_M, probability_MK = _checked(target_M, probability_MK, split)
    ordered = sorted(thresholds)
    curve = hedging.accuracy_specificity_curve(target_M, probability_MK, where, ordered)
    worth_T = np.where(curve["accuracy"] >= accuracy - 1e-12, curve["specificity"], -1.0)
    return float(ordered[int(worth_T.argmax())]) if worth_T.max(initial=-1.0) >= 0 else math.inf


def _quantile(odd_M: Floats, miss: float) -> float:
    rank = math.ceil((len(odd_M) + 1) * (1 - miss) - 1e-9)
    return float(np.sort(odd_M)[rank - 1]) if rank <= len(odd_M) else math.inf


def _logits(probability_NK: Floats) -> Floats:
    return np.log(np.maximum(probability_NK, _SMALLEST))


def _checked(target_M: Any, probability_MK: Any, split: str) -> tuple[Any, Floats]:
    refuse_test(split)
    target_M, probability_MK = np.asarray(target_M), to_numpy(probability_MK)
    if probability_MK.ndim != 2 or target_M.shape != probability_MK.shape[:1] or len(target_M) == 0:
        raise DataError(f"truths {target_M.shape} and probabilities {probability_MK.shape} do not pair", item=split)
    if not np.isfinite(probability_MK).all() or np.abs(probability_MK.sum(1) - 1).max() > 1e-3:
        raise DataError("probabilities are not finite or do not sum to 1", item=split, remedy="use single-label scores")
    target_M = target_M.astype(np.int64)
    if target_M.min() < 0 or target_M.max() >= probability_MK.shape[1]:
        raise DataError("a true class has no column of probabilities", item=split, remedy="number classes from 0")
    return target_M, probability_MK

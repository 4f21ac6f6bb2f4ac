"""Sets of classes that hold the true one at a stated rate: scores, sets, and how often the sets are right.

A class is in the set where its nonconformity is at most a quantile of the true classes' nonconformity on other,
exchangeable samples (Vovk, Gammerman and Shafer 2005). ``medvlp.zeroshot.trust.fit_conformal`` finds the quantile.

Shape legend: N samples, K classes, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, answer, ratio, weights

Kind = Literal["least_ambiguous", "adaptive"]
_SLACK = 1e-12  # sums in another order differ in the last digits


def nonconformity(probability_NK: ArrayLike, kind: Kind = "least_ambiguous") -> Floats:
    """Return how odd each class would be as the truth (N, K).

    Args:
        probability_NK: Probabilities that sum to 1 over classes.
        kind: ``least_ambiguous``: one minus the probability (Sadinle, Lei and Wasserman 2019), smallest sets.
            ``adaptive``: the probability of all classes at least as probable (Romano, Sesia and Candès 2020, eq. 5,
            without randomisation), sets that grow where the model is unsure.
    """
    probability_NK = np.asarray(probability_NK, dtype=np.float64)
    if kind == "least_ambiguous":
        return np.asarray(1.0 - probability_NK, dtype=np.float64)
    assert kind == "adaptive", kind
    order_NK = np.argsort(-probability_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(probability_NK, order_NK, axis=1)
    # Equally probable classes share the sum through the last of them, so their order does not matter.
    last_NK = np.ones(sorted_NK.shape, dtype=bool)
    last_NK[:, :-1] = np.diff(sorted_NK, axis=1) != 0
    place_NK = np.where(last_NK, np.arange(sorted_NK.shape[1]), sorted_NK.shape[1])
    place_NK = np.minimum.accumulate(place_NK[:, ::-1], axis=1)[:, ::-1]
    out_NK = np.empty(probability_NK.shape)
    np.put_along_axis(out_NK, order_NK, np.take_along_axis(np.cumsum(sorted_NK, axis=1), place_NK, axis=1), axis=1)
    return out_NK


def prediction_sets(nonconformity_NK: ArrayLike, quantile: float | ArrayLike) -> NDArray[np.bool_]:
    """Return (N, K): True where a class is in the set.

    Args:
        nonconformity_NK: From :func:`nonconformity`.
        quantile: The largest nonconformity let in: one number, or one per class.
    """
    limit = np.asarray(quantile, dtype=np.float64)
    assert not np.isnan(limit).any(), "a quantile is NaN"
    return np.asarray(nonconformity_NK, dtype=np.float64) <= limit + _SLACK


def set_coverage(target_N: ArrayLike, set_NK: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Share of samples whose set holds the true class; NaN without samples."""
    return _mean(_holds(target_N, set_NK).astype(np.float64), weight)


def set_size(set_NK: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Mean number of classes in a set (an empty one counts as 0); NaN without samples."""
    return _mean(np.asarray(set_NK, dtype=bool).sum(1).astype(np.float64), weight)


def single_share(set_NK: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Share of samples whose set is one class, so an answer; NaN without samples."""
    return _mean((np.asarray(set_NK, dtype=bool).sum(1) == 1).astype(np.float64), weight)


def class_coverage(target_N: ArrayLike, set_NK: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Coverage among the samples of each true class, (K,) or (S, K); NaN for a class without samples."""
    set_NK = np.asarray(set_NK, dtype=bool)
    weight_SN = weights(weight, len(set_NK))
    true_NK = (np.asarray(target_N)[:, None] == np.arange(set_NK.shape[1])).astype(np.float64)
    held_N = _holds(target_N, set_NK)
    return answer(ratio((weight_SN * held_N) @ true_NK, weight_SN @ true_NK), weight)


def _holds(target_N: ArrayLike, set_NK: ArrayLike) -> NDArray[np.bool_]:
    set_NK = np.asarray(set_NK, dtype=bool)
    return set_NK[np.arange(len(set_NK)), np.asarray(target_N, dtype=np.int64)]


def _mean(value_N: Floats, weight: ArrayLike | None) -> Floats:
    weight_SN = weights(weight, len(value_N))
    return answer(ratio(weight_SN @ value_N, weight_SN.sum(1)), weight)

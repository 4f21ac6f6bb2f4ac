"""Answering higher up when unsure: the deepest node of the hierarchy that carries enough probability.

The trade is that of Deng et al. (2012, "Hedging your bets: optimizing accuracy-specificity trade-offs"): an answer at
or above the truth is right, and the further down it is, the more it says. Roots are never answers, since they say
nothing; a sample on which nothing else passes the threshold is unanswered (-1).

Shape legend: n graph nodes, K classes, A possible answers, N samples, T thresholds, S sets of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, answer, ratio, weights


@dataclass(frozen=True)
class Places:
    """Where an answer can be given.

    Attributes:
        above_KA: True where answer a is class k or lies above it.
        depth_A: Nodes above the answer; it grows along every way down, also where a node has several parents.
        node_A: Graph row of each answer; -1 for a class without one.
    """

    above_KA: NDArray[np.bool_]
    depth_A: Floats
    node_A: NDArray[np.int64]


def places(closure_nn: Any, node_K: ArrayLike) -> Places:
    """Return the classes and all that lies above them, roots left out unless a root is itself a class.

    Args:
        closure_nn: Sparse boolean ancestor-or-self matrix (row i: the ancestors of i), ``DiseaseGraph.closure``.
        node_K: Graph row of each class; -1 where a class has none (it can be answered, and has nothing above it).
    """
    node_K = np.asarray(node_K, dtype=np.int64)
    known_K = np.flatnonzero(node_K >= 0)
    lost_K = np.flatnonzero(node_K < 0)
    above_n = np.asarray(closure_nn.sum(1)).ravel().astype(np.float64) - 1
    rows = closure_nn[node_K[known_K]].toarray().astype(bool)
    is_class_n = np.isin(np.arange(len(above_n)), node_K)
    node_A = np.flatnonzero(rows.any(0) & ((above_n > 0) | is_class_n))
    above_KA = np.zeros((len(node_K), len(node_A) + len(lost_K)), dtype=bool)
    above_KA[known_K, : len(node_A)] = rows[:, node_A]
    above_KA[lost_K, len(node_A) + np.arange(len(lost_K))] = True
    none_L = np.full(len(lost_K), -1)
    return Places(above_KA, np.append(above_n[node_A], np.zeros(len(lost_K))), np.append(node_A, none_L))


def deepest_above(probability_NK: ArrayLike, where: Places, threshold: float) -> NDArray[np.int64]:
    """Return the answer of each sample (N,): the deepest whose mass reaches ``threshold``, -1 where none does.

    The mass of an answer is the probability of all classes at or below it. Of equally deep answers the one of larger
    mass is taken, then the first.

    Args:
        probability_NK: Probabilities that sum to 1 over classes.
        where: From :func:`places`.
        threshold: Mass needed.
    """
    mass_NA = np.asarray(probability_NK, dtype=np.float64) @ where.above_KA
    enough_NA = mass_NA >= threshold
    depth_NA = np.where(enough_NA, where.depth_A, -1.0)
    deepest_NA = enough_NA & (depth_NA == depth_NA.max(1, keepdims=True))
    return np.where(enough_NA.any(1), np.where(deepest_NA, mass_NA, -1.0).argmax(1), -1)


def answered(answer_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Share of samples that are answered at all; NaN without samples."""
    given_N = np.asarray(answer_N) >= 0
    weight_SN = weights(weight, len(given_N))
    return answer(ratio(weight_SN @ given_N.astype(np.float64), weight_SN.sum(1)), weight)


def accuracy_of_answered(
    target_N: ArrayLike, answer_N: ArrayLike, where: Places, weight: ArrayLike | None = None
) -> Floats:
    """Share of the answered samples whose answer is the true class or lies above it; NaN where none is answered."""
    given_N = np.asarray(answer_N) >= 0
    weight_SN = weights(weight, len(given_N)) * given_N
    right_N = _right(target_N, answer_N, where).astype(np.float64)
    return answer(ratio(weight_SN @ right_N, weight_SN.sum(1)), weight)


def specificity_of_answers(
    target_N: ArrayLike, answer_N: ArrayLike, where: Places, weight: ArrayLike | None = None
) -> Floats:
    """Mean information of right answers, 1 if each names its class (Deng et al. 2012, eq. 1, divided by its maximum).

    A right answer above m of K classes is worth ``1 - log m / log K``; a wrong one and none are worth 0. NaN without
    samples or with one class.
    """
    num_classes = len(where.above_KA)
    right_N = _right(target_N, answer_N, where)
    weight_SN = weights(weight, len(right_N))
    if num_classes < 2:
        return answer(np.full(len(weight_SN), np.nan), weight)
    worth_A = 1 - np.log(where.above_KA.sum(0)) / np.log(num_classes)
    worth_N = np.where(right_N, worth_A[np.asarray(answer_N)], 0.0)
    return answer(ratio(weight_SN @ worth_N, weight_SN.sum(1)), weight)


def accuracy_specificity_curve(
    target_N: ArrayLike,
    probability_NK: ArrayLike,
    where: Places,
    thresholds: Sequence[float],
    weight: ArrayLike | None = None,
) -> dict[str, Floats]:
    """Return ``answered``, ``accuracy`` and ``specificity`` at each threshold, each (T,) or (S, T).

    The thresholds are given, never chosen here; a reported point has to come from development data.
    """
    rows: dict[str, list[Floats]] = {"answered": [], "accuracy": [], "specificity": []}
    for threshold in thresholds:
        answer_N = deepest_above(probability_NK, where, threshold)
        rows["answered"].append(answered(answer_N, weight))
        rows["accuracy"].append(accuracy_of_answered(target_N, answer_N, where, weight))
        rows["specificity"].append(specificity_of_answers(target_N, answer_N, where, weight))
    return {name: np.stack(values, axis=-1) for name, values in rows.items()}


def _right(target_N: ArrayLike, answer_N: ArrayLike, where: Places) -> NDArray[np.bool_]:
    answer_N = np.asarray(answer_N, dtype=np.int64)
    return (answer_N >= 0) & where.above_KA[np.asarray(target_N, dtype=np.int64), answer_N]

"""How wrong a mistake is: credit and distance in the disease hierarchy.

Sources: ancestor-set overlap is the hierarchical F of Kiritchenko, Matwin, Nock and Famili (2006, "Learning and
evaluation in the presence of class hierarchies"), averaged over samples; the distance of mistakes through the lowest
common ancestor follows Bertinetto et al. (2020, "Making Better Mistakes"). Both are taken on the DAG, never on a tree.

Shape legend: n graph nodes, K classes, N samples, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, answer, ratio, weights


def ancestor_credit(closure_nn: Any, node_K: ArrayLike) -> Floats:
    """Credit for answering class j where i is true: overlap of their ancestor sets.

    With A(i) the node i and its ancestors without roots, the credit is ``2 |A(i) & A(j)| / (|A(i)| + |A(j)|)``:
    1 for the right answer, 0 for another branch, in between for a sibling, a parent or a child.

    Args:
        closure_nn: Sparse boolean ancestor-or-self matrix (row i: the ancestors of i), ``DiseaseGraph.closure``.
        node_K: Graph row of each class; -1 where a class has none (credit only for itself).

    Returns:
        (K, K) symmetric, diagonal 1.
    """
    node_K = np.asarray(node_K, dtype=np.int64)
    known_K = np.flatnonzero(node_K >= 0)
    credit_KK = np.eye(len(node_K))
    if len(known_K) == 0:
        return credit_KK
    is_root_n = np.asarray(closure_nn.sum(1)).ravel() == 1
    rows = closure_nn[node_K[known_K]].toarray().astype(np.float64)
    rows[:, is_root_n] = 0.0
    size = rows.sum(1)
    known_credit = np.nan_to_num(ratio(2 * (rows @ rows.T), size[:, None] + size[None, :]))
    credit_KK[np.ix_(known_K, known_K)] = known_credit
    np.fill_diagonal(credit_KK, 1.0)
    return credit_KK


def equal_or_ancestor(closure_nn: Any, node_K: ArrayLike) -> NDArray[np.bool_]:
    """Return (K, K): True at (i, j) where class j is class i or lies above it, so that answering j is not wrong."""
    node_K = np.asarray(node_K, dtype=np.int64)
    right_KK = np.eye(len(node_K), dtype=bool)
    known_K = np.flatnonzero(node_K >= 0)
    if len(known_K) > 0:
        above = closure_nn[node_K[known_K]][:, node_K[known_K]].toarray().astype(bool)
        right_KK[np.ix_(known_K, known_K)] |= above
    return right_KK


def class_distances(distance: Callable[[str, str], int | None], concept_K: Sequence[str | None]) -> Floats:
    """Edges between classes through a lowest common ancestor (K, K); NaN where they share none.

    Args:
        distance: ``DiseaseGraph.distance``.
        concept_K: Concept id of each class or None.
    """
    out_KK = np.full((len(concept_K), len(concept_K)), np.nan)
    np.fill_diagonal(out_KK, 0.0)
    for i, first in enumerate(concept_K):
        for j, second in enumerate(concept_K[:i]):
            edges = None if first is None or second is None else distance(first, second)
            if edges is not None:
                out_KK[i, j] = out_KK[j, i] = edges
    return out_KK


def hierarchical_accuracy(
    target_N: ArrayLike, predicted_N: ArrayLike, credit_KK: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    """Mean credit of the answers, with a matrix from :func:`ancestor_credit` or :func:`equal_or_ancestor`."""
    credit_N = np.asarray(credit_KK, dtype=np.float64)[np.asarray(target_N), np.asarray(predicted_N)]
    weight_SN = weights(weight, len(credit_N))
    return answer(ratio(weight_SN @ credit_N, weight_SN.sum(1)), weight)


def mistake_distance(
    target_N: ArrayLike, predicted_N: ArrayLike, distance_KK: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    """Mean edges between truth and answer over the mistakes whose distance is known; NaN without one."""
    target_N, predicted_N = np.asarray(target_N), np.asarray(predicted_N)
    distance_N = np.asarray(distance_KK, dtype=np.float64)[target_N, predicted_N]
    counted_N = (target_N != predicted_N) & ~np.isnan(distance_N)
    weight_SN = weights(weight, len(distance_N)) * counted_N
    return answer(ratio(weight_SN @ np.nan_to_num(distance_N), weight_SN.sum(1)), weight)

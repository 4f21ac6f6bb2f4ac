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
    shared_KK = ancestor_overlap(closure_nn, node_K)
    size_K = np.diagonal(shared_KK)
    credit_KK = np.nan_to_num(ratio(2 * shared_KK, size_K[:, None] + size_K))
    np.fill_diagonal(credit_KK, 1.0)
    return credit_KK


def ancestor_overlap(closure_nn: Any, node_K: ArrayLike) -> Floats:
    """Return (K, K): how many nodes, roots left out, lie at or above both class i and class j.

    The diagonal is the size of a class's own set: 0 for a root, 1 for a class without a node (it has itself alone).

    Args:
        closure_nn: As in :func:`ancestor_credit`.
        node_K: As in :func:`ancestor_credit`.
    """
    node_K = np.asarray(node_K, dtype=np.int64)
    known_K = np.flatnonzero(node_K >= 0)
    shared_KK = np.eye(len(node_K))
    if len(known_K) == 0:
        return shared_KK
    is_root_n = np.asarray(closure_nn.sum(1)).ravel() == 1
    rows = closure_nn[node_K[known_K]].toarray().astype(np.float64)
    rows[:, is_root_n] = 0.0
    shared_KK[np.ix_(known_K, known_K)] = rows @ rows.T
    return shared_KK


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


def climbs(parents: Callable[[str], Sequence[str]], concept_K: Sequence[str | None]) -> Floats:
    """Edges from class i up to the nearest lowest ancestor it shares with class j (K, K); NaN where they share none.

    Lowest are the shared ancestors (a class is its own) that are not above another shared one; 0 where j lies at or
    below i. With :func:`mistake_distance` this is the mean distance from the truth to the lowest common ancestor.

    Args:
        parents: ``DiseaseGraph.parents``.
        concept_K: Concept id of each class or None.
    """
    known: dict[str, dict[str, int]] = {}

    def steps_up(start: str) -> dict[str, int]:
        if start not in known:
            found, edge = {start: 0}, [start]
            while edge:
                edge = [above for node in edge for above in parents(node) if _first_met(found, above, node)]
            known[start] = found
        return known[start]

    out_KK = np.full((len(concept_K), len(concept_K)), np.nan)
    np.fill_diagonal(out_KK, 0.0)
    for i, first in enumerate(concept_K):
        for j, second in enumerate(concept_K):
            if i == j or first is None or second is None:
                continue
            shared = steps_up(first).keys() & steps_up(second).keys()
            higher = {above for node in shared for above in steps_up(node) if above != node}
            out_KK[i, j] = min((steps_up(first)[node] for node in shared - higher), default=np.nan)
    return out_KK


def _first_met(steps: dict[str, int], above: str, node: str) -> bool:
    """Note how far ``above`` is, one edge beyond ``node``, unless a way as short is known."""
    if above in steps:
        return False
    steps[above] = steps[node] + 1
    return True


def hierarchical_precision(
    target_N: ArrayLike, predicted_N: ArrayLike, shared_KK: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    """Nodes at or above both truth and answer over nodes at or above the answer, summed over samples first.

    Kiritchenko et al. (2006), micro-averaged, roots left out: an answer at a root claims nothing and costs nothing
    here. NaN where every answer is a root.

    Args:
        target_N: True class numbers.
        predicted_N: Answered class numbers.
        shared_KK: From :func:`ancestor_overlap`.
        weight: Sample weights, (N,) or (S, N).
    """
    both_N, _, answer_N = _sizes(target_N, predicted_N, shared_KK)
    return _share_of(both_N, answer_N, weight)


def hierarchical_recall(
    target_N: ArrayLike, predicted_N: ArrayLike, shared_KK: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    """Nodes at or above both truth and answer over nodes at or above the truth; see :func:`hierarchical_precision`."""
    both_N, truth_N, _ = _sizes(target_N, predicted_N, shared_KK)
    return _share_of(both_N, truth_N, weight)


def hierarchical_f1(
    target_N: ArrayLike, predicted_N: ArrayLike, shared_KK: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    """Harmonic mean of hierarchical precision and recall; NaN where all truths and all answers are roots."""
    both_N, truth_N, answer_N = _sizes(target_N, predicted_N, shared_KK)
    return _share_of(2 * both_N, truth_N + answer_N, weight)


def _sizes(target_N: ArrayLike, predicted_N: ArrayLike, shared_KK: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Nodes of truth and answer together, of the truth, and of the answer, sample by sample."""
    true_N, found_N = np.asarray(target_N, dtype=np.int64), np.asarray(predicted_N, dtype=np.int64)
    size_KK = np.asarray(shared_KK, dtype=np.float64)
    return size_KK[true_N, found_N], size_KK[true_N, true_N], size_KK[found_N, found_N]


def _share_of(part_N: Floats, whole_N: Floats, weight: ArrayLike | None) -> Floats:
    weight_SN = weights(weight, len(part_N))
    return answer(ratio(weight_SN @ part_N, weight_SN @ whole_N), weight)


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

"""The hierarchy as arrays: closure, relatedness, information content and rewiring of a directed acyclic graph.

Legend: n concepts, E edges; ``up`` is the (n, n) sparse matrix with ``up[child, parent]`` set;
``closure`` is the (n, n) sparse bool matrix with ``closure[i, j]`` set where j is i or an ancestor of i.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Rows = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def upward(head_E: Rows, tail_E: Rows, num_concepts: int) -> sparse.csr_matrix:
    """Build ``up`` from child rows ``head_E`` and parent rows ``tail_E``; repeated edges count once."""
    data = np.ones(len(head_E), dtype=bool)
    up = sparse.csr_matrix((data, (head_E, tail_E)), shape=(num_concepts, num_concepts), dtype=bool)
    up.sum_duplicates()
    up.sort_indices()
    return up


def find_cycle(up: sparse.csr_matrix) -> list[int] | None:
    """Return the rows of one cycle, each followed by its parent, or None if there is none."""
    _, component_N = sparse.csgraph.connected_components(up, directed=True, connection="strong")
    sizes = np.bincount(component_N, minlength=1)
    cyclic = np.flatnonzero((sizes[component_N] > 1) | (up.diagonal() != 0))
    if len(cyclic) == 0:
        return None
    path, seen = [int(cyclic[0])], {int(cyclic[0]): 0}
    while True:  # inside a strong component every node has a parent inside it, so the walk must meet itself
        row = path[-1]
        parents = up.indices[up.indptr[row] : up.indptr[row + 1]]
        following = int(next(p for p in parents if component_N[p] == component_N[row]))
        if following in seen:
            return path[seen[following] :]
        seen[following] = len(path)
        path.append(following)


def close(up: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the ancestor-or-self closure of an acyclic ``up`` by repeated squaring."""
    identity = sparse.identity(up.shape[0], dtype=bool, format="csr")
    closure = (up + identity).tocsr()
    while True:
        larger = (closure @ closure).astype(bool).tocsr()
        if larger.nnz == closure.nnz:
            larger.sort_indices()
            return larger
        closure = larger


def related(closure: sparse.csr_matrix, a_A: Rows, b_B: Rows) -> Bools:
    """Return (A, B): True where same concept or one is an ancestor of the other; row -1 is never related."""
    known_A, known_B = a_A >= 0, b_B >= 0
    a_A, b_B = np.where(known_A, a_A, 0), np.where(known_B, b_B, 0)
    above_AB = closure[a_A][:, b_B].toarray()
    below_BA = closure[b_B][:, a_A].toarray()
    return (above_AB | below_BA.T) & known_A[:, None] & known_B[None, :]


def information_content(closure: sparse.csr_matrix) -> Floats:
    """Return (n,) ``-log(descendants-or-self / n)`` in nats: 0 for a root above everything, log n for a leaf.

    The intrinsic form without a corpus, in the sense of Resnik (1995) with each concept counted once.
    """
    num_below_N = np.bincount(closure.indices, minlength=closure.shape[0])
    return np.log(closure.shape[0]) - np.log(num_below_N)


def lin(closure: sparse.csr_matrix, content_N: Floats, a_A: Rows, b_B: Rows) -> Floats:
    """Return (A, B) Lin similarity in [0, 1]; see :meth:`medvlp.knowledge.graph.DiseaseGraph.lin`."""
    shared_AB = np.full((len(a_A), len(b_B)), -1.0)  # -1: no common ancestor
    rows_by_ancestor: list[dict[int, Rows]] = []
    for rows in (a_A, b_B):
        lists: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            if row >= 0:
                for ancestor in closure.indices[closure.indptr[row] : closure.indptr[row + 1]]:
                    lists.setdefault(int(ancestor), []).append(position)
        rows_by_ancestor.append({key: np.array(value) for key, value in lists.items()})
    above_a, above_b = rows_by_ancestor
    for ancestor in sorted(above_a.keys() & above_b.keys(), key=lambda row: content_N[row]):
        shared_AB[np.ix_(above_a[ancestor], above_b[ancestor])] = content_N[
            ancestor
        ]  # the most specific is written last
    total_AB = content_N[a_A][:, None] + content_N[b_B][None, :]
    similarity_AB = np.divide(2 * shared_AB, total_AB, out=np.zeros_like(total_AB), where=total_AB > 0)
    same_AB = (a_A[:, None] == b_B[None, :]) & (a_A >= 0)[:, None]
    return np.where(same_AB, 1.0, np.where(shared_AB < 0, 0.0, similarity_AB))


def depths(up: sparse.csr_matrix) -> Rows:
    """Return (n,) the number of edges on the shortest way up to a root."""
    down = up.T.tocsr()
    depth_N = np.full(up.shape[0], -1, dtype=np.int64)
    frontier = np.flatnonzero(np.diff(up.indptr) == 0)
    level = 0
    while len(frontier):
        depth_N[frontier] = level
        below = np.unique(down[frontier].indices)
        frontier, level = below[depth_N[below] < 0], level + 1
    return depth_N


def levels(head_E: Rows, tail_E: Rows, num_concepts: int) -> Rows:
    """Return (n,) the number of edges on the longest way up to a root of an acyclic hierarchy."""
    level_N = np.zeros(num_concepts, dtype=np.int64)
    while True:
        lower_N = level_N.copy()
        np.maximum.at(lower_N, head_E, level_N[tail_E] + 1)
        if np.array_equal(lower_N, level_N):
            return level_N
        level_N = lower_N


def rewire(head_E: Rows, tail_E: Rows, num_concepts: int, seed: int, num_rounds: int = 200) -> tuple[Rows, Rows]:
    """Swap the parents of random pairs of edges, so that every concept keeps its number of parents and of children.

    A new parent always stood nearer to the roots than the child did (by the longest way up, before any swap), and no
    edge is made twice: so no cycle can arise, roots stay roots, and the closure keeps about its density (a swap along a
    random order of the concepts would multiply it, and a control that excludes more pairs is none). The
    degree-preserving null model of Maslov and Sneppen (2002), restricted to layers. Very small graphs may have no
    admissible swap and come back unchanged.

    Args:
        head_E: Child rows, each edge once.
        tail_E: Parent rows.
        num_concepts: n.
        seed: Same seed, same graph.
        num_rounds: In each round every edge is offered one partner.

    Returns:
        New ``head_E`` and ``tail_E`` in canonical order.
    """
    rng = np.random.default_rng([seed, num_concepts])
    level_N = levels(head_E, tail_E, num_concepts)
    head, tail = head_E.copy(), tail_E.copy()
    for _ in range(num_rounds):
        order = rng.permutation(len(head))
        half = len(order) // 2
        one, two = order[:half], order[half : 2 * half]
        fits = (level_N[tail[two]] < level_N[head[one]]) & (level_N[tail[one]] < level_N[head[two]])
        one, two = one[fits], two[fits]
        new_one = head[one] * num_concepts + tail[two]
        new_two = head[two] * num_concepts + tail[one]
        taken = np.isin(new_one, head * num_concepts + tail) | np.isin(new_two, head * num_concepts + tail)
        keys, counts = np.unique(np.concatenate([new_one, new_two]), return_counts=True)
        repeated = keys[counts > 1]
        free = ~(taken | np.isin(new_one, repeated) | np.isin(new_two, repeated))
        one, two = one[free], two[free]
        tail[one], tail[two] = tail[two], tail[one]
    order = np.lexsort((tail, head))
    return head[order], tail[order]

"""Cuts the cycles of a hierarchy: edges come in by falling trust, and one that would close a cycle stays out.

Only edges inside a strongly connected component are looked at. A topological order is kept up to date edge by edge
(Pearce and Kelly, 2007), so that an edge which agrees with it costs nothing and the others search only between their
two ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from medvlp.knowledge.hierarchy import Rows, upward


def cut_cycles(head_E: Rows, tail_E: Rows, num_concepts: int) -> tuple[Rows, Rows, NDArray[np.int32]]:
    """Part edges into those to keep and those that would close a cycle of the edges kept before them.

    Args:
        head_E: Child rows, by falling trust of the edge.
        tail_E: Parent rows.
        num_concepts: n.

    Returns:
        Positions kept, positions left out (self-loops among the latter), and the strong component of each concept.
    """
    if not len(head_E):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(num_concepts, np.int32)
    component_N = connected_components(upward(head_E, tail_E, num_concepts), directed=True, connection="strong")[1]
    inside = np.flatnonzero(component_N[head_E] == component_N[tail_E])
    order = _Order()
    closing = [i for i in inside.tolist() if not order.add(int(head_E[i]), int(tail_E[i]))]
    dropped = np.array(closing, dtype=np.int64)
    kept = np.setdiff1d(np.arange(len(head_E), dtype=np.int64), dropped, assume_unique=True)
    return kept, dropped, component_N


class _Order:
    """A topological order of the edges added so far: a parent always stands before its children."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._parents: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}

    def add(self, child: int, parent: int) -> bool:
        """Add an edge; False, and nothing changes, if it would close a cycle."""
        if child == parent:
            return False
        for node in (parent, child):
            self._place.setdefault(node, len(self._place))
        low, high = self._place[child], self._place[parent]
        if low < high:
            below = self._reach(child, self._children, low, high)
            if parent in below:
                return False
            above = self._reach(parent, self._parents, low, high)
            moved = sorted(above, key=self._place.__getitem__) + sorted(below, key=self._place.__getitem__)
            for node, place in zip(moved, sorted(self._place[node] for node in moved), strict=True):
                self._place[node] = place
        self._parents.setdefault(child, []).append(parent)
        self._children.setdefault(parent, []).append(child)
        return True

    def _reach(self, start: int, along: dict[int, list[int]], low: int, high: int) -> set[int]:
        """Return what is reached without leaving the stretch of the order between the two ends."""
        seen, waiting = {start}, [start]
        while waiting:
            for node in along.get(waiting.pop(), ()):
                if node not in seen and low <= self._place[node] <= high:
                    seen.add(node)
                    waiting.append(node)
        return seen

"""The triples of a graph, and a split in which no held-out triple is in training the other way round.

Shapes: T triples, 3 = (head, relation, tail) as rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import GraphError
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Triples:
    """Distinct triples between distinct concepts.

    Attributes:
        ids: Concepts that occur, sorted.
        relations: Relations that occur, sorted.
        all_T3: All triples.
        parts: Rows of ``all_T3`` by split: train, dev, test.
    """

    ids: tuple[str, ...]
    relations: tuple[str, ...]
    all_T3: Rows
    parts: dict[str, Rows]

    def of(self, split: str) -> Rows:
        """Return the triples of a split."""
        return self.all_T3[self.parts[split]]


def find_triples(
    graph: DiseaseGraph, relations: Sequence[str] | None, *, dev: float, test: float, seed: int, ledger: Ledger
) -> Triples:
    """Read the triples of a graph and split them.

    Args:
        graph: The graph.
        relations: Relations to keep; None keeps all.
        dev: Wanted share of the split to choose by.
        test: Wanted share of the split to report on.
        seed: Decides the split.
        ledger: Takes what is left out.

    Raises:
        GraphError: If nothing is left to learn from, or a relation is not in the graph.
    """
    edges = graph.tables.edges
    columns = (edges[name].to_pylist() for name in ("head", "relation", "tail"))
    seen: dict[tuple[str, str, str], None] = {}
    present = set[str]()
    for head, relation, tail in zip(*columns, strict=True):
        present.add(relation)
        triple, shown = (head, relation, tail), f"{head} {relation} {tail}"
        if relations is not None and relation not in relations:
            ledger.drop(shown, "relation not asked for")
        elif head == tail:
            ledger.drop(shown, "concept related to itself")
        elif triple in seen:
            ledger.drop(shown, "the same triple from another source")
        else:
            seen[triple] = None
            ledger.keep()
    for name in relations or ():
        if name not in present:
            raise GraphError("no such relation in the graph", item=name, remedy=f"use {', '.join(sorted(present))}")
    if not seen:
        raise GraphError("has no relation between two concepts", remedy="build it with its edges")
    triples = sorted(seen)
    ids = tuple(sorted({end for head, _, tail in triples for end in (head, tail)}))
    names = tuple(sorted({relation for _, relation, _ in triples}))
    row, code = ({name: number for number, name in enumerate(known)} for known in (ids, names))
    all_T3 = np.array([(row[head], code[relation], row[tail]) for head, relation, tail in triples], dtype=np.int64)
    return Triples(ids, names, all_T3, split_rows(all_T3, {"dev": dev, "test": test}, seed))


def split_rows(triples_T3: Rows, shares: dict[str, float], seed: int) -> dict[str, Rows]:
    """Split triples by pairs of concepts: whatever relates two of them, either way round, lies in one split.

    So no test triple has its inverse, under any relation, in training. A concept's last pair and a relation's last
    triple stay in training, where all vectors are learned.

    Args:
        triples_T3: Triples.
        shares: Wanted share of each split but ``train``; a split may remain smaller.
        seed: Decides the order in which pairs are taken.

    Returns:
        Rows by split, ``train`` first.
    """
    heads, relations, tails = triples_T3.T
    ends_T2 = np.sort(np.stack([heads, tails], 1), 1)
    pairs_P2, pair_T = np.unique(ends_T2, axis=0, return_inverse=True)
    pair_T = pair_T.reshape(-1)
    rows_of = np.split(np.argsort(pair_T, kind="stable"), np.cumsum(np.bincount(pair_T))[:-1])
    degree = Counter(pairs_P2.ravel().tolist())
    left = Counter(relations.tolist())
    split_T = np.zeros(len(triples_T3), dtype=np.int64)
    order = iter(np.random.default_rng(seed).permutation(len(pairs_P2)))
    for number, share in enumerate(shares.values(), start=1):
        wanted, taken = round(share * len(triples_T3)), 0
        while taken < wanted and (pair := next(order, None)) is not None:
            own = Counter(relations[rows_of[pair]].tolist())
            ends = pairs_P2[pair].tolist()
            if min(degree[end] for end in ends) < 2 or any(left[name] <= count for name, count in own.items()):
                continue
            degree.subtract(ends)
            left.subtract(own)
            split_T[rows_of[pair]] = number
            taken += len(rows_of[pair])
    return {name: np.flatnonzero(split_T == number) for number, name in enumerate(["train", *shares])}

"""The disease graph a model learns from and is judged by: concepts, their names and definitions, and the hierarchy.

Legend: n concepts in row order; A, B numbers of query rows. ``head is_a tail`` means head is the child.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike
from scipy import sparse

from medvlp.errors import GraphError
from medvlp.io import sha256_json
from medvlp.knowledge import derive, hierarchy, splits, store
from medvlp.knowledge.hierarchy import Bools, Floats, Rows
from medvlp.knowledge.names import Name, normalise
from medvlp.knowledge.splits import HeldOut


class DiseaseGraph:
    """Concepts with names, definitions and a multi-parent hierarchy; immutable.

    Example:
        >>> graph = DiseaseGraph.from_dict({"X:1": {"name": "cancer"}, "X:2": {"name": "sarcoma", "parents": ["X:1"]}})
        >>> graph.ancestors("X:2")
        frozenset({'X:1'})
    """

    def __init__(self, tables: store.Tables) -> None:
        """Check and index the tables.

        Raises:
            GraphError: See :func:`medvlp.knowledge.store.check`; also a cycle in the hierarchy, listed in full.
        """
        self.tables = tables
        self._row = store.check(tables)
        self.ids: list[str] = list(self._row)
        self._aliases: dict[str, str] = dict(
            zip(tables.aliases["alias"].to_pylist(), tables.aliases["concept"].to_pylist(), strict=True)
        )
        self._preferred: list[str] = tables.concepts["name"].to_pylist()
        edges = tables.edges.filter(pc.equal(tables.edges["relation"], store.IS_A))
        head_E, tail_E = self._rows_of(edges["head"]), self._rows_of(edges["tail"])
        self._up = hierarchy.upward(head_E, tail_E, len(self.ids))
        self._down = self._up.T.tocsr()
        cycle = hierarchy.find_cycle(self._up)
        if cycle is not None:
            path = " is_a ".join(self.ids[row] for row in [*cycle, cycle[0]])
            raise GraphError(f"the hierarchy has a cycle: {path}", remedy="remove one of these edges")
        self._names = store.Grouped(tables.names, self._rows_of(tables.names["concept"]), len(self.ids))
        self._definitions = store.Grouped(
            tables.definitions, self._rows_of(tables.definitions["concept"]), len(self.ids)
        )

    # ------------------------------------------------------------------ reading and writing

    @classmethod
    def load(cls, folder: str | Path) -> DiseaseGraph:
        """Read a store built by ``medvlp graph build``; a missing or altered file is a GraphError naming it."""
        return cls(store.read(Path(folder))[0])

    def save(
        self,
        folder: str | Path,
        header: dict[str, Any] | None = None,
        *,
        overwrite: bool = False,
        side: Mapping[str, pa.Table] | None = None,
    ) -> None:
        """Write the store whole or not at all; ``header`` goes into its manifest beside digest and counts.

        ``side`` holds further tables by name, such as a list of conflicts; they are not part of the graph.
        """
        header = {**(header or {}), "digest": self.digest}
        store.write(Path(folder), self.tables, header, overwrite=overwrite, side=side)

    @classmethod
    def from_tables(
        cls,
        concepts: pa.Table,
        names: pa.Table,
        definitions: pa.Table,
        edges: pa.Table,
        aliases: pa.Table | None = None,
    ) -> DiseaseGraph:
        """Build from Arrow tables with the schemas of :data:`medvlp.knowledge.store.SCHEMAS`."""
        empty = store.SCHEMAS["aliases"].empty_table()
        return cls(store.Tables(concepts, names, definitions, edges, empty if aliases is None else aliases))

    @classmethod
    def from_dict(cls, concepts: Mapping[str, Mapping[str, Any]], source: str = "dict") -> DiseaseGraph:
        """Build a small graph from ``{id: {"name", "parents", "synonyms", "definitions", "xrefs"}}``.

        All keys but ``name`` are optional lists of strings. Xrefs are CURIEs; the first ``UMLS:`` one is the CUI.

        Raises:
            GraphError: A key that is not one of these, a parent that is not in the dict, a cycle, a missing name.
        """
        return cls(derive.from_dict(concepts, source))

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the content, the same for the same rows however they were read."""
        return sha256_json({name: store.content_digest(data) for name, data in self.tables.items()})

    # ------------------------------------------------------------------ concepts

    def __len__(self) -> int:
        """Return the number of concepts."""
        return len(self.ids)

    def __contains__(self, concept: object) -> bool:
        """Tell whether an id, or an old or merged id, leads to a concept."""
        return concept in self._row or concept in self._aliases

    def index(self, concept: str) -> int:
        """Return the row of a concept; old and merged ids lead to the concept that stands for them.

        Raises:
            GraphError: Unknown id, with the nearest ones.
        """
        row = self._row.get(concept)
        if row is None:
            row = self._row.get(self._aliases.get(concept, ""))
        if row is None:
            near = self._nearest(concept)
            raise GraphError("unknown concept", item=concept, remedy=f"nearest: {near}" if near else "check the id")
        return row

    def indices(self, concepts: Iterable[str]) -> Rows:
        """Return the rows of many concepts as int64; see :meth:`index`."""
        return np.array([self.index(concept) for concept in concepts], dtype=np.int64)

    def name(self, concept: str) -> str:
        """Return the preferred name."""
        return self._preferred[self.index(concept)]

    def names(self, concept: str) -> list[Name]:
        """Return all names with kind, source and licence, preferred first."""
        found = [
            Name(row["text"], row["kind"], row["source"], row["licence"]) for row in self._names[self.index(concept)]
        ]
        return sorted(found, key=lambda name: name.kind != "preferred")

    def texts(self, concept: str) -> list[str]:
        """Return all name strings, preferred first."""
        return [name.text for name in self.names(concept)]

    def definitions(self, concept: str) -> list[str]:
        """Return the definitions, by priority of their source."""
        return [row["text"] for row in self._definitions[self.index(concept)]]

    def cui(self, concept: str) -> str | None:
        """Return the UMLS concept identifier if the sources give one."""
        return self.tables.concepts["cui"][self.index(concept)].as_py()

    def xrefs(self, concept: str) -> list[str]:
        """Return the cross-references as CURIEs."""
        return list(self.tables.concepts["xrefs"][self.index(concept)].as_py())

    def aliases(self) -> dict[str, str]:
        """Return old and merged ids with the concept that stands for each."""
        return dict(self._aliases)

    def find(self, text: str) -> list[str]:
        """Return the ids of all concepts that carry this name, compared as :func:`normalise` says."""
        return [self.ids[row] for row in self._by_name.get(normalise(text), ())]

    # ------------------------------------------------------------------ hierarchy

    def parents(self, concept: str) -> list[str]:
        """Return the direct parents."""
        return self._neighbours(self._up, self.index(concept))

    def children(self, concept: str) -> list[str]:
        """Return the direct children."""
        return self._neighbours(self._down, self.index(concept))

    def ancestors(self, concept: str) -> frozenset[str]:
        """Return all concepts above, without the concept itself."""
        return frozenset(self._neighbours(self.closure, self.index(concept))) - {self.ids[self.index(concept)]}

    def descendants(self, concept: str) -> frozenset[str]:
        """Return all concepts below, without the concept itself."""
        return frozenset(self._neighbours(self._closure_down, self.index(concept))) - {self.ids[self.index(concept)]}

    def roots(self) -> list[str]:
        """Return the concepts without a parent."""
        return [self.ids[row] for row in np.flatnonzero(np.diff(self._up.indptr) == 0)]

    @cached_property
    def closure(self) -> sparse.csr_matrix:
        """Sparse bool (n, n): row i marks i and its ancestors."""
        return hierarchy.close(self._up)

    def related(self, a: ArrayLike, b: ArrayLike | None = None) -> Bools:
        """Tell for all pairs of rows whether they are the same concept or one is an ancestor of the other.

        Args:
            a: (A,) rows; -1 stands for an unknown concept, which is related to nothing, itself included.
            b: (B,) rows; ``a`` if left out.

        Returns:
            Bool (A, B).

        Raises:
            GraphError: A row outside [-1, n).
        """
        a_A = self._as_rows(a)
        return hierarchy.related(self.closure, a_A, a_A if b is None else self._as_rows(b))

    def information_content(self) -> Floats:
        """Return (n,) ``-log(descendants-or-self / n)`` in nats."""
        return self._content.copy()

    def lin(self, a: ArrayLike, b: ArrayLike | None = None) -> Floats:
        """Return (A, B) Lin similarity (Lin 1998): ``2 IC(c) / (IC(a) + IC(b))``, c the most specific common ancestor.

        A concept has similarity 1 to itself; concepts without a common ancestor, and row -1, have 0.
        """
        a_A = self._as_rows(a)
        return hierarchy.lin(self.closure, self._content, a_A, a_A if b is None else self._as_rows(b))

    def lowest_common_ancestors(self, a: str, b: str) -> list[str]:
        """Return the common ancestors-or-self with no other common one below them; several in a multi-parent graph."""
        common = np.intersect1d(self._above(self.index(a)), self._above(self.index(b)))
        sub = self.closure[common][:, common]
        return [self.ids[common[i]] for i in np.flatnonzero(np.bincount(sub.indices, minlength=len(common)) == 1)]

    def depth(self) -> Rows:
        """Return int64 (n,) the number of edges on the shortest way up to a root."""
        return hierarchy.depths(self._up)

    def distance(self, a: str, b: str) -> int | None:
        """Return the least number of edges from a up to a common ancestor and down to b; None if there is none."""
        up_a, up_b = self._heights(self.index(a)), self._heights(self.index(b))
        return min((up_a[row] + up_b[row] for row in up_a.keys() & up_b.keys()), default=None)

    def hypernym_path(self, concept: str, rng: np.random.Generator, stop: Set[str] = frozenset()) -> list[str]:
        """Walk up from a concept, choosing a parent at random where there are several.

        Args:
            concept: Where to start; always the last of the path.
            rng: Source of the choices.
            stop: Ids too general to be named; the walk ends below the first it meets (KEEP leaves out eight such ids).

        Returns:
            Ids from the most general down to the concept.
        """
        path, row = [self.ids[self.index(concept)]], self.index(concept)
        while (parents := self._up.indices[self._up.indptr[row] : self._up.indptr[row + 1]]).size:
            row = int(parents[rng.integers(len(parents))] if len(parents) > 1 else parents[0])
            if self.ids[row] in stop:
                break
            path.append(self.ids[row])
        return path[::-1]

    def hypernym_paths(self, concept: str, limit: int = 64) -> list[list[str]]:
        """Return up to ``limit`` different paths from a root down to the concept, in a fixed order."""
        found: list[list[str]] = []
        waiting = [[self.ids[self.index(concept)]]]
        while waiting and len(found) < limit:
            path = waiting.pop()
            parents = self.parents(path[0])
            waiting.extend([parent, *path] for parent in reversed(parents))
            if not parents:
                found.append(path)
        return found

    # ------------------------------------------------------------------ derived graphs and splits

    def permuted(self, seed: int) -> DiseaseGraph:
        """Return the control graph: ``is_a`` rewired at random, all else kept.

        Each concept keeps its numbers of parents and of children; see :func:`medvlp.knowledge.hierarchy.rewire`.
        """
        up = self._up.tocoo()
        head_E, tail_E = hierarchy.rewire(up.row.astype(np.int64), up.col.astype(np.int64), len(self), seed)
        return DiseaseGraph(derive.replace_hierarchy(self.tables, self.ids, head_E, tail_E, "permuted"))

    def subset(self, concepts: Iterable[str]) -> DiseaseGraph:
        """Return the graph of some concepts only.

        Where a parent is left out, its nearest kept ancestors take its place, so that "is an ancestor of" holds between
        two kept concepts exactly where it did before.
        """
        rows = np.unique(self.indices(concepts))
        return DiseaseGraph(derive.subset(self.tables, self._up, self.closure, rows))

    def split_concepts(self, fractions: Mapping[str, float], seed: int) -> dict[str, list[str]]:
        """Part the concepts without leakage; see :func:`medvlp.knowledge.splits.split_concepts`."""
        return splits.split_concepts(self.ids, [self.texts(concept) for concept in self.ids], fractions, seed)

    def split_names(self, fraction: float, seed: int, kinds: Sequence[str] | None = None) -> HeldOut:
        """Hold out names without leakage; see :func:`medvlp.knowledge.splits.split_names`."""
        return splits.split_names(self.ids, [self.names(concept) for concept in self.ids], fraction, seed, kinds)

    # ------------------------------------------------------------------ inside

    @cached_property
    def _content(self) -> Floats:
        return hierarchy.information_content(self.closure)

    @cached_property
    def _closure_down(self) -> sparse.csr_matrix:
        return self.closure.T.tocsr()

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        rows = self._rows_of(self.tables.names["concept"])
        for row, text in zip(rows.tolist(), self.tables.names["text"].to_pylist(), strict=True):
            owners = found.setdefault(normalise(text), [])
            if row not in owners:
                owners.append(row)
        return found

    def _rows_of(self, column: pa.ChunkedArray) -> Rows:
        return np.array([self._row[concept] for concept in column.to_pylist()], dtype=np.int64)

    def _as_rows(self, rows: ArrayLike) -> Rows:
        rows_A = np.asarray(rows, dtype=np.int64).reshape(-1)
        if rows_A.size and (rows_A.min() < -1 or rows_A.max() >= len(self)):
            raise GraphError(f"concept row outside [-1, {len(self)})", remedy="use rows given by DiseaseGraph.index")
        return rows_A

    def _neighbours(self, matrix: sparse.csr_matrix, row: int) -> list[str]:
        return [self.ids[i] for i in matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]]

    def _above(self, row: int) -> Rows:
        return self.closure.indices[self.closure.indptr[row] : self.closure.indptr[row + 1]].astype(np.int64)

    def _heights(self, row: int) -> dict[int, int]:
        heights, frontier, level = {row: 0}, [row], 0
        while frontier:
            level += 1
            above = {int(p) for r in frontier for p in self._up.indices[self._up.indptr[r] : self._up.indptr[r + 1]]}
            frontier = [p for p in above if p not in heights]
            heights.update(dict.fromkeys(frontier, level))
        return heights

    def nearest_names(self, text: str, limit: int = 3) -> str:
        """Return the ids and names of the concepts whose id or name is spelt most like a text; empty if none is."""
        near = self._nearest(text, limit)
        if near:
            return near
        similar = difflib.get_close_matches(normalise(text), self._by_name, limit, cutoff=0.75)
        rows = dict.fromkeys(self._by_name[name][0] for name in similar)
        return ", ".join(f"{self.ids[row]} ({self._preferred[row]})" for row in rows)

    def _nearest(self, concept: str, limit: int = 3) -> str:
        found = self.find(concept)[:limit]
        if not found:
            similar = [
                i for i in self.ids if abs(len(i) - len(concept)) <= 1 and i[:2].casefold() == concept[:2].casefold()
            ]
            found = difflib.get_close_matches(concept, similar, limit, cutoff=0.75)
        return ", ".join(f"{i} ({self._preferred[self._row[i]]})" for i in found)

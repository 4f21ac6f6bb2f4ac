"""Pairs of texts about one concept, from edges and definitions of a graph: what KAD's first stage reads.

Source: Zhang et al. 2023 (KAD), knowledge encoder. Rows are rows of the graph; statements of reports
(``medvlp.training.report_pairs``) have rows after the last of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medvlp.errors import GraphError
from medvlp.training.entity_texts import derangement

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.training.concept_texts import ConceptTexts
    from medvlp.training.entity_texts import Knowledge
    from medvlp.training.report_pairs import ReportPairs

SEPARATOR = " [SEP] "
_DEFINITIONS = 19  # random stream of the control


class Pair(NamedTuple):
    """Two texts, and the row of the concept whose pairs are positives of this one."""

    first: str
    second: str
    row: int


class ConceptPairs:
    """Draws pairs; each edge and each definition is one, so a draw among all is a triple at |KG| / (|KG| + |DEF|).

    Args:
        graph: Concepts and edges.
        texts: Names and definitions for training, without what is held out.
        knowledge: ``real``. ``permuted``: ``is_a`` edges rewired and the definitions of concepts exchanged by a
            derangement, both equally many. ``none``: as many pairs, each of two names of one concept.
        seed: Decides the control.
        triples: Use edges.
        definitions: Use definitions.
        reports: Further pairs, of reports, or none.

    Raises:
        GraphError: If that leaves no pair.
    """

    def __init__(
        self,
        graph: DiseaseGraph,
        texts: ConceptTexts,
        knowledge: Knowledge,
        seed: int,
        *,
        triples: bool = True,
        definitions: bool = True,
        reports: ReportPairs | None = None,
    ) -> None:
        self.reports = reports
        self.names, self.bare = texts.names, knowledge == "none"
        self.edges: list[tuple[int, str, int]] = []
        if triples:
            edges = (graph.permuted(seed) if knowledge == "permuted" else graph).tables.edges
            columns = (edges.column(name).to_pylist() for name in ("head", "relation", "tail"))
            self.edges = [
                (graph.index(head), relation.replace("_", " "), graph.index(tail))
                for head, relation, tail in zip(*columns, strict=True)
            ]
        self.definitions: list[tuple[int, str]] = []
        if definitions:
            defined = [row for row, own in enumerate(texts.definitions) if own]
            source = np.asarray(defined, dtype=np.int64)
            if knowledge == "permuted" and len(defined) > 1:
                source = source[derangement(len(defined), [seed, _DEFINITIONS])]
            self.definitions = [
                (row, text)
                for row, other in zip(defined, source.tolist(), strict=True)
                for text in texts.definitions[other]
            ]
        if len(self) == 0:
            raise GraphError("has neither an edge nor a definition to learn from", item="graph")

    def __len__(self) -> int:
        """Return the number of edges, definitions and sentences of reports."""
        return len(self.edges) + len(self.definitions) + (0 if self.reports is None else len(self.reports))

    def draw(self, number: int, rng: np.random.Generator) -> Pair:
        """Return a pair.

        Args:
            number: Edges first, then definitions, then sentences of reports.
            rng: Decides which end of an edge answers, at even odds: ``head [SEP] relation`` or ``relation [SEP] tail``.
        """
        if number < len(self.edges):
            head, relation, tail = self.edges[number]
            asks_tail = rng.random() < 0.5
            if self.bare:
                return self._names(tail if asks_tail else head, rng)
            if asks_tail:
                return Pair(self._name(head) + SEPARATOR + relation, self._name(tail), tail)
            return Pair(relation + SEPARATOR + self._name(tail), self._name(head), head)
        number -= len(self.edges)
        if number >= len(self.definitions):
            assert self.reports is not None, "a number beyond the last pair"
            return self.reports.draw(number - len(self.definitions))
        row, text = self.definitions[number]
        return self._names(row, rng) if self.bare else Pair(self._name(row), text, row)

    def _name(self, row: int) -> str:
        return self.names[row][0]

    def _names(self, row: int, rng: np.random.Generator) -> Pair:
        return Pair(self._name(row), self.names[row][rng.integers(len(self.names[row]))], row)

"""What stage 1 reads: the texts of each concept (names, definitions, hypernyms), without any held-out name.

Rows are rows of the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from medvlp.config import Config
from medvlp.knowledge.names import normalise
from medvlp.training.text_augment import general_concepts

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.knowledge.splits import HeldOut

PATH, KIND_OF = "path", "kind"


class Views(Config):
    """Which texts of a concept take part; preferred names always do."""

    synonyms: bool = Field(True, description="Names other than the preferred one.")
    definitions: bool = Field(True, description="Definitions that do not spell out a held-out name.")
    hypernyms: bool = Field(True, description="Paths from general to special, and 'X, a kind of Y'.")
    knowledge_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of definitions and hypernyms among a concept's other texts; none: as likely as each name.",
    )
    general_depth: int = Field(1, ge=-1, description="Concepts this near to a root are too general for a path.")
    stop: list[str] = Field([], description="Further concept ids that end a path on its way up.")


class ConceptTexts:
    """Draws texts of concepts.

    Args:
        graph: Source of definitions.
        heldout: Names for training and names that must never be seen.
        views: What takes part.
        hierarchy: Graph whose paths are used (real or permuted), None for no hypernyms.

    Attributes:
        names: Training names per row, preferred first.
        num_leaking: Definitions left out because they spell out a held-out name of their concept.
    """

    def __init__(self, graph: DiseaseGraph, heldout: HeldOut, views: Views, hierarchy: DiseaseGraph | None) -> None:
        self.hierarchy = hierarchy if views.hypernyms else None
        self.knowledge_share = views.knowledge_share
        self.names: list[list[str]] = [[] for _ in graph.ids]
        for concept, text in heldout.train:
            self.names[graph.index(concept)].append(text)
        if not views.synonyms:
            self.names = [names[:1] for names in self.names]
        self.definitions: list[list[str]] = [[] for _ in graph.ids]
        self.num_leaking = 0
        if views.definitions:
            self._add_definitions(graph, heldout)
        self.stop: frozenset[str] = frozenset()
        self._parents: list[list[int]] = [[] for _ in graph.ids]
        if self.hierarchy is not None:
            self.stop = general_concepts(self.hierarchy, views.general_depth, views.stop)
            self._parents = [
                [self.hierarchy.index(p) for p in self.hierarchy.parents(concept) if p not in self.stop]
                for concept in self.hierarchy.ids
            ]

    def _add_definitions(self, graph: DiseaseGraph, heldout: HeldOut) -> None:
        hidden: dict[str, list[str]] = {}
        for concept, text in (*heldout.heldout, *heldout.ambiguous):
            hidden.setdefault(concept, []).append(f" {normalise(text)} ")
        for row, concept in enumerate(graph.ids):
            for text in graph.definitions(concept):
                plain = f" {normalise(text)} "
                if any(name in plain for name in hidden.get(concept, ())):
                    self.num_leaking += 1
                else:
                    self.definitions[row].append(text)

    def num_views(self, row: int) -> int:
        """Return how many different texts a concept can give, hypernyms counted once."""
        return len(self.names[row]) + len(self.definitions[row]) + bool(self._parents[row])

    def draw(self, row: int, count: int, rng: np.random.Generator) -> list[str]:
        """Return the preferred name and ``count - 1`` other texts; fewer than that repeat in turn.

        Each further name, one definition and one hypernym text are equally likely, unless ``knowledge_share`` says how
        often a definition or hypernym comes where there are further names too.
        """
        names, knowledge = list(self.names[row][1:]), []
        if self.definitions[row]:
            knowledge.append(self.definitions[row][rng.integers(len(self.definitions[row]))])
        if self._parents[row]:
            knowledge.append(self.hypernym(row, rng))
        share = self.knowledge_share
        if share is not None and names and knowledge:
            count_knowledge = int(rng.binomial(count - 1, share))
            others = [*_cycle(knowledge, count_knowledge, rng), *_cycle(names, count - 1 - count_knowledge, rng)]
        else:
            others = _cycle([*names, *knowledge] or [self.names[row][0]], count - 1, rng)
        return [self.names[row][0], *others]

    def hypernym(self, row: int, rng: np.random.Generator) -> str:
        """Return the names along one path from general to special, or ``X, a kind of Y``, at even odds."""
        assert self.hierarchy is not None
        if rng.random() < 0.5:
            parent = self._parents[row][rng.integers(len(self._parents[row]))]
            return f"{self._name(row, rng)}, a kind of {self._name(parent, rng)}"
        path = self.hierarchy.hypernym_path(self.hierarchy.ids[row], rng, self.stop)
        return " ".join(self._name(self.hierarchy.index(concept), rng) for concept in path)

    def _name(self, row: int, rng: np.random.Generator) -> str:
        return self.names[row][rng.integers(len(self.names[row]))]

    def counts(self) -> dict[str, int]:
        """Return how many texts of each kind there are."""
        return {
            "concepts": len(self.names),
            "names": sum(map(len, self.names)),
            "definitions": sum(map(len, self.definitions)),
            "definitions left out": self.num_leaking,
            "concepts with hypernyms": sum(bool(parents) for parents in self._parents),
        }


def _cycle(texts: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return ``count`` texts in random order; all come once before one comes twice."""
    order = rng.permutation(len(texts))
    return [texts[order[place % len(texts)]] for place in range(count)]


class Siblings:
    """Finds concepts that share a parent, the hardest negatives a hierarchy can name.

    Args:
        hierarchy: Real or permuted graph.
        rows: Rows that may be drawn.
    """

    def __init__(self, hierarchy: DiseaseGraph, rows: Sequence[int]) -> None:
        usable = set(rows)
        index = {concept: row for row, concept in enumerate(hierarchy.ids)}
        children = {
            row: [index[child] for child in hierarchy.children(concept) if index[child] in usable]
            for row, concept in enumerate(hierarchy.ids)
        }
        self._groups = {
            row: [children[index[p]] for p in hierarchy.parents(hierarchy.ids[row]) if len(children[index[p]]) > 1]
            for row in rows
        }
        self.rows = np.asarray(rows, dtype=np.int64)

    def fill(self, seeds: Sequence[int], total: int, rng: np.random.Generator) -> list[int]:
        """Extend distinct rows to ``total`` distinct rows, each new one a sibling of one already there if possible."""
        chosen = list(seeds)
        taken = Counter(chosen)
        queue = list(seeds)
        while len(chosen) < total:
            anchor = queue.pop(0) if queue else int(self.rows[rng.integers(len(self.rows))])
            groups = self._groups.get(anchor, [])
            pool = groups[rng.integers(len(groups))] if groups else []
            free = [row for row in pool if row not in taken]
            new = free[rng.integers(len(free))] if free else int(self.rows[rng.integers(len(self.rows))])
            if new not in taken:
                taken[new] = 1
                chosen.append(new)
                queue.append(new)
        return chosen

"""What a caption says beside naming a leaf: facts of the arm's graph, which of its words stand for what, what is false.

For losses that read triples or swapped captions. A caption holds one name of one concept, so all of it follows from
that name and the graph.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.controlled.captions import names_of, says
from benchmarks.controlled.taxonomy import UNSEEN
from medvlp.data.batch import NO_SWAP, Swap, Triple
from medvlp.knowledge.names import normalise

if TYPE_CHECKING:
    from benchmarks.controlled.world import World
    from medvlp.knowledge.graph import DiseaseGraph

IS_A = "is a"
_SWAP = 7  # random stream: which other leaf a swapped caption names
_SHORTEST = 3
_NO_KIND = frozenset({"and", "the"})


class Said:
    """Reads captions of one arm.

    Args:
        world: Gives the leaves, those held out and the seed.
        sub: The real sub-graph.
        hierarchy: What the arm may use of it.
    """

    def __init__(self, world: World, sub: DiseaseGraph, hierarchy: DiseaseGraph | None) -> None:
        self.seed, self.root, self.sub, self.hierarchy = world.seed, world.config.root, sub, hierarchy
        self.names = {concept: names_of(sub, concept, world.unseen_names) for concept in sub.ids}
        unseen = {leaf for leaf, group in zip(world.leaves, world.group_L, strict=True) if group == UNSEEN}
        self.known = [leaf for leaf in world.leaves if leaf not in unseen]
        self.unseen = world.unseen_names
        self._swapped: dict[tuple[str, str], tuple[str, ...]] = {}

    def name(self, concept: str, caption: str) -> str:
        """Return the name of a concept that a caption says, the longest; empty if it says none."""
        return max((name for name in self.names[concept] if name in caption), key=len, default="")

    def told(self, concept: str, caption: str) -> tuple[Triple, ...]:
        """Return what the arm's graph adds to a caption: the name it says "is a" each parent; nothing without a graph.

        A parent goes by its preferred name, or the first that is not one of an unseen leaf.
        """
        name = self.name(concept, caption)
        if self.hierarchy is None or not name:
            return ()
        return tuple(Triple(name, IS_A, self.names[parent][0]) for parent in self._parents(concept, self.hierarchy))

    def nodes(self, concept: str, caption: str) -> tuple[Triple, ...]:
        """Return what a caption says in its own words: a name, and which words of it the real graph's parents share.

        The same in every arm: a control hides as many words elsewhere. ``medvlp.data.nodes`` takes the words of "is a"
        for an attribute; as a relation they would vanish, since they always lie within the name.
        """
        name = self.name(concept, caption)
        parents = self._parents(concept, self.sub)
        kind = {word for parent in parents for text in self.names[parent] for word in normalise(text).split()}
        words = [word for word in name.split() if len(word) >= _SHORTEST and normalise(word) in kind - _NO_KIND]
        if not name:
            return ()
        return tuple(Triple(name, IS_A, word) for word in dict.fromkeys(words)) or (Triple(name, IS_A, ""),)

    def swapped(self, concept: str, caption: str) -> tuple[str, ...]:
        """Return the caption with its name exchanged for that of each leaf that the arm does not know as related.

        Related are leaves with a parent in common, and what is above or below; without a graph only a leaf itself. No
        unseen leaf is named. The root is true of every image, so a caption that names it has none.
        """
        key = concept, caption
        if key not in self._swapped:
            name = self.name(concept, caption)
            others = [] if concept == self.root or not name else self._strangers(concept)
            texts = (caption.replace(name, self.names[other][0], 1) for other in others)
            self._swapped[key] = tuple(text for text in texts if not says(text, self.unseen))
        return self._swapped[key]

    def swap(self, concept: str, caption: str, step: int, row: int) -> Swap:
        """Draw one swapped caption for a row of a step; :data:`NO_SWAP` if there is none."""
        options = self.swapped(concept, caption)
        if not options:
            return NO_SWAP
        rng = np.random.default_rng([self.seed, _SWAP, step, row])
        return Swap(options[int(rng.random() * len(options))], "disease", 0)

    def _parents(self, concept: str, graph: DiseaseGraph) -> list[str]:
        return [parent for parent in graph.parents(concept) if self.names.get(parent)]

    def _strangers(self, concept: str) -> list[str]:
        graph = self.hierarchy
        if graph is None:
            return [leaf for leaf in self.known if leaf != concept]
        near: set[str] = {concept, *graph.ancestors(concept), *graph.descendants(concept)}
        parents: Collection[str] = graph.parents(concept)
        near |= {child for parent in parents for child in graph.children(parent)}
        return [leaf for leaf in self.known if leaf not in near]

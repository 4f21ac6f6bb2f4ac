"""What stage 2 is told about a training image: its texts in each step, and which entities it shows.

Shape legend: Q entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.controlled.captions import names_of, says
from benchmarks.controlled.config import Method, Stage2
from medvlp.data.batch import ABSENT, FILLER, NOT_MENTIONED, PRESENT
from medvlp.data.entities import Entities, Entity
from medvlp.ledger import Ledger
from medvlp.training.aspects import PATH, AspectTexts
from medvlp.training.text_augment import TextAugment, concept_names, general_concepts

if TYPE_CHECKING:
    from benchmarks.controlled.train import Pairs
    from benchmarks.controlled.world import World
    from medvlp.knowledge.graph import DiseaseGraph

_POOL = 6  # random stream: what a text of the graph says
_UNSEEN = "knowledge caption names an unseen leaf"


@dataclass(frozen=True)
class Told:
    """The texts of an image in one step, with their kinds where a method tells them apart."""

    texts: tuple[str, ...]
    aspects: tuple[str, ...] = ()


class Texts:
    """Everything an image may be told: its own captions as they are, augmented ones, or texts of several aspects.

    Without a hierarchy the graph's texts are the bare name of the concept, as often as they are names, definitions and
    paths with one. Draws go by concept and not by image, so that each text is encoded once for all images of a leaf.

    Attributes:
        ledger: Texts of the graph that were used, and those left out because they named an unseen leaf.
    """

    def __init__(
        self, method: Method, config: Stage2, world: World, hierarchy: DiseaseGraph | None, sub: DiseaseGraph
    ) -> None:
        self.seed, self.draws, self.unseen = world.seed, config.draws, world.unseen_names
        self.hierarchy, self.sub, self.ledger = hierarchy, sub, Ledger()
        self.augment: TextAugment | None = None
        self.aspects: AspectTexts | None = None
        self._made: dict[tuple[str, int], Told] = {}
        display = {leaf: sub.name(leaf) for leaf in sub.ids}
        if method.captions is not None:
            names = {} if hierarchy is None else concept_names(hierarchy)
            self.augment = TextAugment(method.captions, names, hierarchy, display)
        if method.aspect_texts is not None:
            # The rewired graph has the right names and definitions: only "is a" is the arm's.
            known = sub if hierarchy is None else hierarchy
            concepts = [(row,) for row in range(len(sub))]
            self.aspects = AspectTexts(method.aspect_texts, concepts, known, hierarchy, display, world.seed)

    def of(self, pairs: Pairs, row: int) -> list[Told]:
        """Return what a training image may be told, one of which each step draws."""
        own, concept = pairs.captions_N[row], pairs.said_N[row]
        if self.aspects is not None:
            return [self._with_aspects(text, concept, draw) for text in own for draw in range(self.draws)]
        if self.augment is None:
            return [Told((text,)) for text in own]
        return [Told((self._augmented(pairs, row, text, draw),)) for text in own for draw in range(self.draws)]

    def _augmented(self, pairs: Pairs, row: int, text: str, draw: int) -> str:
        assert self.augment is not None
        concept = pairs.said_N[row]
        concepts = () if self.hierarchy is None else (self.hierarchy.index(concept),)
        caption, from_graph = self.augment(text, concepts, concept, self._rng(concept, draw))
        if from_graph and says(caption, self.unseen):
            self.ledger.drop(pairs.keys_N[row], _UNSEEN)
            return text
        if from_graph:
            self.ledger.keep()
        return caption

    def _with_aspects(self, caption: str, concept: str, draw: int) -> Told:
        if (concept, draw) not in self._made:
            self._made[concept, draw] = self._aspects_of(concept, draw)
        known = self._made[concept, draw]
        return Told((caption, *known.texts), ("caption", *known.aspects))

    def _aspects_of(self, concept: str, draw: int) -> Told:
        """The graph's texts of a concept, filled up to equally many with texts that count for nothing."""
        assert self.aspects is not None
        found = self.aspects(self.sub.index(concept), [], None, self._rng(concept, draw))
        kept = []
        for text in found:
            if says(text.text, self.unseen):
                self.ledger.drop(concept, _UNSEEN)
            else:
                self.ledger.keep()
                kept.append(text)
        filling = [FILLER] * (2 + self.aspects.config.num_sub - len(kept))
        return Told((*(text.text for text in kept), *filling), (*(text.aspect for text in kept), *filling))

    def _rng(self, concept: str, draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, _POOL, self.sub.index(concept), draw])


def entities_of(said: Sequence[str], world: World, sub: DiseaseGraph, hierarchy: DiseaseGraph | None) -> Entities:
    """Return the entities an arm asks about, and which of them an image shows, by the concept its captions name.

    Entities are all concepts of the sub-graph but the unseen leaves, the same ones in every arm. With a hierarchy what
    is named and all above it is present, what is below it is not mentioned, and everything else is absent, siblings
    too: an ancestor is never a negative. Without one only what some caption names is known of: present where it is
    named, else absent.

    A real or rewired hierarchy gives each entity its definitions, its path upwards and its names; without one it has
    its bare name. No description says the name of an unseen leaf.

    Args:
        said: Concepts that captions name; they are the keys of the result.
        world: Gives the unseen leaves.
        sub: The real sub-graph.
        hierarchy: What the arm may use.
    """
    unseen = {leaf for leaf, group in zip(world.leaves, world.group_L, strict=True) if group == "unseen"}
    names = {concept: names_of(sub, concept, world.unseen_names) for concept in sub.ids if concept not in unseen}
    concepts = [concept for concept, own in names.items() if own]
    keys = sorted(set(said))
    general = frozenset[str]() if hierarchy is None else general_concepts(hierarchy, 1)
    entities = []
    for concept in concepts:
        found = [("name", names[concept][0])]
        if hierarchy is not None:
            rng = np.random.default_rng([world.seed, _POOL, sub.index(concept)])
            path = [sub.name(one) for one in reversed(hierarchy.hypernym_path(concept, rng, general))]
            found = [("definition", f"{names[concept][0]}: {text}") for text in sub.definitions(concept)]
            found += [(PATH, ", a kind of ".join(path)), *(("name", name) for name in names[concept])]
            found = [(aspect, text) for aspect, text in found if not says(text, world.unseen_names)]
        entities.append(Entity(names[concept][0], (concept,), tuple(found)))
    label_NQ = np.array([_labels(key, concepts, keys, hierarchy) for key in keys], dtype=np.int64)
    no_place_NQP = np.zeros((len(keys), len(concepts), 0), dtype=np.int64)
    return Entities(entities, [], keys, no_place_NQP, label_NQ)


def _labels(said: str, concepts: Sequence[str], named: Sequence[str], hierarchy: DiseaseGraph | None) -> list[int]:
    """State of each entity in an image whose captions name a concept."""
    if hierarchy is None:
        return [PRESENT if one == said else ABSENT if one in named else NOT_MENTIONED for one in concepts]
    above, below = hierarchy.ancestors(said), hierarchy.descendants(said)
    return [PRESENT if one == said or one in above else NOT_MENTIONED if one in below else ABSENT for one in concepts]

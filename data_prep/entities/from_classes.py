"""Entities of labelled images: classes, and what the graph has above them.

An ancestor of a present class is present; what lies below one is not mentioned, for the image may well show it. There
are no places: all is ``anywhere``. Shape legend: N images, Q entities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from data_prep.entities.config import ClassesSource
from data_prep.entities.found import Found
from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT
from medvlp.data.entities import Position
from medvlp.errors import DataError

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.ledger import Ledger

ANYWHERE = Position("anywhere")


def find(config: ClassesSource, store: PairsStore, graph: DiseaseGraph | None, ledger: Ledger) -> Found:
    """Read the labels of every image; one without a label has nothing mentioned and is counted.

    Raises:
        DataError: If no image has a label.
    """
    own = {
        label: [concept for concept in concepts if graph is not None and concept in graph]
        for label, concepts in store.class_concepts.items()
    }
    named = {label: tuple(concepts) for label, concepts in own.items()}
    if graph is not None:
        named |= _ancestors(config.ancestors, own, graph)
    names = list(named)
    state = {label: _states(label, named, graph) for label in own}
    keys: list[str] = []
    rows = []
    for split in map(store.split, ("train", "dev", "test")):
        for key, labels in zip(split.keys, split.column("labels"), strict=True):
            keys.append(key)
            if not labels:
                ledger.drop(key, "image without a label, nothing mentioned")
                rows.append(np.full(len(names), NOT_MENTIONED))
                continue
            states_LQ = np.stack([state[label] for label in labels])
            row_Q = np.where((states_LQ == NOT_MENTIONED).any(0), NOT_MENTIONED, ABSENT)
            rows.append(np.where((states_LQ == PRESENT).any(0), PRESENT, row_Q))
    label_NQ = np.stack(rows).astype(np.int64)
    if not (label_NQ == PRESENT).any():
        raise DataError("no image has a label", item=store.folder, remedy="use the source reports for texts")
    concepts = [named[name] for name in names]
    return Found(names, concepts, [ANYWHERE], keys, label_NQ[:, :, None])


def _ancestors(depth: int, own: Mapping[str, Sequence[str]], graph: DiseaseGraph) -> dict[str, tuple[str, ...]]:
    """Further entities by name; one above every class is left out, for it tells no image from another."""
    classes = {concept for concepts in own.values() for concept in concepts}
    taken = set(own)
    out: dict[str, tuple[str, ...]] = {}
    level = sorted(classes)
    for _ in range(depth):
        level = sorted({parent for concept in level for parent in graph.parents(concept)})
        for concept in level:
            above_all = all(any(concept in graph.ancestors(one) for one in concepts) for concepts in own.values())
            name = graph.name(concept)
            if concept not in classes and name not in taken and not above_all:
                taken.add(name)
                out[name] = (concept,)
    return out


def _states(label: str, named: Mapping[str, tuple[str, ...]], graph: DiseaseGraph | None) -> np.ndarray:
    """State of each entity (Q,) in an image of a class."""
    mine = set(named[label])
    above: set[str] = set().union(*(graph.ancestors(concept) for concept in mine)) if graph is not None else set()
    below: set[str] = set().union(*(graph.descendants(concept) for concept in mine)) if graph is not None else set()

    def state(name: str, concepts: tuple[str, ...]) -> int:
        if name == label or (concepts and set(concepts) & (above | mine)):
            return PRESENT
        return NOT_MENTIONED if set(concepts) & below else ABSENT

    return np.array([state(name, concepts) for name, concepts in named.items()])

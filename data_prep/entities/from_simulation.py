"""Entities of simulated scenes: the planted findings where they were planted, all else absent.

Shape legend: N images, Q entities, P positions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_prep.entities.found import Found
from data_prep.entities.from_reports import read_texts
from data_prep.simulation.anatomy import LOBES, SIDES, side_of
from data_prep.simulation.side_files import read_scenes
from data_prep.text.triplets.vocabulary import load_vocabulary
from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT
from medvlp.data.entities import Position
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError

POSITIONS = (
    Position("chest"),
    *(Position(f"{side} hemithorax", ("chest",)) for side in SIDES),
    *(Position(f"{side} lung", (f"{side} hemithorax",)) for side in SIDES),
    *(Position(f"{side} pleural space", (f"{side} hemithorax",)) for side in SIDES),
    *(Position(lobe, (f"{side_of(lobe)} lung",)) for lobe in LOBES),
    Position("heart", ("chest",)),
)


def find(store: PairsStore) -> Found:
    """Read the truth of every scene.

    A finding that is there is present at its place, and absent wherever that is neither part nor whole of it. The one
    that training never shows is not mentioned in training and development scenes: as absent it would be learned.

    Raises:
        DataError: If the store is none of `medvlp simulate`, or does not hold its scenes.
    """
    scenes = {scene["scene"]: scene for scene in read_scenes(store.folder)}
    config, held_out = store.manifest["config"], store.manifest["held_out"]
    names = [finding["label"] for finding in config["findings"].values()]
    concepts = [store.class_concepts[name] for name in names]
    related_PP = _related()
    place = {position.name: number for number, position in enumerate(POSITIONS)}
    hidden = config["findings"][held_out["finding"]]["label"] if held_out["finding"] else None
    splits = [store.split(name) for name in ("train", "dev", "test")]
    keys = [key for split in splits for key in split.keys]
    training = {key for split in splits[:2] for key in split.keys}
    state_NQP = np.full((len(keys), len(names), len(POSITIONS)), ABSENT, dtype=np.int64)
    for row, key in enumerate(keys):
        if key not in scenes:
            raise DataError("is in the store but not among its scenes", item=key, remedy="simulate the store again")
        for triplet in scenes[key]["triplets"]:
            if triplet["existence"] == "present":
                entity, position = names.index(triplet["entity"]), place[triplet["position"]]
                near_P = related_PP[position] & (state_NQP[row, entity] != PRESENT)
                state_NQP[row, entity, near_P] = NOT_MENTIONED
                state_NQP[row, entity, position] = PRESENT
        if hidden is not None and key in training:
            state_NQP[row, names.index(hidden)] = NOT_MENTIONED
    vocabulary = load_vocabulary("radiology")
    triples = {
        key: read_texts([text.text for text in texts], vocabulary)[1]
        for split in splits
        for key, texts in zip(split.keys, split.column("texts"), strict=True)
    }
    return Found(names, concepts, POSITIONS, keys, state_NQP, None, triples, _unseen(held_out))


def _unseen(held_out: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    return [name for names in held_out["names"].values() for name in names]


def _related() -> np.ndarray:
    """(P, P): True where one position is part of the other."""
    names = [position.name for position in POSITIONS]
    above = {position.name: position.above for position in POSITIONS}

    def wholes(name: str) -> set[str]:
        return set(above[name]).union(*(wholes(upper) for upper in above[name]))

    return np.array([[a in wholes(b) or b in wholes(a) for b in names] for a in names])

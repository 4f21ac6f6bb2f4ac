"""Entities of the tiny pairs store, and recipes of the methods that ask for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ENTITIES = {
    "lung": ["pleural x", "a lung with s"],
    "colon": ["colon cell"],
    "nevus": ["skin cell s", "skin of the nevus"],
}
POSITIONS = {"chest": (), "left lung": ("chest",), "right lung": ("chest",), "skin": ()}


def write_entities(folder: Path, pairs: Path) -> Path:
    """Each class is its entity; a lung's is left or right by turns, what is not known is not mentioned."""
    from medvlp.data.batch import Triple
    from medvlp.data.entities import Entities, Entity, Position
    from medvlp.data.pairs import PairsStore

    store = PairsStore.load(pairs)
    keys = [key for name in ("train", "dev", "test") for key in store.split(name).keys]
    state_NQP = np.full((len(keys), len(ENTITIES), len(POSITIONS)), -100)
    triples = {}
    for row, key in enumerate(keys):
        label, number = key.split("-")
        for column, name in enumerate(ENTITIES):
            if name == label:
                state_NQP[row, column, 1 + int(number) % 2 if name == "lung" else 3] = 2 if number == "3" else 1
            elif int(number) % 3:
                state_NQP[row, column, 0] = 0
        triples[key] = {f"the {label} cell": [Triple(label, "is", "present")]}
    Entities(
        [Entity(name, (), tuple(("definition", text) for text in texts)) for name, texts in ENTITIES.items()],
        [Position(name, above) for name, above in POSITIONS.items()],
        keys,
        state_NQP,
        triples=triples,
    ).save(folder)
    return folder


def asking_config(place: Path, bert: Path, objective, **changes):
    """Return a recipe of a few steps; the model has a small decoder."""
    from training_cases import align_config, text_config

    from medvlp.encoders.image import TimmImage
    from medvlp.fusion.query_decoder import QueryDecoder
    from medvlp.model import DualEncoder
    from medvlp.training.align import Freezing, PairBatches

    if not (place / "entities").is_dir():
        write_entities(place / "entities", place / "pairs")
    settings = {
        "model": DualEncoder.Config(
            image=TimmImage.Config(model="test_efficientnet", image_size=64),
            text=text_config(bert),
            embed_dim=32,
            decoder=QueryDecoder.Config(width=16, layers=2, heads=2),
        ),
        "entities": str(place / "entities"),
        "objective": objective,
        "batches": PairBatches(batch_size=8),
        "freeze": Freezing(always=["text_tower"]),
        "text_augment": None,
    }
    return align_config(place, bert, **{**settings, **changes})

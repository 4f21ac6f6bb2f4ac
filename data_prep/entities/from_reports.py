"""Entities that the texts of an image speak of, as MedKLIP reads them (Wu et al. 2023), the uncertain kept.

Shape legend: N images, Q entities, P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.entities.config import ReportsSource
from data_prep.entities.found import Found, TextTriples
from data_prep.entities.triples import text_triples
from data_prep.text.mentions import annotate
from data_prep.text.triplets import NOT_MENTIONED as NO_CELL
from data_prep.text.triplets import Vocabulary, load_vocabulary, matrix, triplets
from medvlp.data.batch import NOT_MENTIONED
from medvlp.data.entities import Position
from medvlp.errors import ConfigError, DataError

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore


def find(config: ReportsSource, store: PairsStore) -> Found:
    """Read the texts of every image.

    Raises:
        ConfigError: If an entity is no column of the vocabulary.
        DataError: If no text speaks of any entity.
    """
    vocabulary = load_vocabulary(config.vocabulary)
    keys: list[str] = []
    states: list[NDArray[np.int64]] = []
    triples: dict[str, TextTriples] = {}
    for name in ("train", "dev", "test"):
        split = store.split(name)
        for key, texts in zip(split.keys, split.column("texts"), strict=True):
            wanted = [text.text for text in texts if config.aspects is None or text.aspect in config.aspects]
            state_QP, triples[key] = read_texts(wanted, vocabulary)
            keys.append(key)
            states.append(state_QP)
    state_NQP = np.stack(states)
    columns = _columns(config, vocabulary, state_NQP)
    names = [vocabulary.entities[column] for column in columns]
    above_PP = vocabulary.ancestor_PP
    positions = [
        Position(name, tuple(vocabulary.positions[place] for place in above_PP[row].nonzero()[0]))
        for row, name in enumerate(vocabulary.positions)
    ]
    header = {"vocabulary_digest": vocabulary.digest}
    return Found(
        names, [()] * len(names), positions, keys, state_NQP[:, columns], None, triples, (), vocabulary.normal, header
    )


def read_texts(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[NDArray[np.int64], TextTriples]:
    """Return the state of each entity at each position over all texts (Q, P), and what each text says."""
    said, found = {}, []
    for text in dict.fromkeys(texts):
        mentions = annotate(text, None, vocabulary=vocabulary)
        said[text] = text_triples(text, mentions, vocabulary)
        found += triplets(mentions, vocabulary)
    cells_QP = matrix(found, vocabulary).T.astype(np.int64)
    return np.where(cells_QP == NO_CELL, NOT_MENTIONED, cells_QP), {text: one for text, one in said.items() if one}


def _columns(config: ReportsSource, vocabulary: Vocabulary, state_NQP: NDArray[np.int64]) -> list[int]:
    if config.entities is None:
        mentioned = np.flatnonzero((state_NQP != NOT_MENTIONED).any((0, 2))).tolist()
        if not mentioned:
            raise DataError(
                "no text speaks of an entity of the vocabulary",
                item=f"source.vocabulary: {config.vocabulary}",
                remedy="choose another vocabulary, or other aspects",
            )
        return mentioned
    for name in config.entities:
        if name not in vocabulary.entities:
            known = ", ".join(vocabulary.entities[:8])
            raise ConfigError("is no entity of the vocabulary", item=f"source.entities: {name}", remedy=f"use {known}")
    return [vocabulary.entities.index(name) for name in config.entities]

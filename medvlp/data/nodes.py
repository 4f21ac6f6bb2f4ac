"""Where in a text the nodes of its triples stand: findings, what is said of them, where they are and whether.

Source: Yu et al. 2021 (ERNIE-ViL), scene-graph prediction: the words of a node of the scene graph are hidden together.
Carried over to reports, an object is a finding, an attribute its side or severity, a relation its place or the words
that say or deny it.
Shape legend: C characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medvlp.data.batch import NODES, Triple
from medvlp.data.swaps import LOCATED, Phrases, presence_words

PRESENCE = "is"
"""Relation of a :class:`medvlp.data.batch.Triple` that tells whether its head is present; no text holds its tail."""

OBJECT, ATTRIBUTE, RELATION = range(len(NODES))


def nodes_of(text: str, triples: Sequence[Triple]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each character the number of its node, from 0 on, and the node's kind (C,); -1 for none.

    All places where the text repeats the words of a node are that node: none of them gives the others away. Where
    nodes overlap ("left effusion"), attributes come before objects, and these before relations.

    Args:
        text: The text.
        triples: What it says, in its own words; what the text does not hold is no node.
    """
    node_C, kind_C = _painted(text, tuple(triples))
    return np.array(node_C), np.array(kind_C)


@lru_cache(maxsize=65536)  # a text comes back every epoch
def _painted(text: str, triples: tuple[Triple, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    found: dict[tuple[int, str], list[tuple[int, int]]] = {}
    cues = presence_words(text)
    for triple in triples:
        heads = _places(text, triple.head)
        found[OBJECT, triple.head] = heads
        if triple.relation == PRESENCE:
            for start, end, part in cues:
                if any(part.start <= head and stop <= part.end for head, stop in heads):
                    found[RELATION, f"{start}"] = [(start, end)]
        else:
            kind = RELATION if triple.relation == LOCATED else ATTRIBUTE
            found[kind, triple.tail] = _places(text, triple.tail)
    node_C, kind_C = [-1] * len(text), [-1] * len(text)
    order = (RELATION, OBJECT, ATTRIBUTE)
    for number, ((kind, _), spans) in enumerate(sorted(found.items(), key=lambda one: order.index(one[0][0]))):
        for start, end in spans:
            node_C[start:end] = [number] * (end - start)
            kind_C[start:end] = [kind] * (end - start)
    return tuple(node_C), tuple(kind_C)


def _places(text: str, words: str) -> list[tuple[int, int]]:
    return [match.span() for match in _phrase(words)(text)] if words else []


@lru_cache(maxsize=4096)
def _phrase(words: str) -> Phrases:
    return Phrases([words])

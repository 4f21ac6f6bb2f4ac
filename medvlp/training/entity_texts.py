"""What a method asks with for each entity and position: descriptions, bare names, or descriptions of others.

Lives here: the switch ``knowledge: none | permuted | real`` for methods that query by entity; a folder of entities
(``medvlp.data.entities``) is the same for all three. Shape legend: Q entities, P positions, E texts of all entities.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medvlp.data.entities import Entities
from medvlp.errors import DataError
from medvlp.io import sha256_json

Knowledge = Literal["none", "permuted", "real"]
_ENTITIES, _POSITIONS = 13, 17  # random streams of the two controls


@dataclass(frozen=True)
class EntityTexts:
    """Equally many texts for each entity.

    Attributes:
        by_entity: Q tuples of texts.
    """

    by_entity: tuple[tuple[str, ...], ...]

    @property
    def flat(self) -> list[str]:
        """All E texts, entity by entity."""
        return [text for texts in self.by_entity for text in texts]

    @property
    def entity_E(self) -> Tensor:
        """Entity of each of :attr:`flat`, int64."""
        each = len(self.by_entity[0]) if self.by_entity else 0
        return torch.arange(len(self.by_entity)).repeat_interleave(each)

    @property
    def digest(self) -> str:
        """Sha256 over the texts, for what a resumed run must agree on."""
        return sha256_json([list(texts) for texts in self.by_entity])


def entity_texts(
    entities: Entities,
    knowledge: Knowledge,
    seed: int,
    *,
    count: int | None = None,
    aspects: Collection[str] | None = None,
) -> EntityTexts:
    """Return the texts to ask with, equally many for each entity whatever the knowledge.

    Args:
        entities: Names and descriptions.
        knowledge: ``real``: each entity's descriptions. ``none``: its bare name. ``permuted``: the descriptions of
            another one, by a derangement: every text is asked as often as with ``real``, for no entity its own.
        seed: Decides the derangement.
        count: Texts per entity; by default as many as the entity with the most has. One that has fewer repeats its
            own in order, one without any is asked by its name.
        aspects: Kinds of descriptions to use; all by default.

    Raises:
        DataError: If a control has fewer than two entities to exchange.
    """
    names = [entity.name for entity in entities.entities]
    own = [
        [text for aspect, text in entity.descriptions if aspects is None or aspect in aspects] or [entity.name]
        for entity in entities.entities
    ]
    each = count if count is not None else max((len(texts) for texts in own), default=1)
    if knowledge == "none":
        own = [[name] for name in names]
    elif knowledge == "permuted":
        own = [own[other] for other in derangement(len(own), [seed, _ENTITIES])]
    return EntityTexts(tuple(tuple(texts[place % len(texts)] for place in range(each)) for texts in own))


def position_texts(entities: Entities) -> list[str]:
    """Return one text per position, its name in words; the same whatever the knowledge."""
    return [position.name.replace("_", " ") for position in entities.positions]


def position_hierarchy(entities: Entities, knowledge: Knowledge, seed: int) -> Tensor:
    """Return which position is above which, (P, P) bool: True where the column is above the row.

    ``none``: nowhere. ``permuted``: the same tree with the positions exchanged among its places by a derangement.
    """
    above_PP = torch.from_numpy(entities.above_PP.copy())
    if knowledge == "none" or len(above_PP) < 2:
        return torch.zeros_like(above_PP) if knowledge == "none" else above_PP
    if knowledge == "permuted":
        order_P = torch.from_numpy(derangement(len(above_PP), [seed, _POSITIONS]))
        return above_PP[order_P][:, order_P]
    return above_PP


def derangement(count: int, seed: list[int]) -> np.ndarray:
    """Return a random order (count,) in which nothing stays in its place.

    Raises:
        DataError: If there are fewer than two things.
    """
    if count < 2:
        raise DataError("needs two to exchange", item="entities", remedy="use knowledge real or none")
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        if not (order == np.arange(count)).any():
            return order

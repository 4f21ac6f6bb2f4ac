"""What is known of an image, seen in a mirror: left positions and entities change places with right ones.

Shape legend: Q entities, P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medvlp.data.augment import NO_MIRROR, has_side, swap_sides
from medvlp.data.batch import NOT_MENTIONED, Triple
from medvlp.data.entities import Known

if TYPE_CHECKING:
    from medvlp.data.entities import Entities


class Mirror:
    """Lets augmentation treat sided labels as it treats sided texts: refuse the flip, swap, or ignore.

    Args:
        entities: Whose names say which position or entity is on which side.
    """

    def __init__(self, entities: Entities) -> None:
        self._positions = _Names([one.name for one in entities.positions])
        self._entities = _Names([one.name for one in entities.entities])

    def texts(self, known: Known) -> list[str]:
        """Return the sided names of what is mentioned; one that has no mirror image is a text that has none."""
        mentioned_P = (known.position_QP != NOT_MENTIONED).any(0)
        return self._positions.texts(mentioned_P) + self._entities.texts(known.label_Q != NOT_MENTIONED)

    def known(self, known: Known, before: Sequence[str], after: Sequence[str]) -> Known:
        """Return what is known of the augmented image.

        Args:
            known: Of the original.
            before: What :meth:`texts` returned, with the image's texts or not.
            after: The same as augmentation returned them: changed where the image was mirrored and sides swapped.
        """
        if list(before) == list(after):
            return known
        columns, rows = self._positions.order, self._entities.order
        triples = {
            text: tuple(Triple(_swapped(one.head), one.relation, _swapped(one.tail)) for one in found)
            for text, found in known.triples.items()
        }
        return replace(
            known, label_Q=known.label_Q[rows], position_QP=known.position_QP[rows][:, columns], triples=triples
        )


class _Names:
    """Names in their order, and the order of their mirror images; one without a mirror image stays in its place."""

    def __init__(self, names: list[str]) -> None:
        place = {name: number for number, name in enumerate(names)}
        mirrored = [swap_sides(name) if has_side(name) else name for name in names]
        self.order = torch.tensor([place.get(name or "", number) for number, name in enumerate(mirrored)])
        self._texts = [
            None if not has_side(name) else name if other in place else NO_MIRROR
            for name, other in zip(names, mirrored, strict=True)
        ]

    def texts(self, mentioned: Tensor) -> list[str]:
        named = (self._texts[number] for number in mentioned.nonzero().flatten().tolist())
        return [text for text in named if text is not None]


def _swapped(text: str) -> str:
    return swap_sides(text) or text

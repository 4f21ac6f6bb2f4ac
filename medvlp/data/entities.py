"""What is present where in each image: the labels of MedKLIP and kin, with descriptions of entities and positions.

A folder of this form is made by a job over reports, planted findings or classes; here it is only read (and written).
Shape legend: N images, Q entities, P positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, Triple
from medvlp.errors import DataError
from medvlp.io import atomic_folder, read_json, sha256_json, verify_manifest, write_json, write_manifest

FORMAT = "medvlp-entities-1"
_STATES = (ABSENT, PRESENT, UNCERTAIN, NOT_MENTIONED)


@dataclass(frozen=True)
class Entity:
    """Something an image may show.

    Attributes:
        name: Display name, unique.
        concepts: Ids in the graph.
        descriptions: ``(aspect, text)``: definition, appearance, report, ...; the first is the one that is asked with
            where a method takes one only.
    """

    name: str
    concepts: tuple[str, ...] = ()
    descriptions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Position:
    """A place in the body; ``above`` names the positions it is part of."""

    name: str
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of one image; states as in :class:`medvlp.data.batch.Batch`."""

    label_Q: Tensor
    position_QP: Tensor
    triples: Mapping[str, tuple[Triple, ...]] = field(default_factory=dict)

    def triples_of(self, text: str) -> tuple[Triple, ...]:
        """What one of its texts says; empty if unknown."""
        return self.triples.get(text, ())


class Entities:
    """The labels of all images of a set.

    Args:
        entities: Q entities.
        positions: P positions.
        keys: N keys.
        position_NQP: State of each entity at each position.
        label_NQ: State of each entity; by default present where it is present at a position, else uncertain, else
            absent where it is absent at one, else not mentioned.
        triples: By key, what each of its texts says.

    Raises:
        DataError: For names or keys that come twice, an unknown or circular position, a shape or state that is none.
    """

    def __init__(
        self,
        entities: Sequence[Entity],
        positions: Sequence[Position],
        keys: Sequence[str],
        position_NQP: NDArray[np.integer[Any]],
        label_NQ: NDArray[np.integer[Any]] | None = None,
        triples: Mapping[str, Mapping[str, Iterable[Triple]]] | None = None,
    ) -> None:
        self.entities, self.positions, self.keys = tuple(entities), tuple(positions), tuple(keys)
        _unique([entity.name for entity in entities], "entity")
        _unique([position.name for position in positions], "position")
        _unique(keys, "key")
        shape = (len(keys), len(entities), len(positions))
        if position_NQP.shape != shape:
            raise DataError(f"{position_NQP.shape} states where {shape} are due", item="positions")
        self.position_NQP = position_NQP.astype(np.int64)
        self.label_NQ = entity_labels(self.position_NQP) if label_NQ is None else label_NQ.astype(np.int64)
        if self.label_NQ.shape != shape[:2]:
            raise DataError(f"{self.label_NQ.shape} states where {shape[:2]} are due", item="labels")
        for name, states in (("positions", self.position_NQP), ("labels", self.label_NQ)):
            if not np.isin(states, _STATES).all():
                raise DataError(f"states are {', '.join(map(str, _STATES))}", item=name)
        self.above_PP = _closure(self.positions)
        self._row = {key: row for row, key in enumerate(self.keys)}
        self._triples = {
            key: {text: tuple(found) for text, found in of_texts.items()} for key, of_texts in (triples or {}).items()
        }

    def of(self, key: str) -> Known:
        """Return what is known of an image.

        Raises:
            DataError: If the set does not have it.
        """
        self.check_keys([key])
        row = self._row[key]
        label_Q, position_QP = torch.from_numpy(self.label_NQ[row]), torch.from_numpy(self.position_NQP[row])
        return Known(label_Q, position_QP, self._triples.get(key, {}))

    @property
    def has_triples(self) -> bool:
        """Whether it is known of any text what it says as triples."""
        return any(found for of_texts in self._triples.values() for found in of_texts.values())

    def check_keys(self, keys: Iterable[str]) -> None:
        """Raise a :class:`DataError` naming the first key the set does not have."""
        for key in keys:
            if key not in self._row:
                raise DataError(
                    "the entities know nothing of this image", item=key, remedy="make them of this very set"
                )

    @property
    def digest(self) -> str:
        """Sha256 over everything."""
        return sha256_json([self._texts(), self.position_NQP.tolist(), self.label_NQ.tolist()])

    def save(self, folder: Path, header: Mapping[str, Any] | None = None, *, replace: bool = False) -> Path:
        """Write a folder that :meth:`load` reads; it appears whole or not at all."""
        with atomic_folder(folder, replace=replace) as partial:
            write_json(partial / "entities.json", self._texts())
            np.save(partial / "positions.npy", self.position_NQP.astype(np.int8), allow_pickle=False)
            np.save(partial / "labels.npy", self.label_NQ.astype(np.int8), allow_pickle=False)
            write_manifest(partial, {**(header or {}), "format": FORMAT})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Entities:
        """Read a folder.

        Raises:
            DataError: If it is none, or a file is altered.
        """
        folder = Path(folder)
        if not (folder / "entities.json").is_file():
            raise DataError("holds no entities", item=folder, remedy="make them with `medvlp entities`")
        verify_manifest(folder, DataError)
        texts = read_json(folder / "entities.json")
        return cls(
            [
                Entity(one["name"], tuple(one["concepts"]), tuple((kind, text) for kind, text in one["descriptions"]))
                for one in texts["entities"]
            ],
            [Position(one["name"], tuple(one["above"])) for one in texts["positions"]],
            texts["keys"],
            np.load(folder / "positions.npy", allow_pickle=False),
            np.load(folder / "labels.npy", allow_pickle=False),
            {
                key: {text: [Triple(*triple) for triple in found] for text, found in of_texts.items()}
                for key, of_texts in texts["triples"].items()
            },
        )

    def _texts(self) -> dict[str, Any]:
        return {
            "entities": [
                {"name": one.name, "concepts": list(one.concepts), "descriptions": [list(d) for d in one.descriptions]}
                for one in self.entities
            ],
            "positions": [{"name": one.name, "above": list(one.above)} for one in self.positions],
            "keys": list(self.keys),
            "triples": {
                key: {text: [[t.head, t.relation, t.tail] for t in found] for text, found in of_texts.items()}
                for key, of_texts in self._triples.items()
            },
        }


def entity_labels(position_NQP: NDArray[np.int64]) -> NDArray[np.int64]:
    """State of each entity (N, Q) from those by position: present, else uncertain, else absent, else unmentioned."""
    label_NQ = np.full(position_NQP.shape[:2], NOT_MENTIONED, dtype=np.int64)
    for state in (ABSENT, UNCERTAIN, PRESENT):
        label_NQ[(position_NQP == state).any(2)] = state
    return label_NQ


def _unique(names: Iterable[str], what: str) -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise DataError(f"the {what} comes twice", item=name, remedy=f"give every {what} its own name")
        seen.add(name)


def _closure(positions: Sequence[Position]) -> NDArray[np.bool_]:
    """(P, P): True where the column is above the row, however far."""
    place = {position.name: number for number, position in enumerate(positions)}
    above_PP = np.zeros((len(positions), len(positions)), dtype=bool)
    for position in positions:
        for name in position.above:
            if name not in place:
                raise DataError("no such position", item=name, remedy="list it among the positions")
            above_PP[place[position.name], place[name]] = True
    for _ in positions:
        above_PP |= (above_PP.astype(np.int64) @ above_PP.astype(np.int64)) > 0
    if above_PP.diagonal().any():
        item = positions[int(above_PP.diagonal().argmax())].name
        raise DataError("is above itself", item=item, remedy="remove the circle")
    return above_PP

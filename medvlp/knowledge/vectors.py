"""Vectors of a graph's concepts, as ``medvlp vectors`` writes them and a run starts from them.

Shape legend: N concepts, R relations, X numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.io import atomic_folder, read_json, verify_manifest, write_json, write_manifest

FORMAT = "medvlp-vectors-1"
_FILE, _IDS = "vectors.safetensors", "ids.json"


@dataclass(frozen=True)
class EntityVectors:
    """One vector per concept and per relation.

    Attributes:
        ids: N concept ids.
        relations: R relation names.
        entity_NX: Vectors of concepts, float32; complex ones have their real parts first.
        relation_RY: Vectors of relations, float32.
        header: What the manifest says of how they came about; empty before they are saved.
    """

    ids: tuple[str, ...]
    relations: tuple[str, ...]
    entity_NX: NDArray[np.float32]
    relation_RY: NDArray[np.float32]
    header: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, ids, vectors in (("ids", self.ids, self.entity_NX), ("relations", self.relations, self.relation_RY)):
            if vectors.ndim != 2 or len(vectors) != len(ids) or len(set(ids)) != len(ids):
                raise DataError(f"{vectors.shape} vectors for {len(set(ids))} different {name}", item=name)
            if not np.isfinite(vectors).all():
                raise DataError("a vector is not finite", item=name, remedy="train them with a lower rate")

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id, -1 for one that has no vector."""
        row = {concept: number for number, concept in enumerate(self.ids)}
        return np.array([row.get(concept, -1) for concept in ids], dtype=np.int64)

    def save(
        self, folder: Path, header: Mapping[str, Any], scores: Mapping[str, Any], *, replace: bool = False
    ) -> Path:
        """Write a folder that :meth:`load` reads, with ``scores.json``; it appears whole or not at all."""
        from safetensors.numpy import save_file

        with atomic_folder(folder, replace=replace) as partial:
            save_file({"entity": self.entity_NX, "relation": self.relation_RY}, partial / _FILE)
            write_json(partial / _IDS, {"entities": list(self.ids), "relations": list(self.relations)})
            write_json(partial / "scores.json", dict(scores))
            write_manifest(partial, {**header, "format": FORMAT})
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> EntityVectors:
        """Read a folder.

        Raises:
            DataError: If it is none, a file is altered, or vectors and ids do not fit.
        """
        from safetensors.numpy import load_file

        folder = Path(folder)
        if not (folder / _FILE).is_file():
            raise DataError("holds no entity vectors", item=folder, remedy="make them with `medvlp vectors`")
        header = verify_manifest(folder, DataError)
        if header.get("format") != FORMAT:
            raise DataError(f"is not of format {FORMAT}", item=folder, remedy="make it with `medvlp vectors`")
        ids, tensors = read_json(folder / _IDS), load_file(folder / _FILE)
        return cls(tuple(ids["entities"]), tuple(ids["relations"]), tensors["entity"], tensors["relation"], header)

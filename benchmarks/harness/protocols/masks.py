"""Which image shows which class where: masks beside a pairs store, of simulated scenes or listed in a table.

Shape legend: H, W pixels of a mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp.data.tables import read_table
from medvlp.errors import DataError
from medvlp.io import sha256_json

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore

TABLE = "masks.csv"
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """One class in one image.

    Attributes:
        row: Row of the image in its split.
        key: Key of the image.
        case: Its case.
        label: The class.
        mask: True where it is, (H, W).
    """

    row: int
    key: str
    case: str
    label: str
    mask: Mask

    @property
    def digest(self) -> str:
        """Sha256 of key, class and mask."""
        return sha256_json(
            [self.key, self.case, self.label, list(self.mask.shape), hashlib.sha256(self.mask.tobytes()).hexdigest()]
        )


def read_masks(folder: Path, store: PairsStore) -> dict[tuple[str, str], Mask]:
    """Return the mask of every (key, class).

    Args:
        folder: A store of simulated scenes, or a folder with ``masks.csv``: columns key, label, file (an image in that
            folder, marked where it is not black).
        store: The images; a key that is not among them is an error.

    Raises:
        DataError: If the folder holds neither, a row repeats or names no image, or a file cannot be read.
    """
    if (folder / TABLE).is_file():
        found = _listed(folder)
    else:
        from data_prep.simulation import side_files

        scenes = side_files.read_scenes(folder)
        labels = {finding["kind"]: finding["label"] for scene in scenes for finding in scene["findings"]}
        found = {(key, labels[kind]): mask for (key, kind), mask in side_files.read_masks(folder).items()}
    known = {key for name in ("train", "dev", "test") for key in store.split(name).keys}
    for key, label in found:
        if key not in known:
            raise DataError(
                "has a mask and no image in the store", item=f"{key} ({label})", remedy="give its own masks"
            )
    return found


def items_of(
    masks: Mapping[tuple[str, str], Mask], store: PairsStore, split: str, classes: Sequence[str], most: int | None
) -> list[Item]:
    """Return the marked classes of a split's images, in the order of keys; empty masks are left out.

    Args:
        masks: As :func:`read_masks` gives them.
        store: The images.
        split: Which split.
        classes: Classes to ask about.
        most: Draw at most so many, by a hash of key and class; None takes all.
    """
    part = store.split(split)
    place = {key: row for row, key in enumerate(part.keys)}
    cases = part.column("case")
    found = [
        Item(place[key], key, cases[place[key]], label, mask)
        for (key, label), mask in sorted(masks.items(), key=lambda entry: entry[0])
        if key in place and label in classes and mask.any()
    ]
    if most is not None and len(found) > most:
        kept = {item.digest for item in sorted(found, key=lambda item: item.digest)[:most]}
        found = [item for item in found if item.digest in kept]
    return found


def _listed(folder: Path) -> dict[tuple[str, str], Mask]:
    table = read_table(folder / TABLE)
    for name in ("key", "label", "file"):
        if name not in table.column_names:
            raise DataError(f'has no column "{name}"', item=folder / TABLE, remedy="columns: key, label, file")
    out: dict[tuple[str, str], Mask] = {}
    rows = zip(*(table.column(name).to_pylist() for name in ("key", "label", "file")), strict=True)
    for number, (key, label, file) in enumerate(rows, 2):
        pair = (str(key), str(label))
        if pair in out:
            raise DataError("key and label occur twice", item=f"{TABLE}:{number}", remedy="join the masks")
        path = folder / str(file)
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(
                "lies outside the folder", item=f"{TABLE}:{number}", remedy="put the masks beside the table"
            )
        try:
            with Image.open(path) as image:
                out[pair] = np.asarray(image.convert("L")) > 0
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"is no readable mask ({type(error).__name__})", item=path, remedy="write a PNG") from None
    return out

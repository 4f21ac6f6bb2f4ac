"""Reads what two sides hold: a pairs store, a folder of images, a table with image, case and caption columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from benchmarks.leaks.images import Prints, take_prints
from benchmarks.leaks.report import Side
from medvlp.data.image import SUFFIXES, read_image
from medvlp.data.pairs import SPLITS, PairsSplit, PairsStore
from medvlp.data.tables import read_table
from medvlp.errors import DataError
from medvlp.io import MANIFEST
from medvlp.ledger import Ledger

COLUMNS = {
    "key": ("key",),
    "image": ("image", "file"),
    "case": ("case", "patient"),
    "caption": ("caption", "text"),
}
MADE_FROM_CLASSES = ("class-template", "name")  # equal in every split on purpose


def sides_of_store(folder: Path) -> list[Side]:
    """Return the splits of a pairs store that hold rows.

    Raises:
        DataError: If it is no pairs store, or fewer than two splits hold rows.
    """
    store = PairsStore.load(folder)
    splits = [split for split in map(store.split, SPLITS) if len(split) > 0]
    if len(splits) < 2:
        raise DataError("only one split holds rows", item=folder, remedy="name a second store, folder or table")
    return [_side_of_splits(split.name, [split]) for split in splits]


def read_side(path: Path, name: str) -> Side:
    """Read a pairs store (all its rows), a folder of images (searched with its subfolders), or a table.

    Args:
        path: Store, folder, or .csv, .tsv or .parquet with columns among :data:`COLUMNS`; images lie beside the table.
        name: What the report calls this side.

    Raises:
        DataError: If there is nothing to compare: no such path, no readable image, no known column, a repeated key.
    """
    if (path / MANIFEST).is_file():
        store = PairsStore.load(path)
        return _side_of_splits(name, [store.split(split) for split in SPLITS])
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise DataError("holds no images", item=path, remedy="name a folder of images")
        prints, unreadable = _prints_of_files({file.relative_to(path).as_posix(): file for file in files}, path)
        return Side(name, prints, unreadable=unreadable)
    return _side_of_table(path, name)


def _side_of_splits(name: str, splits: Sequence[PairsSplit]) -> Side:
    def images() -> Iterator[tuple[str, Image.Image]]:
        for split in splits:
            for pair in split:
                yield pair.key, pair.image

    cases: list[tuple[str, str]] = []
    captions: list[tuple[str, str]] = []
    for split in splits:
        cases += zip(split.keys, split.column("case"), strict=True)
        for key, texts in zip(split.keys, split.column("texts"), strict=True):
            captions += [(key, text.text) for text in texts if text.aspect not in MADE_FROM_CLASSES]
    return Side(name, take_prints(images()), cases, captions)


def _side_of_table(path: Path, name: str) -> Side:
    table = read_table(path)
    found = {
        kind: next((column for column in names if column in table.column_names), None)
        for kind, names in COLUMNS.items()
    }
    if found["key"] is None and found["image"] is None:
        known = ", ".join(column for names in COLUMNS.values() for column in names)
        raise DataError("has neither a key nor an image column", item=path, remedy=f"known columns: {known}")
    values = {
        kind: [None if cell is None else str(cell).strip() for cell in table.column(column).to_pylist()]
        for kind, column in found.items()
        if column is not None
    }
    keys = values.get("key") or values["image"]
    for row, key in enumerate(keys):
        if not key:
            raise DataError("has no key", item=f"{path} row {row + 2}", remedy="give every row its own key")
    seen = set[str]()
    for key in map(str, keys):
        if key in seen:
            raise DataError("the key occurs twice", item=key, remedy="give every row its own key")
        seen.add(key)

    def column(kind: str) -> list[tuple[str, str]] | None:
        cells = values.get(kind)
        return None if cells is None else [(str(key), cell) for key, cell in zip(keys, cells, strict=True) if cell]

    files = column("image")
    prints, unreadable = None, 0
    if files is not None:
        prints, unreadable = _prints_of_files({key: path.parent / file for key, file in files}, path)
    return Side(name, prints, column("case"), column("caption"), unreadable)


def _prints_of_files(files: dict[str, Path], item: Path) -> tuple[Prints, int]:
    """Fingerprints of the readable files, and how many are not."""
    ledger = Ledger()

    def images() -> Iterator[tuple[str, Image.Image]]:
        for key, file in files.items():
            try:
                yield key, read_image(file)
            except DataError as error:
                ledger.drop(key, error.problem)

    prints = take_prints(images())
    if len(prints) == 0:
        reason = f" ({next(iter(ledger.dropped))})" if ledger.dropped else ""
        raise DataError(f"no image can be read{reason}", item=item, remedy="check the files")
    return prints, sum(ledger.dropped.values())

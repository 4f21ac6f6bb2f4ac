"""From a source's configuration to the list of its images, before any of them is read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.pairs.config import Captions, ClassFolders, FolderCsv, PackagedNuclei, PairsConfig
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.tables import Row, read_label_names, read_table, require_columns
from medvlp.config import resolve_path
from medvlp.data.image import SUFFIXES
from medvlp.errors import DataError
from medvlp.io import sha256_file

SPLIT_NAMES = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "development": "dev", "tune": "dev", "test": "test", "testing": "test",
}  # fmt: skip


def list_items(config: PairsConfig) -> Listing:
    """List what the configured source holds.

    Raises:
        DataError: A missing folder, table or column, a repeated image, an unknown split, a path outside the folder.
    """
    source = config.source
    if isinstance(source, PackagedNuclei):
        from data_prep.pairs.nuclei import list_nuclei

        listing = list_nuclei(source, config.split)
    elif isinstance(source, ClassFolders):
        listing = _class_folders(source)
    else:
        listing = _folder_csv(source.as_folder_csv() if isinstance(source, Captions) else source)
    _check_classes(config, sorted({item.label for item in listing.items if item.label is not None}))
    return listing


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _folder(value: str) -> Path:
    folder = resolve_path(value)
    if not folder.is_dir():
        raise DataError("folder not found", item=folder, remedy="check source.images")
    return folder


def _class_folders(source: ClassFolders) -> Listing:
    root = _folder(source.images)
    items = [
        Item(key=f"{folder.name}/{path.name}", path=path, label=folder.name)
        for folder in sorted(entry for entry in root.iterdir() if entry.is_dir())
        for path in image_files(folder)
    ]
    if not items:
        raise DataError("no class folder with images", item=root, remedy="use one sub-folder per class")
    return Listing(items)


def _folder_csv(source: FolderCsv) -> Listing:
    root, table = _folder(source.images), resolve_path(source.table)
    rows = read_table(table, source.encoding)
    columns = source.columns
    optional = [columns.label, columns.split, columns.case, columns.group]
    named = [column for column in optional if column is not None]
    require_columns(table, rows, [columns.image, *named, *columns.captions, *source.where])
    listing = Listing([], sources={table.name: sha256_file(table)}, has_free_text=bool(columns.captions))
    if source.label_names is not None:
        names = resolve_path(source.label_names)
        listing.label_names = read_label_names(names)
        listing.sources[names.name] = sha256_file(names)
    by_key: dict[str, Item] = {}
    for row in rows:
        if any(row[column] not in values for column, values in source.where.items()):
            listing.notes["rows left out by source.where"] = listing.notes.get("rows left out by source.where", 0) + 1
            continue
        item = _item(row, source, root, table)
        known = by_key.get(item.key)
        if known is None:
            by_key[item.key] = item
        elif source.duplicates == "error":
            raise DataError(
                "the image occurs in two rows", item=item.key, remedy="remove one or set source.duplicates: merge"
            )
        else:
            _merge(known, item)
            listing.notes["rows merged into one image"] = listing.notes.get("rows merged into one image", 0) + 1
    listing.items = list(by_key.values())
    if not listing.items:
        raise DataError("no row is left", item=table, remedy="check source.where")
    return listing


def _item(row: Row, source: FolderCsv, root: Path, table: Path) -> Item:
    columns = source.columns

    def value(column: str | None) -> str | None:
        text = row[column].strip() if column is not None else ""
        return text if text != "" else None

    name = row[columns.image].strip()
    if name == "":
        raise DataError("a row names no image", item=table, remedy=f"fill the column {columns.image!r}")
    key = file_name(name, source.image_pattern)
    path = Path(os.path.normpath(root / key))
    if not path.is_relative_to(Path(os.path.normpath(root))):
        raise DataError("lies outside the image folder", item=key, remedy="use paths below source.images")
    split = value(columns.split)
    if split is not None:
        if split.lower() not in SPLIT_NAMES:
            raise DataError(
                f"unknown split {split!r}", item=key, remedy="use train, dev or test, or leave columns.split out"
            )
        split = SPLIT_NAMES[split.lower()]
    elif columns.split is not None:
        raise DataError("has no split", item=key, remedy=f"fill the column {columns.split!r} in every row")
    texts = [" ".join(row[column].split()) for column in columns.captions]
    return Item(
        key=key,
        path=path,
        label=value(columns.label),
        texts=list(dict.fromkeys(text for text in texts if text != "")),
        split=split,
        case=value(columns.case),
        group=value(columns.group),
    )


def file_name(name: str, pattern: str | None) -> str:
    """Fill a pattern: ``{}`` takes the text, ``{:03d}`` the number with leading zeros."""
    if pattern is None:
        return name
    before, opening, rest = pattern.partition("{")
    spec, closing, after = rest.partition("}")
    if not opening or not closing or spec not in ("", *(f":0{width}d" for width in range(1, 10))):
        raise DataError(
            f"{pattern!r} is not usable", item="source.image_pattern", remedy="use '{}.png' or '{:03d}.png'"
        )
    if spec == "":
        return before + name + after
    if not name.isdigit():
        raise DataError("is not a number", item=name, remedy="use {} in source.image_pattern")
    return before + name.zfill(int(spec[2])) + after


def _merge(known: Item, other: Item) -> None:
    for field in ("label", "split", "case", "group"):
        first, second = getattr(known, field), getattr(other, field)
        if first is not None and second is not None and first != second:
            raise DataError(f"two rows disagree on its {field}", item=known.key, remedy="correct the table")
        setattr(known, field, first if first is not None else second)
    known.texts = list(dict.fromkeys([*known.texts, *other.texts]))


def _check_classes(config: PairsConfig, labels: Sequence[str]) -> None:
    """Refuse a class of the configuration that no image has."""
    for label in config.classes:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=1, cutoff=0.4)
            raise DataError(
                f"no image has the label {label!r}",
                item="classes",
                remedy=f"did you mean {near[0]!r}?" if near else f"labels are {', '.join(labels) or 'absent'}",
            )

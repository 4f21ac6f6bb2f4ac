"""From a source's configuration to the list of its images, before any of them is read."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.pairs.config import Captions, FolderCsv, PackagedNuclei, PairsConfig
from data_prep.pairs.dicom_folder import DicomFolder, list_dicom
from data_prep.pairs.folders import ClassFolders, TextFiles, folder_of, list_class_folders, list_text_files
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.medmnist_sets import MedMnist, list_medmnist
from data_prep.pairs.shards import WebDataset, list_shards
from data_prep.pairs.split import given_split
from data_prep.pairs.standard.dermatology import DermatologySource, list_dermatology
from data_prep.pairs.standard.pathology import PathologySource, list_pathology
from data_prep.pairs.standard.radiology import RadiologySource, list_radiology
from data_prep.pairs.tables import Row, read_label_names, read_table, require_columns
from medvlp.config import resolve_path
from medvlp.data.pairs import Text
from medvlp.errors import DataError
from medvlp.io import sha256_file


def list_items(config: PairsConfig, already_deidentified: bool = False) -> Listing:
    """List what the configured source holds; of DICOM folders under pseudonyms unless ``already_deidentified``.

    Raises:
        DataError: A missing folder, table or column, a repeated image, an unknown split, a path outside the folder.
    """
    source = config.source
    if isinstance(source, PackagedNuclei):
        from data_prep.pairs.nuclei import list_nuclei

        listing = list_nuclei(source, config.split)
    elif isinstance(source, ClassFolders):
        listing = list_class_folders(source)
    elif isinstance(source, TextFiles):
        listing = list_text_files(source)
    elif isinstance(source, DicomFolder):
        listing = list_dicom(source, already_deidentified)
    elif isinstance(source, WebDataset):
        listing = list_shards(source)
    elif isinstance(source, MedMnist):
        listing = list_medmnist(source)
    elif isinstance(source, RadiologySource):
        listing = list_radiology(source)
    elif isinstance(source, DermatologySource):
        listing = list_dermatology(source)
    elif isinstance(source, PathologySource):
        listing = list_pathology(source)
    else:
        listing = _folder_csv(source.as_folder_csv() if isinstance(source, Captions) else source)
    _check_classes(config, sorted({label for item in listing.items for label in item.all_labels}))
    return listing


def _folder_csv(source: FolderCsv) -> Listing:
    root, table = folder_of(source.images), resolve_path(source.table)
    rows = read_table(table, source.encoding)
    columns = source.columns
    optional = [columns.label, columns.split, columns.case, columns.group]
    named = [column for column in optional if column is not None]
    require_columns(table, rows, [columns.image, *named, *columns.captions, *source.where])
    listing = Listing([], sources={table.name: sha256_file(table)})
    if source.label_names is not None:
        names = resolve_path(source.label_names)
        listing.label_names = read_label_names(names)
        listing.sources[names.name] = sha256_file(names)
    by_key: dict[str, Item] = {}
    for row in rows:
        if any(row[column] not in values for column, values in source.where.items()):
            listing.note("rows left out by source.where")
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
            listing.note("rows merged into one image")
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
        split = given_split(split, key)
    elif columns.split is not None:
        raise DataError("has no split", item=key, remedy=f"fill the column {columns.split!r} in every row")
    texts = [" ".join(row[column].split()) for column in columns.captions]
    label, several = value(columns.label), []
    if label is not None and columns.label_separator is not None:
        parts = [part.strip() for part in label.split(columns.label_separator)]
        label, several = None, list(dict.fromkeys(part for part in parts if part))
    return Item(
        key=key,
        path=path,
        label=label,
        labels=several,
        texts=[Text(text) for text in dict.fromkeys(texts) if text != ""],
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
    known.labels = list(dict.fromkeys([*known.labels, *other.labels]))
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

"""The images slides are made of: listed, put into cases, split so that no two alike are in different parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.pairs.groups import fingerprint, join, near_duplicate_images, same_key
from data_prep.pairs.split import draw_splits
from data_prep.pairs.tables import read_table, require_columns
from data_prep.planted.config import PlantedSlidesConfig, TileSource
from medvlp.config import resolve_path
from medvlp.data.image import read_image
from medvlp.errors import DataError

SAME_IMAGE = 0.95
TURNS = 8


@dataclass(frozen=True)
class TileImage:
    """One image.

    Attributes:
        key: Source and path in it.
        path: The file.
        name: Its class, as texts call it.
        magnification: As the source states it.
        split: train, dev or test.
        case: Images that are kept together: numbers that follow each other, and near copies.
    """

    key: str
    path: Path
    name: str
    magnification: str
    split: str
    case: str


def list_images(config: PlantedSlidesConfig) -> list[TileImage]:
    """List every image of every class with its split.

    Two images are one case if their numbers lie in one block of their class, or if one is a near copy of the other,
    also turned by quarters or mirrored. A copy turned by another angle is not recognised.

    Raises:
        DataError: If a table or column is missing, a class has no image in a part, or two magnifications would meet
            on a slide.
    """
    found: list[tuple[str, Path, str, str, str | None]] = []
    for name, entry in config.classes.items():
        source = config.sources[entry.source]
        for row in _rows(source):
            if row[source.label] != entry.label:
                continue
            file = row[source.file]
            magnification = source.stated if source.magnification is None else row[source.magnification]
            block = _block(source, file, f"{name}/{magnification}")
            found.append((f"{entry.source}/{file}", resolve_path(source.images) / file, name, magnification, block))
    found.sort(key=lambda item: item[0])
    if len({item[0] for item in found}) != len(found):
        raise DataError("an image is listed twice", item="sources", remedy="give each image one class and one row")
    names = [item[2] for item in found]
    _one_magnification(config, {name: {item[3] for item in found if item[2] == name} for name in config.classes})
    copies = near_copies([item[1] for item in found])
    case_N = join(same_key([item[4] for item in found]), copies)
    cases = [f"case-{number:04d}" for number in case_N.tolist()]
    splits = draw_splits(cases, names, config.split.fractions, config.split.seed)
    images = [
        TileImage(key, path, name, magnification, split, case)
        for (key, path, name, magnification, _), split, case in zip(found, splits, cases, strict=True)
    ]
    wanted = ["train", "test"] + (["dev"] if config.slides.dev else [])
    for name in config.classes:
        for split in wanted:
            if not any(image.name == name and image.split == split for image in images):
                raise DataError(
                    f"no image of {name!r} in the {split} part", item="split", remedy="change split, block or seed"
                )
    return images


def near_copies(paths: Sequence[Path]) -> NDArray[np.int64]:
    """Cluster images that are near copies, also turned by quarters or mirrored. Returns int64 (N,)."""
    pictures = [read_image(path) for path in paths]
    embedding = np.concatenate(
        [
            np.stack([fingerprint(Image.fromarray(turned(np.asarray(picture), turn))) for picture in pictures])
            for turn in range(TURNS)
        ]
    )
    clusters = near_duplicate_images(embedding, SAME_IMAGE)
    return join(clusters, np.tile(np.arange(len(paths)), TURNS))[: len(paths)]


def turned(image_HWC: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Turn by ``turn % 4`` quarters; mirrored first from 4 on."""
    out = image_HWC[:, ::-1] if turn >= 4 else image_HWC
    return np.ascontiguousarray(np.rot90(out, turn % 4))


def read_cell(path: Path, side: int) -> NDArray[np.uint8]:
    """Read an image as uint8 (side, side, 3)."""
    image = read_image(path)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
    return np.asarray(image)


def _rows(source: TileSource) -> list[dict[str, str]]:
    table = resolve_path(source.table)
    rows = read_table(table)
    columns = [source.file, source.label, *source.where]
    require_columns(table, rows, columns + ([source.magnification] if source.magnification else []))
    return [row for row in rows if all(row[column] in values for column, values in source.where.items())]


def _block(source: TileSource, file: str, series: str) -> str | None:
    if source.number is None:
        return None
    match = re.search(source.number, file)
    if match is None or not match[1].isdigit():
        raise DataError("its name holds no number", item=file, remedy="correct `number` of its source")
    return f"{series}/{int(match[1]) // source.block}"


def _one_magnification(config: PlantedSlidesConfig, found: dict[str, set[str]]) -> None:
    for tumour in config.tumours:
        together = [tumour, *config.classes[tumour].beside]
        values = sorted(set().union(*(found[name] for name in together)))
        if len(values) > 1:
            raise DataError(
                f"slides would mix magnifications {' and '.join(values)}",
                item=tumour,
                remedy="keep one with `where` of the source",
            )

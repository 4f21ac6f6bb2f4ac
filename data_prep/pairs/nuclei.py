"""Real labelled images that every machine can install: crops around nuclei of two packaged H&E fields.

Each 1500 x 1500 field (ovarian carcinoma) is cut into square regions, and whole regions are drawn into splits.
A crop that reaches into a region of another split is left out, so no pixel is in two splits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.pairs.config import PackagedNuclei, SplitConfig
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import draw_splits
from medvlp.data.image import read_image
from medvlp.errors import DataError
from medvlp.io import package_file, sha256_file

PACKAGE = "histolytics"
FILES = {
    "nest": ("hgsc_nest.jpg", "hgsc_nest.parquet"),
    "stroma": ("hgsc_stromal_he.jpg", "hgsc_stromal_cells.parquet"),
}


def list_nuclei(source: PackagedNuclei, split: SplitConfig) -> Listing:
    """List one crop per nucleus; its region is its case and decides its split.

    Args:
        source: Fields, crop size, region size.
        split: Shares and seed; regions are drawn balanced by class.
    """
    import pyarrow.parquet

    listing = Listing([])
    boxes: list[tuple[int, int, int, int]] = []
    for field in source.fields:
        image_path, polygons_path = (package_file(PACKAGE, "data", name) for name in FILES[field])
        listing.sources |= {path.name: sha256_file(path) for path in (image_path, polygons_path)}
        width, height = _field(image_path).size
        table = pyarrow.parquet.read_table(polygons_path, columns=["geometry", "class_name"])
        for index, (polygon, label) in enumerate(zip(*(column.to_pylist() for column in table.columns), strict=True)):
            x, y = polygon_centroid(polygon)
            left, top = round(x - source.crop / 2), round(y - source.crop / 2)
            box = (left, top, left + source.crop, top + source.crop)
            if left < 0 or top < 0 or box[2] > width or box[3] > height:
                listing.dropped.append((f"{field}-{index:05d}", "crop leaves the field"))
                continue
            boxes.append(box)
            case = _region(field, x, y, source.tile)
            item = Item(key=f"{field}-{index:05d}", load=_cropper(image_path, box), label=label, case=case)
            listing.items.append(item)
    cases = [item.case for item in listing.items if item.case is not None]
    splits = draw_splits(cases, [item.label for item in listing.items], split.fractions, split.seed)
    split_of_region = dict(zip(cases, splits, strict=True))
    kept = []
    for item, box, name in zip(listing.items, boxes, splits, strict=True):
        owner = item.key.split("-")[0]
        if any(split_of_region.get(region) != name for region in _regions(owner, box, source.tile)):
            listing.dropped.append((item.key, "crop reaches into another split"))
            continue
        item.split = name
        kept.append(item)
    listing.items = kept
    return listing


def _region(field: str, x: float, y: float, tile: int) -> str:
    return f"{field}-{int(x) // tile}-{int(y) // tile}"


def _regions(field: str, box: tuple[int, int, int, int], tile: int) -> set[str]:
    """Every region a crop has a pixel in."""
    left, top, right, bottom = box
    columns = range(left // tile, (right - 1) // tile + 1)
    return {f"{field}-{column}-{row}" for column in columns for row in range(top // tile, (bottom - 1) // tile + 1)}


def polygon_centroid(wkb: bytes) -> tuple[float, float]:
    """Centre of area (x, y) of a polygon's outer ring, from little-endian well-known binary.

    Raises:
        DataError: If it is no such polygon.
    """
    if len(wkb) < 13 or struct.unpack_from("<BI", wkb) != (1, 3):
        raise DataError("geometry is not a little-endian WKB polygon", item=PACKAGE)
    num_rings, num_points = struct.unpack_from("<II", wkb, 5)
    if num_rings < 1 or num_points < 3 or len(wkb) < 13 + 16 * num_points:
        raise DataError("geometry is truncated", item=PACKAGE)
    ring = np.frombuffer(wkb, dtype="<f8", count=2 * num_points, offset=13).reshape(-1, 2)
    origin = ring[0]
    a, b = ring[:-1] - origin, ring[1:] - origin
    cross = a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]
    area = cross.sum() / 2
    centre = ring.mean(axis=0) if area == 0 else origin + ((a + b) * cross[:, None]).sum(axis=0) / (6 * area)
    return float(centre[0]), float(centre[1])


@lru_cache(maxsize=2)
def _field(path: Path) -> Image.Image:
    return read_image(path)


def _cropper(path: Path, box: tuple[int, int, int, int]) -> Callable[[], Image.Image]:
    return lambda: _field(path).crop(box)

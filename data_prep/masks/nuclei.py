"""The two packaged H&E fields as images with label masks: every nucleus outline filled with its class number.

Each 1500 x 1500 field (ovarian carcinoma) is cut into square regions; a region is one image and lies in one split, so
no pixel is in two splits. Outlines that cross a border are cut there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_prep.pairs.nuclei import FILES, PACKAGE
from medvlp.data.image import read_image
from medvlp.errors import DataError
from medvlp.io import atomic_folder, package_file, sha256_file, write_manifest

CLASSES = ("background", "connective", "inflammatory", "neoplastic")
FORMAT = "medvlp-masks-1"
SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}


def write_nuclei(out: Path, *, tile: int = 300, seed: int = 0, overwrite: bool = False) -> Path:
    """Write ``images/SPLIT/NAME.png`` and ``masks/SPLIT/NAME.png`` for every region, and a manifest.

    Args:
        out: Folder to create; appears whole or not at all.
        tile: Side of a region in pixels.
        seed: Decides which regions are in which split; shares are 60, 20 and 20 % of each field.
        overwrite: Replace an existing folder.

    Raises:
        DataError: If ``out`` exists, or the package's outlines are damaged.
        MissingExtraError: If the data package is not installed.
    """
    counts = dict.fromkeys(SHARES, 0)
    sources = {}
    with atomic_folder(out, replace=overwrite) as partial:
        for kind in ("images", "masks"):
            for split in SHARES:
                (partial / kind / split).mkdir(parents=True)
        for number, (field, names) in enumerate(sorted(FILES.items())):
            image_path, outlines_path = (package_file(PACKAGE, "data", name) for name in names)
            sources |= {path.name: sha256_file(path) for path in (image_path, outlines_path)}
            image = read_image(image_path)
            mask = rasterise(outlines(outlines_path), image.size)
            boxes = list(_boxes(image.size, tile))
            order = np.random.default_rng([seed, number]).permutation(len(boxes))
            edges = np.round(np.cumsum([SHARES["train"], SHARES["dev"]]) * len(boxes))
            for place, index in enumerate(order):
                split = list(SHARES)[int((place >= edges).sum())]
                box = boxes[index]
                name = f"{field}-{box[0]:04d}-{box[1]:04d}.png"
                image.crop(box).save(partial / "images" / split / name)
                mask.crop(box).save(partial / "masks" / split / name)
                counts[split] += 1
        header = {"classes": list(CLASSES), "num_images": counts, "tile": tile, "seed": seed, "sources": sources}
        write_manifest(partial, {"format": FORMAT, **header})
    return out


def rasterise(found: Iterator[tuple[str, list[np.ndarray]]], size: tuple[int, int]) -> Image.Image:
    """Fill outlines with their class numbers; holes stay background, later outlines lie on top."""
    mask = Image.new("L", size, 0)
    for label, rings in found:
        shape = Image.new("1", size, 0)
        pen = ImageDraw.Draw(shape)
        for place, ring in enumerate(rings):
            pen.polygon([(float(x), float(y)) for x, y in ring], fill=1 if place == 0 else 0)
        box = shape.getbbox()
        if box is not None:
            mask.paste(CLASSES.index(label), box, shape.crop(box))
    return mask


def outlines(path: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield class and rings, in pixels (x, y), of every nucleus.

    Raises:
        DataError: If a class is unknown or an outline is damaged.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=["geometry", "class_name"])
    for polygon, label in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if label not in CLASSES:
            raise DataError(f"class {label!r} is not one of {', '.join(CLASSES)}", item=path)
        yield label, polygon_rings(polygon)


def polygon_rings(wkb: bytes) -> list[np.ndarray]:
    """Return the rings (P, 2) of a polygon in little-endian well-known binary, the outer one first.

    Raises:
        DataError: If it is no such polygon, or is cut off.
    """
    try:
        order, kind, num_rings = struct.unpack_from("<BII", wkb)
        if (order, kind) != (1, 3):
            raise DataError("geometry is not a little-endian WKB polygon", item=PACKAGE)
        rings, offset = [], 9
        for _ in range(num_rings):
            (num_points,) = struct.unpack_from("<I", wkb, offset)
            ring = np.frombuffer(wkb, dtype="<f8", count=2 * num_points, offset=offset + 4).reshape(-1, 2)
            rings.append(ring)
            offset += 4 + 16 * num_points
    except (struct.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("geometry is truncated", item=PACKAGE) from None
    return rings


def _boxes(size: tuple[int, int], tile: int) -> Iterator[tuple[int, int, int, int]]:
    """Whole regions only: what is left at the right and below is not used."""
    for top in range(0, size[1] - tile + 1, tile):
        for left in range(0, size[0] - tile + 1, tile):
            yield left, top, left + tile, top + tile

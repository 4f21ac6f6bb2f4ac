"""Slides for tests: pyramids written with tifffile from a packaged H&E crop or from drawn discs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def he_crop(left: int = 0, top: int = 0, width: int = 1024, height: int = 768) -> np.ndarray:
    """Return uint8 (height, width, 3) of a real H&E field of 1500 x 1500 px; skips without the data package."""
    if importlib.util.find_spec("histolytics") is None:
        pytest.skip("the data package histolytics is not installed")
    from medvlp.io import package_file

    with Image.open(package_file("histolytics", "data", "hgsc_nest.jpg")) as image:
        return np.asarray(image.convert("RGB").crop((left, top, left + width, top + height)))


def discs(width: int, height: int, centres: list[tuple[int, int, int]], colour: tuple[int, int, int] = (170, 90, 160)):
    """Return uint8 (height, width, 3): glass (243 of 255, grey) with discs (x, y, radius) of one colour."""
    rgb = np.full((height, width, 3), 243, dtype=np.uint8)
    y_hw, x_hw = np.mgrid[:height, :width]
    for x, y, radius in centres:
        rgb[(x_hw - x) ** 2 + (y_hw - y) ** 2 <= radius**2] = colour
    return rgb


def halved(rgb: np.ndarray) -> np.ndarray:
    """Return the image at half size by the mean of 2 x 2 pixels, rounded; odd rows and columns are cut."""
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    blocks = rgb[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).astype(np.float64)
    return np.floor(blocks.mean((1, 3)) + 0.5).astype(np.uint8)


def write_pyramid(
    path: Path,
    rgb: np.ndarray,
    mpp: float | None = 0.5,
    levels: int = 3,
    *,
    tile: int = 256,
    compression: str | None = "deflate",
    ome: bool = False,
    subifds: bool | None = None,
    resolution: tuple[float, float] | None = None,
    unit: str = "CENTIMETER",
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write a tiled TIFF pyramid, each level half the one before.

    Args:
        path: The file; an OME-TIFF's name must end in .ome.tif.
        rgb: uint8 (height, width, 3), level 0.
        mpp: Micrometres per level-0 pixel; None writes no resolution.
        levels: How many levels.
        tile: Side of a stored tile.
        compression: What tifffile calls it: "deflate", "jpeg", None.
        ome: Write OME metadata (PhysicalSizeX, Y) instead of the resolution tags.
        subifds: Hang the smaller levels below the first page, as OME does; by default only with ``ome``.
        resolution: Pixels per unit along x and y, instead of ``mpp``.
        unit: Unit of the resolution tags.
        metadata: OME fields beside or instead of the sizes.
    """
    import tifffile

    below = ome if subifds is None else subifds
    options: dict[str, Any] = {"photometric": "rgb", "tile": (tile, tile), "compression": compression}
    if resolution is None and mpp is not None and not ome:
        resolution = (1e4 / mpp, 1e4 / mpp)
    if resolution is not None:
        options |= {"resolution": resolution, "resolutionunit": unit}
    fields: dict[str, Any] | None = None
    if ome:
        sizes = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
        fields = {"axes": "YXS", **sizes, **(metadata or {})}
    with tifffile.TiffWriter(path, bigtiff=False, ome=ome) as writer:
        writer.write(rgb, subifds=levels - 1 if below else 0, metadata=fields, **options)
        for _ in range(1, levels):
            rgb = halved(rgb)
            if resolution is not None:
                options["resolution"] = (options["resolution"][0] / 2, options["resolution"][1] / 2)
            writer.write(rgb, subfiletype=1, metadata=None, **options)
    return path

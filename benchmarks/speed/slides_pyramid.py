"""A large slide whose tissue is known: packaged H&E in irregular pieces on glass, with stain that varies.

Shape letters: h, w pixels; hwc with colour last. One cell is 16 level-0 pixels, a pixel of the smallest level.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp.errors import ConfigError
from medvlp.io import package_file, require

TILE, CELL, MPP = 256, 16, 0.5
PIECES = ((0.24, 0.28, 0.17, 1.0), (0.68, 0.22, 0.12, 0.75), (0.63, 0.66, 0.19, 1.25), (0.2, 0.75, 0.09, 0.9))
"""x, y and radius as shares of the side, and how strongly the piece is stained."""
HOLE = (0.66, 0.68, 0.045)
GLASS = 243


def field(side: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return, for each cell, how far inside tissue it lies (above 0 is tissue), and which piece is nearest.

    Args:
        side: Of the slide, level-0 pixels.
        seed: Draws the outlines.
    """
    rng = np.random.default_rng(seed)
    at = (np.arange(side // CELL) + 0.5) / (side // CELL)
    x, y = np.meshgrid(at, at)

    def blob(cx: float, cy: float, radius: float) -> NDArray[np.float64]:
        angle = np.arctan2(y - cy, x - cx)
        waves = ((k, rng.normal(0, 0.25 / k), rng.uniform(0, 2 * np.pi)) for k in range(2, 14))
        rim = 1.0 + sum(a * np.cos(k * angle + phase) for k, a, phase in waves)
        return radius * np.maximum(rim, 0.3) - np.hypot(x - cx, y - cy)

    inside = np.stack([blob(*piece[:3]) for piece in PIECES])
    nearest = inside.argmax(0)
    return np.minimum(inside.max(0), -blob(*HOLE)).astype(np.float32), nearest


def texture() -> NDArray[np.uint8]:
    """Return a field of packaged H&E with its mirror images, so that it can be repeated without seams."""
    with Image.open(package_file("histolytics", "data", "hgsc_nest.jpg")) as image:
        quarter = np.asarray(image.convert("RGB"))
    half = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    return np.concatenate([half, half[::-1]], axis=0)


def write_slide(path: Path, side: int, seed: int = 0) -> None:
    """Write a square slide of 0.5 um per pixel with levels 1, 4 and 16, JPEG in tiles of 256 px.

    Args:
        path: The file; a TIFF.
        side: Level-0 pixels, a multiple of 256.
        seed: Draws outlines and noise.

    Raises:
        ConfigError: For another side.
        MissingExtraError: Without the extra ``slides``, or the data package of the H&E field.
    """
    if side < TILE or side % TILE:
        raise ConfigError(f"{side} is not a multiple of {TILE}", item="side", remedy=f"choose {TILE * 125}")
    tifffile = require("tifffile", "slides")
    quarter_hwc = np.empty((side // 4, side // 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with tifffile.TiffWriter(unfinished, bigtiff=False) as writer:
        levels = (
            (_tiles(side, seed, quarter_hwc), (side, side, 3)),
            (quarter_hwc, quarter_hwc.shape),
            (None, (side // CELL, side // CELL, 3)),
        )
        for number, (pixels, shape) in enumerate(levels):
            scale = 1e4 / MPP / 4**number
            writer.write(
                _quartered(quarter_hwc) if pixels is None else pixels,
                shape=shape,
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",  # stored as YCbCr, as scanners do
                compression="jpeg",
                compressionargs={"level": 85},
                subsampling=(2, 2),
                subfiletype=int(number > 0),
                resolution=(scale, scale),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    os.replace(unfinished, path)


def _tiles(side: int, seed: int, quarter_hwc: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of level 0, row after row, and fill the next level with their means."""
    inside, piece = field(side, seed)
    rng = np.random.default_rng(seed)
    he = texture()
    period, cells = len(he), TILE // CELL
    stains = [np.round(255 * (np.arange(256) / 255) ** strength).astype(np.uint8) for *_, strength in PIECES]
    glass = np.clip(rng.normal(GLASS, 1.5, (TILE, TILE, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    padded = np.pad(inside, 1, mode="edge")
    for row in range(side // TILE):
        for column in range(side // TILE):
            top, left = row * cells, column * cells
            near = padded[top : top + cells + 2, left : left + cells + 2]
            tile = glass
            if near.max() > 0:
                tissue = _enlarged(near)[CELL:-CELL, CELL:-CELL] > 0
                ys, xs = ((np.arange(TILE) + TILE * at) % period for at in (row, column))
                stain = stains[piece[top + cells // 2, left + cells // 2]]
                tile = np.where(tissue[..., None], stain[he[np.ix_(ys, xs)]], glass)
            quarter_hwc[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = _quartered(tile)
            yield tile


def _quartered(rgb_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return means over 4 x 4 pixels."""
    height, width = rgb_hwc.shape[:2]
    blocks = rgb_hwc.reshape(height // 4, 4, width // 4, 4, 3)
    sums = blocks.sum(1, dtype=np.uint16).sum(2, dtype=np.uint16)
    return ((sums + 8) // 16).astype(np.uint8)


def _enlarged(near: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return cells as pixels, linear between the centres of cells."""
    size = near.shape[1] * CELL, near.shape[0] * CELL
    return np.asarray(Image.fromarray(near).resize(size, Image.Resampling.BILINEAR))

"""Pyramidal tiled TIFF that OpenSlide reads, written from bands so that level 0 is never whole in memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp.io import require

Pixels = NDArray[np.uint8]
TILE = 256
_BIG = 3_500_000_000  # raw bytes above which offsets may not fit into 32 bits
_UM_PER_CM = 10_000.0


def write_pyramid(
    path: Path,
    bands: Iterator[Pixels],
    size: tuple[int, int],
    mpp: float,
    levels: Sequence[int],
    compression: Literal["jpeg", "deflate"],
    quality: int,
) -> None:
    """Write one slide.

    Args:
        path: The file.
        bands: Level 0 from top to bottom, each (B, width, 3); B is a multiple of every level's factor.
        size: (width, height) of level 0.
        mpp: Micrometres per pixel to state, in x and y.
        levels: Downsampling of the further levels: means over squares of pixels.
        compression: ``jpeg`` (4:4:4) or ``deflate``.
        quality: Of JPEG tiles.

    Raises:
        MissingExtraError: If tifffile is not installed.
    """
    tifffile = require("tifffile", "slides")
    width, height = size
    reduced = {factor: np.empty((height // factor, width // factor, 3), dtype=np.uint8) for factor in levels}
    colour = {"photometric": "ycbcr", "subsampling": (1, 1)} if compression == "jpeg" else {"photometric": "rgb"}
    raw = width * height * 3
    with tifffile.TiffWriter(path, bigtiff=raw > _BIG) as writer:

        def page(tiles: Iterator[bytes], shape: tuple[int, int], factor: int) -> None:
            writer.write(
                tiles,
                shape=(*shape, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression="jpeg" if compression == "jpeg" else "adobe_deflate",
                subfiletype=int(factor > 1),
                resolution=(_UM_PER_CM / (mpp * factor),) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
                **colour,
            )

        page(_encoded(_stripes(_noting(bands, reduced), width), compression, quality), (height, width), 1)
        for factor, level in reduced.items():
            page(
                _encoded(_stripes(iter([level]), level.shape[1]), compression, quality),
                (level.shape[0], level.shape[1]),
                factor,
            )


def shrink(band: Pixels, factor: int) -> Pixels:
    """Mean over squares of ``factor`` pixels, rounded to nearest."""
    rows, columns, channels = band.shape
    squares = band.reshape(rows // factor, factor, columns // factor, factor, channels)
    total = squares.sum((1, 3), dtype=np.uint32)
    return ((2 * total + factor**2) // (2 * factor**2)).astype(np.uint8)


def _noting(bands: Iterator[Pixels], reduced: dict[int, Pixels]) -> Iterator[Pixels]:
    """Pass the bands on and fill the further levels meanwhile."""
    top = 0
    for band in bands:
        for factor, level in reduced.items():
            small = shrink(band, factor)
            level[top // factor : top // factor + len(small)] = small
        top += len(band)
        yield band


def _stripes(bands: Iterator[Pixels], width: int) -> Iterator[Pixels]:
    """Cut bands of any height into stripes of one tile; the last may be lower."""
    held = np.empty((0, width, 3), dtype=np.uint8)
    for band in bands:
        held = np.concatenate([held, band])
        while len(held) >= TILE:
            yield held[:TILE]
            held = held[TILE:]
    if len(held):
        yield held


def _encoded(stripes: Iterator[Pixels], compression: str, quality: int) -> Iterator[bytes]:
    for stripe in stripes:
        for left in range(0, stripe.shape[1], TILE):
            piece = stripe[:, left : left + TILE]
            below, right = TILE - piece.shape[0], TILE - piece.shape[1]
            tile = np.pad(piece, ((0, below), (0, right), (0, 0)), mode="edge") if below or right else piece
            if compression == "deflate":
                yield zlib.compress(np.ascontiguousarray(tile).tobytes(), 6)
                continue
            stream = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(tile)).save(stream, "JPEG", quality=quality, subsampling=0)
            yield stream.getvalue()

"""What a folder of planted slides holds, read back: the slides, their masks, the truth of any grid of tiles.

Shape legend: N tiles, X = 2 (x, y), h, w pixels of a mask.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.planted.plan import GLASS, TUMOUR
from medvlp.errors import DataError
from medvlp.io import verify_manifest

KIND = "planted_slides"
SLIDES, IMAGES, CELLS = "slides.parquet", "images.parquet", "cells"
_PALETTE = (255, 255, 255, 244, 176, 214, 110, 40, 140)


@dataclass(frozen=True)
class PlantedSlide:
    """One slide with its truth.

    Attributes:
        key: Its name.
        part: dev or test.
        path: The slide.
        mask: The mask's file.
        tumour: Tumour class, or None.
        normals: Normal classes.
        ratio: Share of the tissue that is tumour.
        downsample: Level-0 pixels per mask pixel.
    """

    key: str
    part: str
    path: Path
    mask: Path
    tumour: str | None
    normals: tuple[str, ...]
    ratio: float
    downsample: int

    def read_mask(self) -> NDArray[np.uint8]:
        """Return GLASS (0), NORMAL (1) or TUMOUR (2) per mask pixel (h, w)."""
        return np.asarray(Image.open(self.mask), dtype=np.uint8)

    def tumour_pixels(self) -> int:
        """Return the number of mask pixels that are tumour."""
        return int((self.read_mask() == TUMOUR).sum())

    def tumour_area(self) -> float:
        """Return the tumour of the slide in level-0 pixels."""
        return float(self.tumour_pixels()) * self.downsample**2

    def truth(self, coords_NX: NDArray[np.int64], side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the share of tumour and of tissue (N,) in squares of ``side`` level-0 pixels at ``coords_NX``."""
        mask = self.read_mask()
        return (
            square_means(mask == TUMOUR, coords_NX, side, self.downsample),
            square_means(mask != GLASS, coords_NX, side, self.downsample),
        )


def square_means(
    mask_hw: NDArray[np.bool_], coords_NX: NDArray[np.int64], side: int, downsample: float
) -> NDArray[np.float64]:
    """Exact mean (N,) of a mask over squares whose edges need not lie on mask pixels; outside the mask is False."""
    total = np.zeros((mask_hw.shape[0] + 1, mask_hw.shape[1] + 1))
    total[1:, 1:] = mask_hw.cumsum(0).cumsum(1)

    def below(x_N: NDArray[np.float64], y_N: NDArray[np.float64]) -> NDArray[np.float64]:
        # the integral of a piecewise constant picture is bilinear between the corners of its pixels
        x_N, y_N = np.clip(x_N, 0, mask_hw.shape[1]), np.clip(y_N, 0, mask_hw.shape[0])
        left, top = np.minimum(x_N.astype(int), mask_hw.shape[1] - 1), np.minimum(y_N.astype(int), mask_hw.shape[0] - 1)
        fx, fy = x_N - left, y_N - top
        upper = total[top, left] * (1 - fx) + total[top, left + 1] * fx
        lower = total[top + 1, left] * (1 - fx) + total[top + 1, left + 1] * fx
        return np.asarray(upper * (1 - fy) + lower * fy)

    x_N, y_N = (coords_NX[:, axis] / downsample for axis in (0, 1))
    edge = side / downsample
    inside = below(x_N + edge, y_N + edge) - below(x_N, y_N + edge) - below(x_N + edge, y_N) + below(x_N, y_N)
    return np.asarray(inside / edge**2)


class PlantedSlides:
    """A finished folder.

    Args:
        folder: Written by ``medvlp simulate``.
        check: Compare every file with the manifest.

    Raises:
        DataError: If it is none.
    """

    def __init__(self, folder: str | Path, check: bool = True) -> None:
        from pyarrow import parquet

        from medvlp.io import MANIFEST, read_json

        self.folder = Path(folder)
        self.manifest = verify_manifest(self.folder) if check else read_json(self.folder / MANIFEST)
        if self.manifest.get("kind") != KIND:
            raise DataError("holds no planted slides", item=folder, remedy="make them with `medvlp simulate`")
        self.images: list[dict[str, Any]] = parquet.read_table(self.folder / IMAGES).to_pylist()
        rows = parquet.read_table(self.folder / SLIDES).to_pylist()
        self.slides = slides_of(rows, self.folder, self.manifest["config"]["mask_downsample"])

    def part(self, name: str) -> list[PlantedSlide]:
        """Slides of one part."""
        return [slide for slide in self.slides if slide.part == name]


def slides_of(rows: Iterable[Mapping[str, Any]], folder: Path, downsample: int) -> list[PlantedSlide]:
    """Return the slides that rows of ``slides.parquet`` describe."""
    return [
        PlantedSlide(
            row["slide"],
            row["part"],
            folder / "slides" / f"{row['slide']}.tiff",
            folder / "masks" / f"{row['slide']}.png",
            row["tumour"],
            tuple(row["normals"]),
            row["ratio"],
            downsample,
        )
        for row in rows
    ]


def mask_png(mask_hw: NDArray[np.uint8]) -> bytes:
    """Encode a mask as a PNG whose pixel values are the codes and whose palette shows them."""
    image = Image.fromarray(mask_hw).convert("P")
    image.putpalette([*_PALETTE, *([0] * (768 - len(_PALETTE)))])
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def write_table(path: Path, rows: Iterable[dict[str, Any]], columns: dict[str, Any]) -> None:
    """Write rows as Parquet with the given pyarrow types."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(list(columns.items()))), path)

"""The heat map as a picture to lay over the slide: one pixel per cell of the grid, nothing between them invented.

Shape legend: N tiles, X = 2 (x, y), h, w pixels of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from medvlp.errors import DataError
from medvlp.slides.heatmap import COLOUR_MAP, paint, png
from medvlp.zeroshot.smoothing import Places

MAX_SIDE = 4096
"""Longest side of the picture; tiles off a common grid are drawn to the nearest of so many cells."""


@dataclass(frozen=True)
class Cells:
    """The grid of a slide's tiles as cells of a picture.

    Attributes:
        left: Level-0 x of the picture's left edge.
        top: Level-0 y of its top edge.
        unit: Side of a cell, level-0 pixels.
        shape_hw: Cells down and across.
        exact: Whether every tile begins and ends at the edge of a cell.
    """

    left: int
    top: int
    unit: int
    shape_hw: tuple[int, int]
    exact: bool

    @property
    def rectangle(self) -> tuple[int, int, int, int]:
        """Left, top, width, height in level-0 pixels."""
        return self.left, self.top, self.shape_hw[1] * self.unit, self.shape_hw[0] * self.unit


def cells_of(place_NX: Places, side: int) -> Cells:
    """Find the largest cells that tiles at ``place_NX`` of ``side`` level-0 pixels consist of.

    Raises:
        DataError: If there is no tile.
    """
    if len(place_NX) == 0:
        raise DataError("there is no tile", item="heat map")
    origin_X = place_NX.min(0)
    offset_NX = place_NX - origin_X
    extent_X = offset_NX.max(0) + side
    unit = int(np.gcd.reduce(np.append(offset_NX.ravel(), side)))
    least = -(-int(extent_X.max()) // MAX_SIDE)
    exact = unit >= least
    unit = max(unit, least)
    width, height = (-(-int(length) // unit) for length in extent_X)
    return Cells(int(origin_X[0]), int(origin_X[1]), unit, (height, width), exact)


def heat_png(
    value_N: ArrayLike, place_NX: Places, side: int, cells: Cells, limits: tuple[float, float] = (0.0, 1.0)
) -> bytes:
    """Draw values of tiles as a PNG (h, w): transparent where no tile lies, the mean where several do.

    Args:
        value_N: Values.
        place_NX: Top-left corners, level-0 pixels.
        side: Side of a tile, level-0 pixels.
        cells: Of :func:`cells_of`.
        limits: Values of the first and the last colour.

    Raises:
        DataError: If a value is not finite, or counts differ.
    """
    _, _, width, height = cells.rectangle
    corner_X = np.array([cells.left, cells.top])
    value_hw = paint(value_N, np.asarray(place_NX) - corner_X, side, (width, height), cells.shape_hw)
    low, high = limits
    share_hw = (np.nan_to_num(value_hw) - low) / (high - low) if high > low else np.zeros_like(value_hw)
    rgba_hwc = _colours(share_hw)
    rgba_hwc[..., 3] = np.where(np.isfinite(value_hw), 255, 0)
    return png(Image.fromarray(rgba_hwc))


def scale_png() -> bytes:
    """The colours from the lowest to the highest value, left to right, 256 x 1 px."""
    return png(Image.fromarray(_colours(np.linspace(0, 1, 256)[None, :])))


def _colours(share_hw: NDArray[np.float64]) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return np.array(colormaps[COLOUR_MAP](np.clip(share_hw, 0, 1), bytes=True), dtype=np.uint8)

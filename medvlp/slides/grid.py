"""Where the tiles of a slide lie: a regular grid at a target resolution, thinned to tissue.

Shape letters: N tiles, X = 2 (x, y), h, w pixels of a mask, R rows of tiles, k mask rows of one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from medvlp.config import Config
from medvlp.errors import DataError
from medvlp.slides.reader import Slide, check_upsampling
from medvlp.slides.types import TileGrid, TissueMask

MAX_TILES = 20_000_000
"""More tiles than any slide has; beyond, the settings are wrong."""


class GridConfig(Config):
    """How a slide is cut into tiles."""

    tile_size: int = Field(default=256, ge=16, le=4096, description="Side of a tile as the encoder sees it, in pixels.")
    mpp: float = Field(default=0.5, ge=0.05, le=20.0, description="Micrometres per pixel of a tile.")
    overlap: int = Field(default=0, ge=0, description="Pixels that neighbouring tiles share.")
    min_tissue: float = Field(
        default=0.25, ge=0.0, le=1.0, description="Least share of tissue in a tile; none at all is never enough."
    )
    edge: Literal["drop", "keep"] = Field(
        default="drop",
        description="Tiles that cross the right or bottom edge: dropped, or kept and padded with white.",
    )


def tile_grid(slide: Slide, mask: TissueMask | None, config: GridConfig | None = None) -> TileGrid:
    """Return the tiles of a slide that hold tissue, row after row; possibly none.

    Args:
        slide: The slide; its micrometres per pixel must be known.
        mask: Where tissue is; None keeps every tile and calls all of it tissue.
        config: Tile size, resolution, overlap, tissue share, edges; the defaults if None.

    Raises:
        DataError: Unknown micrometres per pixel, an overlap that leaves no step, tiles finer than the slide by more
            than ``reader.MAX_UPSAMPLING``, or more than ``MAX_TILES`` tiles.
    """
    config = config or GridConfig()
    level0_mpp = slide.require_mpp()
    scale = config.mpp / level0_mpp
    side, step = round(config.tile_size * scale), round((config.tile_size - config.overlap) * scale)
    if step < 1 or side < 1:
        raise DataError(
            f"tiles of {config.tile_size} px with overlap {config.overlap} leave a step of {step} level-0 pixels",
            item=slide.path,
            remedy="choose a smaller overlap",
        )
    check_upsampling(side, config.tile_size, slide.path)
    x_N, y_N = (_starts(length, side, step, config.edge) for length in slide.size)
    if len(x_N) * len(y_N) > MAX_TILES:
        problem = f"{len(x_N)} x {len(y_N)} tiles exceed the limit of {MAX_TILES:,}"
        raise DataError(problem, item=slide.path, remedy="choose a smaller overlap or a larger mpp")
    coords_NX = np.stack(np.meshgrid(x_N, y_N), axis=-1).reshape(-1, 2)
    tissue_N = np.ones(len(coords_NX), dtype=np.float32)
    if mask is not None:
        tissue_N = tissue_share(mask, coords_NX, side, slide.size)
        kept = (tissue_N >= np.float32(config.min_tissue)) & (tissue_N > 0)
        coords_NX, tissue_N = coords_NX[kept], tissue_N[kept]
    return TileGrid(coords_NX, config.tile_size, config.mpp, side, step, slide.size, level0_mpp, tissue_N)


def tissue_share(
    mask: TissueMask, coords_NX: NDArray[np.int64], side: int, slide_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the share of each square that is tissue, exact to fractions of mask pixels, in [0, 1].

    Args:
        mask: Where tissue is.
        coords_NX: int64 top-left corners, level-0 pixels.
        side: Side of the squares, level-0 pixels; what lies beyond the slide counts as no tissue.
        slide_size: (width, height), level-0 pixels.
    """
    height, width = mask.mask_hw.shape
    x_N, y_N = coords_NX[:, 0], coords_NX[:, 1]
    top_R, row_N = np.unique(y_N, return_inverse=True)  # tiles of a grid share few rows
    weights_Rh = _weights(top_R, side, slide_size[1], mask.downsample[1], height)
    sums_Rw = np.zeros((len(top_R), width + 1))
    np.cumsum(weights_Rh @ mask.mask_hw.astype(np.float32), axis=1, out=sums_Rw[:, 1:])
    left_N, right_N = (np.clip(x_N + d, 0, slide_size[0]) / mask.downsample[0] for d in (0, side))
    area_N = _at(sums_Rw, row_N, right_N) - _at(sums_Rw, row_N, left_N)
    pixels = side * side / (mask.downsample[0] * mask.downsample[1])
    return np.clip(area_N / pixels, 0.0, 1.0).astype(np.float32)


def _weights(top_R: NDArray[np.int64], side: int, limit: int, downsample: float, height: int) -> Any:
    """Return the sparse (R, height) matrix of how much of each mask row lies within each row of tiles."""
    start_R, stop_R = (np.clip(top_R + d, 0, limit) / downsample for d in (0, side))
    row_Rk = np.floor(start_R).astype(np.int64)[:, None] + np.arange(int(side / downsample) + 2)
    share_Rk = np.minimum(stop_R[:, None], row_Rk + 1) - np.maximum(start_R[:, None], row_Rk)
    ends = np.arange(len(top_R) + 1) * row_Rk.shape[1]
    entries = (share_Rk.clip(min=0).astype(np.float32).ravel(), row_Rk.clip(max=height - 1).ravel(), ends)
    return sparse.csr_matrix(entries, shape=(len(top_R), height))


def _at(sums_Rw: NDArray[np.float64], row_N: NDArray[np.int64], x_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate running sums; between whole pixels that is exact, for pixels are constant."""
    x_N = np.clip(x_N, 0, sums_Rw.shape[1] - 1)
    i = np.minimum(x_N.astype(np.int64), sums_Rw.shape[1] - 2)
    sums_N: NDArray[np.float64] = sums_Rw[row_N, i] * (1 - (x_N - i)) + sums_Rw[row_N, i + 1] * (x_N - i)
    return sums_N


def _starts(length: int, side: int, step: int, edge: str) -> NDArray[np.int64]:
    stop = length if edge == "keep" else length - side + 1
    return np.arange(0, max(stop, 0), step, dtype=np.int64)

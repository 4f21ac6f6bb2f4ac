"""medvlp: tissue at 16 um per pixel, the default of a slide this large, tiles by their exact share of tissue."""

from __future__ import annotations

import openslide  # noqa: F401  the other scripts import their readers before the clock starts as well
import scipy.ndimage
import scipy.sparse.csgraph  # noqa: F401
from measure import MIN_TISSUE, MPP, TILE, Found, measure

import medvlp
from medvlp.slides.grid import GridConfig, tile_grid
from medvlp.slides.reader import open_slide
from medvlp.slides.tissue import tissue_mask


def tool(path: str) -> Found:
    """Find tissue and tiles."""
    slide = open_slide(path)
    mask = tissue_mask(slide)
    grid = tile_grid(slide, mask, GridConfig(tile_size=TILE, mpp=MPP, min_tissue=MIN_TISSUE))
    corners = grid.coords_NX.tolist()
    side = grid.patch_size_level0
    return Found(grid.coords_NX, lambda: mask.mask_hw, lambda: (slide.square(x, y, side, TILE) for x, y in corners))


measure(medvlp.__version__, tool)

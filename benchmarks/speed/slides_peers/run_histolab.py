"""histolab: ``TissueMask`` and the coordinates of ``GridTiler``, which takes tiles with over 80 % in the mask.

Its public ``extract`` also reads, tests and saves each tile; here the coordinates alone are taken from the same
generator that ``extract`` uses, and pixels come from ``Slide.extract_tile``.
"""

from __future__ import annotations

import tempfile

import histolab
import numpy as np
from histolab.masks import TissueMask
from histolab.slide import Slide
from histolab.tiler import GridTiler
from measure import TILE, Found, measure


def tool(path: str) -> Found:
    """Find tissue and tiles; level 0 of the slide has the resolution asked for."""
    slide = Slide(path, processed_path=tempfile.gettempdir())
    mask = TissueMask()
    tiler = GridTiler(tile_size=(TILE, TILE), level=0, check_tissue=False)
    places = [place for place in tiler._grid_coordinates_generator(slide, mask)]
    coords = np.array([(place.x_ul, place.y_ul) for place in places])
    pixels = (slide.extract_tile(place, tile_size=(TILE, TILE), level=0).image.convert("RGB") for place in places)
    return Found(coords, lambda: mask(slide), lambda: pixels)


measure(histolab.__version__, tool)

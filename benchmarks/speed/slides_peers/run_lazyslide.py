"""lazyslide: ``pp.find_tissues`` and ``pp.tile_tissues``; the word --level=N sets the level of ``find_tissues``."""

from __future__ import annotations

import sys
import warnings

import lazyslide as zs
import numpy as np
from measure import MIN_TISSUE, MPP, TILE, Found, measure

warnings.filterwarnings("ignore")
LEVEL = next((int(word.partition("=")[2]) for word in sys.argv if word.startswith("--level=")), "auto")
SHRINK = 16


def tool(path: str) -> Found:
    """Find tissue and tiles."""
    wsi = zs.open_wsi(path, store=None)
    zs.pp.find_tissues(wsi, level=LEVEL)
    zs.pp.tile_tissues(wsi, TILE, mpp=MPP, background_fraction=1 - MIN_TISSUE)
    bounds = wsi.shapes["tiles"].geometry.bounds
    coords = bounds[["minx", "miny"]].to_numpy()
    return Found(coords, lambda: painted(wsi), lambda: (tile.image for tile in wsi.iter.tile_images("tiles")))


def painted(wsi: object) -> np.ndarray:
    """Return the polygons of the tissue as a mask of one SHRINK-th the slide's size."""
    import cv2

    height, width = (side // SHRINK for side in wsi.properties.shape[:2])
    mask = np.zeros((height, width), dtype=np.uint8)
    for polygon in wsi.shapes["tissues"].geometry:
        for ring, value in [(polygon.exterior, 1), *((hole, 0) for hole in polygon.interiors)]:
            cv2.fillPoly(mask, [np.round(np.asarray(ring.coords)[:, :2] / SHRINK).astype(np.int32)], value)
    return mask > 0


measure(zs.__version__, tool)

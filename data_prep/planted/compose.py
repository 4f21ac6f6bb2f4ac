"""From a plan to pixels, one row of images at a time, so that a slide of any size fits into memory.

Shape legend: H, W level-0 pixels; B rows of a band; P side of an image; C = 3 (RGB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from data_prep.planted.config import PARTS, PlantedSlidesConfig
from data_prep.planted.images import turned
from data_prep.planted.plan import GLASS, SlidePlan

Pixels = NDArray[np.uint8]
ReadCell = Callable[[int], Pixels]
_GLASS_RGB = (244, 242, 245)
_GLASS_NOISE = 2


def bands(plan: SlidePlan, config: PlantedSlidesConfig, read: ReadCell) -> Iterator[Pixels]:
    """Yield the slide from top to bottom as bands (B, W, C) of one image pitch each.

    Neighbouring images fade into each other over ``config.blend`` pixels, half on each side of the line that parts
    their cells; beyond the outline of the tissue is glass.

    Args:
        plan: The slide.
        config: Cell, blend and raster.
        read: Pixels (P, P, C) of an image by its number.
    """
    width, height = plan.size
    pitch, raster = config.pitch, config.mask_downsample
    noise = np.random.default_rng([config.seed, PARTS.index(plan.part), plan.number, 1])
    for top in range(0, height, pitch):
        rows = slice(top // raster, (top + pitch) // raster)
        tissue_BW = np.repeat(np.repeat(plan.mask_hw[rows] != GLASS, raster, 0), raster, 1)
        glass = np.asarray(_GLASS_RGB) + noise.integers(-_GLASS_NOISE, _GLASS_NOISE + 1, size=(pitch, width, 1))
        band = glass.astype(np.uint8)
        if tissue_BW.any():
            painted = _painted(plan, config, read, top, tissue_BW)
            band[tissue_BW] = painted[tissue_BW]
        yield band


def ramp(config: PlantedSlidesConfig) -> NDArray[np.float32]:
    """Weight (P,) of an image along one axis: 1 inside, falling to both ends so that two neighbours add up to 1."""
    place = np.arange(config.cell, dtype=np.float32) + 0.5
    if config.blend == 0:
        return np.ones(config.cell, dtype=np.float32)
    return np.minimum(1, np.minimum(place, config.cell - place) / config.blend).astype(np.float32)


def _painted(
    plan: SlidePlan, config: PlantedSlidesConfig, read: ReadCell, top: int, tissue_BW: NDArray[np.bool_]
) -> Pixels:
    """Images of a band, faded into each other; unpainted where no image is needed."""
    width, pitch, half = plan.size[0], config.pitch, config.blend // 2
    value = np.zeros((pitch, width, 3), dtype=np.float32)
    weight = np.zeros((pitch, width, 1), dtype=np.float32)
    ramp_P = ramp(config)
    num_rows, num_columns = plan.cell_RC.shape
    first = (top - plan.origin[1] - half) // pitch
    for row in range(max(0, first - 1), min(num_rows, first + 3)):
        y = plan.origin[1] + row * pitch - half
        begin, end = max(y, top), min(y + config.cell, top + pitch)
        if begin >= end:
            continue
        for column in range(num_columns):
            x = plan.origin[0] + column * pitch - half
            left, right = max(x, 0), min(x + config.cell, width)
            here = (slice(begin - top, end - top), slice(left, right))
            if not tissue_BW[here].any():
                continue
            image = turned(read(int(plan.cell_RC[row, column])), int(plan.turn_RC[row, column]))
            part = (slice(begin - y, end - y), slice(left - x, right - x))
            weight_2d = ramp_P[part[0], None, None] * ramp_P[None, part[1], None]
            value[here] += weight_2d * image[part]
            weight[here] += weight_2d
    return np.rint(value / np.maximum(weight, 1e-6)).astype(np.uint8)

"""Where tissue, tumour and each image lie on one slide, drawn from seed, part and number alone.

Shape legend: R, C rows and columns of images; h, w pixels of the mask.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.planted.config import PARTS, PlantedSlidesConfig
from data_prep.planted.images import TURNS, TileImage
from medvlp.errors import DataError

GLASS, NORMAL, TUMOUR = 0, 1, 2
_TISSUE_CELL = 0.3  # a cell with less tissue is no place for a tumour to grow into
_SPECK = 0.02  # pieces of tissue smaller than this share of all tissue are left out
_ROUGHNESS = ((5, 1.0), (14, 0.4), (40, 0.12))  # knots of the noise across the slide, and their weights


@dataclass(frozen=True)
class SlidePlan:
    """One slide before it is painted.

    Attributes:
        key: Its name.
        part: dev or test.
        number: Number within the part.
        tumour: Tumour class, or None.
        normals: Normal classes.
        wanted: Share of tissue that was to be tumour.
        size: (width, height), level-0 pixels.
        origin: (x, y) of the first image's own area, level-0 pixels; multiples of the mask's raster.
        mask_hw: GLASS, NORMAL or TUMOUR per mask pixel.
        cell_RC: Image number of each cell.
        turn_RC: How each image is turned.
        tumour_RC: Whether a cell holds tumour.
    """

    key: str
    part: str
    number: int
    tumour: str | None
    normals: tuple[str, ...]
    wanted: float
    size: tuple[int, int]
    origin: tuple[int, int]
    mask_hw: NDArray[np.uint8]
    cell_RC: NDArray[np.int64]
    turn_RC: NDArray[np.int64]
    tumour_RC: NDArray[np.bool_]

    @property
    def ratio(self) -> float:
        """Share of the tissue that is tumour, exactly."""
        tissue = int((self.mask_hw != GLASS).sum())
        return float((self.mask_hw == TUMOUR).sum() / tissue) if tissue else 0.0


def draw_plan(config: PlantedSlidesConfig, images: Sequence[TileImage], part: str, number: int) -> SlidePlan:
    """Draw one slide; the same for the same seed, part and number, however many slides there are.

    Classes, shares and the presence of tumour go in turn, so that any first slides are balanced.

    Raises:
        DataError: If the part is neither dev nor test, so that training images never reach a slide.
    """
    if part not in PARTS:
        raise DataError("slides are made of held-out images alone", item=part, remedy=f"use {' or '.join(PARTS)}")
    rng = np.random.default_rng([config.seed, PARTS.index(part), number])
    negatives = int(np.floor((number + 1) * config.negatives))
    negative = negatives > int(np.floor(number * config.negatives))
    turn = negatives - 1 if negative else number - negatives
    kind = config.tumours[turn % len(config.tumours)]
    wanted = 0.0 if negative else config.ratios[turn // len(config.tumours) % len(config.ratios)]
    normals = tuple(config.classes[kind].beside)

    side, pitch, raster = int(rng.choice(config.sides)), config.pitch, config.mask_downsample
    steps = 0 if config.aligned else rng.integers(1, pitch // raster, size=2)
    origin_x, origin_y = (np.broadcast_to(steps, 2) * raster).tolist()
    pixels = (side + 1) * pitch  # one image more than the cells, so that any offset leaves glass around
    tissue = _tissue(rng, side, pixels // raster, pitch // raster, (origin_y // raster, origin_x // raster), config)

    cells = np.zeros((side, side))
    step = pitch // raster
    rows = slice(origin_y // raster, origin_y // raster + side * step)
    columns = slice(origin_x // raster, origin_x // raster + side * step)
    inner = tissue[rows, columns]
    cells[:] = inner.reshape(side, step, side, step).mean((1, 3))
    regions = int(rng.integers(config.regions[0], config.regions[1] + 1))
    tumour_RC = np.zeros((side, side), dtype=bool) if negative else _grow(rng, cells, wanted, regions)

    mask = tissue.astype(np.uint8)
    mask[rows, columns][inner & np.repeat(np.repeat(tumour_RC, step, 0), step, 1)] = TUMOUR
    pools = [_pool(rng, images, part, (name,), config.cases) for name in normals]
    normal_pool = np.concatenate(pools)
    tumour_pool = normal_pool if negative else _pool(rng, images, part, (kind,), config.cases)
    cell_RC = np.where(
        tumour_RC, rng.choice(tumour_pool, size=(side, side)), rng.choice(normal_pool, size=(side, side))
    )
    return SlidePlan(
        key=f"{part}_{number:04d}",
        part=part,
        number=number,
        tumour=None if negative else kind,
        normals=normals,
        wanted=wanted,
        size=(pixels, pixels),
        origin=(origin_x, origin_y),
        mask_hw=mask,
        cell_RC=cell_RC,
        turn_RC=rng.integers(0, TURNS, size=(side, side)),
        tumour_RC=tumour_RC,
    )


def _pool(
    rng: np.random.Generator, images: Sequence[TileImage], part: str, names: Sequence[str], cases: int
) -> NDArray[np.int64]:
    """Numbers of the images of a few cases: a slide is of one patient, so its images should resemble each other."""
    by_case: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        if image.split == part and image.name in names:
            by_case.setdefault(image.case, []).append(number)
    keys = sorted(by_case)
    chosen = rng.permutation(len(keys))[:cases]
    return np.array(sorted(number for index in chosen for number in by_case[keys[index]]), dtype=np.int64)


def _tissue(
    rng: np.random.Generator, side: int, pixels: int, step: int, origin: tuple[int, int], config: PlantedSlidesConfig
) -> NDArray[np.bool_]:
    """Tissue (h, w) with an irregular outline, inside the area of the cells."""
    from scipy import ndimage

    edge = side * step
    axis = np.linspace(-1, 1, edge)
    field = -2.6 * (axis[:, None] ** 2 + axis[None, :] ** 2)
    for knots, weight in _ROUGHNESS:
        noise = rng.standard_normal((knots, knots))
        if knots < edge:
            field += weight * ndimage.zoom(noise, edge / knots, order=3, mode="nearest", grid_mode=True)[:edge, :edge]
    share = rng.uniform(config.tissue[0], config.tissue[1])
    inside = field > np.quantile(field, 1 - share)
    label, count = ndimage.label(inside)
    sizes = np.bincount(label.ravel(), minlength=count + 1)
    sizes[0] = 0
    inside &= sizes[label] >= _SPECK * sizes.sum()
    out = np.zeros((pixels, pixels), dtype=bool)
    out[origin[0] : origin[0] + edge, origin[1] : origin[1] + edge] = inside
    return out


def _grow(rng: np.random.Generator, tissue_RC: NDArray[np.float64], ratio: float, regions: int) -> NDArray[np.bool_]:
    """Grow connected tumour regions cell by cell until their share of the tissue is nearest to ``ratio``."""
    usable = tissue_RC >= _TISSUE_CELL
    if not usable.any():
        usable = tissue_RC >= tissue_RC.max()
    target = ratio * tissue_RC.sum()
    seeds = rng.permutation(np.flatnonzero(usable))
    roughness_RC = rng.uniform(0, 2.0, size=tissue_RC.shape)
    grown = np.zeros(tissue_RC.shape, dtype=bool)
    area, queue = 0.0, []
    centres = [divmod(int(cell), tissue_RC.shape[1]) for cell in seeds[:regions]]
    spare = [divmod(int(cell), tissue_RC.shape[1]) for cell in seeds[regions:]]
    for number, (row, column) in enumerate(centres):
        queue.append((0.0, row, column, number))
    heapq.heapify(queue)
    while area < target:
        if not queue:  # the piece of tissue is full: begin anew elsewhere
            spare = [cell for cell in spare if not grown[cell]]
            if not spare:
                break
            centres.append(spare.pop(0))
            queue.append((0.0, *centres[-1], len(centres) - 1))
        _, row, column, number = heapq.heappop(queue)
        if grown[row, column]:
            continue
        gain = float(tissue_RC[row, column])
        if area > 0 and area + gain - target > target - area:
            break
        grown[row, column] = True
        area += gain
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if 0 <= r < len(usable) and 0 <= c < len(usable) and usable[r, c] and not grown[r, c]:
                distance = np.hypot(r - centres[number][0], c - centres[number][1])
                heapq.heappush(queue, (float(distance + roughness_RC[r, c]), r, c, number))
    return grown


def tumour_regions(plan: SlidePlan) -> int:
    """Connected tumour regions of the mask, counted with four neighbours."""
    from scipy import ndimage

    return int(ndimage.label(plan.mask_hw == TUMOUR)[1])

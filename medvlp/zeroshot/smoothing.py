"""Values of neighbouring tiles averaged, by where the tiles lie and not by their number.

All coordinates are level-0 pixels of a tile's top-left corner, and all distances are multiples of the grid's own step,
so a map does not depend on the magnification the slide was scanned at.

Shape legend: N tiles, M cells, K classes, X = 2 (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.zeroshot.classifier import Floats, to_numpy

Places = NDArray[np.int64]


def as_places(coords_NX: Any, num: int) -> Places:
    """Return coordinates as int64 (N, 2).

    Raises:
        DataError: If there are not ``num`` of them, two tiles lie at one place, or one is not finite.
    """
    value_NX = to_numpy(coords_NX)
    if value_NX.shape != (num, 2) or not np.isfinite(value_NX).all():
        raise DataError(f"expected ({num}, 2) finite coordinates, got the shape {value_NX.shape}", item="coords")
    place_NX = value_NX.round().astype(np.int64)
    if len(np.unique(place_NX, axis=0)) < num:
        raise DataError("two tiles lie at one place", item="coords", remedy="keep each tile once")
    return place_NX


def smooth(value_NK: Any, coords_NX: Any, step: float, radius: int = 1) -> Floats:
    """Mean over each tile and its existing neighbours within ``radius`` steps along x and y, centred on the tile.

    On a regular grid this is the mean over the tiles there are in a window of (2 ``radius`` + 1) squared cells: a
    missing neighbour does not count as zero. Tiles off the grid count if their centre is within ``radius`` + 1/2 steps.

    Args:
        value_NK: Values of tiles.
        coords_NX: Where they lie, level-0 pixels.
        step: Distance of neighbouring tiles, level-0 pixels.
        radius: Neighbours to each side; 0 changes nothing.

    Raises:
        DataError: If ``step`` or ``radius`` make no sense, or coordinates do not fit the values.
    """
    from scipy.sparse import coo_array
    from scipy.spatial import cKDTree

    value_NK = to_numpy(value_NK)
    place_NX = as_places(coords_NX, len(value_NK))
    _check_positive(step, "step")
    if radius < 0:
        raise DataError(f"a radius of {radius} makes no sense", item="radius", remedy="use 0 or more")
    pair_PX = cKDTree(place_NX).query_pairs((radius + 0.5) * step, p=np.inf, output_type="ndarray")
    own_N = np.arange(len(place_NX))
    row_E = np.concatenate([own_N, pair_PX[:, 0], pair_PX[:, 1]])
    column_E = np.concatenate([own_N, pair_PX[:, 1], pair_PX[:, 0]])
    near_NN = coo_array((np.ones(len(row_E)), (row_E, column_E)), shape=(len(own_N), len(own_N))).tocsr()
    near_NN.sort_indices()
    return (near_NN @ value_NK) / near_NN.sum(1).reshape(-1, *[1] * (value_NK.ndim - 1))


def smooth_as_keep(value_NK: Any, coords_NX: Any, shift: int) -> Floats:
    """Mean over each tile and those exactly ``shift`` level-0 pixels to the left, above, and both (KEEP's scripts).

    Kept for comparison only: it moves the map by half a tile, and where ``shift`` is not the grid's step it finds no
    neighbour and changes nothing.
    """
    value_NK = to_numpy(value_NK)
    place_NX = as_places(coords_NX, len(value_NK))
    number = {(int(x), int(y)): row for row, (x, y) in enumerate(place_NX)}
    out_NK = np.empty_like(value_NK)
    for row, (x, y) in enumerate(place_NX.tolist()):
        around = [(x - shift, y - shift), (x, y - shift), (x - shift, y), (x, y)]
        out_NK[row] = value_NK[[number[place] for place in around if place in number]].mean(0)
    return out_NK


@dataclass(frozen=True)
class Cells:
    """A slide cut into squares that do not overlap.

    Attributes:
        coords_MX: Level-0 top-left corners, row by row.
        side: Side of a cell, level-0 pixels.
        value_MK: Values of each cell.
    """

    coords_MX: Places
    side: int
    value_MK: Floats


def cells(value_NK: Any, coords_NX: Any, patch: int, step: int) -> Cells:
    """Turn tiles that may overlap into cells of side ``step``: each is the mean of the tiles over it, by area covered.

    Tiles that do not overlap and lie on one grid keep their values.

    Args:
        value_NK: Values of tiles.
        coords_NX: Where they lie, level-0 pixels.
        patch: Side of a tile, level-0 pixels.
        step: Distance of neighbouring tiles, level-0 pixels; the cells start at the smallest x and y.
    """
    value_NK = to_numpy(value_NK)
    place_NX = as_places(coords_NX, len(value_NK))
    _check_positive(patch, "patch size")
    _check_positive(step, "step")
    offset_X = place_NX.min(0)
    first_NX = (place_NX - offset_X) // step
    reach = -(-patch // step) + 1
    places, weights, rows = [], [], []
    for across in range(reach):
        for down in range(reach):
            cell_NX = first_NX + np.array([across, down])
            begin_NX = offset_X + cell_NX * step
            side_NX = np.minimum(begin_NX + step, place_NX + patch) - np.maximum(begin_NX, place_NX)
            hit_N = (side_NX > 0).all(1)
            places.append(cell_NX[hit_N])
            weights.append(side_NX[hit_N].prod(1).astype(np.float64))
            rows.append(np.flatnonzero(hit_N))
    cell_EX, weight_E, row_E = np.concatenate(places), np.concatenate(weights), np.concatenate(rows)
    found_MX, at_E = np.unique(cell_EX[:, ::-1], axis=0, return_inverse=True)
    at_E = at_E.reshape(-1)  # numpy 2.0 keeps an extra axis here
    sum_MK = np.zeros((len(found_MX), *value_NK.shape[1:]))
    np.add.at(sum_MK, at_E, weight_E.reshape(-1, *[1] * (value_NK.ndim - 1)) * value_NK[row_E])
    area_M = np.bincount(at_E, weight_E).reshape(-1, *[1] * (value_NK.ndim - 1))
    return Cells(offset_X + found_MX[:, ::-1] * step, int(step), sum_MK / area_M)


def step_of(coords_NX: Any) -> int | None:
    """Smallest distance of two tiles along x or y, level-0 pixels; None for a single tile."""
    place_NX = as_places(coords_NX, len(coords_NX))
    gaps = np.concatenate([np.diff(np.unique(place_NX[:, axis])) for axis in (0, 1)])
    return int(gaps.min()) if len(gaps) else None


def _check_positive(value: float, item: str) -> None:
    if not value > 0:
        raise DataError(f"{value} level-0 pixels make no sense", item=item, remedy="give a length above 0")

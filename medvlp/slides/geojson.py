"""Tiles and regions of a slide as GeoJSON for QuPath.

Coordinates are level-0 pixels, x to the right and y down, as QuPath wants them; in all else the shapes follow RFC 7946:
rings are closed, the outer one runs with its inside to the left (of growing x and y), holes the other way round.

Shape legend: N tiles, K classes, X = 2 (x, y), H, W cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.errors import DataError
from medvlp.io import write_text

COLOURS = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (96, 96, 96),
)
"""Okabe and Ito's colours, in class order, over again where there are more classes."""

Ring = list[list[int]]


def colour_of(number: int) -> tuple[int, int, int]:
    """Colour of a class by its number."""
    return COLOURS[number % len(COLOURS)]


def tile_features(
    coords_NX: ArrayLike, side: int, probability_NK: ArrayLike, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """One square per tile, classed by its most probable class, with every probability as a measurement.

    Args:
        coords_NX: Top-left corners, level-0 pixels.
        side: Side of a tile, level-0 pixels.
        probability_NK: Probabilities.
        classes: Class names.

    Raises:
        DataError: If counts differ or a probability is not finite.
    """
    place_NX, table_NK = _tables(coords_NX, side, probability_NK, len(classes))
    out = []
    for (x, y), row_K in zip(place_NX.tolist(), table_NK, strict=True):
        best = int(row_K.argmax())
        values = {f"p({label})": float(value) for label, value in zip(classes, row_K, strict=True)}
        out.append(_feature([_square(x, y, side)], "tile", classes[best], colour_of(best), values))
    return out


def region_features(
    coords_NX: ArrayLike,
    side: int,
    probability_NK: ArrayLike,
    classes: Sequence[str],
    threshold: float = 0.5,
    leave_out: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Tiles of one class that touch along an edge, merged into one polygon each, with holes.

    Args:
        coords_NX: Top-left corners, level-0 pixels.
        side: Side of a tile, level-0 pixels.
        probability_NK: Probabilities.
        classes: Class names.
        threshold: A tile belongs to a class above this probability.
        leave_out: Classes that get no regions, for example normal.

    Raises:
        DataError: As :func:`tile_features`.
    """
    place_NX, table_NK = _tables(coords_NX, side, probability_NK, len(classes))
    out = []
    for k, label in enumerate(classes):
        inside_N = table_NK[:, k] > threshold
        if label in leave_out or not inside_N.any():
            continue
        for rings, of_N in _regions(place_NX[inside_N], side):
            mean = float(table_NK[inside_N, k][of_N].mean())
            values = {"tiles": float(of_N.sum()), f"mean p({label})": mean}
            out.append(_feature(rings, "annotation", label, colour_of(k), values))
    return out


def write_geojson(path: Path, features: Sequence[Mapping[str, Any]]) -> None:
    """Write a FeatureCollection that QuPath opens; atomically, without NaN."""
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in features)
    write_text(path, '{"type": "FeatureCollection", "features": [\n' + lines + "\n]}\n")


def _tables(
    coords_NX: ArrayLike, side: int, probability_NK: ArrayLike, num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    place_NX, table_NK = np.asarray(coords_NX, dtype=np.int64), np.asarray(probability_NK, dtype=np.float64)
    if place_NX.shape != (len(table_NK), 2) or table_NK.shape[1:] != (num_classes,) or side < 1:
        raise DataError(f"{place_NX.shape} coordinates, {table_NK.shape} probabilities, side {side}", item="geojson")
    if not np.isfinite(table_NK).all():
        raise DataError("a probability is not finite", item="geojson")
    return place_NX, table_NK


def _square(x: int, y: int, side: int) -> Ring:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def _feature(
    rings: list[Ring], kind: str, label: str, colour: tuple[int, int, int], values: dict[str, float]
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": kind,
            "classification": {"name": label, "color": list(colour)},
            "measurements": values,
        },
    }


def _regions(place_NX: NDArray[np.int64], side: int) -> list[tuple[list[Ring], NDArray[np.bool_]]]:
    """Polygons (outer ring, then holes) of the union of squares, and which squares lie in each."""
    from scipy.ndimage import label

    x_E, y_E = (np.unique(np.concatenate([place_NX[:, axis], place_NX[:, axis] + side])) for axis in (0, 1))
    begin_NX = np.stack([np.searchsorted(x_E, place_NX[:, 0]), np.searchsorted(y_E, place_NX[:, 1])], 1)
    end_NX = np.stack([np.searchsorted(x_E, place_NX[:, 0] + side), np.searchsorted(y_E, place_NX[:, 1] + side)], 1)
    filled_HW = np.zeros((len(y_E) - 1, len(x_E) - 1), dtype=bool)
    for (left, top), (right, bottom) in zip(begin_NX.tolist(), end_NX.tolist(), strict=True):
        filled_HW[top:bottom, left:right] = True
    number_HW, count = label(filled_HW)
    of_N = number_HW[begin_NX[:, 1], begin_NX[:, 0]]
    corners: list[dict[tuple[int, int], list[tuple[int, int]]]] = [{} for _ in range(count)]
    _edges(number_HW, corners)
    out = []
    for number, after in enumerate(corners, 1):
        rings = [_placed(ring, x_E, y_E) for ring in _rings(after)]
        rings.sort(key=lambda ring: -abs(_area(ring)))  # the outer ring holds all others
        out.append((rings, of_N == number))
    return out


def _edges(number_HW: NDArray[Any], corners: list[dict[tuple[int, int], list[tuple[int, int]]]]) -> None:
    """Collect every edge between a region and its outside as corner -> corners after it, the region to the left."""
    padded = np.pad(number_HW, 1)
    # (cell beyond the edge, where the edge of cell (row, column) begins and ends), in cells
    for beyond, begin, end in (
        ((-1, 0), (0, 0), (1, 0)),
        ((0, 1), (1, 0), (1, 1)),
        ((1, 0), (1, 1), (0, 1)),
        ((0, -1), (0, 1), (0, 0)),
    ):
        other_HW = padded[
            1 + beyond[0] : padded.shape[0] - 1 + beyond[0], 1 + beyond[1] : padded.shape[1] - 1 + beyond[1]
        ]
        for row, column in np.argwhere((number_HW > 0) & (other_HW != number_HW)).tolist():
            start = (column + begin[0], row + begin[1])
            stop = (column + end[0], row + end[1])
            corners[number_HW[row, column] - 1].setdefault(start, []).append(stop)


def _rings(after: dict[tuple[int, int], list[tuple[int, int]]]) -> list[list[tuple[int, int]]]:
    """Join edges into rings of corners where the direction changes.

    Where two cells of one region touch only at a corner, the path keeps the same outside to its right, so that the
    outer ring and a hole meet there in one point and no ring crosses itself.
    """
    left = {corner: list(ends) for corner, ends in after.items()}
    out = []
    for start in sorted(left):
        while left[start]:
            path = [start, left[start].pop()]
            while path[-1] != start:
                (x0, y0), (x, y) = path[-2:]
                to_the_right = (x + y - y0, y - x + x0)
                ends = left[x, y]
                path.append(ends.pop(ends.index(to_the_right) if to_the_right in ends else 0))
            out.append(_corners(path[:-1]))
    return out


def _corners(path: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out places of a closed path where it goes straight on."""
    around = zip([path[-1], *path[:-1]], path, [*path[1:], path[0]], strict=True)
    return [here for before, here, after in around if (before[0] == here[0]) != (here[0] == after[0])]


def _placed(ring: list[tuple[int, int]], x_E: NDArray[np.int64], y_E: NDArray[np.int64]) -> Ring:
    placed = [[int(x_E[x]), int(y_E[y])] for x, y in ring]
    return [*placed, placed[0]]


def _area(ring: Ring) -> float:
    """Signed area: above 0 where the inside is to the left."""
    x, y = np.array(ring, dtype=np.float64).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)

"""Are a file's coordinates what they claim to be? Units, order, grid step and bounds, checked against themselves.

Shape letters: N tiles, X = 2 (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError

_MIN_EVIDENCE = 3
_CHANCE = 0.02
"""Tiles of two tissue pieces with grids of their own may lie any distance apart, rarely."""
_SMALLEST_STEP = 8
"""No encoder's tiles lie closer in level-0 pixels; indices of a grid lie 1 apart."""
MICROMETRE_UNITS = 10
"""Coordinates in micrometres are compared in tenths, so that rounding of floats does not matter."""


@dataclass(frozen=True)
class Step:
    """The most frequent distance of neighbouring tiles in a row or column.

    Attributes:
        value: That distance, in the unit of the coordinates.
        count: How many pairs of neighbours are so far apart.
        distances: All distances that occur.
        counts: How often each of them does.
    """

    value: int
    count: int
    distances: NDArray[np.int64]
    counts: NDArray[np.int64]


def as_table(coords: NDArray[Any], tiles: int, item: str) -> NDArray[Any]:
    """Return coordinates as (N, X), with a leading axis of length one taken off.

    Raises:
        DataError: If they are transposed, or there are more or fewer than tiles.
    """
    if coords.ndim == 3 and coords.shape[0] == 1:
        coords = coords[0]
    if coords.ndim != 2 or coords.shape[1] != 2:
        swapped = coords.ndim == 2 and coords.shape[0] == 2
        remedy = "transpose them to (tiles, 2)" if swapped else "store one (x, y) per tile"
        raise DataError(f"coordinates of shape {coords.shape}, expected ({tiles}, 2)", item=item, remedy=remedy)
    if len(coords) != tiles:
        raise DataError(
            f"{len(coords)} coordinates for {tiles} feature vectors", item=item, remedy="write features and coords anew"
        )
    if coords.dtype.kind == "f" and not np.isfinite(coords).all():
        raise DataError("coordinates hold NaN or infinity", item=item, remedy="write them anew")
    return coords


def pixels(coords_NX: NDArray[Any], item: str) -> NDArray[np.int64]:
    """Return coordinates that are level-0 pixels as int64.

    Raises:
        DataError: If they are not whole, negative, or too large for any slide.
    """
    if coords_NX.dtype.kind == "f" and (coords_NX != np.rint(coords_NX)).any():
        raise DataError(
            "coordinates are not whole numbers and no unit is given",
            item=item,
            remedy='if they are micrometres, pass coords_unit="um" and level0_mpp',
        )
    if (coords_NX < 0).any():
        raise DataError("coordinates are negative, outside any slide", item=item, remedy="use level-0 top-left corners")
    if (coords_NX > np.iinfo(np.int32).max).any():
        raise DataError("coordinates are larger than any slide", item=item, remedy="use level-0 pixels")
    return coords_NX.astype(np.int64)


def measured_step(coords_NX: NDArray[np.int64]) -> Step | None:
    """Return the most frequent distance of neighbours in rows and columns, the smaller of two; None without any."""
    found = []
    for along, across in ((0, 1), (1, 0)):
        order = np.lexsort((coords_NX[:, along], coords_NX[:, across]))
        distance = np.diff(coords_NX[order, along])
        same = np.diff(coords_NX[order, across]) == 0
        found.append(distance[same & (distance > 0)])
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    if not len(values):
        return None
    best = int(counts.argmax())
    return Step(int(values[best]), int(counts[best]), values.astype(np.int64), counts.astype(np.int64))


def check_distinct(coords_NX: NDArray[np.int64], item: str) -> None:
    """Refuse two tiles at one place."""
    repeats = len(coords_NX) - len(np.unique(coords_NX, axis=0))
    if repeats:
        raise DataError(
            f"{repeats} of {len(coords_NX)} coordinates occur before", item=item, remedy="write each tile once"
        )


def check_not_indices(coords_NX: NDArray[np.int64], step: Step | None, item: str) -> None:
    """Refuse numbers of rows and columns where level-0 pixels are wanted."""
    apart = step.value if step is not None else None
    small = len(coords_NX) > 1 and int(coords_NX.max()) < _SMALLEST_STEP
    if small or (apart is not None and apart < _SMALLEST_STEP):
        raise DataError(
            f"coordinates lie {apart or 1} apart: they look like numbers of rows and columns, not level-0 pixels",
            item=item,
            remedy="multiply them by the distance of neighbouring tiles in level-0 pixels",
        )


def check_step(step: Step | None, claimed: int, item: str, *, tolerance: int = 0, unit: str = "level-0 pixels") -> None:
    """Refuse a claimed distance of tiles that the coordinates contradict.

    A sample of tiles may lie several steps apart; that is no contradiction as long as odd multiples of the claimed
    step occur too. Fewer than three pairs of neighbours prove nothing.

    Raises:
        DataError: Naming both distances.
    """
    if step is None or step.count < _MIN_EVIDENCE or abs(step.value - claimed) <= tolerance:
        return
    multiple = step.value > claimed and _is_multiple(step.value, claimed, tolerance)
    finer = sum(
        int(count)
        for value, count in zip(step.distances, step.counts, strict=True)
        if _is_multiple(int(value), claimed, tolerance) and not _is_multiple(int(value), step.value, tolerance)
    )
    if multiple and finer > _CHANCE * int(step.counts.sum()):
        return
    raise DataError(
        f"tiles lie {step.value} {unit} apart, but the stated tile size and overlap mean {claimed}",
        item=item,
        remedy="state patch_size_level0 (and step_level0 if tiles overlap) in level-0 pixels; a 20x tile of 256 px "
        "covers 512 of them on a 40x slide",
    )


def check_inside(coords_NX: NDArray[np.int64], slide_size: tuple[int, int], item: str) -> None:
    """Refuse tiles whose corner is outside the slide; say so if they are (y, x)."""
    outside = int((coords_NX >= np.array(slide_size)).any(axis=1).sum())
    if not outside:
        return
    if not (coords_NX[:, ::-1] >= np.array(slide_size)).any():
        raise DataError(
            f"{outside} coordinates are outside the slide of {slide_size[0]} x {slide_size[1]}, none if swapped: they "
            "are (y, x)",
            item=item,
            remedy="store (x, y)",
        )
    raise DataError(
        f"{outside} of {len(coords_NX)} coordinates are outside the slide of {slide_size[0]} x {slide_size[1]}",
        item=item,
        remedy="check the unit, and that features and slide belong together",
    )


def _is_multiple(value: int, of: int, tolerance: int) -> bool:
    return abs(value - round(value / of) * of) <= tolerance * max(1, round(value / of)) if of > 0 else False

"""Filters of masks and thumbnails by shifted slices: the results of ``scipy.ndimage``, several times as fast.

Shape letters: h, w pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

_BAND = 32
"""Rows of a thumbnail that are worked on at once."""


def bands(rows: int) -> Iterator[slice]:
    """Yield slices of a few rows, so that what is computed of them stays in the processor's cache."""
    for top in range(0, rows, _BAND):
        yield slice(top, min(top + _BAND, rows))


def median(values_hw: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the median over ``size`` x ``size`` pixels, mirrored at the edges."""
    if size == 1:
        return values_hw
    if size != 3:
        filtered: NDArray[np.float32] = ndimage.median_filter(values_hw, size)
        return filtered
    return _median_of_nine(np.pad(values_hw, 1, mode="symmetric"))


def _median_of_nine(padded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sort columns of three; the median is that of the largest low, the middle mid and the smallest high."""
    one, two, three = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(one, two), np.maximum(one, two)
    mid = np.minimum(high, three)
    high = np.maximum(high, three)
    low, mid = np.minimum(low, mid), np.maximum(low, mid)
    lows, mids, highs = ((x[:, :-2], x[:, 1:-1], x[:, 2:]) for x in (low, mid, high))
    largest_low = np.maximum(np.maximum(lows[0], lows[1]), lows[2])
    smallest_high = np.minimum(np.minimum(highs[0], highs[1]), highs[2])
    return _middle(largest_low, _middle(*mids), smallest_high)


def _middle(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


def dilated(mask_hw: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the mask widened by a square of ``2 * radius + 1`` pixels; nothing lies outside."""
    for axis in (0, 1):
        mask_hw = _along(mask_hw, axis, radius, np.logical_or)
    return mask_hw


def opened(mask_hw: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return what of the mask a square of ``2 * radius + 1`` pixels fits into; nothing lies outside."""
    return dilated(~dilated(~np.pad(mask_hw, radius), radius)[radius:-radius, radius:-radius], radius)


def closed(mask_hw: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the mask with gaps closed that a disc of ``radius`` does not fit into; the edge is repeated outside."""
    padded = np.pad(mask_hw, radius, mode="edge")
    inner = slice(radius, -radius)
    return ~_disc_dilated(~_disc_dilated(padded, radius), radius)[inner, inner]


def _disc_dilated(mask_hw: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the union of the mask moved to all places of a disc, row by row of the disc."""
    out = _along(mask_hw, 1, radius, np.logical_or)
    for dy in range(1, radius + 1):
        wide = _along(mask_hw, 1, math.isqrt(radius**2 - dy**2), np.logical_or)
        out[dy:] |= wide[:-dy]
        out[:-dy] |= wide[dy:]
    return out


def _along(mask_hw: NDArray[np.bool_], axis: int, radius: int, join: Callable[..., Any]) -> NDArray[np.bool_]:
    """Join each pixel with those up to ``radius`` away along an axis."""
    out = mask_hw.copy()
    forward, back = (out, mask_hw) if axis == 0 else (out.T, mask_hw.T)
    for d in range(1, radius + 1):
        join(forward[d:], back[:-d], out=forward[d:])
        join(forward[:-d], back[d:], out=forward[:-d])
    return out


def pieces(mask_hw: NDArray[np.bool_], below: float) -> NDArray[np.bool_]:
    """Return the connected pieces (4 neighbours) of fewer than ``below`` pixels.

    Pieces are joined from runs of pixels along rows, of which there are far fewer than pixels.
    """
    height, width = mask_hw.shape
    flat = np.zeros((height, width + 1), dtype=np.int8)  # a column of gaps, so that no run goes on in the next row
    flat[:, :width] = mask_hw
    steps = np.diff(flat.ravel(), prepend=np.int8(0))
    start, stop = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    first = np.searchsorted(stop, start + width + 1, side="right")  # the runs below that touch
    counts = np.maximum(np.searchsorted(start, stop + width + 1, side="left") - first, 0)
    upper = np.repeat(np.arange(len(start)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    links = sparse.coo_matrix((np.ones(len(upper), dtype=np.int8), (upper, lower)), shape=(len(start), len(start)))
    piece = connected_components(links, directed=False)[1] if len(start) else np.zeros(0, dtype=np.int32)
    small = (np.bincount(piece, weights=stop - start) < below)[piece]
    steps[start[~small]] = 0
    steps[stop[~small]] = 0
    return np.cumsum(steps, dtype=np.int8).reshape(flat.shape)[:, :width].astype(bool)

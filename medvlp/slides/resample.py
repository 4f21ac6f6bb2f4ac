"""Shrinking by exact area means, so that a tile looks alike whichever level it was read from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def area_resample(
    rgb_hwc: NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the box resampled so that each output pixel is the mean of the area it covers.

    Args:
        rgb_hwc: uint8 (h, w, 3).
        box: (left, top, right, bottom) in pixels of the input, fractions allowed.
        size: (width, height) of the output.
    """
    width, height = size
    left, top, right, bottom = box
    if all(value == int(value) for value in box):
        cut = rgb_hwc[int(top) : int(bottom), int(left) : int(right)]
        if cut.shape[:2] == (height, width):
            return np.ascontiguousarray(cut)
        if cut.shape[0] % height == 0 and cut.shape[1] % width == 0:
            factor = (cut.shape[1] // width, cut.shape[0] // height)
            return np.array(Image.fromarray(np.ascontiguousarray(cut)).reduce(factor))
    if right - left < width:
        bilinear = Image.Resampling.BILINEAR
        return np.array(Image.fromarray(np.ascontiguousarray(rgb_hwc)).resize(size, bilinear, box=box))
    narrow = _means(rgb_hwc.swapaxes(0, 1), left, right, width).swapaxes(0, 1)
    return np.floor(_means(narrow, top, bottom, height) + 0.5).clip(0, 255).astype(np.uint8)


def _means(values: NDArray, start: float, stop: float, count: int) -> NDArray[np.float64]:
    """Means over ``count`` equal parts of [start, stop) along the first axis, from differences of running sums."""
    edges = np.linspace(start, stop, count + 1)
    whole = np.minimum(np.floor(edges).astype(np.int64), len(values) - 1)
    part = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    sums = np.zeros((len(values) + 1, *values.shape[1:]), dtype=np.float64)
    np.cumsum(values, axis=0, out=sums[1:], dtype=np.float64)
    at_edges = sums[whole] + part * values[whole]
    return np.diff(at_edges, axis=0) * (count / (stop - start))

"""Shrinking by exact area means, so that a tile looks alike whichever level it was read from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse


def area_resample(
    rgb_hwc: NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a box of an image at another size: each output pixel is the mean of the area it covers, rounded.

    A box smaller than the output is interpolated linearly instead.

    Args:
        rgb_hwc: uint8 (h, w, 3).
        box: (left, top, right, bottom) in pixels of the input, fractions allowed.
        size: (width, height) of the output.
    """
    width, height = size
    left, top, right, bottom = box
    if all(value == int(value) for value in box):
        cut = np.ascontiguousarray(rgb_hwc[int(top) : int(bottom), int(left) : int(right)])
        if cut.shape[:2] == (height, width):
            return cut
        if cut.shape[0] % height == 0 and cut.shape[1] % width == 0:
            return np.array(Image.fromarray(cut).reduce((cut.shape[1] // width, cut.shape[0] // height)))
    if right - left < width or bottom - top < height:
        bilinear = Image.Resampling.BILINEAR
        return np.array(Image.fromarray(np.ascontiguousarray(rgb_hwc)).resize(size, bilinear, box=box))
    rows, columns = rgb_hwc.shape[:2]
    flat = _area_weights(top, bottom, height, rows) @ rgb_hwc.reshape(rows, -1).astype(np.float32)
    turned = flat.reshape(height, columns, 3).transpose(1, 0, 2).reshape(columns, -1)
    means = (_area_weights(left, right, width, columns) @ turned).reshape(width, height, 3).transpose(1, 0, 2)
    return np.floor(means + 0.5).clip(0, 255).astype(np.uint8)


def _area_weights(start: float, stop: float, parts: int, pixels: int) -> Any:
    """Return the sparse (parts, pixels) matrix of means over equal parts of [start, stop)."""
    edges = np.linspace(start, stop, parts + 1)
    first = np.floor(edges[:-1]).astype(np.int64)
    reach = int((np.ceil(edges[1:]).astype(np.int64) - first).max())
    column = first[:, None] + np.arange(reach)
    overlap = np.minimum(edges[1:, None], column + 1) - np.maximum(edges[:-1, None], column)
    weight = overlap.clip(min=0) * (parts / (stop - start))
    row = np.repeat(np.arange(parts), reach)
    entries = (weight.ravel(), (row, column.clip(max=pixels - 1).ravel()))
    return sparse.csr_matrix(entries, shape=(parts, pixels), dtype=np.float32)

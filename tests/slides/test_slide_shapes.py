"""The fast filters give what scipy.ndimage gives, and runs find the pieces that labels find."""

import numpy as np
import pytest
from scipy import ndimage

from medvlp.slides import shapes

SQUARE = np.ones((3, 3))
MASKS = [
    np.random.default_rng(seed).random(shape) < share
    for seed, shape in enumerate([(1, 1), (1, 40), (40, 1), (33, 70), (64, 20)])
    for share in (0.05, 0.4, 0.6, 0.95)
]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_median(size):
    for shape in [(1, 1), (2, 5), (70, 33)]:
        values_hw = np.random.default_rng(0).random(shape, dtype=np.float32)
        assert np.array_equal(shapes.median(values_hw, size), ndimage.median_filter(values_hw, size))


@pytest.mark.parametrize("mask_hw", MASKS)
def test_squares_and_discs(mask_hw):
    assert np.array_equal(shapes.dilated(mask_hw, 2), ndimage.binary_dilation(mask_hw, SQUARE, iterations=2))
    assert np.array_equal(shapes.opened(mask_hw, 1), ndimage.binary_opening(mask_hw, SQUARE))
    for radius in (1, 2, 5):
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        padded = ndimage.binary_closing(np.pad(mask_hw, radius, mode="edge"), x**2 + y**2 <= radius**2)
        assert np.array_equal(shapes.closed(mask_hw, radius), padded[radius:-radius, radius:-radius])


@pytest.mark.parametrize("below", [0, 2, 3.5, 30, 1e9])
def test_pieces_against_labels(below):
    for mask_hw in MASKS:
        labels_hw, count = ndimage.label(mask_hw)
        small = np.bincount(labels_hw.ravel(), minlength=count + 1) < below
        small[0] = False
        assert np.array_equal(shapes.pieces(mask_hw, below), small[labels_hw])


def test_bands_cover_every_row_once():
    for rows in (0, 1, 32, 33, 100):
        assert [row for band in shapes.bands(rows) for row in range(rows)[band]] == list(range(rows))

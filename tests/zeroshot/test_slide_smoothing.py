"""Smoothing by where tiles lie: the same map at every magnification, no shift, no zero from outside."""

import numpy as np
import pytest

from medvlp.errors import DataError
from medvlp.zeroshot.smoothing import cells, smooth, smooth_as_keep, step_of

GRID = np.argwhere(np.ones((4, 6)))
VALUE = np.random.default_rng(0).random((24, 2))


def test_the_map_does_not_depend_on_the_magnification() -> None:
    """The same tissue scanned at 10x, 20x and 40x, cut into the same tiles."""
    maps = [smooth(VALUE, GRID * step, step) for step in (128, 256, 512)]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    assert not np.allclose(maps[0], VALUE)


def test_the_published_average_does_nothing_at_40x() -> None:
    np.testing.assert_array_equal(smooth_as_keep(VALUE, GRID * 512, 256), VALUE)
    assert not np.allclose(smooth_as_keep(VALUE, GRID * 256, 256), VALUE)


def test_it_is_centred() -> None:
    """Turning the slide around turns the map around; the published average fails this."""
    turned = (GRID.max(0) - GRID) * 100
    np.testing.assert_allclose(smooth(VALUE, GRID * 100, 100), smooth(VALUE, turned, 100))
    assert not np.allclose(smooth_as_keep(VALUE, GRID * 100, 100), smooth_as_keep(VALUE, turned, 100))


def test_a_missing_neighbour_is_no_zero() -> None:
    np.testing.assert_allclose(smooth(np.full(24, 0.7), GRID * 9, 9, 2), 0.7)
    assert smooth(np.array([0.3]), np.array([[5, 5]]), 10).tolist() == [0.3]
    far = smooth(np.array([0.0, 1.0]), np.array([[0, 0], [1000, 0]]), 10)
    assert far.tolist() == [0.0, 1.0]


def test_tiles_off_the_grid_count_by_distance() -> None:
    value = smooth(np.array([0.0, 1.0, 1.0]), np.array([[0, 0], [13, 4], [16, 0]]), 10)
    np.testing.assert_allclose(value, [0.5, 2 / 3, 1.0])


def test_overlapping_tiles_become_cells_by_area() -> None:
    found = cells(np.array([0.0, 1.0]), np.array([[100, 50], [110, 50]]), 20, 10)
    assert found.coords_MX.tolist() == [[100, 50], [110, 50], [120, 50], [100, 60], [110, 60], [120, 60]]
    assert found.value_MK.tolist() == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]


def test_the_step_is_the_smallest_distance() -> None:
    assert step_of(GRID[[0, 3, 23]] * 7) == 14
    assert step_of(np.array([[3, 4]])) is None


@pytest.mark.parametrize(
    ("coords", "step", "radius", "problem"),
    [
        (GRID[:3], 1, 1, r"expected \(24, 2\)"),
        (np.zeros((24, 2)), 1, 1, "two tiles lie at one place"),
        (GRID * np.nan, 1, 1, "finite"),
        (GRID, 0, 1, "step"),
        (GRID, 1, -1, "radius"),
    ],
)
def test_what_makes_no_sense_is_refused(coords, step, radius, problem) -> None:
    with pytest.raises(DataError, match=problem):
        smooth(VALUE, coords, step, radius)

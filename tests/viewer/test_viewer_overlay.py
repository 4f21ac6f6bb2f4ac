"""The heat map's picture: cells are the grid's own, and values stand where their tiles are."""

import io

import numpy as np
import pytest
from PIL import Image

from medvlp.errors import DataError
from medvlp.viewer import overlay
from medvlp.viewer.overlay import cells_of, heat_png, scale_png


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA"))


def grid(columns: int, rows: int, step: int, left: int = 0, top: int = 0) -> np.ndarray:
    return np.array([(left + c * step, top + r * step) for r in range(rows) for c in range(columns)])


def test_one_pixel_per_tile_where_tiles_do_not_overlap() -> None:
    place_NX = grid(5, 3, 257, left=514, top=1028)[[0, 4, 7, 14]]
    cells = cells_of(place_NX, 257)
    assert (cells.rectangle, cells.shape_hw, cells.exact) == ((514, 1028, 5 * 257, 3 * 257), (3, 5), True)
    drawn = pixels(heat_png([0.0, 0.5, 1.0, 1.0], place_NX, 257, cells))
    assert {tuple(place) for place in np.argwhere(drawn[..., 3] == 255)} == {(0, 0), (0, 4), (1, 2), (2, 4)}
    assert tuple(drawn[0, 0, :3]) == (68, 1, 84)
    assert tuple(drawn[1, 2, :3]) == (253, 231, 36)
    np.testing.assert_array_equal(drawn[1, 2], drawn[2, 4])


def test_overlapping_tiles_are_averaged_in_the_cells_they_share() -> None:
    place_NX = grid(2, 1, 32)
    cells = cells_of(place_NX, 64)
    assert (cells.shape_hw, cells.unit) == ((2, 3), 32)
    drawn = pixels(heat_png([0.0, 1.0], place_NX, 64, cells))
    scale = pixels(scale_png())[0]
    np.testing.assert_array_equal(drawn[0, [0, 2]], scale[[0, 255]])
    assert np.abs(drawn[0, 1].astype(int) - scale[128]).max() <= 3


def test_tiles_off_a_grid_are_drawn_to_the_nearest_cell(monkeypatch) -> None:
    monkeypatch.setattr(overlay, "MAX_SIDE", 100)
    place_NX = np.array([(0, 0), (701, 333), (1336, 1000)])
    cells = cells_of(place_NX, 64)
    assert (cells.exact, cells.unit, cells.shape_hw) == (False, 14, (76, 100))
    drawn = pixels(heat_png([0.0, 1.0, 0.0], place_NX, 64, cells))
    hot = np.argwhere((drawn[..., 0] == 253) & (drawn[..., 3] == 255))
    low, high = hot.min(0) * cells.unit, (hot.max(0) + 1) * cells.unit
    assert np.abs(low - (333, 701)).max() <= cells.unit / 2
    assert np.abs(high - (333 + 64, 701 + 64)).max() <= cells.unit / 2


def test_colours_can_be_spread_over_a_range() -> None:
    place_NX = grid(3, 1, 10)
    cells = cells_of(place_NX, 10)
    value_N = [0.50, 0.51, 0.52]
    narrow = pixels(heat_png(value_N, place_NX, 10, cells))[0].astype(int)
    spread = pixels(heat_png(value_N, place_NX, 10, cells, (0.50, 0.52)))[0]
    assert np.abs(narrow[0] - narrow[2]).max() < 10
    np.testing.assert_array_equal(spread[[0, 2]], pixels(scale_png())[0, [0, 255]])
    equal = pixels(heat_png([0.5] * 3, place_NX, 10, cells, (0.5, 0.5)))[0]
    assert (equal == equal[0]).all()


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(DataError, match="there is no tile"):
        cells_of(np.zeros((0, 2), dtype=np.int64), 64)
    with pytest.raises(DataError, match="not finite"):
        heat_png([np.nan], np.array([[0, 0]]), 64, cells_of(np.array([[0, 0]]), 64))

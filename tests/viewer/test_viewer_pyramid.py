"""The pyramid: its geometry beside OpenSlide's, its pixels beside plain means, squares put together, damage."""

import numpy as np
import pytest

from medvlp.errors import DataError
from medvlp.slides.reader import Slide, UnreadableRegion, open_slide
from medvlp.viewer import pyramid as module
from medvlp.viewer.pyramid import TILE, DeepZoom, descriptor, unreadable

pytestmark = pytest.mark.extras
for _module in ("openslide", "tifffile"):
    pytest.importorskip(_module)


@pytest.fixture(scope="module")
def picture():
    """Smooth colours with noise, so that a shift by one pixel shows."""
    y_hw, x_hw = np.mgrid[:531, :777]
    rgb = np.stack([x_hw / 4, y_hw / 3, (x_hw + y_hw) / 6], axis=-1) + np.random.default_rng(0).normal(
        0, 8, (531, 777, 1)
    )
    return np.clip(rgb, 0, 255).astype(np.uint8)


@pytest.fixture
def slide(picture, tmp_path):
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture, tile=(128, 128), photometric="rgb", compression="deflate")
    with open_slide(path) as slide:
        yield slide


def whole(pyramid: DeepZoom, level: int) -> np.ndarray:
    """All tiles of a level side by side."""
    width, height = pyramid.level_size(level)
    rows = [
        np.concatenate([pyramid.tile(level, column, row) for column in range(-(-width // TILE))], axis=1)
        for row in range(-(-height // TILE))
    ]
    return np.concatenate(rows)


def means(rgb: np.ndarray, scale: int) -> np.ndarray:
    """Means of scale x scale pixels; beyond the end is white."""
    height, width = (-(-side // scale) * scale for side in rgb.shape[:2])
    padded = np.full((height, width, 3), 255.0)
    padded[: rgb.shape[0], : rgb.shape[1]] = rgb
    return padded.reshape(height // scale, scale, width // scale, scale, 3).mean((1, 3))


def test_geometry_is_deep_zoom(slide) -> None:
    import openslide
    from openslide.deepzoom import DeepZoomGenerator

    with openslide.OpenSlide(slide.path) as opened:
        theirs = DeepZoomGenerator(opened, tile_size=TILE, overlap=0, limit_bounds=False)
        ours = DeepZoom(slide)
        assert ours.num_levels == theirs.level_count
        for level in range(ours.num_levels):
            assert ours.level_size(level) == theirs.level_dimensions[level]
            columns, rows = theirs.level_tiles[level]
            assert ours.has(level, columns - 1, rows - 1)
            assert not ours.has(level, columns, 0)
            assert not ours.has(level, 0, rows)
            size = theirs.get_tile_dimensions(level, (columns - 1, rows - 1))
            assert ours.tile(level, columns - 1, rows - 1).shape == (size[1], size[0], 3)
        assert not ours.has(ours.num_levels, 0, 0)
        assert not ours.has(-1, 0, 0)
        assert 'TileSize="256"><Size Width="777" Height="531"/>' in descriptor(ours)


def test_pixels_are_the_slides_or_their_means(slide, picture) -> None:
    pyramid = DeepZoom(slide)
    np.testing.assert_array_equal(whole(pyramid, pyramid.num_levels - 1), picture)
    for level in range(4, pyramid.num_levels):
        difference = whole(pyramid, level) - means(picture, pyramid.scale(level))
        halvings = max(0, pyramid.num_levels - 1 - level - 3)  # from 16 on tiles are put together, rounding each time
        assert np.abs(difference).max() <= 1 + 0.5 * halvings, level


def test_levels_put_together_from_below_show_the_same(slide, picture, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_READ_SIDE", TILE)
    sides = []
    square = Slide.square
    monkeypatch.setattr(
        Slide, "square", lambda self, x, y, side, size: sides.append(side) or square(self, x, y, side, size)
    )
    pyramid = DeepZoom(slide)
    for level in range(4, pyramid.num_levels):  # rounded once on every level
        difference = whole(pyramid, level) - means(picture, pyramid.scale(level))
        assert np.abs(difference).max() <= 0.5 * (pyramid.num_levels - 1 - level) + 0.5, level
    assert set(sides) == {TILE}
    assert len(sides) == 4 * 3  # every tile of the slide is read once


def test_what_is_kept_is_bounded(slide, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SQUARES_KEPT", 3)
    pyramid = DeepZoom(slide)
    for column in range(4):
        pyramid.tile(pyramid.num_levels - 1, column, 0)
    assert [where[1] for where in pyramid._squares] == [1, 2, 3]


def test_a_slide_is_not_closed_while_it_is_read(slide, monkeypatch) -> None:
    import threading

    started, go = threading.Event(), threading.Event()
    square, events = Slide.square, []

    def slow(self, x, y, side, size):
        started.set()
        go.wait(20)
        events.append("read")
        return square(self, x, y, side, size)

    monkeypatch.setattr(Slide, "square", slow)
    pyramid = DeepZoom(slide)
    reader = threading.Thread(target=pyramid.tile, args=(pyramid.num_levels - 1, 0, 0))
    ending = threading.Thread(target=lambda: (pyramid.end(), events.append("ended")))
    reader.start()
    assert started.wait(20)
    ending.start()
    go.set()
    reader.join()
    ending.join()
    assert events == ["read", "ended"]
    with pytest.raises(DataError, match="is closed"):
        pyramid.tile(pyramid.num_levels - 1, 1, 0)


def test_a_damaged_place_is_grey_and_its_neighbours_are_not(slide, picture, monkeypatch) -> None:
    square = Slide.square

    def broken(self, x, y, side, size):
        if (x, y) == (TILE, 0):
            raise UnreadableRegion("damaged", item="slide")
        return square(self, x, y, side, size)

    monkeypatch.setattr(Slide, "square", broken)
    monkeypatch.setattr(module, "MAX_READ_SIDE", TILE)
    pyramid = DeepZoom(slide)
    shown = whole(pyramid, pyramid.num_levels - 1)
    np.testing.assert_array_equal(shown[:TILE, TILE : 2 * TILE], unreadable())
    shown[:TILE, TILE : 2 * TILE] = picture[:TILE, TILE : 2 * TILE]
    np.testing.assert_array_equal(shown, picture)
    smaller = whole(pyramid, pyramid.num_levels - 2)
    assert np.abs(smaller[3:20, 140:200].astype(int) - 200).max() <= 50
    assert pyramid.num_unreadable == 1


@pytest.mark.data
def test_label_and_macro_pictures_are_never_opened(monkeypatch) -> None:
    import os
    from pathlib import Path

    import openslide

    path = Path(os.environ.get("MEDVLP_DATA", "")) / "wsi" / "cmu-1-small-region.svs"
    if not path.is_file():
        pytest.skip("MEDVLP_DATA does not hold wsi/cmu-1-small-region.svs")
    with openslide.OpenSlide(path) as opened:
        assert {"label", "macro"} <= set(opened.associated_images)  # so there is something to open

    def opened_one(self):
        raise AssertionError("an associated picture was asked for")

    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(opened_one))
    with open_slide(path) as slide:
        pyramid = DeepZoom(slide)
        shown = whole(pyramid, pyramid.num_levels - 3)
        np.testing.assert_array_equal(pyramid.tile(pyramid.num_levels - 1, 2, 3), slide.read(512, 768, TILE, TILE))
    assert shown.shape == (742, 555, 3)

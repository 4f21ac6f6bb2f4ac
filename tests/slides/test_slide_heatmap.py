"""Heat maps: tiles lie where they should, the picture says its scale, and nothing in it is read as a formula."""

import io

import numpy as np
import pytest
from PIL import Image

from medvlp.errors import DataError
from medvlp.slides.heatmap import bar_length, bar_text, heat_map, paint, png

PINK = np.full((60, 80, 3), (230, 170, 200), dtype=np.uint8)


def test_tiles_lie_where_they_should() -> None:
    found = paint([0.25, 1.0], [[0, 0], [200, 100]], 100, (400, 300), (30, 40))
    expected = np.full((30, 40), np.nan)
    expected[:10, :10], expected[10:20, 20:30] = 0.25, 1.0
    np.testing.assert_array_equal(found, expected)


def test_tiles_that_overlap_are_averaged_and_the_edge_cuts() -> None:
    found = paint([0.0, 1.0], [[0, 0], [50, 0]], 100, (120, 100), (10, 12))
    assert found[0].tolist() == [0.0] * 5 + [0.5] * 5 + [1.0] * 2


def test_each_pixel_asks_at_its_middle() -> None:
    assert np.isnan(paint([1.0], [[6, 0]], 10, (40, 40), (4, 4))[0, 0])
    assert paint([1.0], [[4, 0]], 10, (40, 40), (4, 4))[0].tolist()[:2] == [1.0, pytest.approx(np.nan, nan_ok=True)]


@pytest.mark.parametrize(("width", "bar", "words"), [(1500, 200, "200 µm"), (20000, 5000, "5 mm"), (2, 1, "1 µm")])
def test_the_bar_is_a_round_length(width, bar, words) -> None:
    assert bar_length(width) == bar
    assert bar_text(bar) == words


def test_the_picture_shows_tissue_and_heat() -> None:
    places = [[0, 0], [400, 300]]
    image = heat_map(PINK, (800, 600), places, 400, [0.0, 1.0], label="p($x$)", level0_mpp=0.5, title="Tiles of $5")
    pixels = np.asarray(image).astype(int)
    assert image.width > 80
    assert image.height > 60
    pale = np.abs(pixels - (230, 170, 200)).sum(2) < 9
    yellow = np.abs(pixels - (0.45 * np.array([230, 170, 200]) + 0.55 * np.array([253, 231, 37]))).sum(2) < 9
    assert pale.sum() > 500
    assert yellow.sum() > 500
    assert np.argwhere(yellow).mean(0)[0] > np.argwhere(pale).mean(0)[0]  # the bright tile is the lower right one


def test_without_opacity_it_is_the_thumbnail() -> None:
    pixels = np.asarray(heat_map(PINK, (800, 600), [[0, 0]], 800, [1.0], label="p", opacity=0.0)).astype(int)
    assert (np.abs(pixels - (230, 170, 200)).sum(2) == 0).sum() > 3500


def test_the_png_holds_no_text() -> None:
    with Image.open(io.BytesIO(png(Image.fromarray(PINK)))) as image:
        assert image.info == {}
        assert image.size == (80, 60)


@pytest.mark.parametrize(
    ("places", "values", "options"),
    [
        ([[0, 0]], [np.nan], {}),
        ([[0, 0]], [0.1, 0.2], {}),
        ([[0, 0]], [0.1], {"opacity": 1.5}),
        ([[0, 0]], [0.1], {"limits": (1.0, 1.0)}),
    ],
)
def test_what_cannot_be_drawn_is_refused(places, values, options) -> None:
    with pytest.raises(DataError, match="heat map"):
        heat_map(PINK, (800, 600), places, 100, values, label="p", **options)

"""The tiles of a slide: counts, shares and places against independent ones."""

import numpy as np
import pytest
from PIL import Image
from pyramids import discs, halved, write_pyramid

from medvlp.errors import DataError
from medvlp.slides.grid import GridConfig, tile_grid, tissue_share
from medvlp.slides.preview import TILE, preview
from medvlp.slides.reader import open_slide
from medvlp.slides.tissue import tissue_mask
from medvlp.slides.types import TissueMask


class Stand:
    """A slide as far as a grid needs one."""

    path = "slide"

    def __init__(self, size, mpp):
        self.size, self.mpp = size, mpp

    def require_mpp(self):
        return self.mpp


@pytest.mark.parametrize(
    ("size", "mpp", "settings"),
    [
        ((3000, 2000), 0.5, {}),
        ((3000, 2000), 0.25, {}),
        ((3000, 2000), 0.2525, {}),
        ((3001, 2049), 0.5, {"overlap": 64}),
        ((3001, 2049), 0.499, {"tile_size": 224, "overlap": 112}),
        ((1000, 100), 0.5, {}),
        ((256, 256), 0.5, {}),
    ],
)
@pytest.mark.parametrize("edge", ["drop", "keep"])
def test_places_against_a_loop(size, mpp, settings, edge):
    grid = tile_grid(Stand(size, mpp), None, GridConfig(edge=edge, **settings))
    tile, overlap = settings.get("tile_size", 256), settings.get("overlap", 0)
    side, step = round(tile * 0.5 / mpp), round((tile - overlap) * 0.5 / mpp)
    expected = []
    y = 0
    while y < size[1] if edge == "keep" else y + side <= size[1]:
        x = 0
        while x < size[0] if edge == "keep" else x + side <= size[0]:
            expected.append([x, y])
            x += step
        y += step
    assert grid.coords_NX.tolist() == expected
    assert (grid.patch_size_level0, grid.step_level0) == (side, step)
    assert (grid.tile_size, grid.mpp, grid.level0_mpp, grid.slide_size) == (tile, 0.5, mpp, size)
    assert grid.coords_NX.dtype == np.int64
    assert (grid.tissue_N == 1).all()


def test_shares_against_counting_pixels():
    rng = np.random.default_rng(0)
    mask_hw = rng.random((40, 60)) < 0.5
    mask = TissueMask(mask_hw, (8.0, 8.0))
    coords = np.stack([rng.integers(0, 480, 50), rng.integers(0, 320, 50)], axis=1)
    fine = np.kron(mask_hw, np.ones((8, 8)))
    shares = tissue_share(mask, coords, 100, (480, 320))
    for (x, y), share in zip(coords, shares, strict=True):
        assert share == pytest.approx(fine[y : y + 100, x : x + 100].sum() / 100**2, abs=1e-5)


def test_shares_where_mask_pixels_are_not_whole():
    mask = TissueMask(np.array([[True, False], [False, True]]), (7.5, 5.5))
    shares = tissue_share(mask, np.array([[0, 0], [4, 3], [0, 5]]), 6, (15, 11))
    assert shares == pytest.approx([33.0 / 36, (3.5 * 2.5 + 2.5 * 3.5) / 36, 3.0 / 36], abs=1e-6)


@pytest.mark.parametrize("least", [0.0, 0.25, 0.5, 1.0])
def test_least_tissue(least):
    mask_hw = np.zeros((32, 32), dtype=bool)
    mask_hw[:16, :10] = True
    grid = tile_grid(Stand((1024, 1024), 0.5), TissueMask(mask_hw, (32.0, 32.0)), GridConfig(min_tissue=least))
    assert grid.coords_NX.tolist() == [
        [x, y] for y in (0, 256) for x, share in ((0, 1.0), (256, 0.25)) if share >= least
    ]


def test_no_tissue_is_an_empty_grid():
    grid = tile_grid(Stand((1024, 1024), 0.5), TissueMask(np.zeros((8, 8), dtype=bool), (128.0, 128.0)))
    assert (len(grid), grid.coords_NX.shape, grid.tissue_N.shape) == (0, (0, 2), (0,))


def test_a_large_slide_tile_by_tile():
    """100,000 x 100,000 px: every tile's share against the mean of its own mask pixels."""
    mask_hw = np.random.default_rng(0).random((3125, 3125)) < 0.3
    grid = tile_grid(Stand((100_000, 100_000), 0.25), TissueMask(mask_hw, (32.0, 32.0)), GridConfig(min_tissue=0.3))
    blocks = mask_hw[:3120, :3120].reshape(195, 16, 195, 16).mean((1, 3))
    assert len(grid) == (blocks >= np.float32(0.3)).sum()


@pytest.mark.parametrize(
    ("mpp", "settings", "message"),
    [
        (0.5, {"overlap": 256}, "leave a step of 0"),
        (0.5, {"tile_size": 16, "overlap": 300}, "choose a smaller overlap"),
        (1.0, {"mpp": 0.5}, "choose a larger mpp"),
        (0.5, {"overlap": 255}, "exceed the limit"),
    ],
)
def test_what_is_refused(mpp, settings, message):
    with pytest.raises(DataError, match=message):
        tile_grid(Stand((100_000, 100_000), mpp), None, GridConfig(**settings))


@pytest.mark.extras
def test_one_grid_at_every_scan_magnification(tmp_path):
    """The same tissue at 40x, 20x and 10x: the same tiles in micrometres, nearly the same pixels."""
    pytest.importorskip("openslide", reason="needs the extra slides")
    pytest.importorskip("tifffile", reason="needs the extra slides")
    rgb = discs(2048, 1536, [(750, 750, 450), (1600, 400, 250)])
    rgb = np.clip(rgb.astype(int) + np.random.default_rng(0).integers(-8, 9, rgb.shape), 0, 255).astype(np.uint8)
    grids, tiles = [], []
    for mpp, image in ((0.25, rgb), (0.5, halved(rgb)), (1.0, halved(halved(rgb)))):
        path = write_pyramid(tmp_path / f"{mpp}.tif", image, mpp=mpp, levels=2, compression=None)
        with open_slide(path) as slide:
            grid = tile_grid(slide, tissue_mask(slide), GridConfig(tile_size=32, mpp=1.0))
            grids.append(grid)
            x, y = grid.coords_NX[len(grid) // 2].tolist()
            tiles.append(slide.square(x, y, grid.patch_size_level0, 32).astype(int))
    places = [grid.coords_NX * grid.level0_mpp for grid in grids]
    assert len(grids[0]) > 40
    assert places[0].tolist() == places[1].tolist() == places[2].tolist()
    assert np.abs(tiles[0] - tiles[2]).max() <= 2
    assert np.abs(tiles[1] - tiles[2]).max() <= 1


@pytest.mark.extras
def test_tiles_are_drawn(tmp_path):
    pytest.importorskip("openslide", reason="needs the extra slides")
    pytest.importorskip("tifffile", reason="needs the extra slides")
    with open_slide(write_pyramid(tmp_path / "a.tif", discs(1024, 1024, [(512, 512, 300)]), mpp=0.5)) as slide:
        mask = tissue_mask(slide)
        grid = tile_grid(slide, mask)
        picture = preview(slide, mask, grid, longest=512)
        bare = preview(slide, None, longest=512)
    assert isinstance(picture, Image.Image)
    pixels = np.asarray(picture)
    assert (pixels[64, 128] == TILE).all() or (pixels[128, 150] == TILE).all()
    assert not (np.asarray(bare) == TILE).all(-1).any()
    assert (np.asarray(bare)[-18 + 2, 20] == 0).all()

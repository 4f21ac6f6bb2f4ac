"""Stain normalisation: MONAI's stains, one fit for a slide, and tiles left alone where it cannot be done."""

import numpy as np
import pytest
from PIL import Image
from pyramids import he_crop, write_pyramid

from medvlp.errors import DataError
from medvlp.slides.grid import GridConfig, tile_grid
from medvlp.slides.reader import open_slide
from medvlp.slides.stain import StainConfig, StainNormaliser, fit_stain

pytestmark = pytest.mark.extras
pytest.importorskip("monai", reason="needs the extra finetune")
MACENKO = StainConfig(method="macenko")


@pytest.fixture(scope="module")
def rgb():
    return he_crop(200, 300, 512, 512)


def faded(rgb: np.ndarray, power: float = 0.5) -> np.ndarray:
    """The same tissue with half the dye: optical densities times ``power``."""
    return (240 * (np.minimum(rgb + 1.0, 240) / 240) ** power - 1).round().clip(0, 255).astype(np.uint8)


def test_one_tile_comes_out_as_monai_makes_it(rgb):
    from monai.apps.pathology.transforms.stain.array import NormalizeHEStains

    ours = StainNormaliser(StainConfig(method="macenko", fit="tile"))(rgb)
    theirs = NormalizeHEStains()(rgb)
    assert np.abs(ours.astype(int) - theirs).mean() < 1.5
    assert np.abs(ours.astype(int) - rgb).mean() > 5


def test_pale_and_dark_slides_come_out_alike(rgb):
    dark, pale = StainNormaliser(MACENKO).fit([rgb]), StainNormaliser(MACENKO).fit([faded(rgb)])
    before = np.abs(faded(rgb).astype(int) - rgb).mean()
    after = np.abs(pale(faded(rgb)).astype(int) - dark(rgb)).mean()
    assert after < before / 4
    assert (dark.done, dark.left) == (1, 0)


def test_to_a_reference_image(tmp_path, rgb):
    Image.fromarray(faded(rgb)).save(tmp_path / "reference.png")
    config = StainConfig(method="macenko", reference=str(tmp_path / "reference.png"))
    out = StainNormaliser(config).fit([rgb])(rgb)
    assert np.abs(out.astype(int) - faded(rgb)).mean() < 4
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    with pytest.raises(DataError, match="too little of the reference is stained"):
        StainNormaliser(StainConfig(method="macenko", reference=str(tmp_path / "white.png")))


@pytest.mark.parametrize("fit", ["slide", "tile"])
def test_what_cannot_be_normalised_is_left_and_counted(fit):
    glass = np.full((64, 64, 3), 243, dtype=np.uint8)
    normaliser = StainNormaliser(StainConfig(method="macenko", fit=fit)).fit([glass])
    assert np.array_equal(normaliser(glass), glass)
    assert (normaliser.fitted, normaliser.done, normaliser.left) == (False, 0, 1)
    assert not StainNormaliser(MACENKO).fit([]).fitted


def test_one_colour_alone_has_no_two_stains():
    block = np.full((64, 64, 3), (120, 60, 120), dtype=np.uint8)
    normaliser = StainNormaliser(MACENKO).fit([block])
    assert np.array_equal(normaliser(block), block)
    assert normaliser.left == 1


def test_fitted_on_tiles_of_a_slide(tmp_path, rgb):
    with open_slide(write_pyramid(tmp_path / "a.tif", rgb, levels=1, compression=None)) as slide:
        grid = tile_grid(slide, None, GridConfig(tile_size=128))
        one, two = (fit_stain(slide, grid, StainConfig(method="macenko", fit_tiles=4)) for _ in range(2))
        assert one.fitted
        assert np.array_equal(one(rgb), two(rgb))
        off = fit_stain(slide, grid, StainConfig())
    assert np.array_equal(off(rgb), rgb)
    assert (off.done, off.left) == (0, 0)

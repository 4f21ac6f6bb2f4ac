"""Tissue is found where it was put, glass stays empty, ink goes."""

import os
from pathlib import Path

import numpy as np
import pytest
from pyramids import discs, he_crop, write_pyramid

from medvlp.slides.grid import GridConfig, tile_grid
from medvlp.slides.preview import TISSUE, preview
from medvlp.slides.reader import open_slide
from medvlp.slides.tissue import TissueConfig, otsu, pen_marks, tissue_mask

pytestmark = pytest.mark.extras
pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tifffile", reason="needs the extra slides")
INKS = {"green": (54, 158, 135), "blue": (40, 50, 180), "black": (30, 30, 32), "red": (220, 20, 30)}


def found(tmp_path, rgb, mpp=2.0, **settings):
    path = write_pyramid(tmp_path / "a.tif", rgb, mpp=mpp, levels=2, compression=None)
    with open_slide(path) as slide:
        return tissue_mask(slide, TissueConfig(**settings))


def test_two_discs(tmp_path):
    mask = found(tmp_path, discs(1600, 1200, [(400, 400, 200), (1100, 800, 100)]))
    assert mask.downsample == pytest.approx((4, 4))
    expected = np.pi * (200**2 + 100**2) / (1600 * 1200)
    assert mask.share == pytest.approx(expected, rel=0.03)
    assert mask.mask_hw[100, 100]
    assert not mask.mask_hw[100, 250]
    assert mask.method.startswith("otsu")


@pytest.mark.parametrize("mpp", [2.0, None])
def test_empty_glass_holds_no_tissue(tmp_path, mpp):
    noise = np.random.default_rng(0).normal(243, 2.0, (1200, 1600, 3)).clip(0, 255).astype(np.uint8)
    assert found(tmp_path, noise, mpp).share == 0
    assert found(tmp_path, np.full((600, 600, 3), 255, np.uint8), mpp).share == 0
    assert found(tmp_path, np.zeros((600, 600, 3), np.uint8), mpp).share == 0


def test_a_slide_full_of_tissue(tmp_path):
    assert found(tmp_path, he_crop(0, 0, 1200, 1200)).share > 0.95


def test_specks_and_holes(tmp_path):
    rgb = discs(1600, 1200, [(500, 500, 300), (1300, 300, 20)])
    rgb[480:520, 480:520] = 243
    mask = found(tmp_path, rgb)
    assert mask.mask_hw[125, 125]
    assert not mask.mask_hw[75, 325]
    assert mask.excluded["speck"] == pytest.approx(np.pi * 20**2 / (1600 * 1200), rel=0.3)
    bare = found(tmp_path, rgb, min_area_um2=0.0, max_hole_um2=0.0, closing_um=0.0)
    assert not bare.mask_hw[125, 125]
    assert bare.mask_hw[75, 325]


@pytest.mark.parametrize("ink", INKS)
def test_ink_on_glass_and_on_tissue(tmp_path, ink):
    rgb = discs(1600, 1200, [(500, 600, 300)])
    rgb[560:640, 400:1500] = INKS[ink]
    with_ink = found(tmp_path, rgb, pen=False)
    mask = found(tmp_path, rgb)
    assert not mask.mask_hw[150, 300]
    assert not mask.mask_hw[150, 125]
    assert mask.mask_hw[100, 125]
    assert "pen" not in with_ink.excluded
    assert mask.share < np.pi * 300**2 / (1600 * 1200)
    if ink != "black":  # black ink is not saturated, so it is no tissue to begin with
        assert mask.excluded["pen"] > 0.02
        assert with_ink.mask_hw[150, 300]


def test_stained_tissue_is_no_ink():
    from skimage.color import rgb2hsv

    for crop in (he_crop(0, 0, 512, 512), he_crop(800, 800, 512, 512)):
        hue_hw, saturation_hw, value_hw = np.moveaxis(rgb2hsv(crop[::16, ::16]), -1, 0)
        assert pen_marks(hue_hw * 360, saturation_hw, value_hw).mean() < 0.01


def test_ink_is_found_without_the_hue_of_every_pixel():
    from skimage.color import rgb2hsv

    from medvlp.slides.tissue import _ink, _ink_of, _saturation_value

    level = np.arange(0, 256, 5, dtype=np.uint8)
    rgb_hwc = np.stack(np.meshgrid(level, level, level), -1).reshape(1, -1, 3)
    channels, saturation_hw, value_hw = _saturation_value(rgb_hwc)
    hue_hw, others_hw, brightest_hw = np.moveaxis(rgb2hsv(rgb_hwc), -1, 0)
    np.testing.assert_allclose(saturation_hw, others_hw, atol=1e-6)
    np.testing.assert_allclose(value_hw, brightest_hw, atol=1e-6)
    wanted_hw = _ink(np.round(hue_hw * 360, 3), saturation_hw, value_hw)
    assert 0.1 < wanted_hw.mean() < 0.9
    assert (_ink_of(*channels, saturation_hw, value_hw) != wanted_hw).mean() < 1e-3  # hues exactly on a limit


def test_the_mask_of_a_large_slide_is_coarser(tmp_path):
    rgb = discs(4096, 1024, [(500, 600, 300)])
    path = write_pyramid(tmp_path / "large.tif", rgb, mpp=8.0)
    for longest, width in ((4096, 4096), (3000, 4096), (1024, 2048)):
        with open_slide(path) as slide:
            mask = tissue_mask(slide, TissueConfig(longest=longest))
        assert mask.mask_hw.shape[1] == width
        assert abs(mask.share - np.pi * 300**2 / rgb[..., 0].size) < 0.003


def test_folds(tmp_path):
    rgb = discs(1600, 1200, [(500, 600, 300)])
    rgb[400:800, 480:520] = (90, 20, 80)
    assert found(tmp_path, rgb).mask_hw[150, 125]
    mask = found(tmp_path, rgb, folds=True)
    assert not mask.mask_hw[150, 125]
    assert mask.excluded["fold"] == pytest.approx(400 * 40 / (1600 * 1200), rel=0.2)


def test_unscanned_area_is_not_tissue(tmp_path):
    rgb = discs(1600, 1200, [(500, 600, 300)])
    rgb[:, 1200:] = 0
    mask = found(tmp_path, rgb)
    assert not mask.mask_hw[:, 301:].any()
    assert mask.share == pytest.approx(np.pi * 300**2 / (1600 * 1200), rel=0.03)


def test_fixed_threshold_and_none(tmp_path):
    rgb = discs(800, 800, [(400, 400, 200)], colour=(230, 200, 220))
    assert found(tmp_path, rgb, method="fixed", threshold=0.2).share == 0
    assert found(tmp_path, rgb, method="fixed", threshold=0.1).share > 0.15
    everything = found(tmp_path, rgb, method="none")
    assert (everything.share, everything.excluded) == (1.0, {})


def test_otsu_against_every_threshold():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.1, 0.03, 4000), rng.normal(0.5, 0.1, 1500)]).clip(0, 1)
    bins = np.minimum((values * 256).astype(int), 255)

    def between(cut):
        low, high = bins[bins < cut], bins[bins >= cut]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else -1.0

    assert otsu(values) == max(range(1, 256), key=between) / 256
    assert otsu(np.array([])) == 0.0
    assert 0 <= otsu(np.full(10, 0.4)) <= 1


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "mpp", "share", "pen"),
    [("cmu-1-small-region.svs", None, (0.3, 0.45), False), ("wsi_dicom_42frames.dcm", 4.6, (0.35, 0.5), True)],
)
def test_real_slides(name, mpp, share, pen):
    folder = os.environ.get("MEDVLP_DATA")
    if not folder:
        pytest.skip("needs MEDVLP_DATA")
    with open_slide(Path(folder, "wsi", name), mpp=mpp) as slide:
        mask = tissue_mask(slide)
        picture = np.asarray(preview(slide, mask, longest=600))
    assert share[0] < mask.share < share[1]
    assert (mask.excluded.get("pen", 0.0) > 0.05) == pen
    assert picture.shape[:2] == (600, 449) if not pen else picture.shape[1] == 600
    assert (picture == TISSUE).all(-1).sum() > 500
    green, blue = picture[..., 1].astype(int), picture[..., 2].astype(int)
    assert ((green - blue > 20).mean() > 0.03) == pen  # haematoxylin and eosin leave more blue than green


@pytest.mark.data
def test_tiles_of_a_real_slide_against_counting_every_pixel():
    folder = os.environ.get("MEDVLP_DATA")
    if not folder:
        pytest.skip("needs MEDVLP_DATA")
    with open_slide(Path(folder, "wsi", "cmu-1-small-region.svs")) as slide:
        mask = tissue_mask(slide)
        grid = tile_grid(slide, mask, GridConfig(overlap=128))
        rows, columns = (
            ((np.arange(side) + 0.5) / ratio).astype(int)
            for side, ratio in zip(reversed(slide.size), reversed(mask.downsample), strict=True)
        )
        full_hw = mask.mask_hw[rows][:, columns]
    side, step = round(256 * 0.5 / 0.499), round(128 * 0.5 / 0.499)
    shares = {
        (x, y): full_hw[y : y + side, x : x + side].mean()
        for y in range(0, slide.size[1] - side + 1, step)
        for x in range(0, slide.size[0] - side + 1, step)
    }
    kept = dict(zip(map(tuple, grid.coords_NX.tolist()), grid.tissue_N.tolist(), strict=True))
    assert len(kept) > 100
    for place, share in shares.items():
        if abs(share - 0.25) > 0.005:
            assert (place in kept) == (share > 0.25)
        assert kept.get(place, share) == pytest.approx(share, abs=0.005)
    assert kept.keys() <= shares.keys()

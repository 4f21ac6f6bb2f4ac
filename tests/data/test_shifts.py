"""Shifts: identity at severity 0, stronger with severity, the same for the same key, grey stays grey."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medvlp.data.shifts import GREY_SHIFTS, SEVERITIES, SHIFTS, is_grey, shift_image
from medvlp.errors import DataError


def tissue(side=64):
    """Haematoxylin and eosin of uneven density on white."""
    rng = np.random.default_rng(0)
    amounts = np.abs(gaussian_filter(rng.standard_normal((side, side, 2)), (1.5, 1.5, 0))) * 2
    density = amounts @ np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    return Image.fromarray(np.uint8(np.rint(255 * np.exp(-density))))


TISSUE = tissue()
GREY = TISSUE.convert("L")


def distance(one, two):
    return np.abs(np.asarray(one.convert("RGB"), float) - np.asarray(two.convert("RGB"), float)).mean()


@pytest.mark.parametrize("name", SHIFTS)
def test_severity_nought_is_the_image_and_more_changes_more(name):
    assert distance(shift_image(TISSUE, name, 0, key="a"), TISSUE) == 0
    changes = [distance(shift_image(TISSUE, name, severity, key="a"), TISSUE) for severity in range(1, 6)]
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert len(set(changes)) == 5


@pytest.mark.parametrize("name", SHIFTS)
def test_same_key_same_result_and_the_input_stays(name):
    before = np.asarray(TISSUE).copy()
    one, two = (shift_image(TISSUE, name, 3, key="a") for _ in range(2))
    assert np.array_equal(np.asarray(one), np.asarray(two))
    assert np.array_equal(np.asarray(TISSUE), before)
    assert one.mode == "RGB"
    assert one.size == TISSUE.size


@pytest.mark.parametrize("name", ["noise", "stain"])
def test_keys_and_seeds_differ(name):
    results = {np.asarray(shift_image(TISSUE, name, 3, key=str(key))).tobytes() for key in range(20)}
    assert len(results) == (20 if name == "noise" else 4)  # a stain goes up or down, each of two
    seeds = {np.asarray(shift_image(TISSUE, name, 3, key="a", seed=seed)).tobytes() for seed in range(20)}
    assert len(seeds) > 1


@pytest.mark.parametrize("name", GREY_SHIFTS)
def test_grey_stays_grey(name):
    shifted = shift_image(GREY, name, 4, key="a")
    assert is_grey(shifted)
    assert distance(shifted, GREY) > 0


def test_stain_changes_each_stain_by_its_share():
    blue = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
    density = 0.8
    pure = Image.fromarray(np.uint8(np.rint(256 * np.exp(-density * blue) - 1)) * np.ones((8, 8, 1), np.uint8))
    for key in range(8):
        shifted = np.asarray(shift_image(pure, "stain", 3, key=str(key)), float)[0, 0]
        left = -np.log((shifted + 1) / 256) @ blue / density
        assert min(abs(left - 0.7), abs(left - 1.3)) < 0.02


def test_white_glass_stays_white_under_stain():
    glass = Image.new("RGB", (8, 8), (255, 255, 254))
    assert distance(shift_image(glass, "stain", 5, key="a"), glass) < 1


def test_contrast_keeps_the_mean_colour():
    shifted = np.asarray(shift_image(TISSUE, "contrast", 2, key="a"), float)
    original = np.asarray(TISSUE, float)
    assert np.allclose(shifted.mean((0, 1)), original.mean((0, 1)), atol=0.5)
    assert np.allclose(shifted.std((0, 1)) / original.std((0, 1)), 0.3, atol=0.02)


def test_blur_scales_with_the_image():
    large = TISSUE.resize((448, 448), Image.Resampling.BICUBIC)
    small = large.resize((224, 224), Image.Resampling.BOX)
    blurred = [
        shift_image(image, "blur", 3, key="a").resize((56, 56), Image.Resampling.BOX) for image in (large, small)
    ]
    assert distance(*blurred) < 1


def test_five_severities_each_and_no_stain_for_grey():
    assert all(len(set(values)) == 5 for values in SEVERITIES.values())
    assert set(SHIFTS) - set(GREY_SHIFTS) == {"stain"}
    assert "stain" in SHIFTS


@pytest.mark.parametrize(
    ("image", "name", "severity", "said"),
    [
        (TISSUE, "fog", 1, "fog: no such shift"),
        (TISSUE, "blur", 6, "blur: severity 6"),
        (TISSUE, "blur", -1, "severity -1"),
        (TISSUE, "blur", 1.0, "severity 1.0"),
        (TISSUE, "blur", True, "severity True"),
        (GREY, "stain", 1, "key 7: is grey, so it has no stain"),
    ],
)
def test_bad_input_is_one_line(image, name, severity, said):
    with pytest.raises(DataError, match=said):
        shift_image(image, name, severity, key="key 7")

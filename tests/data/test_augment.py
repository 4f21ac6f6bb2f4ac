"""Augmentation is reproducible and never leaves a text saying the wrong side."""

import numpy as np
import pytest
from PIL import Image

from medvlp.data.augment import Augment, has_side, swap_sides
from medvlp.errors import ConfigError

LEFT_WHITE = np.zeros((64, 64, 3), dtype=np.uint8)
LEFT_WHITE[:, :32] = 255


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("Left pleural effusion.", "Right pleural effusion."),
        ("RIGHT lung and left-sided mass", "LEFT lung and right-sided mass"),
        ("RUL opacity, LLL clear", "LUL opacity, RLL clear"),
        ("L breast, Rt. hilum", "R breast, Lt. hilum"),
        ("levoscoliosis", "dextroscoliosis"),
        ("oxygen 5 L/min, L4 fracture, 12 mg/L", "oxygen 5 L/min, L4 fracture, 12 mg/L"),
        ("a bright cleft", "a bright cleft"),
        ("L/R asymmetry", "R/L asymmetry"),
        ("bilateral opacities", "bilateral opacities"),
    ],
)
def test_swap_is_right_and_its_own_inverse(text, mirrored):
    assert swap_sides(text) == mirrored
    assert swap_sides(mirrored) == text
    assert has_side(text) == (text != mirrored)


def test_sides_without_a_mirror_word():
    assert swap_sides("consolidation of the right middle lobe") is None
    assert has_side("lingular collapse")


def augment(**options):
    pytest.importorskip("albumentations", reason="needs the aug extra")
    return Augment(Augment.Config(size=64, crop_scale=[1.0, 1.0], **options))


def is_mirrored(image):
    return np.asarray(image)[32, 4, 0] < 128


@pytest.mark.extras
def test_same_seed_same_result():
    options = {"horizontal_flip": 0.5, "brightness": 0.3, "hue": 0.1, "stain": 0.2, "blur": 0.5, "jpeg": 0.5}
    noise = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    work = augment(**options)
    first = [np.asarray(work(noise, ["x"], np.random.default_rng([7, i]))[0]) for i in range(6)]
    again = [np.asarray(augment(**options)(Image.fromarray(noise), ["x"], np.random.default_rng([7, 0]))[0])]
    np.random.seed(1)
    again += [np.asarray(work(noise, ["x"], np.random.default_rng([7, i]))[0]) for i in range(1, 6)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert first[0].shape == (64, 64, 3)


@pytest.mark.extras
def test_flip_without_sides():
    image, texts = augment(horizontal_flip=1.0)(LEFT_WHITE, ["effusion"], np.random.default_rng(0))
    assert is_mirrored(image)
    assert texts == ["effusion"]


@pytest.mark.extras
def test_refuse():
    work = augment(horizontal_flip=1.0, rotate90=1.0, vertical_flip=1.0)
    image, texts = work(LEFT_WHITE, ["fine", "left effusion"], np.random.default_rng(0))
    assert not is_mirrored(image)
    assert texts == ["fine", "left effusion"]
    assert work.counts == {"flip refused": 1}


@pytest.mark.extras
def test_swap():
    work = augment(horizontal_flip=1.0, vertical_flip=1.0, laterality="swap")
    image, texts = work(LEFT_WHITE, ["Left effusion", "clear"], np.random.default_rng(0))
    assert is_mirrored(image)
    assert texts == ["Right effusion", "clear"]
    image, texts = work(LEFT_WHITE, ["Left effusion", "RML collapse"], np.random.default_rng(0))
    assert not is_mirrored(image)
    assert texts == ["Left effusion", "RML collapse"]
    assert work.counts == {"flipped": 1, "words swapped": 1, "flip refused": 1}
    turned, texts = augment(rotate90=1.0, laterality="swap")(LEFT_WHITE, ["left"], np.random.default_rng(0))
    assert np.array_equal(np.asarray(turned), LEFT_WHITE)
    assert texts == ["left"]


@pytest.mark.extras
def test_ignore():
    image, texts = augment(horizontal_flip=1.0, laterality="ignore")(LEFT_WHITE, ["left"], np.random.default_rng(0))
    assert is_mirrored(image)
    assert texts == ["left"]


@pytest.mark.extras
def test_stain_changes_colour_not_layout():
    tissue = np.full((64, 64, 3), (180, 120, 180), dtype=np.uint8)
    tissue[:, 32:] = (240, 200, 220)
    seen = {np.asarray(augment(stain=0.3)(tissue, [], np.random.default_rng(i))[0])[5, 5].tobytes() for i in range(5)}
    assert len(seen) > 1


def test_bad_settings():
    with pytest.raises(ConfigError, match=r"augment\.crop_scale: the first value"):
        Augment(Augment.Config(crop_scale=[0.9, 0.2]))

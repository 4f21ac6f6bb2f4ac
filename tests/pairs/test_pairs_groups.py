"""Semantic groups equal brute force, whatever the block size."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data_prep.pairs.groups import fingerprint, join, near_duplicate_images, near_duplicate_texts, renumber, same_key
from medvlp.data.image import encode_image, read_image


def brute(near):
    """Connected components by repeated squaring, numbered by first member."""
    reach = near | near.T | np.eye(len(near), dtype=bool)
    for _ in range(len(near)):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return renumber(reach.argmax(axis=1))


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_images_equal_brute_force(block):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(8, 6))
    rows = base[rng.integers(8, size=40)] + 0.12 * rng.normal(size=(40, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[5] = 0
    expected = brute(rows @ rows.T >= 0.95)
    assert 8 < len(set(expected)) < 40
    assert np.array_equal(near_duplicate_images(rows, 0.95, block), expected)


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_texts_equal_brute_force(block):
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(14)]
    texts = [" ".join(rng.permutation(words)[: rng.integers(10, 15)]) for _ in range(40)] + ["", "...", "W1 w1", "w1"]
    sets = [set(text.casefold().split()) if text.strip(". ") else {f"empty {i}"} for i, text in enumerate(texts)]
    near = np.array([[len(a & b) > 0.9 * len(a | b) for b in sets] for a in sets])
    assert np.array_equal(near_duplicate_texts(texts, 0.9, block), brute(near))


def test_iou_bound_is_exclusive():
    ten = " ".join(f"w{i}" for i in range(10))
    nine = " ".join(f"w{i}" for i in range(9))
    assert near_duplicate_texts([ten, nine], 0.9).tolist() == [0, 1]
    assert near_duplicate_texts([ten, nine], 0.89).tolist() == [0, 0]


def test_fingerprint_knows_the_same_picture():
    rng = np.random.default_rng(2)

    def photo():
        coarse = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        return coarse.resize((240, 200), Image.Resampling.BICUBIC)

    image, other = photo(), photo()
    copies = [
        read_image(encode_image(image, "jpeg", quality=60)),
        image.resize((120, 100)),
        ImageEnhance.Brightness(image).enhance(0.8),
        ImageEnhance.Contrast(image).enhance(0.7),
    ]
    assert all(fingerprint(image) @ fingerprint(copy) > 0.95 for copy in copies)
    assert fingerprint(image) @ fingerprint(other) < 0.5
    flat = fingerprint(Image.new("RGB", (50, 50), (90, 20, 200)))
    assert flat @ flat == 0


def test_join_and_keys():
    assert same_key(["a", None, "a", None]).tolist() == [0, 1, 0, 2]
    assert join(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist() == [0, 0, 0, 1]
    assert near_duplicate_texts([]).tolist() == []

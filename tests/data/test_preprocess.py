"""Preprocessing equals open_clip's and timm's own evaluation transforms."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.data.transform import Preprocess
from medvlp.errors import ConfigError, DataError

SIZES = [(224, 224), (300, 180), (97, 333), (40, 31), (1, 500), (225, 224), (64, 64)]


def photo(width, height):
    values = np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.extras
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_equals_open_clip(mode, interpolation):
    guard = pytest.importorskip("medvlp.torchvision_guard")
    guard.install()
    pytest.importorskip("open_clip", reason="needs the clip extra")
    from open_clip.transform import PreprocessCfg, image_transform_v2

    ours = Preprocess(224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), interpolation, mode)
    theirs = image_transform_v2(
        PreprocessCfg(size=224, mean=ours.mean, std=ours.std, interpolation=interpolation, resize_mode=mode), False
    )
    for size in SIZES:
        if mode != "squash" and min(size) == 1:
            continue  # open_clip itself fails on a line
        image = photo(*size)
        assert torch.equal(ours(image), theirs(image)), size


@pytest.mark.extras
def test_equals_timm():
    guard = pytest.importorskip("medvlp.torchvision_guard")
    guard.install()
    timm_data = pytest.importorskip("timm.data", reason="needs timm")
    theirs = timm_data.create_transform(
        (3, 192, 192), is_training=False, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0
    )
    ours = Preprocess(192, (0.5,) * 3, (0.5,) * 3)
    for size in [(192, 192), (300, 180), (97, 333)]:
        assert torch.allclose(ours(photo(*size)), theirs(photo(*size)), atol=1e-6), size


def test_looking_values_up_is_normalising():
    ours = Preprocess(224, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    image = photo(300, 250)
    values = torch.from_numpy(np.array(ours.resize(image))).permute(2, 0, 1)
    assert torch.equal(ours(image), ours.normalise(values))
    assert ours(image).is_contiguous()


def test_shape_type_and_known_value():
    white = Preprocess(8, (0.5,) * 3, (0.25,) * 3)(Image.new("RGB", (20, 10), (255, 255, 255)))
    assert white.shape == (3, 8, 8)
    assert white.dtype == torch.float32
    assert torch.equal(white, torch.full((3, 8, 8), 2.0))


def test_extreme_shapes():
    assert Preprocess(16, resize_mode="longest")(photo(1, 500)).shape == (3, 16, 16)
    with pytest.raises(DataError, match="1 x 90000 is too long and thin"):
        Preprocess(224)(photo(1, 90000))


def test_json_and_pickle_round_trip():
    ours = Preprocess(96, interpolation="bilinear", resize_mode="longest", fill_color=9)
    assert Preprocess.from_json(json.loads(json.dumps(ours.to_json()))) == ours
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert Preprocess.from_json({"size": [64, 64], "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3}).size == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "preprocess.size"),
        ({"size": 8, "resize_mode": "crop"}, "use shortest, squash, longest"),
        ({"size": 8, "interpolation": "nearest"}, "use bicubic, bilinear"),
        ({"size": 8, "std": (0, 1, 1)}, "preprocess.std"),
        ({"size": 8, "mean": (0, 1)}, "needs 3 values, has 2"),
        ({"size": 8, "sise": 9}, "unknown key 'sise'"),
        ({"size": [8, 9]}, "not square"),
        ({}, "no size given"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        Preprocess.from_json(values)

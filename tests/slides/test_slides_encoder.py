"""What embeds the tiles: names without folders, digests that notice every change, the device."""

import pytest
import torch
from tiny_models import pictures, tiny_model, write_bert

from data_prep.slides.config import OpenedModel
from data_prep.slides.encoder import _basename, open_encoder, resolve
from medvlp.encoders.image import TimmImage
from medvlp.errors import ConfigError

TOWER = TimmImage.Config(model="test_efficientnet", image_size=32)


def opened(config=TOWER, precision="float32", seed=0):
    return open_encoder(config, device="cpu", precision=precision, seed=seed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from medvlp.model import save_model

    place = tmp_path_factory.mktemp("model")
    return save_model(tiny_model(write_bert(place / "bert")), place / "tiny")


def test_projected_vectors_are_those_of_the_model(saved):
    from medvlp.loading import load

    encoder, images = opened(OpenedModel(model=str(saved))), pictures(3)
    batch = torch.stack([encoder.preprocess(image) for image in images])
    assert torch.allclose(encoder(batch), load(saved).encode_image(images), atol=1e-6)
    assert (encoder.name, encoder.projected) == ("tiny", True)


def test_vectors_before_the_head(saved):
    encoder = opened(OpenedModel(model=str(saved), projected=False))
    batch = torch.stack([encoder.preprocess(image) for image in pictures(2)])
    assert not encoder.projected
    assert encoder(batch).shape[1] != 32
    assert encoder.digest != opened(OpenedModel(model=str(saved))).digest


def test_the_digest_knows_weights_arithmetic_and_preprocessing():
    other = TOWER.model_copy(update={"resize_mode": "squash"})
    digests = [opened().digest, opened(seed=1).digest, opened(precision="bf16").digest, opened(other).digest]
    assert len(set(digests)) == 4
    assert opened().digest == digests[0]


def test_bf16_gives_float32_near_the_same():
    batch = torch.stack([opened().preprocess(image) for image in pictures(2)])
    full, half = opened()(batch), opened(precision="bf16")(batch)
    assert half.dtype is torch.float32
    assert not torch.equal(half, full)
    assert torch.allclose(half, full, atol=0.05 * float(full.abs().max()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device():
    assert resolve("auto", "auto") == (torch.device("cpu"), "float32")
    assert resolve("cpu", "bf16")[1] == "bf16"
    with pytest.raises(ConfigError, match="no CUDA device is usable"):
        resolve("cuda", "auto")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("runs/keep", "keep"),
        ("/home/someone/patient study/keep/", "keep"),
        ("vit_large_patch16_224", "vit_large_patch16_224"),
        ("keep:/weights/KEEP", "keep:KEEP"),
        ("hf-hub:owner/model", "hf-hub:owner/model"),
        ("open_clip:ViT-B-32//home/someone/file.pt", "open_clip:ViT-B-32"),
        ("open_clip:/home/someone/export", "open_clip:export"),
    ],
)
def test_names_do_not_tell_where_models_lie(model, name):
    assert _basename(model) == name

"""The dual encoder: one embedding space, parts that freeze, and a folder that brings it all back."""

import errno
import json

import numpy as np
import pytest
import torch
from tiny_models import pictures, tiny_config, tiny_model

import medvlp.encoders.weights as weights_module
from medvlp.encoders.text import TextEncoder
from medvlp.errors import CheckpointError, ConfigError, DataError
from medvlp.io import write_manifest
from medvlp.loading import load
from medvlp.model import DualEncoder, load_model, save_model

TEXTS = ["an image of lung carcinoma", "normal skin", "x " * 30]


@pytest.fixture
def model(bert):
    return tiny_model(bert)


def test_what_is_no_list_of_images_is_refused(model):
    for images in (pictures(1)[0], [], 5):
        with pytest.raises(DataError, match="expected at least one image; pass a list of PIL images"):
            model.encode_image(images)
    with pytest.raises(DataError, match="expected a path, bytes or a PIL image, got ndarray"):
        model.encode_image([np.zeros((4, 4, 3))])


def test_embeddings_are_unit_vectors_and_inputs_agree(model):
    images = pictures(5)
    image_BD = model.encode_image(images, batch_size=2)
    assert image_BD.shape == (5, 32)
    torch.testing.assert_close(image_BD.norm(dim=1), torch.ones(5))
    stacked = torch.stack([model.preprocess(image) for image in images])
    torch.testing.assert_close(model.encode_image(stacked), image_BD)
    torch.testing.assert_close(model.project_image(model.image_features(stacked)), image_BD)
    square = [image.resize((64, 64)) for image in images]
    as_bytes = torch.stack([torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) for image in square])
    torch.testing.assert_close(model.encode_image(as_bytes), model.encode_image(square))
    text_MD = model.encode_text(TEXTS, batch_size=2)
    torch.testing.assert_close(model.encode_text(model.tokenize(TEXTS)), text_MD)
    torch.testing.assert_close(text_MD.norm(dim=1), torch.ones(3))


def test_gradient_flows_through_tensors_only(model):
    assert not model.encode_text(TEXTS).requires_grad
    assert model.encode_text(model.tokenize(TEXTS)).requires_grad
    assert model.encode_image(torch.zeros(1, 3, 64, 64)).requires_grad


def test_bad_inputs(model):
    with pytest.raises(DataError, match=r"expected \(B, 3, H, W\), got \(2, 1, 8, 8\)"):
        model.encode_image(torch.zeros(2, 1, 8, 8))
    with pytest.raises(DataError, match=r"expected \(B, 3, H, W\)"):
        model.encode_image(torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"at least one image"):
        model.encode_image([])
    with pytest.raises(DataError, match=r"non-empty list of strings"):
        model.encode_text("one string")


def test_scale_is_clamped(model):
    assert model.scale().item() == pytest.approx(1 / 0.07)
    for value, expected in ((10.0, 100.0), (-3.0, 1.0)):
        with torch.no_grad():
            model.logit_scale.fill_(value)
        assert model.scale().item() == pytest.approx(expected)


def test_every_parameter_is_in_one_part(bert):
    model = tiny_model(bert, logit_bias=-10.0, text_head="mlp")
    listed = [id(p) for parameters in model.towers().values() for p in parameters]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    assert len(model.towers()["scale"]) == 2


def test_frozen_parts_stay_still(model):
    model.set_frozen({"image_tower"})
    model.train()
    before = {name: tensor.clone() for name, tensor in model.image.state_dict().items()}
    loss = model.encode_image(torch.randn(4, 3, 64, 64)).sum() + model.encode_text(model.tokenize(TEXTS)).sum()
    loss.backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.image.state_dict().items())
    assert all(p.grad is None for p in model.image.parameters())
    assert model.image_head.first.weight.grad is not None
    model.set_frozen(())
    assert model.image.training
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigError, match=r"visual: no such part of the model; use image_tower"):
        model.set_frozen({"visual"})


def test_gradient_checkpointing_changes_no_gradient(bert):
    def gradients(checkpointing):
        model = tiny_model(bert)
        model.set_grad_checkpointing(checkpointing)
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        generator = torch.Generator().manual_seed(0)
        image = model.encode_image(torch.randn(4, 3, 64, 64, generator=generator))
        text = model.encode_text(model.tokenize(TEXTS))
        (image @ text.T).square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain, saved = gradients(False), gradients(True)
    assert len(plain) == len(saved) > 20
    for a, b in zip(plain, saved, strict=True):
        torch.testing.assert_close(a, b)


def test_context_length_overrides_the_towers(bert):
    model = tiny_model(bert, context_length=5)
    assert model.tokenize(TEXTS)[0].shape == (3, 5)
    assert model.tokenizer.truncated_share == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match=r"100 is more than the tower's 64 positions"):
        DualEncoder(tiny_config(bert, context_length=100))


@pytest.mark.parametrize("changes", [{}, {"logit_bias": -10.0, "image_head": "mlp", "text_head": "kep_mlp"}])
def test_save_and_load(bert, tmp_path, changes):
    model = tiny_model(bert, **changes)
    save_model(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert not again.training
    assert again.config == model.config
    assert again.preprocess == model.preprocess
    assert torch.equal(again.encode_image(pictures(3)), model.encode_image(pictures(3)))
    assert torch.equal(again.encode_text(TEXTS), model.encode_text(TEXTS))
    save_model(again, tmp_path / "n")
    assert (tmp_path / "n" / "model.safetensors").read_bytes() == (tmp_path / "m" / "model.safetensors").read_bytes()


def test_saved_model_does_not_need_its_sources(tmp_path):
    from tiny_models import write_bert

    folder = write_bert(tmp_path / "source")
    model = tiny_model(folder)
    save_model(model, tmp_path / "m")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert torch.equal(load(tmp_path / "m").encode_text(TEXTS), model.encode_text(TEXTS))


def test_flipped_byte_is_named(model, tmp_path):
    folder = save_model(model, tmp_path / "m")
    write_manifest(folder, {})
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"model.safetensors: differs from its sha256 in manifest.json"):
        load(folder)


def test_foreign_weights_are_named(model, bert, tmp_path):
    folder = save_model(model, tmp_path / "m")
    other = save_model(tiny_model(bert, text_head="linear"), tmp_path / "o")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"1 tensors unexpected: text_head.first.weight"):
        load_model(folder)
    wide = save_model(tiny_model(bert, embed_dim=48, text_head="linear"), tmp_path / "w")
    (other / "model.safetensors").write_bytes((wide / "model.safetensors").read_bytes())
    with pytest.raises(
        CheckpointError, match=r"of another shape: image_head.first.weight \(48, 256\) instead of \(32, 256\)"
    ):
        load_model(other)


def test_damaged_description(model, tmp_path):
    folder = save_model(model, tmp_path / "m")
    saved = json.loads((folder / "model.json").read_text())
    saved["config"]["image"]["name"] = "magic"
    (folder / "model.json").write_text(json.dumps(saved))
    with pytest.raises(CheckpointError, match=r"model.json: the saved configuration is not valid"):
        load_model(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"unknown format of model.json"):
        load_model(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such folder"):
        load(tmp_path / "absent")


def test_full_disk_leaves_nothing(model, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        args[1].write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights_module, "save_file", full)
    with pytest.raises(CheckpointError, match=r"model.safetensors: no space left on the disk; free some space"):
        save_model(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_stage_one_encoder_becomes_a_tower(bert, tmp_path):
    encoder = TextEncoder(TextEncoder.Config(model=str(bert), context_length=16)).eval()
    with torch.no_grad():
        encoder.transformer.embeddings.word_embeddings.weight.add_(0.5)
    encoder.save(tmp_path / "stage1" / "text_encoder")
    tower = TextEncoder.Config(model=str(tmp_path / "stage1"), context_length=16)
    model = DualEncoder(tiny_config(bert, text=tower)).eval()
    with torch.no_grad():
        assert torch.equal(model.text_features(*model.tokenize(TEXTS)), encoder(*encoder.tokenize(TEXTS)))

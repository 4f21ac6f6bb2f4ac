"""The open_clip export: stock open_clip, in a process without this library, gives the same embeddings."""

import errno
import json
import subprocess
import sys

import pytest
import torch
from tiny_models import pictures, tiny_model

from medvlp.encoders.image import HfImage, TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.errors import CheckpointError, DataError, ExportError
from medvlp.export import export, repoint, verify
from medvlp.export.open_clip import open_clip_config, open_clip_state
from medvlp.loading import load
from medvlp.model import save_model

pytestmark = pytest.mark.extras
pytest.importorskip("ftfy", reason="needs the extra `clip` (open_clip)")


def open_clip():
    from medvlp import torchvision_guard

    torchvision_guard.install()
    return pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")


@pytest.fixture(scope="module")
def model(bert):
    open_clip()
    return tiny_model(bert, logit_bias=-3.0)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export(model, "open_clip", tmp_path_factory.mktemp("export") / "oc")


def test_same_embeddings_in_a_process_without_the_library(model, exported, tmp_path):
    paths = []
    for index, image in enumerate(pictures(6)):
        image.save(tmp_path / f"{index}.png")
        paths.append(tmp_path / f"{index}.png")
    texts = ["lung carcinoma", "a  normal &amp; liver", "Sjögren’s", "x " * 50, "skin nevus left"]
    result = verify(exported, model, paths, texts)
    assert result.ok, str(result)
    assert (result.num_images, result.num_texts) == (6, 5)
    assert result.max_abs_diff <= 1e-4


def test_verification_can_fail(model, exported, bert):
    other = tiny_model(bert, seed=1, logit_bias=-3.0)
    result = verify(exported, other)
    assert not result.ok
    assert str(result).startswith("NOT the same model: largest difference")


@pytest.mark.parametrize(
    ("image_model", "changes", "pooling"),
    [
        ("test_vit", {"image_head": "mlp", "text_head": "mlp", "embed_dim": 24}, "cls"),
        ("test_resnet", {"image_head": "none", "text_head": "linear", "embed_dim": 96}, "pooler"),
        ("test_vit", {"image_head": "none", "text_head": "linear", "embed_dim": 64, "logit_bias": -10.0}, "mean"),
        ("test_efficientnet", {"image_head": "none", "text_head": "mlp", "embed_dim": 256}, "mean"),
    ],
)
def test_every_exportable_head_and_pooling(bert, tmp_path, image_model, changes, pooling):
    clip = open_clip()
    image = TimmImage.Config(model=image_model)
    text = TextEncoder.Config(model=str(bert), context_length=16, pooling=pooling)
    model = tiny_model(bert, image=image, text=text, **changes)
    out = export(model, "open_clip", tmp_path / "oc")
    stock, _, preprocess = clip.create_model_and_transforms(f"local-dir:{out}")
    tokenizer = clip.get_tokenizer(f"local-dir:{out}")
    stock.eval()
    images, texts = pictures(3), ["lung carcinoma", "normal skin of the left", "x " * 40]
    with torch.no_grad():
        theirs = stock.encode_image(torch.stack([preprocess(i) for i in images]), normalize=True)
        torch.testing.assert_close(theirs, model.encode_image(images), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            stock.encode_text(tokenizer(texts), normalize=True), model.encode_text(texts), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(stock.logit_scale.exp(), model.scale())
        if model.logit_bias is not None:
            assert stock.logit_bias.item() == model.logit_bias.item()
    assert torch.equal(tokenizer(texts), model.tokenize(texts, fixed=True)[0])


def test_what_open_clip_cannot_express_is_refused_by_name(bert, tmp_path):
    open_clip()

    def message(**changes):
        with pytest.raises(ExportError) as caught:
            export(tiny_model(bert, **changes), "open_clip", tmp_path / "oc")
        assert not (tmp_path / "oc").exists()
        assert "--to safetensors" in str(caught.value)
        return str(caught.value)

    assert message(image_head="kep_mlp").startswith("image_head: kep_mlp: open_clip has no such head")
    assert message(text_head="kep_mlp").startswith("text_head: kep_mlp: open_clip has no such head")
    text = TextEncoder.Config(model=str(bert), context_length=16, pooling="max")
    assert message(text=text).startswith("text.pooling: max: open_clip's own maximum pooling")
    image = TimmImage.Config(model="test_vit", image_size=96)
    assert message(image=image).startswith("image.image_size: open_clip builds test_vit for 160 pixels")
    from transformers import ViTConfig

    ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=64).save_pretrained(tmp_path / "v")
    vit = HfImage.Config(model=str(tmp_path / "v"), weights="none")
    assert message(image=vit).startswith("image: hf: open_clip has no Hugging Face image tower")


def test_unknown_format_and_existing_folder(model, exported):
    with pytest.raises(ExportError, match=r"tflite: no such format; use open_clip, hf, timm, onnx or saf"):
        export(model, "tflite", exported)
    with pytest.raises(DataError, match=r"already exists; remove it"):
        export(model, "open_clip", exported)


def test_moved_folder_is_repointed(model, exported, tmp_path):
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(exported, moved)
    config = json.loads((moved / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "/nowhere/at/all"
    (moved / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=r"open_clip_config.json: differs from its sha256"):
        repoint(moved)
    shutil.copyfile(exported / "open_clip_config.json", moved / "open_clip_config.json")
    assert repoint(moved) == moved
    text_cfg = json.loads((moved / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert text_cfg["hf_model_name"] == text_cfg["hf_tokenizer_name"] == str(moved)
    assert verify(moved, model).ok
    with pytest.raises(ExportError, match=r"no open_clip_config.json in this folder"):
        repoint(tmp_path)


def test_export_comes_back_through_load(model, exported, tmp_path):
    images, texts = pictures(3), ["lung carcinoma", "normal skin"]
    again = load(exported)
    torch.testing.assert_close(again.encode_image(images), model.encode_image(images), atol=1e-5, rtol=0)
    torch.testing.assert_close(again.encode_text(texts), model.encode_text(texts), atol=1e-5, rtol=0)
    torch.testing.assert_close(again.scale(), model.scale())
    assert again.logit_bias.item() == model.logit_bias.item()
    save_model(again, tmp_path / "own")
    own = load(tmp_path / "own")
    assert torch.equal(own.encode_text(texts), again.encode_text(texts))
    assert torch.equal(own.encode_image(images), again.encode_image(images))
    second = export(own, "open_clip", tmp_path / "second")
    assert verify(second, model).ok


def test_shipped_script_runs_by_itself(model, exported, tmp_path):
    pictures(1)[0].save(tmp_path / "a.png")
    (tmp_path / "r.json").write_text(json.dumps({"images": [str(tmp_path / "a.png")], "texts": ["lung"]}))
    out = tmp_path / "o.safetensors"
    done = subprocess.run(
        [sys.executable, "-I", str(exported / "embed.py"), str(tmp_path / "r.json"), str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    from safetensors import safe_open

    with safe_open(out, framework="pt") as stream:
        assert stream.metadata()["imported_medvlp"] == "False"
        torch.testing.assert_close(stream.get_tensor("text"), model.encode_text(["lung"]), atol=1e-5, rtol=0)


def test_altered_export_is_named(model, exported, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    data = bytearray((copy / "open_clip_model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "open_clip_model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ExportError, match=r"open_clip_model.safetensors: differs from its sha256"):
        verify(copy, model)


def test_full_disk_leaves_nothing(model, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medvlp.export.run.write_manifest", full)
    with pytest.raises(ExportError, match=r"no space left on the disk; free some space"):
        export(model, "open_clip", tmp_path / "oc")
    assert list(tmp_path.iterdir()) == []


def test_scale_outside_its_range_is_exported_as_used(bert, tmp_path):
    model = tiny_model(bert)
    with torch.no_grad():
        model.logit_scale.fill_(7.0)
    assert open_clip_state(model)["logit_scale"].exp().item() == pytest.approx(100.0)
    assert open_clip_config(model, tmp_path)["model_cfg"]["embed_dim"] == 32


def test_open_clip_towers_load_train_and_export(tmp_path):
    clip = open_clip()
    vision = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    source = tmp_path / "native"
    source.mkdir()
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}}
    (source / "open_clip_config.json").write_text(json.dumps({**config, "preprocess_cfg": {"mean": [0.1] * 3}}))
    torch.manual_seed(0)
    stock, _, preprocess = clip.create_model_and_transforms(f"local-dir:{source}")
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in stock.state_dict().items()}, source / "open_clip_model.safetensors")
    stock.eval()
    tokenizer = clip.get_tokenizer(f"local-dir:{source}")
    model = load(f"open_clip:{source}")
    images, texts = pictures(3), ["lung carcinoma", "normal skin", "x " * 40]
    with torch.no_grad():
        theirs = stock.encode_image(torch.stack([preprocess(i) for i in images]), normalize=True)
        torch.testing.assert_close(model.encode_image(images), theirs, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            model.encode_text(texts), stock.encode_text(tokenizer(texts), normalize=True), atol=1e-6, rtol=0
        )
    assert model.tokenizer.truncated_share == pytest.approx(1 / 3)
    assert model.preprocess.mean == (0.1, 0.1, 0.1)
    save_model(model, tmp_path / "own")
    own = load(tmp_path / "own")
    assert torch.equal(own.encode_text(texts), model.encode_text(texts))
    out = export(own, "open_clip", tmp_path / "out")
    assert verify(out, model).ok


def test_unknown_open_clip_name():
    open_clip()
    from medvlp.errors import ConfigError

    with pytest.raises(ConfigError, match=r"ViT-B-17: open_clip has no such model; nearest: ViT-B"):
        load("open_clip:ViT-B-17")
    with pytest.raises(CheckpointError, match=r"open_clip:/gone: no such folder; name an open_clip export"):
        load("open_clip:/gone")

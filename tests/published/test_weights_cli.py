"""The verbs of `medvlp weights`, and the later verbs on what they wrote."""

import json
from pathlib import Path

import pytest
import torch
from published_folders import openai_model, write_hf_clip, write_openai
from tiny_models import pictures

import medvlp
from medvlp.cli import run
from medvlp.published.known import KNOWN
from medvlp.published.registry import LAYOUTS

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def plip(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "plip"
    write_hf_clip(folder, own_vocabulary=True)
    return folder


def test_list_names_licences_and_what_is_unverified(capsys):
    assert run(["weights", "list"]) == 0
    said = capsys.readouterr().out
    for model in KNOWN:
        assert model.name in said
        assert model.licence in said
        assert model.unverified in said
        schemes = [name for name in ("embeddings", *LAYOUTS) if f"{name}:" in model.opened_with]
        assert schemes, model.name


def test_the_page_says_what_the_code_says():
    page = (Path(__file__).resolve().parents[2] / "docs" / "published_weights.md").read_text(encoding="utf-8")
    for model in KNOWN:
        row = f"| {model.name} | `{model.opened_with}` | {model.licence} ({model.licence_from}) |"
        assert f"{row} {model.checked} | {model.unverified} |" in page, model.name
    for layout in LAYOUTS.values():
        assert f"| `{layout.name}` | {'; '.join(layout.cites)} |" in page, layout.name


def test_inspect_prints_the_account(plip, capsys):
    assert run(["weights", "inspect", str(plip)]) == 0
    said = capsys.readouterr().out
    assert "layout      hf_clip" in said
    assert "missing     0" in said
    assert "unexpected  0" in said
    assert "visual_projection.weight -> image.visual.proj (transpose)" in said
    assert "unverified  no published folder was at hand" in said
    assert run(["weights", "inspect", str(plip), "--names"]) == 0
    assert "text_projection.weight -> text.text.text_projection" in capsys.readouterr().out


def test_inspect_ends_with_1_where_tensors_are_missing(clip, tmp_path, capsys):
    path = write_openai(tmp_path / "c.pt", openai_model(clip))
    state = torch.load(path, weights_only=True)
    del state["ln_final.bias"]
    torch.save(state, path)
    assert run(["weights", "inspect", str(path), "--layout", "chexzero"]) == 1
    assert "missing     1\n  text.text.ln_final.bias" in capsys.readouterr().out
    assert run(["weights", "import", str(path), "--layout", "chexzero", "--out", str(tmp_path / "o")]) == 2
    assert "1 tensors missing: text.text.ln_final.bias; use the whole weights" in capsys.readouterr().err
    arguments = [
        "weights",
        "import",
        str(path),
        "--layout",
        "chexzero",
        "--out",
        str(tmp_path / "o"),
        "--allow-partial",
    ]
    assert run(arguments) == 0
    assert f"checkpoint (PARTIAL): {tmp_path / 'o'}" in capsys.readouterr().out
    assert run(["export", str(tmp_path / "o"), "--to", "safetensors", "--out", str(tmp_path / "st")]) == 0
    card = (tmp_path / "st" / "README.md").read_text()
    assert "Published weights `c.pt` in layout `chexzero`" in card
    assert "**Imported in part: the missing tensors are random.**" in card


def test_import_then_export(plip, tmp_path, capsys):
    own = tmp_path / "own"
    assert run(["weights", "import", str(plip), "--out", str(own)]) == 0
    assert f"checkpoint: {own}" in capsys.readouterr().out
    model = medvlp.load(own)
    direct = medvlp.load(f"hf_clip:{plip}")
    assert torch.equal(model.encode_image(pictures(2)), direct.encode_image(pictures(2)))
    assert json.loads((own / "manifest.json").read_text())["format"] == "medvlp-import/1"
    assert run(["export", str(own), "--to", "open_clip", "--out", str(tmp_path / "oc")]) == 0
    assert run(["export", f"hf_clip:{plip}", "--to", "safetensors", "--out", str(tmp_path / "st")]) == 0
    assert torch.equal(medvlp.load(tmp_path / "st").encode_text(["a b"]), model.encode_text(["a b"]))

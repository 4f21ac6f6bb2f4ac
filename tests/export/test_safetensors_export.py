"""The plain export and the card: reloaded elsewhere, and honest about data, licences and scores."""

import json

import pytest
import torch
from tiny_models import tiny_model

from medvlp.export import export, verify
from medvlp.export.card import write_card
from medvlp.export.verify import compare
from medvlp.io import write_manifest
from medvlp.model import save_model


def test_reloads_in_another_process(bert, tmp_path):
    model = tiny_model(bert, text_head="kep_mlp", image_head="kep_mlp")
    out = export(model, "safetensors", tmp_path / "st", check=True)
    assert {"model.safetensors", "model.json", "preprocess.json", "README.md", "manifest.json"} <= {
        path.name for path in out.iterdir()
    }
    assert not verify(out, tiny_model(bert, seed=1, text_head="kep_mlp", image_head="kep_mlp")).ok


def test_compare_knows_values_and_order():
    a = torch.eye(3)
    close = a + 5e-5
    assert compare(a, a, close, close, 0.0).ok
    far = a + 2e-4
    assert not compare(a, a, far, a, 0.0).ok
    swapped = a[[1, 0, 2]]
    result = compare(a, a, swapped, a, 0.0)
    assert (result.same_ranking, result.ok) == (False, False)
    assert not compare(a, a, torch.full((3, 3), float("nan")), a, 0.0).ok
    assert not compare(a, a, a, a, 0.5).ok


def test_card_quotes_sources_licences_and_scores(bert, tmp_path):
    model = tiny_model(bert)
    graph = tmp_path / "graph"
    graph.mkdir()
    write_manifest(graph, {"sources": [{"name": "Disease Ontology", "licence": "CC0"}], "counts": {"concepts": 11454}})
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    write_manifest(pairs, {"num_groups": 7, "already_deidentified": True, "examples": ["SECRET-CASE-1"]})
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    save_model(model, checkpoint)
    (run / "config.yaml").write_text(f"kind: align\nknowledge: real\ngraph: {graph}\ndata: {pairs}\n")
    results = {"metrics": [{"name": "balanced accuracy", "value": 0.71234, "low": 0.6, "high": None, "n": 321}]}
    (run / "results.json").write_text(json.dumps(results))
    card = write_card(model, "open_clip", checkpoint)
    for expected in ("Disease Ontology", "CC0", "11,454", "knowledge: real", "already deidentified: True"):
        assert expected in card
    assert "| balanced accuracy | 0.7123 | 0.6000 to not defined | 321 |" in card
    assert "repoint" in card
    assert "SECRET" not in card
    assert str(tmp_path) not in card
    plain = write_card(model, "safetensors")
    assert "Not recorded: the model was exported without the run" in plain
    assert "None recorded." in plain


def test_card_gives_floors_weights_and_digests(bert, tmp_path):
    model = tiny_model(bert)
    source = {"id": "HPO", "version": "hp/releases/2025-01-16", "licence": "HPO licence", "terms": {"kept": 19034}}
    (tmp_path / "graph").mkdir()
    write_manifest(tmp_path / "graph", {"sources": [source], "digest": "ab12"})
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "step-00000300"
    checkpoint.mkdir(parents=True)
    save_model(model, checkpoint)
    write_manifest(checkpoint, {"step": 300, "data_digest": "cd34"})
    (run / "config.yaml").write_text(f"kind: align\ngraph: {tmp_path / 'graph'}\ndata: gone\nema: {{decay: 0.99}}\n")
    metric = {"name": "auroc", "value": 0.8, "low": 0.7, "high": 0.9, "n": 50}
    lead = {"value": 0.2, "low": 0.1, "high": 0.3}
    floors = [
        {"name": "colour", "skipped": None, "metrics": [{**metric, "value": 0.6, "lead": lead}]},
        {"name": "prior", "skipped": "one class only", "metrics": []},
    ]
    results = {"metrics": [metric], "floors": floors, "data": {"split_sha256": "ef56"}, "seed": 3}
    (run / "results.json").write_text(json.dumps(results))
    card = write_card(model, "hf", checkpoint, ema=True)
    for expected in (
        "| HPO | hp/releases/2025-01-16 | HPO licence | 19,034 |",
        "Store `gone`.\n\nIts manifest was not there when this card was made.",
        "| auroc | 0.8000 | 0.7000 to 0.9000 | 50 |",
        "| colour | auroc | 0.6000 | 0.2000 | 0.1000 to 0.3000 |",
        "| prior | not computed: one class only | | | |",
        "Measured on: split_sha256 `ef56`, seed 3.",
        "- optimiser steps: 300\n- moving average of the weights over the run, decay 0.99",
        "- data digest at training: `cd34`",
        "- sha256 of the training configuration: `",
        'embed_towers.pooled(text_tower(**tokens), tokens["attention_mask"], "mean")',
        "## Intended use",
        "## Limits",
    ):
        assert expected in card, expected
    assert "- weights of the last step, not averaged" in write_card(model, "hf", checkpoint)


def test_results_file_must_be_readable(bert, tmp_path):
    from medvlp.errors import DataError

    with pytest.raises(DataError, match=r"results.json: file not found"):
        export(tiny_model(bert), "safetensors", tmp_path / "out", results=tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []

"""A table of objectives small enough to train in seconds: a graph, coloured images with notes, tiny towers."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from tiny_models import write_bert

from benchmarks.objectives.config import ObjectiveTableConfig
from medvlp.config import load

COLOURS = {"lung carcinoma": (200, 60, 60), "colon carcinoma": (60, 200, 60), "skin nevus": (60, 60, 200)}
TERMS = {
    "X:0": ("disease", [], ""),
    "X:1": ("neoplasm", ["X:0"], "A growth of cells."),
    "X:2": ("carcinoma", ["X:1"], "A malignant growth."),
    "X:3": ("benign tumour", ["X:1"], "A harmless growth."),
    "X:10": ("lung carcinoma", ["X:2"], "Red tissue with effusion."),
    "X:11": ("colon carcinoma", ["X:2"], "Green tissue of the colon."),
    "X:12": ("skin nevus", ["X:3"], "Blue spots of the skin."),
}
NOTE = "moderate left pleural effusion"


def tiny_table(root: Path, **changes) -> ObjectiveTableConfig:
    """Write everything a table needs below ``root`` and return its configuration."""
    lines = ["format-version: 1.2", "ontology: x", ""]
    for concept, (name, parents, told) in TERMS.items():
        lines += ["[Term]", f"id: {concept}", f"name: {name}", *([f'def: "{told}" []'] if told else [])]
        lines += [f"is_a: {parent}" for parent in parents] + [""]
    (root / "x.obo").write_text("\n".join(lines), encoding="utf-8")
    write_images(root / "images", 8)
    bert = write_bert(root / "bert")
    graph = {"kind": "graph", "sources": [{"name": "obo", "id": "X", "path": f"{root}/x.obo", "licence": "none"}]}
    columns = {"image": "file", "label": "class", "case": "case", "captions": ["note"]}
    source = {"name": "folder_csv", "images": f"{root}/images", "table": f"{root}/images/table.csv", "columns": columns}
    captions = {"templates": ["an image of {}.", "{} tissue."], "num_texts": 2, "beside_texts": True}
    pairs = {"kind": "pairs", "source": source, "captions": captions, "groups": {"near_duplicates": False}}
    for name, value in {"graph": graph, "pairs": pairs}.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    model = {
        "image": {"model": "test_efficientnet", "weights": "none", "image_size": 64},
        "text": {"model": str(bert), "weights": "model", "context_length": 32},
        "embed_dim": 32,
        "image_head": "linear",
        "text_head": "linear",
    }
    table = {
        "kind": "objective_table",
        "graph": f"{root}/graph.yaml",
        "arms": ["real", "permuted"],
        "seeds": [1],  # whose rewired graph differs from this small one where it matters
        "num_draws": 100,
        "sets": {
            "cells": {
                "title": "Cells",
                "pairs": f"{root}/pairs.yaml",
                "set": ["split={train: 0.5, dev: 0.0, test: 0.5}"],
                "already_deidentified": True,
                "entities": "entities/classes",
                "aspect": "caption",
            }
        },
        "align_set": [
            *(f"model.{key}={yaml.safe_dump(value, default_flow_style=True, width=9999).strip()}"
              for key, value in model.items() if isinstance(value, dict)),
            "model.embed_dim=32", "model.image_head=linear", "model.text_head=linear",
            "steps=3", "batches={name: pairs, batch_size: 6}", "optimizer.warmup_steps=0", "checkpoint.every=0",
            "validate_every=0", "tensorboard=false",
        ],
        "methods": {
            "clip": {
                "title": "CLIP", "align": "clip_cpu",
                "set": ["freeze={parts: [], steps: 0, always: [image_tower, text_tower]}", "text_augment={drop: 0.0}"],
            },
            "medklip": {
                "title": "MedKLIP", "align": "medklip_cpu",
                "set": ["model.decoder={width: 16, layers: 1, heads: 2}", "objective.location=0.0"],
            },
        },
        **changes,
    }  # fmt: skip
    (root / "table.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    found = load(str(root / "table.yaml"), kind="objective_table")
    assert isinstance(found, ObjectiveTableConfig)
    return found


def write_images(folder: Path, each: int) -> None:
    """Write ``each`` noisy images per class, and a table with cases of two images and a note for each case."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["file,class,case,note"]
    for number, (label, colour) in enumerate(COLOURS.items()):
        for index in range(each):
            name = f"{number}-{index}.png"
            pixels = np.clip(np.array(colour) + rng.normal(0, 60, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(folder / name)
            rows.append(f"{name},{label},{number}c{index // 2},case {number}c{index // 2} with {NOTE}")
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")

"""A knowledge table small enough to train in seconds: a graph, coloured images with notes, tiny models."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from tiny_models import write_bert

from benchmarks.knowledge.answers import Arrays
from benchmarks.knowledge.config import ImageSet, KnowledgeTableConfig
from benchmarks.knowledge.run import Answered
from benchmarks.knowledge.sets import Prepared, hidden_names
from medvlp.config import load
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.zeroshot.floors import COLOUR, PRIOR
from medvlp.zeroshot.prompts import PromptConfig, from_config

COLOURS = {"lung carcinoma": (200, 60, 60), "colon carcinoma": (60, 200, 60), "skin nevus": (60, 60, 200),
           "liver adenoma": (180, 180, 60)}  # fmt: skip
TERMS = {
    "X:0": {"name": "disease"},
    "X:1": {"name": "neoplasm", "parents": ["X:0"]},
    "X:2": {"name": "carcinoma", "parents": ["X:1"], "synonyms": ["cancer"]},
    "X:3": {"name": "benign tumour", "parents": ["X:1"]},
    "X:10": {"name": "lung carcinoma", "parents": ["X:2"], "synonyms": ["carcinoma of the lung"]},
    "X:11": {"name": "colon carcinoma", "parents": ["X:2"], "synonyms": ["carcinoma of the colon"]},
    "X:12": {"name": "skin nevus", "parents": ["X:3"], "synonyms": ["nevus of the skin"]},
    "X:13": {"name": "liver adenoma", "parents": ["X:3"], "synonyms": ["adenoma of the liver"]},
}
GRAPH = DiseaseGraph.from_dict(TERMS)
CLASS_CONCEPTS = dict(zip(COLOURS, ("X:10", "X:11", "X:12", "X:13"), strict=True))


def write_obo(path: Path) -> None:
    """Write :data:`TERMS` as an OBO file."""
    lines = ["format-version: 1.2", "ontology: x", ""]
    for concept, term in TERMS.items():
        lines += ["[Term]", f"id: {concept}", f"name: {term['name']}"]
        lines += [f'synonym: "{text}" EXACT []' for text in term.get("synonyms", ())]
        lines += [f"is_a: {parent}" for parent in term.get("parents", ())] + [""]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_images(folder: Path, each: int) -> None:
    """Write ``each`` noisy images per class, a table with cases of two images, and a note for each case."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["file,class,case,note"]
    for number, (label, colour) in enumerate(COLOURS.items()):
        for index in range(each):
            name = f"{number}-{index}.png"
            pixels = np.clip(np.array(colour) + rng.normal(0, 60, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((48, 48)).save(folder / name)
            case = f"{number}c{index // 2}"
            rows.append(f"{name},{label},{case},image {case} with effusion")
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")


def tiny_table(root: Path, **changes) -> KnowledgeTableConfig:
    """Write everything a table needs below ``root`` and return its configuration."""
    write_obo(root / "x.obo")
    write_images(root / "images", 8)
    bert = write_bert(root / "bert")
    graph = {"kind": "graph", "sources": [{"name": "obo", "id": "X", "path": f"{root}/x.obo", "licence": "none"}]}
    source = {"name": "folder_csv", "images": f"{root}/images", "table": f"{root}/images/table.csv"}
    columns = {"image": "file", "label": "class"}
    templates = {"templates": ["an image of {}.", "{} tissue."], "num_texts": 2}
    groups = {"near_duplicates": False}
    pairs = {"kind": "pairs", "source": {**source, "columns": columns}, "captions": templates, "groups": groups}
    noted = {**columns, "case": "case", "captions": ["note"]}
    notes = {**pairs, "source": {**source, "columns": noted}, "captions": {**templates, "beside_texts": True}}
    for name, value in {"graph": graph, "pairs": pairs, "notes": notes}.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    model = {
        "image": {"name": "timm", "model": "test_efficientnet", "weights": "none", "image_size": 32},
        "text": {"name": "hf", "model": str(bert), "context_length": 16},
        "embed_dim": 32, "image_head": "linear", "text_head": "linear",
    }  # fmt: skip
    table = {
        "kind": "knowledge_benchmark",
        "graph": f"{root}/graph.yaml",
        "stage_1": "names/base",
        "stage_1_set": [
            f"text={{model: '{bert}', context_length: 16}}", "steps=2", "groups_per_batch=4", "siblings=0.5",
            "holdout.fraction=0.0", "precision=32-true", "optimizer.warmup_steps=0",
        ],
        "stages_1": {"permuted": ["knowledge=permuted"], "real": []},
        "pairs_set": ["split={train: 0.5, dev: 0.0, test: 0.5}"],
        "sets": {
            "cells": {"title": "Cells", "pairs": f"{root}/pairs.yaml"},
            "held": {
                "title": "Cells held", "pairs": f"{root}/pairs.yaml", "held_out": ["colon carcinoma", "skin nevus"],
            },
            "noted": {
                "title": "Notes", "pairs": f"{root}/notes.yaml", "already_deidentified": True, "retrieval": True,
                "positive": "skin nevus", "metrics": ["auroc", "balanced_accuracy"],
            },
        },
        "align_set": [
            f"model={yaml.safe_dump(model, default_flow_style=True, width=9999).strip()}", "steps=3",
            "freeze={parts: [], steps: 0, always: [image_tower, text_tower]}", "optimizer.warmup_steps=0",
            "checkpoint.every=0", "validate_every=0", "tensorboard=false",
        ],
        "arms": {
            "start": {"title": "start", "align": "keep_cpu", "trained": False},
            "clip": {"title": "InfoNCE", "align": "clip_cpu", "set": ["knowledge=none"]},
            "keep_permuted": {
                "title": "groups, permuted", "align": "keep_cpu", "text": "permuted", "set": ["knowledge=permuted"],
            },
            "keep_real": {"title": "groups, real", "align": "keep_cpu", "text": "real"},
            "kep": {"title": "KEP", "align": "kep_cpu", "text": "real", "knowledge_encoder": "real"},
        },
        "comparisons": [
            {"first": "keep_real", "second": "keep_permuted", "asks": "the hierarchy"},
            {"first": "kep", "second": "floor", "asks": "the encoder"},
        ],
        "rows_per_step": 8,
        "seeds": [0, 1],
        "num_draws": 100,
        **changes,
    }  # fmt: skip
    (root / "table.yaml").write_text(yaml.safe_dump(table, sort_keys=False), encoding="utf-8")
    config = load(root / "table.yaml", kind="knowledge_benchmark")
    assert isinstance(config, KnowledgeTableConfig)
    return config


def store(folder: Path, per_class: int, **settings) -> Prepared:
    """Return a set with ``per_class`` test cases and four training images of each class, without a configuration."""
    rows = []
    for number, (label, colour) in enumerate(COLOURS.items()):
        for index in range(per_class + 4):
            part = "test" if index < per_class else "train"
            image = Image.new("RGB", (8, 8), colour)
            texts = [Text(f"an image of {label}.", "class-template")]
            key = f"{number}-{index}"
            rows.append(Row(key, image, texts, part, key, number, label, [CLASS_CONCEPTS[label]]))
    classes = {label: [concept] for label, concept in CLASS_CONCEPTS.items()}
    made = PairsStore.write(folder, rows, {}, classes=classes)
    found = ImageSet(title="Cells", pairs="pairs", **settings)
    prompts = from_config(PromptConfig(templates="plain"), None, {label: [] for label in made.classes}, 0)
    return Prepared("cells", found, made, prompts, hidden_names(found, made, GRAPH), has_cases=True)


def cosines(prepared: Prepared, right: float, seed: int) -> Arrays:
    """Return answers that are right in a share of the test images, drawn at random, and any other class else."""
    rng = np.random.default_rng(seed)
    labels = prepared.store.split("test").column("label")
    classes = prepared.store.classes
    out_NK = rng.uniform(0, 0.1, (len(labels), len(classes)))
    for row, label in enumerate(labels):
        true = classes.index(label)
        others = [k for k in range(len(classes)) if k != true]
        out_NK[row, true if rng.random() < right else others[rng.integers(len(others))]] += 0.5
    return {"class_cosine_NK": out_NK.astype(np.float32), "scale": np.array(10.0)}


def answered(prepared: Prepared, shares: dict[str, list[float]]) -> Answered:
    """Return answers of arms by their share of right ones per seed, beside floors that know nothing."""
    arms = {
        name: [cosines(prepared, share, 100 * number + place) for place, share in enumerate(found)]
        for number, (name, found) in enumerate(shares.items())
    }
    num, num_classes = len(prepared.store.split("test")), len(prepared.store.classes)
    uniform_NK = np.full((num, num_classes), 1 / num_classes)
    floors = {f"{name}_probability_NK": uniform_NK for name in (PRIOR, COLOUR)}
    return Answered(prepared, arms, floors, dict.fromkeys(shares, 1.0))


def tell(shares: dict[str, list[float]], comparisons: list[tuple[str, str]]) -> KnowledgeTableConfig:
    """Return a configuration with these arms and comparisons, for answers that are made up."""
    return KnowledgeTableConfig(
        graph="graph", stage_1="stage", num_draws=400, seeds=list(range(len(next(iter(shares.values()))))),
        sets={"cells": ImageSet(title="Cells", pairs="pairs")},
        arms={name: {"title": name, "align": "keep_cpu"} for name in shares},
        comparisons=[{"first": first, "second": second, "asks": "?"} for first, second in comparisons],
    )  # fmt: skip

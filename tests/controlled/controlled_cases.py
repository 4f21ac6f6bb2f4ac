"""A grid small enough for seconds: sixteen diseases of four organs, tiny towers, a few steps."""

from pathlib import Path

import yaml
from tiny_models import write_bert

from benchmarks.controlled.config import ControlledConfig
from medvlp.config import load

SITES = {"lung": "left", "colon": "left", "skin": "right", "liver": "right"}
LETTERS = "bcde"

TOKEN_METHODS = {
    "arl": {
        "title": "ARL",
        "objective": {
            "name": "arl", "reconstruct": "places", "attention": {"width": 32, "hidden": 8, "heads": 2, "dropout": 0.0},
            "fusion": {"layers": 1, "heads": 2, "slots": 2, "dropout": 0.0},
            "decoder": {"width": 8, "layers": 1, "heads": 2},
        },
    },
    "structure_clip": {
        "title": "Structure-CLIP",
        "objective": {"name": "structure_clip", "encoder": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0}},
    },
    "ernie_vil": {
        "title": "ERNIE-ViL",
        "objective": {
            "name": "ernie_vil", "rate": 0.8, "fusion": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0},
        },
    },
}  # fmt: skip
"""Losses that read tokens: they hide some, or are told triples."""


def write_ontology(path: Path) -> None:
    """Write an ontology of three levels above the leaves as an OBO file."""
    terms = [("X:0", "image", [], []), ("X:left", "left", [], ["X:0"]), ("X:right", "right", [], ["X:0"])]
    for site, side in SITES.items():
        terms.append((f"X:{site}", f"{site} tissue", [], [f"X:{side}"]))
        for letter in LETTERS:
            names = f"{site} {letter} carcinoma", [f"{site} {letter} adenoma"]
            terms.append((f"X:{site}{letter}", *names, [f"X:{site}"]))
    lines = ["format-version: 1.2", "ontology: x", ""]
    for concept, name, synonyms, parents in terms:
        lines += ["[Term]", f"id: {concept}", f"name: {name}", *(f'synonym: "{text}" EXACT []' for text in synonyms)]
        lines += [f"is_a: {parent}" for parent in parents] + [""]
    path.write_text("\n".join(lines), encoding="utf-8")


def tiny_grid(root: Path, **changes) -> ControlledConfig:
    """Write everything a grid needs below ``root`` and return its configuration."""
    write_ontology(root / "x.obo")
    graph = {"kind": "graph", "sources": [{"name": "obo", "id": "X", "path": f"{root}/x.obo", "licence": "none"}]}
    (root / "graph.yaml").write_text(yaml.safe_dump(graph), encoding="utf-8")
    grid = {
        "kind": "controlled",
        "world": {
            "graph": f"{root}/graph.yaml", "root": "X:0", "num_leaves": 16, "image_size": 32, "images_per_leaf": 6,
            "rare_images": 2, "dev_images": 0, "test_images": 4, "share_rare": 0.125, "caption_noise": 0.2,
            "missing_labels": 0.1,
        },
        "levels": {
            "noise_0": {"title": "no noise", "axis": "noise", "world": {"caption_noise": 0.0}},
            "twin": {"title": "twin", "axis": "world", "world": {"twin": True}},
        },
        "axes": {"noise": {"key": "caption_noise", "title": "wrong captions"}},
        "image": {"name": "timm", "model": "test_efficientnet", "weights": "none", "image_size": 32},
        "text": {"name": "hf", "model": str(write_bert(root / "bert")), "context_length": 16},
        "stages_1": {"metric": {"steps": 3, "groups_per_batch": 8, "instances": 2, "draws": 2}},
        "stage_2": {"steps": 4, "groups_per_batch": 4, "instances": 2, "draws": 2},
        "methods": {
            "clip": {"title": "InfoNCE", "objective": {"name": "clip", "positives": "text"}},
            "siglip": {"title": "sigmoid", "objective": {"name": "siglip"}, "logit_bias": -10.0},
            "keep": {
                "title": "KEEP groups", "objective": {"name": "semantic_groups"}, "batches": "groups",
                "captions": {"drop": 0.0},
            },
            "kep": {"title": "KEP", "objective": {"name": "kep", "positives": "text"}, "prompts": "paths"},
        },
        "seeds": [0, 1],
        **changes,
    }  # fmt: skip
    (root / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    config = load(root / "grid.yaml", kind="controlled")
    assert isinstance(config, ControlledConfig)
    return config

"""A graph, a pairs store and recipes small enough to train in seconds, used in this process and in others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CONCEPTS = {
    "T:0": {"name": "disease"},
    "T:1": {"name": "carcinoma", "parents": ["T:0"], "synonyms": ["cancer s", "carcinoma of tissue", "squamous x"]},
    "T:2": {"name": "lung carcinoma", "parents": ["T:1"], "synonyms": ["carcinoma of the lung", "lung squamous x"]},
    "T:3": {"name": "colon adenoma", "parents": ["T:1"], "synonyms": ["adenoma of the colon", "colon cell x"]},
    "T:4": {"name": "nevus", "parents": ["T:0"], "synonyms": ["skin nevus", "nevus of the skin", "skin cell s"]},
    "T:5": {"name": "effusion", "parents": ["T:0"], "synonyms": ["pleural effusion", "effusion of the left lung"]},
    "T:6": {"name": "liver syndrome", "parents": ["T:5"], "synonyms": ["syndrome of the liver", "liver x"],
            "definitions": ["a syndrome of the liver with effusion"]},
}  # fmt: skip
CLASSES = {"lung": ["T:2"], "colon": ["T:3"], "nevus": ["T:4"], "normal": []}


def write_graph(folder: Path) -> Path:
    from medvlp.knowledge.graph import DiseaseGraph

    DiseaseGraph.from_dict(CONCEPTS).save(folder)
    return folder


def write_pairs(folder: Path, per_class: int = 16, seed: int = 0) -> Path:
    """Classes differ in colour; groups hold two or three images."""
    from medvlp.data.pairs import PairsStore, Row, Text

    rng = np.random.default_rng(seed)

    def rows():
        for number, (label, concepts) in enumerate(CLASSES.items()):
            for place in range(per_class):
                values = rng.integers(0, 60, (24, 24, 3), dtype=np.uint8)
                values[..., number % 3] += 60 * (1 + number // 3)
                split = "train" if place < per_class - 4 else ("dev" if place < per_class - 2 else "test")
                text = Text(f"an image of {label} tissue with s and x .", "caption")
                yield Row(
                    f"{label}-{place}",
                    Image.fromarray(values),
                    [text, Text(f"the {label} cell")],
                    split,
                    f"case-{label}-{place}",
                    group=number * 100 + place // 3,
                    label=label,
                    concepts=concepts,
                )

    PairsStore.write(folder, rows(), classes=CLASSES)
    return folder


def text_config(bert: Path, **changes):
    from medvlp.encoders.text import TextEncoder

    return TextEncoder.Config(model=str(bert), context_length=24, **changes)


def knowledge_config(folder: Path, bert: Path, **changes):
    from medvlp.training.checkpoint import Retention
    from medvlp.training.knowledge import Holdout, KnowledgeConfig
    from medvlp.training.optim import OptimizerConfig

    settings = {
        "graph": str(folder / "graph"),
        "text": text_config(bert),
        "steps": 6,
        "groups_per_batch": 4,
        "instances": 3,
        "holdout": Holdout(fraction=0.2),
        "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=2),
        "checkpoint": Retention(every=2),
        "log_every": 1,
        "tensorboard": False,
        "accelerator": "cpu",
    }
    return KnowledgeConfig(**{**settings, **changes})


def align_config(folder: Path, bert: Path, image: str = "test_vit", **changes):
    from medvlp.encoders.image import TimmImage
    from medvlp.model import DualEncoder
    from medvlp.training.align import AlignConfig, GroupBatches
    from medvlp.training.checkpoint import Retention
    from medvlp.training.optim import OptimizerConfig

    settings = {
        "data": str(folder / "pairs"),
        "graph": str(folder / "graph"),
        "model": DualEncoder.Config(image=TimmImage.Config(model=image), text=text_config(bert), embed_dim=32),
        "batches": GroupBatches(groups_per_batch=4, instances=2),
        "steps": 6,
        "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=2),
        "checkpoint": Retention(every=2),
        "log_every": 1,
        "tensorboard": False,
        "accelerator": "cpu",
    }
    return AlignConfig(**{**settings, **changes})

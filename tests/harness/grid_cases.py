"""A grid in a blink: three classes of coloured squares, a small graph, two tiny models, and their configurations."""

import numpy as np
from PIL import Image
from tiny_models import tiny_model, write_bert

from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.knowledge.graph import DiseaseGraph

COLOURS = {"colon carcinoma": (200, 40, 40), "lung carcinoma": (40, 160, 60), "skin nevus": (50, 60, 190)}
CONCEPTS = {"colon carcinoma": ["T:4"], "lung carcinoma": ["T:5"], "skin nevus": ["T:6"]}
PER_CLASS = {"train": 6, "dev": 4, "test": 8}


def rows(notes=("left {}", "right {}")):
    """Rows of the store: two images a case, two notes that neighbouring images share."""
    rng = np.random.default_rng(0)
    out = []
    for split, count in PER_CLASS.items():
        for label, colour in COLOURS.items():
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 30, (24, 24, 3)), 0, 255).astype(np.uint8)
                texts = [Text(f"{notes[0].format(label)} {i // 2} {split}", "report")]
                out.append(
                    Row(
                        f"{split}-{label}-{i}.png",
                        Image.fromarray(pixels),
                        texts,
                        split,
                        f"case-{split}-{label}-{i // 2}",
                        len(out),
                        label,
                        CONCEPTS[label],
                    )
                )
    return out


def make_world(folder):
    """A folder with ``graph``, ``pairs``, ``ages.csv`` and the models ``a`` and ``b``."""
    from medvlp.model import save_model

    DiseaseGraph.from_dict(
        {
            "T:1": {"name": "disease", "parents": []},
            "T:2": {"name": "carcinoma", "parents": ["T:1"]},
            "T:3": {"name": "nevus syndrome", "parents": ["T:1"]},
            "T:4": {"name": "colon carcinoma", "parents": ["T:2"], "synonyms": ["carcinoma of the colon"]},
            "T:5": {"name": "lung carcinoma", "parents": ["T:2"], "synonyms": ["carcinoma of the lung"]},
            "T:6": {"name": "skin nevus", "parents": ["T:3"], "synonyms": ["nevus of the skin"]},
        }
    ).save(folder / "graph")
    PairsStore.write(folder / "pairs", rows(), classes=CONCEPTS)
    table = ["file,sex,age"]
    table += [f"{row.key},{'FM'[i % 2]},{30 + 5 * (i % 9)}" for i, row in enumerate(rows()) if i % 7]
    (folder / "ages.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    bert = write_bert(folder / "bert")
    for seed, name in enumerate("ab"):
        save_model(tiny_model(bert, seed), folder / name)
    return folder


TASK = """
kind: task
title: Squares
citation: nobody
licence: none
data: {{form: pairs, store: {world}/pairs}}
prompts: {{num_paths: 1}}
{more}
"""
GRID = """
kind: benchmark
title: Squares
graph: {world}/graph
tasks: [{folder}/squares.yaml]
models:
  a: {{source: {world}/a}}
  b: {{source: {world}/b}}
floors: [all]
num_draws: 60
"""
PROTOCOLS = "protocols: [{name: zero_shot, prompt_draws: 3}, {name: retrieval}]"


def written(world, folder, more=PROTOCOLS, grid=GRID):
    """Write a task and a grid of it into a folder; return the grid's path."""
    (folder / "squares.yaml").write_text(TASK.format(world=world, more=more), encoding="utf-8")
    (folder / "grid.yaml").write_text(grid.format(world=world, folder=folder), encoding="utf-8")
    return folder / "grid.yaml"

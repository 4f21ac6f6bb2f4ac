"""Twelve small cases with slides, reports and genes that say the same, some of each missing; and recipes for them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

WIDTH, GENES = 6, 10
WORDS = ("lung", "colon", "skin", "liver")
ROWS = ["case", "split", "cancer", "slide", "report", "genes"]


def table_rows(count: int = 16) -> list[dict[str, str]]:
    """Case 1 lacks a report, 2 its genes, 3 its slide; case 4 has two slides, 5 an unknown cancer."""
    rows = []
    for number in range(count):
        key = f"c{number:02d}"
        split = "train" if number < count - 4 else "dev"
        word = WORDS[number % 4]
        row = {
            "case": key,
            "split": split,
            "cancer": "a" if number % 2 else "b",
            "slide": f"{key}.h5",
            "report": f"the {word} tissue with carcinoma",
            "genes": key,
        }
        rows.append(
            {**row, **{1: {"report": ""}, 2: {"genes": ""}, 3: {"slide": ""}, 5: {"cancer": ""}}.get(number, {})}
        )
        if number == 4:
            rows.append({**row, "slide": f"{key}-second.h5"})
    return rows


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ROWS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_genes(path: Path, keys: list[str], seed: int = 0) -> Path:
    """Expression says the number of the word, up to noise."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", *(f"G{number}" for number in range(GENES))])
        for key in keys:
            values = rng.normal(size=GENES) * 0.3 - 0.5
            values[int(key[1:]) % 4] += 3
            writer.writerow([key, *values.tolist()])
    return path


def write_slide(path: Path, kind: int, tiles: int, seed: int) -> None:
    """Most tiles point into the direction of the kind."""
    from medvlp.slides.features import write_features
    from medvlp.slides.types import SlideFeatures

    rng = np.random.default_rng(seed)
    features = rng.normal(size=(tiles, WIDTH)) * 0.2
    features[:, kind] += 1
    coords = np.stack([np.arange(tiles) % 3, np.arange(tiles) // 3], 1) * 512
    write_features(
        path,
        SlideFeatures(
            path.stem,
            torch.tensor(features, dtype=torch.float32),
            torch.tensor(coords),
            patch_size_level0=512,
            step_level0=512,
            mpp=0.5,
            level0_mpp=0.25,
            encoder="test",
            projected=False,
        ),
        tile_size=256,
    )


def write_all(folder: Path) -> Path:
    """Write table, genes, slides and images of tiles."""
    (folder / "features").mkdir(parents=True)
    rows = table_rows()
    write_table(folder / "cases.csv", rows)
    keys = list(dict.fromkeys(row["case"] for row in rows))
    write_genes(folder / "genes.csv", keys)
    for number, row in enumerate(rows):
        if row["slide"]:
            write_slide(folder / "features" / row["slide"], int(row["case"][1:]) % 4, 5 + number % 3, number)
    (folder / "images").mkdir()
    rng = np.random.default_rng(7)
    for number in range(4):
        values = rng.integers(0, 80, (64, 64, 3), dtype=np.uint8)
        values[..., number % 3] += 90
        Image.fromarray(values).save(folder / "images" / f"{number}.png")
    lines = ["slide,tile,image"]
    for row in rows[:10]:
        if row["slide"]:
            lines += [f"{row['slide']},{tile},{int(row['case'][1:]) % 4}.png" for tile in range(4)]
    (folder / "tiles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def mstar_config(folder: Path, bert: Path, **changes):
    from medvlp.case_model import CaseModel
    from medvlp.encoders.genes import GeneMlp
    from medvlp.encoders.text import TextEncoder
    from medvlp.fusion.slide import TileTransformer
    from medvlp.training.checkpoint import Retention
    from medvlp.training.optim import OptimizerConfig
    from medvlp.training.slide import MstarConfig
    from medvlp.training.slide_data import CaseData

    model = {
        "slide": TileTransformer.Config(width=16, depth=1, heads=2),
        "text": TextEncoder.Config(model=str(bert), context_length=16),
        "genes": GeneMlp.Config(width=16, hidden=16),
        "embed_dim": 16,
    }
    settings = {
        "data": CaseData(
            table=str(folder / "cases.csv"), features=str(folder / "features"), genes=str(folder / "genes.csv")
        ),
        "model": CaseModel.Config(**{**model, **changes.pop("model", {})}),
        "cache": str(folder / "cache"),
        "batch_size": 6,
        "steps": 4,
        "optimizer": OptimizerConfig(lr=1e-2, warmup_steps=1),
        "checkpoint": Retention(every=2),
        "log_every": 1,
        "tensorboard": False,
        "accelerator": "cpu",
    }
    return MstarConfig(**{**settings, **changes})

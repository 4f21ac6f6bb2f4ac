"""Settings small enough to fine-tune in seconds, and images whose masks are simple shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from medvlp.finetune.config import Classification, FinetuneConfig, MaskFolder, Segmentation, Start
from medvlp.training.checkpoint import Retention
from medvlp.training.optim import OptimizerConfig

SETTINGS = {
    "start": Start(model="timm:test_efficientnet", image_size=64),
    "steps": 6,
    "batch_size": 8,
    "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=1, weight_decay=0.01),
    "checkpoint": Retention(every=2, last=9),
    "log_every": 1,
    "tensorboard": False,
    "accelerator": "cpu",
    "bootstrap_draws": 50,
}


def class_config(place: Path, method, task=None, **changes) -> FinetuneConfig:
    """Settings for the coloured classes of ``training_cases.write_pairs``."""
    task = {} if task is None else task
    chosen = Classification(**{"data": str(place / "pairs"), **task})
    return FinetuneConfig(**{**SETTINGS, "task": chosen, "method": method, "cache": str(place / "cache"), **changes})


def mask_config(place: Path, method, **changes) -> FinetuneConfig:
    """Settings for :func:`write_masks`."""
    folder = place / "shapes"
    data = MaskFolder(images=str(folder / "images"), masks=str(folder / "masks"), classes=["rest", "disc", "square"])
    task = Segmentation(data=data, width=16)
    return FinetuneConfig(**{**SETTINGS, "task": task, "method": method, "batch_size": 6, **changes})


def write_masks(folder: Path, count: int = 20, side: int = 64) -> Path:
    """Discs and squares of the same brightness on noise: colour alone cannot tell them apart."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        mask = Image.new("L", (side, side), 0)
        pen = ImageDraw.Draw(mask)
        x, y = rng.integers(2, 12, 2).tolist()
        pen.ellipse([x, y, x + 22, y + 22], fill=1)
        x, y = rng.integers(32, 40, 2).tolist()
        pen.rectangle([x, y, x + 20, y + 20], fill=2)
        values = rng.integers(0, 60, (side, side, 3)) + 150 * (np.asarray(mask)[..., None] > 0)
        Image.fromarray(values.astype(np.uint8)).save(folder / "images" / f"{number:02d}.png")
        mask.save(folder / "masks" / f"{number:02d}.png")
    return folder

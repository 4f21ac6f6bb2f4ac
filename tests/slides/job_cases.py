"""Small slides and an embedding job over them, and what of its folder has to be the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pyramids import discs, write_pyramid

TILE, SIDE = 32, 256


def speckled(seed: int, centres: list[tuple[int, int, int]]) -> np.ndarray:
    """Glass with noisy discs of tissue, so that every tile gives another vector."""
    rgb = discs(SIDE, SIDE, centres)
    noise = np.random.default_rng(seed).integers(-20, 20, rgb.shape)
    tissue = (rgb[..., :1] != 243).repeat(3, axis=2)
    return np.where(tissue, np.clip(rgb + noise, 0, 255), rgb).astype(np.uint8)


def write_slides(folder: Path, count: int = 3) -> Path:
    """Write slide0.tif, ... of 2.0 um/px, and empty.tif without tissue."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = speckled(index, [(100 + 20 * index, 120, 80)])
        write_pyramid(folder / f"slide{index}.tif", image, mpp=2.0, levels=2, tile=64)
    write_pyramid(folder / "empty.tif", discs(SIDE, SIDE, []), mpp=2.0, levels=2, tile=64)
    return folder


def job_config(folder: Path | None = None, **changes):
    """Return a job with a tiny random image tower."""
    from data_prep.slides.config import SlidesConfig
    from medvlp.encoders.image import TimmImage
    from medvlp.slides.grid import GridConfig

    settings = {
        "slides": [str(folder / "*.tif")] if folder is not None else [],
        "encoder": TimmImage.Config(model="test_efficientnet", image_size=32),
        "grid": GridConfig(tile_size=TILE, mpp=2.0),
        "batch_size": 8,
        "num_workers": 2,
        "device": "cpu",
        **changes,
    }
    return SlidesConfig(**settings)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a job folder that has to be the same, hidden leftovers included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"timings.jsonl", ".guard"}
    }

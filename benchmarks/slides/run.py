"""Train every arm on every seed and keep its scores of every slide; finished ones are skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.records import Record, once
from benchmarks.slides import arms
from benchmarks.slides.config import SlidesBenchmarkConfig, SlideSet
from benchmarks.slides.embed import embed_set, open_set
from benchmarks.slides.score import Asked, score_model, score_probabilities
from data_prep.planted.store import PlantedSlides
from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.model import DualEncoder
from medvlp.training.align import AlignConfig
from medvlp.zeroshot import prompt_files
from medvlp.zeroshot.prompts import check_distinct

Records = dict[str, dict[str, list[Record]]]


def run(config: SlidesBenchmarkConfig, out: Path) -> Records:
    """Return, per set and arm, one record per seed.

    Args:
        config: Slides, recipe and seeds.
        out: Folder of stores, caches, runs and records.

    Raises:
        DataError: If a folder holds no planted slides, or a class has no prompt.
        ConfigError: If the image tower may learn.
    """
    return {name: _run_set(config, name, one, out) for name, one in config.sets.items()}


def ask(found: PlantedSlides, settings: SlideSet) -> Asked:
    """Read the prompts of a set, for exactly its classes.

    Raises:
        DataError: If a class has no prompt.
    """
    beside = Path(__file__).parent / settings.prompts
    prompts = prompt_files.load(beside if beside.is_file() else resolve_path(settings.prompts))
    classes: dict[str, Any] = found.manifest["config"]["classes"]
    chosen = check_distinct(prompts.subset(list(classes)))
    return Asked.of(chosen, [name for name, entry in classes.items() if entry["beside"]])


def _run_set(config: SlidesBenchmarkConfig, name: str, settings: SlideSet, out: Path) -> dict[str, list[Record]]:
    found, digest = open_set(resolve_path(settings.slides))
    for part in ("dev", "test"):
        if not found.part(part):
            raise DataError(
                f"holds no {part} slides", item=settings.slides, remedy="make some: slides.dev, slides.test"
            )
    asked = ask(found, settings)
    stores = out / "stores" / name
    real = arms.prepare_training(found, digest, stores)
    records: dict[str, list[Record]] = {}

    def score(model: DualEncoder) -> Record:
        tiles = embed_set(config, found, digest, model, out / "tiles")
        return score_model(config, model, tiles, asked)

    def add(arm: str, seed: int, work: Callable[[AlignConfig], Record]) -> None:
        store = arms.permuted_copy(real, stores, seed) if arm == arms.PERMUTED else real
        recipe = arms.recipe(config, store, out, seed)
        plain = config.model_dump(
            mode="json", include={"tissue", "grid", "radius", "threshold", "specificity"}
        ) | recipe.model_dump(mode="json", exclude={"data", "cache"})
        made_from = [__version__, digest, store.digest, asked.prompts.digest, arm, plain]
        file = out / name / f"{arm}-seed-{seed}.json"
        records.setdefault(arm, []).append(once(file, made_from, lambda: work(recipe)))

    for seed in config.seeds:
        for arm in (arms.TRAINED, arms.PERMUTED):
            run_folder = out / "runs" / f"{name}-{arm}-{seed}"
            add(arm, seed, lambda recipe, folder=run_folder: score(arms.trained_model(recipe, folder)))  # type: ignore[misc]
        add(arms.START, seed, lambda recipe: score(arms.start_model(recipe)))
    if settings.untrained_towers:
        add(arms.RANDOM, config.seeds[0], lambda recipe: score(arms.random_model(recipe)))

    def colours(recipe: AlignConfig) -> Record:
        answer = arms.fit_colours(real, list(asked.prompts.classes))
        tiles = embed_set(config, found, digest, arms.start_model(recipe), out / "tiles")
        return score_probabilities(config, tiles, [answer(one.colour_NF) for one in tiles], asked)

    add(arms.COLOUR, config.seeds[0], colours)
    return records


def describe(config: SlidesBenchmarkConfig) -> dict[str, Any]:
    """What the table says of each set: classes, slides, tumour shares, prompts."""
    out = {}
    for name, settings in config.sets.items():
        found = PlantedSlides(resolve_path(settings.slides), check=False)
        asked = ask(found, settings)
        out[name] = {
            "title": settings.title,
            "tumours": list(asked.tumours),
            "normals": [label for label in asked.prompts.classes if label not in asked.tumours],
            "prompts": asked.prompts.to_json(),
            "warning": found.manifest["warning"],
            "images": found.manifest["images"],
            "slides": {
                part: [{"key": slide.key, "tumour": slide.tumour, "ratio": slide.ratio} for slide in found.part(part)]
                for part in ("dev", "test")
            },
        }
    return out

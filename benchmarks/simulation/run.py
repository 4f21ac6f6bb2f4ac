"""Train every arm on every seed and keep its score of every finding in every test scene; finished ones are skipped.

Shape legend: N test scenes, K findings, D embedding size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

import medvlp
from benchmarks.simulation.config import SimulationBenchmarkConfig
from benchmarks.simulation.controls import ARMS, write_control
from benchmarks.simulation.questions import prompt_set
from medvlp import __version__
from medvlp.config import load, resolve_path
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError
from medvlp.io import read_json, sha256_json, write_json
from medvlp.training.align import AlignConfig, train
from medvlp.zeroshot.classifier import class_vectors, classify_multi, embed_images, scale_of, to_numpy
from medvlp.zeroshot.prompts import PromptSet

console = Console(stderr=True, highlight=False)


def run(config: SimulationBenchmarkConfig, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return, per arm, one record per seed: scores by prompts, seconds, and what it was made from.

    Args:
        config: Scenes, recipe and seeds.
        out: Folder of stores, runs and records.

    Raises:
        DataError: If ``config.scenes`` is no store of simulated scenes.
    """
    store = open_scenes(config)
    prompts = prompt_sets(config, store)
    folders = {"real": store.folder}
    for arm in ARMS:
        if arm != "real":
            folders[arm] = write_control(store, arm, out / "stores" / arm, seed=0)
    records: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in config.seeds:
        for arm, folder in folders.items():
            recipe = load_recipe(config, folder, out, seed)
            made_from = [
                __version__, store.digest, arm, recipe.model_dump(mode="json"), config.multi_score,
                {name: found.digest for name, found in prompts.items()},
            ]  # fmt: skip
            record = out / f"{arm}-seed-{seed}.json"
            digest = sha256_json(made_from)
            if record.is_file() and (known := read_json(record))["digest"] == digest:
                records[arm].append(known)
                continue
            console.print(f"[bold]{arm}, seed {seed}[/bold]: {ARMS[arm]}, {recipe.steps} steps")
            start = time.perf_counter()
            checkpoint = train(recipe, out / "runs" / f"{arm}-seed-{seed}")
            seconds = time.perf_counter() - start
            found = {"digest": digest, "seconds": seconds, "scores": _scores(config, checkpoint, folder, prompts)}
            write_json(record, found)
            records[arm].append(found)
    return records


def open_scenes(config: SimulationBenchmarkConfig) -> PairsStore:
    """Open the simulated scenes.

    Raises:
        DataError: If the folder holds another kind of store.
    """
    store = PairsStore.load(resolve_path(config.scenes))
    if store.manifest.get("kind") != "simulation":
        raise DataError("is no store of simulated scenes", item=config.scenes, remedy="make it with `medvlp simulate`")
    return store


def load_recipe(config: SimulationBenchmarkConfig, folder: Path, out: Path, seed: int) -> AlignConfig:
    """The recipe of one arm: only data and seed differ."""
    own = [f"data={folder}", f"graph={config.graph}", f"seed={seed}", f"cache={out / 'features'}"]
    recipe = load(config.align, [*own, *config.set], kind="align")
    assert isinstance(recipe, AlignConfig)
    return recipe


def prompt_sets(config: SimulationBenchmarkConfig, store: PairsStore) -> dict[str, PromptSet]:
    """Prompts from the names of training (``seen``) and from those set aside (``unseen``), for all findings."""
    findings: Mapping[str, Any] = store.manifest["config"]["findings"]
    concepts = {kind: store.class_concepts[names["label"]][0] for kind, names in findings.items()}
    return {
        name: prompt_set(names, concepts, config.templates, config.absent, source)
        for name, source, names in (
            ("seen", "names of training texts", store.manifest["names"]),
            ("unseen", "names in no training text", store.manifest["held_out"]["names"]),
        )
    }


def _scores(
    config: SimulationBenchmarkConfig, checkpoint: Path, folder: Path, prompts: Mapping[str, PromptSet]
) -> dict[str, list[list[float]]]:
    """Score (N, K) of every test scene by each set of prompts."""
    model = medvlp.load(str(checkpoint)).eval()
    image_ND = embed_images(model, PairsStore.load(folder).split("test"))
    bias = getattr(model, "logit_bias", None)
    out = {}
    for name, found in prompts.items():
        paired = config.multi_score == "pairs"
        absent_KD = class_vectors(model, found, absent=True) if paired else None
        score_NK = classify_multi(
            image_ND,
            class_vectors(model, found),
            scale_of(model),
            absent_KD=absent_KD,
            bias=None if bias is None else float(to_numpy(bias)),
        )
        out[name] = score_NK.tolist()
    return out

"""Running the engine for a fine-tuning recipe, and choosing the weights that stay."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from medvlp.encoders.weights import load_named, read_state_dict
from medvlp.finetune.lora import merge_lora
from medvlp.finetune.recipe import WEIGHTS, FinetuneRecipe, Learning
from medvlp.io import read_json
from medvlp.training.checkpoint import Checkpoints
from medvlp.training.dry_run import rehearse
from medvlp.training.loop import find_start, fit

if TYPE_CHECKING:
    from medvlp.finetune.config import FinetuneConfig, Full, Linear, Lora

TRAINING, BEST = "training", "best"


@dataclass(frozen=True)
class Place:
    """Where and how a fit runs.

    Attributes:
        fabric: A launched Fabric.
        identity: Facts that must be equal on resume.
        header: Facts for manifests.
        resume: ``auto`` or ``never``.
        dry_run: Rehearse one step and write nothing.
    """

    fabric: Any
    identity: Mapping[str, Any]
    header: Mapping[str, Any]
    resume: str = "auto"
    dry_run: bool = False


def train_steps(
    config: FinetuneConfig, method: Linear | Full | Lora, learning: Learning, out: Path, place: Place
) -> dict[str, Any]:
    """Train a network in ``out``/training; it then holds the chosen weights with low-rank additions merged.

    Returns:
        The share of trained parameters and, where weights were chosen, the development scores they were chosen by.

    Raises:
        TrainingError: As :func:`medvlp.training.loop.fit`.
    """
    network, best = learning.network, out / BEST
    torch.manual_seed(config.seed)  # additions are drawn, and must not depend on what ran before
    recipe = FinetuneRecipe(config, method, learning, {**place.identity, "seed": config.seed}, place.header, best)
    facts: dict[str, Any] = {"trained_share": recipe.share}
    if place.fabric.global_rank == 0:
        layers = f" in {len(recipe.layers)} layers" if recipe.layers else ""
        told = f"{method.name}: {100 * recipe.share:.2f} % of the parameters learn{layers}"
        Console(stderr=True).print(told, highlight=False)
    if place.dry_run:
        rehearse(recipe, place.fabric)
        return facts
    run = out / TRAINING
    if place.fabric.global_rank == 0 and find_start(Checkpoints(run, config.checkpoint), place.resume) is None:
        shutil.rmtree(best, ignore_errors=True)
    checkpoint = fit(recipe, run, place.resume, place.fabric)
    place.fabric.barrier()
    if config.select == "best" and (best / WEIGHTS).is_file():
        load_named(network, read_state_dict(best / WEIGHTS), best / WEIGHTS)
        facts["chosen_on_dev"] = read_json(best / "best.json")
    else:
        recipe.load_final(checkpoint)
    merge_lora(network.image)
    return facts

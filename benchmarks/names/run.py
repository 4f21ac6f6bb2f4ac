"""Train every arm on every seed, rank all concepts for every held-out name, and keep the ranks.

A finished arm is skipped when it was made from the same config, graph and version, so the benchmark resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.common import records
from benchmarks.names.config import NamesConfig
from benchmarks.names.floors import tfidf_ranks
from medvlp import __version__
from medvlp.config import load, resolve_path
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.splits import HeldOut
from medvlp.training.knowledge import FOLDER, KnowledgeConfig, train
from medvlp.training.loop import resolve_precision
from medvlp.training.name_retrieval import NameRanks, embed_texts, rank_names

if TYPE_CHECKING:
    from medvlp.encoders.text import TextEncoder

FLOORS = {"tfidf": "character 3-gram TF-IDF", "start": "start encoder"}


def run(config: NamesConfig, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return, per arm, one record per seed: ranks, seconds and what it was made from.

    Args:
        config: Arms and seeds.
        out: Folder of the run folders and records.
    """
    base = load_arm(config, [])
    graph = DiseaseGraph.load(resolve_path(base.graph))
    holdout = base.holdout
    heldout = graph.split_names(holdout.fraction, holdout.seed, holdout.kinds)
    made_from = [__version__, graph.digest, holdout.model_dump(mode="json")]

    def once(name: str, identity: Any, work: Callable[[], NameRanks]) -> dict[str, Any]:
        return records.once(out / f"{name}.json", [*made_from, identity], lambda: _plain(work()))

    done = {
        "tfidf": [once("tfidf", "char_wb 3-grams", lambda: tfidf_ranks(graph, heldout))],
        "start": [once("start", base.text.model_dump(mode="json"), lambda: _start(base, graph, heldout))],
    }
    for seed in config.seeds:  # seed by seed, so that a partial table already compares the arms
        for name, arm in config.arms.items():
            settings = load_arm(config, [*arm.set, f"seed={seed}"])
            folder = out / f"{name}-seed-{seed}"
            work = lambda settings=settings, folder=folder: _trained(settings, folder, graph, heldout)  # noqa: E731
            done.setdefault(name, []).append(once(folder.name, settings.model_dump(mode="json"), work))
    return done


def load_arm(config: NamesConfig, overrides: list[str]) -> KnowledgeConfig:
    """Return the base config with the common and the given overrides."""
    loaded = load(config.base, [*config.set, *overrides], kind="knowledge")
    assert isinstance(loaded, KnowledgeConfig)
    return loaded


def _start(config: KnowledgeConfig, graph: DiseaseGraph, heldout: HeldOut) -> NameRanks:
    from medvlp.encoders.text import TextEncoder

    return _rank(config, TextEncoder(config.text), graph, heldout)


def _trained(config: KnowledgeConfig, folder: Path, graph: DiseaseGraph, heldout: HeldOut) -> NameRanks:
    from medvlp.encoders.text import TextEncoder

    checkpoint = train(config, folder)
    return _rank(config, TextEncoder.load(checkpoint / FOLDER), graph, heldout)


def _rank(config: KnowledgeConfig, encoder: TextEncoder, graph: DiseaseGraph, heldout: HeldOut) -> NameRanks:
    """Rank with the arithmetic the config trains in: every arm and the start encoder alike."""
    mixed = resolve_precision(config.precision, "cpu") == "bf16-mixed"

    def embed(texts: list[str]) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return embed_texts(encoder, texts)

    return rank_names(embed, graph, heldout)


def _plain(ranks: NameRanks) -> dict[str, Any]:
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in asdict(ranks).items()}

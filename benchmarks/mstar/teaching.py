"""Stage 2: what the tile encoder knows of kinds of tiles before and after it, by nearest neighbours.

Shape legend: N held-out images, M training images, I width of tile features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import medvlp
from benchmarks.common.records import once
from benchmarks.mstar.cases import Made
from benchmarks.mstar.config import MstarBenchmarkConfig, Teaching
from benchmarks.mstar.run import recipe_of
from benchmarks.mstar.scores import with_intervals
from medvlp import __version__
from medvlp.config import load, resolve_path
from medvlp.metrics.classification import balanced_accuracy
from medvlp.tile_encoder import TileEncoder
from medvlp.training.slide import MstarConfig, train

TEACHER = "transformer"


def teach(config: MstarBenchmarkConfig, made: Made, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the answers for held-out images: before, and per weight of the similarity term one record per seed."""
    settings = config.teaching
    if settings is None:
        return {}
    found: dict[str, list[dict[str, Any]]] = {"before": [_before(config, made, settings, out)]}
    for weight in settings.weights:
        for seed in config.seeds:
            recipe = _recipe(config, made, out, settings, weight, seed)
            teacher = recipe_of(config, made, out, TEACHER, seed).model_dump(mode="json", exclude={"data", "cache"})
            own = recipe.model_dump(
                mode="json", exclude={"data": True, "cache": True, "self_taught": {"stage1", "tiles"}}
            )
            made_from = [__version__, made.digest, settings.neighbours, own, teacher]
            name = f"taught-{weight:g}-{seed}"
            work = _work(config, made, settings, recipe, out / "runs" / name)
            found.setdefault(f"similarity {weight:g}", []).append(
                once(out / "records" / f"{name}.json", made_from, work)
            )
    return found


def _recipe(
    config: MstarBenchmarkConfig, made: Made, out: Path, settings: Teaching, weight: float, seed: int
) -> MstarConfig:
    given = [
        f"data.table={made.folder / 'cases.csv'}",
        f"data.features={made.folder / 'features'}",
        f"data.genes={made.folder / 'genes.csv'}",
        f"self_taught.stage1={out / 'runs' / f'{TEACHER}-{seed}'}",
        f"self_taught.tiles.table={made.folder / 'tiles.csv'}",
        f"self_taught.tiles.images={resolve_path(config.images)}",
        f"self_taught.similarity={weight}",
        f"seed={seed}",
    ]
    return cast(MstarConfig, load(settings.config, given, kind="mstar"))


def _before(config: MstarBenchmarkConfig, made: Made, settings: Teaching, out: Path) -> dict[str, Any]:
    stored_NI = np.load(made.folder / "images.npy")
    identity = [__version__, made.digest, settings.neighbours]
    return once(
        out / "records" / "taught-before.json", identity, lambda: _answers(made, stored_NI, settings.neighbours)
    )


def _work(
    config: MstarBenchmarkConfig, made: Made, settings: Teaching, recipe: MstarConfig, run: Path
) -> Callable[[], dict[str, Any]]:
    def work() -> dict[str, Any]:
        train(recipe, run)
        encoder = cast(TileEncoder, medvlp.load(run))
        base, parts = resolve_path(config.images), []
        for start in range(0, len(made.images), 32):
            files = [base / image["file"] for image in made.images[start : start + 32]]
            parts.append(encoder.encode_image([Image.open(file) for file in files]))
        return _answers(made, torch.cat(parts).numpy(), settings.neighbours)

    return work


def _answers(made: Made, features_NI: NDArray[np.float32], neighbours: int) -> dict[str, Any]:
    """Vote of the nearest training images by cosine; of equal votes, that of the nearer ones."""
    unit_NI = features_NI / np.linalg.norm(features_NI, axis=1, keepdims=True)
    kind_N = np.array([image["kind"] for image in made.images])
    train_N = np.array([image["part"] == "train" for image in made.images])
    cosine_NM = unit_NI[~train_N] @ unit_NI[train_N].T
    order_NM = np.argsort(-cosine_NM, axis=1, kind="stable")[:, :neighbours]
    votes = np.zeros((len(order_NM), int(kind_N.max()) + 1))
    for rank in range(neighbours):
        np.add.at(votes, (np.arange(len(votes)), kind_N[train_N][order_NM[:, rank]]), 1 + 1e-3 * (neighbours - rank))
    return {"kind": kind_N[~train_N].tolist(), "answer": votes.argmax(1).tolist()}


def summarise(found: Mapping[str, Sequence[Mapping[str, Any]]], num_draws: int) -> dict[str, Any]:
    """Return balanced accuracy of each state, and its difference to before, with intervals by image."""
    if not found:
        return {}
    kind_N = np.array(found["before"][0]["kind"])
    num_kinds = int(kind_N.max()) + 1
    keys = [str(number) for number in range(len(kind_N))]

    def accuracy(records: Sequence[Mapping[str, Any]]) -> Callable[[Any], Any]:
        answers = [np.array(record["answer"]) for record in records]
        return lambda w: np.mean([balanced_accuracy(kind_N, answer_N, num_kinds, w) for answer_N in answers], axis=0)

    before = accuracy(found["before"])
    out = {}
    for name, records in found.items():
        after = accuracy(records)
        statistics: dict[str, Any] = {"accuracy": after}
        if name != "before":
            statistics["difference"] = lambda w, a=after: a(w) - before(w)
        out[name] = with_intervals(statistics, keys, num_draws)
    out["images"] = {"held_out": len(kind_N), "kinds": num_kinds}
    return out

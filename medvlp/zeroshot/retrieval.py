"""``medvlp evaluate`` for retrieval: which text belongs to an image, which image to a text, with intervals and floors.

Shape legend: I images, T distinct texts, Q queries, G gallery items, D embedding size.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from medvlp.config import Config, resolve_path
from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, write_json, write_manifest, write_text
from medvlp.metrics import bootstrap, ranking
from medvlp.metrics.chance import RandomOrder
from medvlp.zeroshot import floors, results, retrieval_report
from medvlp.zeroshot.classifier import Floats, embed_images, to_numpy, unit_vectors
from medvlp.zeroshot.evaluate import SplitName, open_model, trained_on
from medvlp.zeroshot.retrieval_task import RetrievalTask, build_retrieval_task

FORMAT = "medvlp-retrieval-1"
SCHEMA = Path(__file__).with_name("retrieval.schema.json")
RANDOM = "random"
DIRECTIONS = ("image_to_text", "text_to_image")
_CHUNK = 512
_TIED = 1e-6  # embeddings are float32
_CURVE = 50
_FEW_CASES = 30
_TRUNCATED = 0.05
_FLOORS = {
    RANDOM: "A random order of the gallery; its expectation is computed exactly.",
    floors.UNTRAINED: "The same network with random weights, same texts, same protocol.",
}


class RetrievalConfig(Config):
    """What to look up among what."""

    kind: Literal["retrieval"] = Field("retrieval", description="Which schema this file follows.")
    title: str = Field("Retrieval of texts and images", description="Heading of the report.")
    checkpoint: str = Field(description="Run folder, checkpoint, exported folder, open_clip:NAME or hf-hub:NAME.")
    data: str = Field(description="Folder of the pairs store.")
    split: SplitName = Field("test", description="Split whose images and texts are looked up among each other.")
    aspects: list[str] | None = Field(None, description="Aspects of texts to use; all but class names by default.")
    recall_at: list[Annotated[int, Field(ge=1)]] = Field([1, 5, 10], min_length=1, description="The k of recall at k.")
    floors: list[Literal["random", "untrained"]] = Field(["random", "untrained"], description="Floors to compute.")
    bootstrap_draws: int = Field(1000, ge=0, le=100_000, description="Bootstrap draws of cases; 0 for no intervals.")
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")
    num_examples: int = Field(6, ge=0, le=100, description="Queries in the report; 0 shows no image.")
    show_texts: bool = Field(False, description="Show the texts of those queries in the report.")
    batch_size: int = Field(64, ge=1, description="Images or texts per forward pass.")
    device: str = Field("cpu", description="Torch device to embed on.")
    seed: int = Field(0, ge=0, description="Seed of draws, examples and the untrained floor.")


def evaluate_retrieval(config: RetrievalConfig, out: Path, *, model: Any = None, overwrite: bool = False) -> Path:
    """Evaluate retrieval and write ``results.json``, ``report.html`` and ``ranks.parquet`` into ``out``.

    Args:
        config: What to look up among what.
        out: Folder to write; appears whole or not at all.
        model: A model to use instead of loading ``config.checkpoint``; needs ``encode_image`` (list of PIL images)
            and ``encode_text`` (list of strings).
        overwrite: Exchange an existing ``out``.

    Raises:
        DataError: If the split holds fewer than two distinct texts, or ``out`` exists.
    """
    from medvlp.data.pairs import PairsStore

    if out.exists() and not overwrite:
        raise DataError("already exists", item=out, remedy="remove it, choose another name, or pass --overwrite")
    store = PairsStore.load(resolve_path(config.data))
    split = store.split(config.split)
    task = build_retrieval_task(split, config.aspects)
    model = open_model(config.checkpoint, config.device) if model is None else model
    image_ID, text_TD = embed(model, split, task, config.batch_size)
    truncated = getattr(getattr(model, "tokenizer", None), "truncated_share", None)
    systems = {"model": rank_both(image_ID, text_TD, task)}
    skipped: dict[str, str] = {}
    if floors.UNTRAINED in config.floors and isinstance(model, torch.nn.Module):
        fresh = floors.untrained_copy(model, config.seed)
        systems[floors.UNTRAINED] = rank_both(*embed(fresh, split, task, config.batch_size), task)
    elif floors.UNTRAINED in config.floors:
        skipped[floors.UNTRAINED] = "the model is not a torch module"
    value: dict[str, Any] = {
        "format": FORMAT,
        "title": config.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": {
            "split": task.split,
            "aspects": list(task.aspects),
            "num_images": len(task.rows_I),
            "num_texts": len(task.texts_T),
            "num_shared_texts": task.num_shared,
            "num_cases": task.num_cases,
            "rows": task.ledger.to_json(),
        },
        "model": {
            "source": config.checkpoint,
            "weights_sha256": results.weights_digest(model),
            "text_truncated_share": None if truncated is None else float(truncated),
        },
        "data": {"source": config.data, "sha256": store.digest, "split_sha256": task.digest},
        "directions": {name: _direction(name, config, task, systems, skipped) for name in DIRECTIONS},
        "bootstrap": {"draws": config.bootstrap_draws, "level": config.level, "unit": "case, joined by shared texts"},
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "versions": results.versions(),
        "command": results.command(),
    }
    value["limits"] = _limits(value, task, store, trained_on(config.checkpoint) == store.digest)
    results.validate(value, path=SCHEMA)
    examples = retrieval_report.draw_examples(config, split, task, image_ID, text_TD, systems["model"])
    page = retrieval_report.render(value, examples)
    with full_disk_told(out), atomic_folder(out, replace=overwrite) as partial:
        write_json(partial / "results.json", value)
        _write_ranks(partial / "ranks.parquet", task, systems["model"])
        write_text(partial / "report.html", page)
        write_manifest(partial, {"format": FORMAT})
    return out


def embed(model: Any, split: Any, task: RetrievalTask, batch_size: int = 64) -> tuple[Floats, Floats]:
    """Embed the images (I, D) and the distinct texts (T, D) of a task, each to unit length."""
    image_ID = embed_images(model, split, batch_size, rows=task.rows_I.tolist())
    texts = list(task.texts_T)
    parts = [to_numpy(model.encode_text(texts[i : i + batch_size])) for i in range(0, len(texts), batch_size)]
    return image_ID, unit_vectors(np.concatenate(parts), f"texts of {split.name}")


def rank_both(image_ID: Floats, text_TD: Floats, task: RetrievalTask) -> dict[str, Floats]:
    """Rank of the best right answer of each query, by direction; ties count as the mean of best and worst case."""
    return {
        "image_to_text": ranks(image_ID, text_TD, task.texts_of_I),
        "text_to_image": ranks(text_TD, image_ID, task.images_of_T),
    }


def ranks(query_QD: Floats, gallery_GD: Floats, right_of_Q: Sequence[NDArray[np.int64]]) -> Floats:
    """Realistic rank (Q,) of each query's best right item; its other right items never count against it."""
    parts = []
    for begin in range(0, len(query_QD), _CHUNK):
        right_CG = np.zeros((min(_CHUNK, len(query_QD) - begin), len(gallery_GD)), dtype=bool)
        for place, right in enumerate(right_of_Q[begin : begin + _CHUNK]):
            right_CG[place, right] = True
        cosine_CG = query_QD[begin : begin + _CHUNK] @ gallery_GD.T
        parts.append(ranking.similarity_ranks(cosine_CG, right_CG, _TIED).realistic_Q)
    return np.concatenate(parts)


def _direction(
    name: str,
    config: RetrievalConfig,
    task: RetrievalTask,
    systems: dict[str, dict[str, Floats]],
    skipped: dict[str, str],
) -> dict[str, Any]:
    """Scores, floors with the model's lead over them, and the curve of recall, of one direction."""
    to_text = name == "image_to_text"
    case_Q, right = (task.case_I, task.texts_of_I) if to_text else (task.case_T, task.images_of_T)
    num_gallery = len(task.texts_T) if to_text else len(task.rows_I)
    chance = RandomOrder([len(found) for found in right], num_gallery)
    statistics: dict[str, Callable[[Any], Any]] = {}
    for system, by_direction in systems.items():
        statistics |= {f"{system}.{metric}": stat for metric, stat in _of_ranks(by_direction[name], config).items()}
    statistics |= {f"{RANDOM}.{metric}": stat for metric, stat in _of_chance(chance, config).items()}
    drawn = bootstrap.draws(statistics, case_Q, config.bootstrap_draws, config.seed)
    plain = {key: float(stat(None)) for key, stat in statistics.items()}
    num_cases = len(set(case_Q))

    def entry(system: str, metric: str) -> dict[str, Any]:
        key = f"{system}.{metric}"
        found = _interval(plain[key], drawn[key], num_cases, config.level)
        fixed = {"title": _title(metric), "unit": "rank" if metric == "median_rank" else "fraction"}
        return {"name": metric, **fixed, "higher_is_better": metric != "median_rank", **found}

    def beaten(system: str, metric: str) -> dict[str, Any]:
        first, second, sign = f"model.{metric}", f"{system}.{metric}", -1 if metric == "median_rank" else 1
        lead = _interval(
            sign * (plain[first] - plain[second]) + 0.0, sign * (drawn[first] - drawn[second]), num_cases, config.level
        )
        return {**entry(system, metric), "lead": lead}

    metrics = [f"recall_at_{k}" for k in config.recall_at] + ["median_rank", "mean_reciprocal_rank"]
    ran = [floor for floor in config.floors if floor not in skipped]
    depth = range(1, min(num_gallery, _CURVE) + 1)
    curve = {"model": [float(ranking.recall_at(systems["model"][name], k)) for k in depth]}
    return {
        "num_queries": len(case_Q),
        "num_gallery": num_gallery,
        "num_cases": num_cases,
        "metrics": [entry("model", metric) for metric in metrics],
        "floors": [
            {
                "name": floor,
                "description": _FLOORS[floor],
                "skipped": skipped.get(floor),
                "metrics": [beaten(floor, metric) for metric in metrics] if floor in ran else [],
            }
            for floor in config.floors
        ],
        "curve": {**curve, RANDOM: [float(chance.recall_at(k)) for k in depth]},
    }


def _recall(rank_Q: Floats, k: int, weight: Any) -> Any:
    return ranking.recall_at(rank_Q, k, weight)


def _of_ranks(rank_Q: Floats, config: RetrievalConfig) -> dict[str, Callable[[Any], Any]]:
    out: dict[str, Callable[[Any], Any]] = {f"recall_at_{k}": partial(_recall, rank_Q, k) for k in config.recall_at}
    out["median_rank"] = lambda weight: ranking.median_rank(rank_Q, weight)
    out["mean_reciprocal_rank"] = lambda weight: ranking.mean_reciprocal_rank(rank_Q, weight)
    return out


def _of_chance(chance: RandomOrder, config: RetrievalConfig) -> dict[str, Callable[[Any], Any]]:
    out: dict[str, Callable[[Any], Any]] = {f"recall_at_{k}": partial(chance.recall_at, k) for k in config.recall_at}
    return out | {"median_rank": chance.median_rank, "mean_reciprocal_rank": chance.mean_reciprocal_rank}


def _interval(value: float, draw_S: Floats, num_cases: int, level: float) -> dict[str, Any]:
    found = bootstrap.interval(value, draw_S, num_cases, level)
    return {"value": results.number(value), "low": results.number(found.low), "high": results.number(found.high)}


def _title(metric: str) -> str:
    named = {"median_rank": "Median rank", "mean_reciprocal_rank": "Mean reciprocal rank"}
    return named.get(metric, f"Recall at {metric.rpartition('_')[2]}")


def _limits(value: dict[str, Any], task: RetrievalTask, store: Any, seen: bool) -> list[str]:
    out = []
    if seen:
        out.append("The model was trained on the training part of this set; these are new cases of the same source.")
    if task.num_cases < _FEW_CASES:
        out.append(f"The queries come from {task.num_cases} independent cases only; the intervals are rough.")
    if len(set(store.split(task.split).column("case"))) == len(store.split(task.split)):
        out.append(
            "Every image counts as its own case. If patients gave several images, the intervals are too narrow "
            "and patients may lie in several splits."
        )
    if task.split != "test":
        out.append(f"These are scores on the {task.split} split, not on held-out test data.")
    if task.split != "train":
        known = {" ".join(text.text.split()) for texts in store.split("train").column("texts") for text in texts}
        repeated = sum(text in known for text in task.texts_T)
        if repeated:
            out.append(f"{repeated} of the {len(task.texts_T)} texts also stand in the training split, word for word.")
    share = value["model"]["text_truncated_share"]
    if share is not None and share > _TRUNCATED:
        out.append(f"{100 * share:.0f}% of the texts are longer than the text tower reads; their ends were cut.")
    if task.ledger.dropped:
        out.append(f"{sum(task.ledger.dropped.values())} images have no text of these aspects and are not looked for.")
    return out


def _write_ranks(path: Path, task: RetrievalTask, by_direction: dict[str, Floats]) -> None:
    """One row per query; a text is named by the keys of its images."""
    import pyarrow
    import pyarrow.parquet

    names = [[key] for key in task.keys_I] + [[task.keys_I[i] for i in images] for images in task.images_of_T]
    counts = [len(texts) for texts in task.texts_of_I] + [len(images) for images in task.images_of_T]
    columns = {
        "direction": [DIRECTIONS[0]] * len(task.keys_I) + [DIRECTIONS[1]] * len(task.texts_T),
        "keys": names,
        "unit": [*task.case_I, *task.case_T],
        "num_right": counts,
        "rank": np.concatenate([by_direction[name] for name in DIRECTIONS]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)

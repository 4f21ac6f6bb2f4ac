"""``medvlp evaluate``: one model, one split, all scores with intervals and floors, a results file and a page.

Shape legend: N images, K classes, D embedding size.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field

from medvlp.config import Config, resolve_path
from medvlp.errors import ConfigError, DataError
from medvlp.io import MANIFEST, atomic_folder, full_disk_told, read_json, write_json, write_manifest, write_text
from medvlp.zeroshot import floors, report, results
from medvlp.zeroshot.classifier import (
    Floats,
    class_vectors,
    classify,
    classify_multi,
    embed_images,
    refuse_test,
    scale_of,
    to_numpy,
)
from medvlp.zeroshot.existence import ExistenceQueries, chosen_scorer, presence
from medvlp.zeroshot.prompts import PromptConfig, PromptSet
from medvlp.zeroshot.questions import ask
from medvlp.zeroshot.scoring import Scored, System, score_systems
from medvlp.zeroshot.task import Task, build_hierarchy

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore

SplitName = Literal["train", "dev", "test"]
FloorName = Literal["prior", "colour-histogram", "untrained"]
_FEW_CASES = 10
_PARTIAL = (
    "These weights were imported in part: some of the model's tensors are random. weights_report.json beside them "
    "names which; no score of this model means anything before that is mended."
)
_SEEN = (
    "Class names seen in training: yes. The model was trained on the training part of this set, so this score is "
    "about new cases, not about new classes."
)


class EvaluateConfig(Config):
    """What to evaluate on what."""

    kind: Literal["evaluate"] = Field("evaluate", description="Which schema this file follows.")
    title: str = Field("Zero-shot evaluation", description="Heading of the report.")
    checkpoint: str = Field(description="Run, checkpoint or export folder; open_clip:NAME, hf-hub:NAME, LAYOUT:PATH.")
    data: str = Field(description="Folder of the pairs store.")
    split: SplitName = Field("test", description="Split to score.")
    fit_split: SplitName = Field("dev", description="Split that thresholds are fitted on; never test.")
    graph: str | None = Field(None, description="Folder of the graph store, for names and hierarchy scores.")
    mode: Literal["single", "multi"] = Field("single", description="One class per image, or any number.")
    classes: list[str] | None = Field(None, description="Labels to evaluate; all of the store's by default.")
    class_concepts: dict[str, list[str]] = Field({}, description="Concept ids per label, over those of the store.")
    positive: str | None = Field(None, description="The one class that ranking scores are about; all by default.")
    prompts: PromptConfig = Field(default_factory=PromptConfig, description="How prompts are made.")
    multi_score: Literal["sigmoid", "pairs"] = Field(
        "pairs", description="Multi-label probability: sigmoid of the logit, or presence against absence prompts."
    )
    scorer: Literal["auto", "cosine", "decoder"] = Field(
        "auto", description="Cosines, the model's query decoder, or the decoder where it has one."
    )
    scale: float | None = Field(None, gt=0, le=1000, description="Multiplier of cosines; the model's own by default.")
    specificity: float = Field(0.95, gt=0, lt=1, description="Specificity at which sensitivity is reported.")
    floors: list[FloorName] = Field(["prior", "colour-histogram", "untrained"], description="Floors to compute.")
    bootstrap_draws: int = Field(1000, ge=0, le=100_000, description="Bootstrap draws of cases; 0 for no intervals.")
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")
    num_examples: int = Field(12, ge=0, le=200, description="Example images in the report; 0 shows none.")
    batch_size: int = Field(64, ge=1, description="Images per forward pass.")
    device: str = Field("cpu", description="Torch device to embed on.")
    seed: int = Field(0, ge=0, description="Seed of prompts, draws, examples and the untrained floor.")


def evaluate(config: EvaluateConfig, out: Path, *, model: Any = None, overwrite: bool = False) -> Path:
    """Evaluate zero-shot and write ``results.json``, ``report.html`` and ``predictions.parquet`` into ``out``.

    Args:
        config: What to evaluate on what.
        out: Folder to write; appears whole or not at all.
        model: A model to use instead of loading ``config.checkpoint``; needs ``encode_image`` (list of PIL images),
            or ``encode_keys`` (list of keys of the store), ``encode_text`` (list of strings) and ``scale()``.
        overwrite: Exchange an existing ``out``.

    Raises:
        DataError: If thresholds were to be fitted on test, a split is empty, classes are missing, or ``out`` exists.
        GraphError: If a class's concept is not in the graph.
    """
    refuse_test(config.fit_split)
    if out.exists() and not overwrite:
        raise DataError("already exists", item=out, remedy="remove it, choose another name, or pass --overwrite")
    asked = ask(config)
    store, graph, classes, prompts = asked.store, asked.graph, asked.classes, asked.prompts
    task, development = asked.task, asked.development
    model = open_model(config.checkpoint, config.device) if model is None else model
    training = asked.tasks["train"] if config.split != "train" else None
    system = _zero_shot("model", "The model under test.", config, model, prompts, store, task, development)
    systems = [system, *_floors(config, model, prompts, store, training, task, development)]
    places = build_hierarchy(graph, classes, asked.concepts)
    scored = score_systems(
        task,
        development,
        systems,
        places=places,
        specificity=config.specificity,
        num_draws=config.bootstrap_draws,
        seed=config.seed,
    )
    skipped = [system for system in systems if system.probability_NK is None]
    assert system.probability_NK is not None
    value: dict[str, Any] = {
        "format": results.FORMAT,
        "title": config.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": {
            "split": task.split,
            "mode": task.mode,
            "classes": list(classes),
            "num": len(task),
            "num_cases": task.num_cases,
            "positive": config.positive,
            "rows": task.ledger.to_json(),
        },
        "model": _model_entry(config, model),
        "data": {
            "source": config.data,
            "sha256": store.digest,
            "split_sha256": task.digest,
            "graph": config.graph,
            "graph_sha256": None if graph is None else graph.digest,
        },
        "prompts": prompts.to_json(),
        "metrics": results.metric_entries(scored[0], task, config.level, places),
        "classes": results.class_entries(scored[0], task, config.level),
        "floors": results.floor_entries(scored[0], scored[1:], skipped, task, config.level, places),
        "thresholds": _thresholds(scored[0], classes),
        "plots": results.plot_data(task, system.probability_NK),
        "bootstrap": {"draws": config.bootstrap_draws, "level": config.level, "unit": "case"},
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "versions": results.versions(),
        "command": results.command(),
    }
    value["limits"] = _limits(value, task, prompts, None if places is None else places.unplaced)
    made = manifest_of(config.checkpoint)
    if made.get("data_digest") == store.digest:
        value["limits"].insert(0, _SEEN)
    if made.get("partial") is True:
        value["limits"].insert(0, _PARTIAL)
    results.validate(value)
    page = report.render(value, _examples(config, store, task, system.probability_NK))
    with full_disk_told(out), atomic_folder(out, replace=overwrite) as partial:
        write_json(partial / "results.json", value)
        write_predictions(partial / "predictions.parquet", task, system.probability_NK)
        write_text(partial / "report.html", page)
        write_manifest(partial, {"format": results.FORMAT})
    return out


def open_model(path: str, device: str) -> Any:
    """Load a model from anything ``medvlp.load`` opens and put it on a device in eval mode.

    Raises:
        CheckpointError: If there is no such model.
        ConfigError: If there is no such device.
    """
    import medvlp
    from medvlp.loading import has_scheme

    model = medvlp.load(path if has_scheme(path) else str(resolve_path(path)))
    try:
        return model.to(torch.device(device)).eval()
    except RuntimeError as error:
        raise ConfigError(str(error).splitlines()[0], item=f"device: {device}", remedy="use cpu") from None


def _zero_shot(
    name: str,
    description: str,
    config: EvaluateConfig,
    model: Any,
    prompts: PromptSet,
    store: PairsStore,
    task: Task,
    development: Task | None,
) -> System:
    if chosen_scorer(config.scorer, model) == "decoder":
        queries = ExistenceQueries(model, prompts.texts)

        def exists(part: Task) -> Floats:
            found = queries.of_split(store.split(part.split), part.rows_N.tolist(), config.batch_size)
            return presence(found, config.mode)

        return System(name, description, exists(task), None if development is None else exists(development))
    scale = scale_of(model) if config.scale is None else config.scale
    class_KD = class_vectors(model, prompts)
    absent_KD = None
    if config.mode == "multi" and config.multi_score == "pairs":
        absent_KD = class_vectors(model, prompts, absent=True)
    bias = getattr(model, "logit_bias", None)

    def probabilities(part: Task) -> Floats:
        image_ND = embed_images(model, store.split(part.split), config.batch_size, rows=part.rows_N.tolist())
        if config.mode == "single":
            return classify(image_ND, class_KD, scale)
        return classify_multi(
            image_ND, class_KD, scale, absent_KD=absent_KD, bias=None if bias is None else float(to_numpy(bias))
        )

    return System(name, description, probabilities(task), None if development is None else probabilities(development))


def _floors(
    config: EvaluateConfig,
    model: Any,
    prompts: PromptSet,
    store: PairsStore,
    training: Task | None,
    task: Task,
    development: Task | None,
) -> list[System]:
    out = []
    if floors.PRIOR in config.floors:
        out.append(floors.prior_floor(training, len(task), 0 if development is None else len(development)))
    if floors.COLOUR in config.floors:
        fit_on, asked, fitted = (
            None if part is None else (store.split(part.split), part) for part in (training, task, development)
        )
        out.append(floors.colour_floor(fit_on, asked, fitted, config.seed))
    if floors.UNTRAINED in config.floors:
        description = floors.DESCRIPTIONS[floors.UNTRAINED]
        if isinstance(model, torch.nn.Module):
            fresh = floors.untrained_copy(model, config.seed)
            out.append(_zero_shot(floors.UNTRAINED, description, config, fresh, prompts, store, task, development))
        else:
            out.append(System(floors.UNTRAINED, description, skipped="the model is not a torch module"))
    return out


def _model_entry(config: EvaluateConfig, model: Any) -> dict[str, Any]:
    share = getattr(getattr(model, "tokenizer", None), "truncated_share", None)
    return {
        "source": config.checkpoint,
        "weights_sha256": results.weights_digest(model),
        "scale": scale_of(model) if config.scale is None else config.scale,
        "scorer": chosen_scorer(config.scorer, model),
        "text_truncated_share": None if share is None else float(share),
    }


def _thresholds(scored: Scored, classes: list[str]) -> dict[str, Any] | None:
    fitted = scored.thresholds
    if fitted is None:
        return None
    return {
        "split": fitted.split,
        "num": fitted.num,
        "specificity": fitted.specificity,
        "at_specificity": dict(zip(classes, map(results.number, fitted.at_specificity_K), strict=True)),
        "at_best_f1": dict(zip(classes, map(results.number, fitted.at_best_f1_K), strict=True)),
    }


def _limits(value: dict[str, Any], task: Task, prompts: PromptSet, unplaced: tuple[str, ...] | None) -> list[str]:
    out = []
    few = [row["label"] for row in value["classes"] if row["num_cases"] < _FEW_CASES]
    if few:
        out.append(f"Fewer than {_FEW_CASES} cases in this split: {_listed(few)}. Their scores are anecdotes.")
    if task.num_cases == len(task):
        out.append(
            "Every image counts as its own case. If patients gave several images, the intervals are too narrow "
            "and patients may lie in several splits."
        )
    elif task.num_cases < _FEW_CASES:
        out.append(f"The images come from {task.num_cases} cases only; the intervals are rough.")
    if task.split != "test":
        out.append(f"These are scores on the {task.split} split, not on held-out test data.")
    if prompts.fallback and value["data"]["graph"] is None:
        out.append("Without a graph the classes are called by their display names, with no synonyms.")
    elif prompts.fallback:
        out.append(f"No concept of the graph names {_listed(prompts.fallback)}; the display name was used.")
    for reason, count in prompts.dropped.items():
        out.append(f"{count} names were left out of the prompts: {reason}.")
    if unplaced:
        out.append(f"Hierarchy scores give no partial credit for {_listed(unplaced)}: no concept in the graph.")
    if value["thresholds"] is None:
        out.append("No threshold could be fitted, so only threshold-free scores speak about sensitivity.")
    return out


def trained_on(checkpoint: str) -> str | None:
    """Return the digest of the pairs store that a run or checkpoint folder was trained on, if it says so."""
    found = manifest_of(checkpoint).get("data_digest")
    return found if isinstance(found, str) else None


def manifest_of(checkpoint: str) -> dict[str, Any]:
    """Return what the manifest of a run or checkpoint folder says, nothing for a model that has none."""
    from medvlp.loading import checkpoint_folder, has_scheme

    if has_scheme(checkpoint) or not resolve_path(checkpoint).is_dir():
        return {}
    path = checkpoint_folder(checkpoint) / MANIFEST
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(label.replace("_", " ") for label in labels)


def _examples(config: EvaluateConfig, store: PairsStore, task: Task, probability_NK: Floats) -> list[report.Example]:
    """Draw images at random, class by class in turn, so that rare classes are seen too."""
    rng = np.random.default_rng([config.seed, 1])
    queues = [rng.permutation(np.flatnonzero(task.target_NK[:, k])).tolist() for k in range(len(task.classes))]
    chosen: list[int] = []
    while len(chosen) < config.num_examples and any(queues):
        for queue in queues:
            if queue and len(chosen) < config.num_examples:
                row = queue.pop()
                if row not in chosen:
                    chosen.append(row)
    split = store.split(task.split)
    classes = list(task.classes)
    return [
        report.example(
            split[int(task.rows_N[row])].image,
            [label for label, true in zip(classes, task.target_NK[row], strict=True) if true],
            classes,
            probability_NK[row],
        )
        for row in chosen
    ]


def write_predictions(path: Path, task: Task, probability_NK: Floats) -> None:
    """Write key, case, truth, answer and every probability of each image as Parquet."""
    import pyarrow
    import pyarrow.parquet

    classes = np.array(task.classes, dtype=object)
    truth = [[str(label) for label in classes[true]] for true in task.target_NK]
    columns: dict[str, Any] = {
        "key": list(task.keys),
        "case": list(task.cases),
        "label": [labels[0] for labels in truth] if task.mode == "single" else truth,
        "answer": classes[probability_NK.argmax(1)].tolist(),
    }
    columns |= {f"probability: {label}": probability_NK[:, k] for k, label in enumerate(task.classes)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)

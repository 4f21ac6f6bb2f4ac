"""Scores of fine-tuned classifiers, beside the same floors and in the same form as zero-shot results.

Shape legend: N images, K classes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.finetune.config import Classification, FinetuneConfig
from medvlp.finetune.few_shot import mean_over_seeds
from medvlp.io import atomic_folder, full_disk_told, write_json, write_manifest
from medvlp.zeroshot import floors, results
from medvlp.zeroshot.evaluate import write_predictions
from medvlp.zeroshot.scoring import Scored, System, score_systems
from medvlp.zeroshot.task import Task

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore

FORMAT = "medvlp-finetune-results-1"
FOLDER = "results"
_FEW_CASES = 10


@dataclass(frozen=True)
class Answers:
    """What one fine-tuned classifier answered.

    Attributes:
        seed: Seed of its training images or steps.
        train: The images it learned from.
        dev: The images its choices were made on, None if there are none.
        test_NK: Its probabilities on the test part.
        dev_NK: Its probabilities on ``dev``.
        facts: How it was fitted.
    """

    seed: int
    train: Task
    dev: Task | None
    test_NK: NDArray[np.float64]
    dev_NK: NDArray[np.float64] | None
    facts: Mapping[str, Any]


def score(
    config: FinetuneConfig, store: PairsStore, test: Task, answers: Sequence[Answers]
) -> tuple[list[Scored], list[System]]:
    """Score the classifier (first) and its floors, each a mean over ``answers``; all on the same bootstrap draws.

    Floors learn from the very images that the classifier learned from.

    Returns:
        The scores, and the floors that could not run.
    """
    options: dict[str, Any] = {"places": None, "specificity": config.specificity, "seed": config.seed}
    columns: list[list[Scored]] = []
    skipped: list[System] = []
    for part in answers:
        systems = [System("model", "The fine-tuned model.", part.test_NK, part.dev_NK)]
        systems += _floors(config, store, part.train, test, part.dev)
        columns.append(score_systems(test, part.dev, systems, num_draws=config.bootstrap_draws, **options))
        skipped = [system for system in systems if system.probability_NK is None]
    return [mean_over_seeds(same, config.seed) for same in zip(*columns, strict=True)], skipped


def _floors(config: FinetuneConfig, store: PairsStore, train: Task, test: Task, dev: Task | None) -> list[System]:
    out = []
    if floors.PRIOR in config.floors:
        out.append(floors.prior_floor(train, len(test), 0 if dev is None else len(dev)))
    if floors.COLOUR in config.floors:
        parts = [None if part is None else (store.split(part.split), part) for part in (train, test, dev)]
        out.append(floors.colour_floor(parts[0], parts[1], parts[2], config.seed))
    return out


def write(
    config: FinetuneConfig,
    out: Path,
    store: PairsStore,
    tasks: Mapping[str, Task],
    answers: Sequence[Answers],
    start: Mapping[str, Any],
) -> Path:
    """Write ``results.json`` and one ``predictions-seed-N.parquet`` per seed into ``out``/results, whole or not."""
    assert isinstance(config.task, Classification)
    test = tasks["test"]
    scored, skipped = score(config, store, test, answers)
    value: dict[str, Any] = {
        "format": FORMAT,
        "title": config.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": {
            "split": test.split,
            "mode": test.mode,
            "classes": list(test.classes),
            "num": len(test),
            "num_cases": test.num_cases,
            "num_train": [len(part.train) for part in answers],
            "rows": {name: part.ledger.to_json() for name, part in tasks.items()},
        },
        "start": dict(start),
        "data": {"source": config.task.data, "sha256": store.digest, "split_sha256": test.digest},
        "fits": [{"seed": part.seed, **part.facts} for part in answers],
        "metrics": results.metric_entries(scored[0], test, config.level, None),
        "classes": results.class_entries(scored[0], test, config.level),
        "floors": results.floor_entries(scored[0], scored[1:], skipped, test, config.level, None),
        "by_seed": by_seed(config, test, answers),
        "plots": results.plot_data(test, answers[0].test_NK),
        "limits": _limits(config, test, answers),
        "bootstrap": {"draws": config.bootstrap_draws, "level": config.level, "unit": _unit(answers)},
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "versions": results.versions(),
        "command": results.command(),
    }
    validate(value)
    folder = out / FOLDER
    with full_disk_told(folder), atomic_folder(folder, replace=True, own=True) as partial:
        write_json(partial / "results.json", value)
        for part in answers:
            write_predictions(partial / f"predictions-seed-{part.seed}.parquet", test, part.test_NK)
        write_manifest(partial, {"format": FORMAT})
    return folder


def by_seed(config: FinetuneConfig, test: Task, answers: Sequence[Answers]) -> list[dict[str, Any]]:
    """Return the plain values of each seed."""
    out = []
    for part in answers:
        system = System("model", "", part.test_NK)
        (found,) = score_systems(
            test, None, [system], places=None, specificity=config.specificity, num_draws=0, seed=config.seed
        )
        names = [name for name, value in found.value.items() if value.ndim == 1]
        out.append({"seed": part.seed, **{name: results.number(float(found.value[name][0])) for name in names}})
    return out


def _unit(answers: Sequence[Answers]) -> str:
    return "case" if len(answers) == 1 else "case and seed"


def _limits(config: FinetuneConfig, test: Task, answers: Sequence[Answers]) -> list[str]:
    out = []
    for k, label in enumerate(test.classes):
        cases = {case for case, true in zip(test.cases, test.target_NK[:, k], strict=True) if true}
        if len(cases) < _FEW_CASES:
            out.append(f"Class {label} has {len(cases)} cases in the {test.split} split; its score is an anecdote.")
    if test.num_cases == len(test):
        out.append("Every image counts as its own case; if patients gave several images, intervals are too narrow.")
    if test.split != "test":
        out.append(f"These are scores on the {test.split} split, not on held-out test data.")
    if len(answers) == 1:
        out.append("One training run: the interval holds the chance of the test cases, not that of the training.")
    if any(part.facts.get("converged") is False for part in answers):
        out.append("The solver stopped before its optimum; raise method.max_iter.")
    return out


def validate(value: Any) -> None:
    """Check results against the published parts of the schema of zero-shot results.

    Raises:
        DataError: Naming the first place that does not fit.
    """
    import jsonschema

    base = results.schema()
    names = ("metrics", "classes", "floors", "limits", "versions")
    schema = {
        "$defs": base["$defs"],
        "type": "object",
        "required": ["format", "task", "start", "data", "fits", *names],
        "properties": {"format": {"const": FORMAT}, **{name: base["properties"][name] for name in names}},
    }
    error = next(iter(jsonschema.Draft202012Validator(schema).iter_errors(value)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "top level"
        raise DataError(f"does not fit the results schema at {place}: {error.message[:200]}", item="results.json")

"""Cross-validated survival models: fit on each fold's training part, score the held-out cases, beside floors.

Shape letters: N held-out cases of a fold, M training cases, K scaled columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.data.survival_table import (
    Fold,
    SurvivalColumns,
    SurvivalTable,
    read_folds,
    read_survival_table,
    tcga_endpoint,
    usable_folds,
)
from medvlp.finetune.survival_config import Cox, Hazard, Outcome, SurvivalConfig, SurvivalModel
from medvlp.finetune.survival_cox import fit_cox
from medvlp.finetune.survival_features import Block, Scaler, common_cases, noise, read_block
from medvlp.finetune.survival_hazard import fit_hazard
from medvlp.finetune.survival_scores import Answers, Scores, as_json, mean_scores, or_none, score
from medvlp.io import atomic_folder, write_json, write_manifest

FORMAT = "medvlp-survival-1"
_SHOWN_WEIGHTS = 60
_TITLES = {
    "model": "model",
    "clinical": "clinical columns alone, Cox",
    "noise": "random features of the same width",
    "permuted": "training outcomes dealt out anew",
}


def cross_validate(
    model: SurvivalModel,
    blocks: Sequence[Block],
    outcomes: SurvivalTable,
    folds: Sequence[Fold],
    *,
    seed: int = 0,
    permute: bool = False,
) -> list[Answers]:
    """Fit and answer fold by fold; scaling, components, bins, penalty and stopping see the training part alone.

    Args:
        model: Which model.
        blocks: Features, side by side.
        outcomes: Times and events.
        folds: Folds whose cases all have features and an outcome.
        seed: Seed of everything that is drawn.
        permute: Deal the training outcomes (time and event together) out anew: the answers must then be worth nothing.

    Raises:
        TrainingError: If a fold has too few events, or a fit fails.
        MissingExtraError: If a Cox model is asked for without the extra ``survival``.
    """
    done = []
    for place, fold in enumerate(folds):
        train, test = outcomes.take(fold.train), outcomes.take(fold.test)
        scalers = [Scaler(block, block.rows(fold.train)) for block in blocks]
        pairs = list(zip(scalers, blocks, strict=True))
        train_MK = np.concatenate([scaler(block.rows(fold.train)) for scaler, block in pairs], axis=1)
        test_NK = np.concatenate([scaler(block.rows(fold.test)) for scaler, block in pairs], axis=1)
        order_M = np.arange(len(fold.train))
        if permute:
            order_M = np.random.default_rng([seed, 3, place]).permutation(order_M)
        time_M, event_M = train.time_C[order_M], train.event_C[order_M]
        if isinstance(model, Hazard):
            risk, facts = fit_hazard(model, train_MK, time_M, event_M, seed)
        else:
            risk, facts = fit_cox(model, train_MK, time_M, event_M, seed)
            weight_K = facts.pop("log_hazard_ratio_K")
            if len(weight_K) <= _SHOWN_WEIGHTS:
                names = [name for scaler in scalers for name in scaler.names]
                ratios = np.exp(weight_K).tolist()
                facts["hazard_ratio_per_deviation"] = dict(zip(names, ratios, strict=True))
        facts |= {"num_train": len(fold.train), "train_events": int(event_M.sum()), "width": train_MK.shape[1]}
        risk_N = risk(test_NK)
        done.append(
            Answers(fold.name, fold.test, test.time_C, test.event_C, risk_N, train.time_C, train.event_C, facts)
        )
    return done


def columns_of(outcome: Outcome) -> SurvivalColumns:
    """Return which columns of an outcome table hold what."""
    if outcome.columns is not None:
        return outcome.columns
    assert outcome.endpoint is not None
    return tcga_endpoint(outcome.endpoint)


def run(config: SurvivalConfig, out: str | Path, *, overwrite: bool = False) -> Path:
    """Cross-validate a model, its floors and its controls on the same cases, and write what they answered.

    Args:
        config: What is fitted on what.
        out: Folder to create: ``results.json``, ``predictions.parquet``, ``manifest.json``.
        overwrite: Replace an existing store.

    Returns:
        ``out``.

    Raises:
        DataError: If a table cannot be used, or a split leaks.
        TrainingError: If a fit fails.
    """
    out = Path(out)
    with atomic_folder(out, replace=overwrite) as folder:  # entered first, so that a taken name is told at once
        systems, results = _results(config)
        write_json(folder / "results.json", results)
        pyarrow.parquet.write_table(predictions(systems), folder / "predictions.parquet")
        write_manifest(folder, {"format": FORMAT, "version": __version__})
    return out


Systems = dict[str, list[list[Answers]]]


def _results(config: SurvivalConfig) -> tuple[Systems, dict[str, Any]]:
    outcomes = read_survival_table(resolve_path(config.outcome.table), columns_of(config.outcome))
    folds = read_folds(resolve_path(config.folds), train=config.train, test=config.test)
    blocks = [read_block(source, outcomes.cases, config.seed) for source in config.features]
    clinical = [read_block(source, outcomes.cases, config.seed) for source in config.clinical]
    folds, ledger = usable_folds(folds, common_cases([*blocks, *clinical], outcomes.cases))
    used = sorted({case for fold in folds for case in (*fold.train, *fold.test)})
    systems = _systems(config, blocks, clinical, outcomes, folds)
    scores = {
        name: mean_scores(
            [score(answers, config.num_draws, config.seed, config.horizon) for answers in several], config.seed
        )
        for name, several in systems.items()
    }
    return systems, {
        "format": FORMAT,
        "version": __version__,
        "title": config.title,
        "config": config.model_dump(mode="json"),
        "metric": "Harrell's concordance, mean over folds; 0.5 is what no knowledge gives",
        "num_cases": len(used),
        "num_scored": sum(len(fold.test) for fold in folds),
        "num_events": int(sum(fold.event_N.sum() for fold in systems["model"][0])),
        "clinical_missing": {
            column: int(np.isnan(block.rows(used)[:, place]).sum())
            for block in [*blocks, *clinical]
            if block.name == "clinical"
            for place, column in enumerate(block.columns)
        },
        "systems": [_system(name, systems[name], scores[name], config.level) for name in systems],
        "differences": [
            {"first": "model", "second": name, **as_json(scores["model"].difference(scores[name], config.level))}
            for name in systems
            if name != "model"
        ],
        "ledger": {"outcomes": outcomes.ledger.to_json(), "folds": ledger.to_json()},
    }


def _systems(
    config: SurvivalConfig, blocks: list[Block], clinical: list[Block], outcomes: SurvivalTable, folds: list[Fold]
) -> Systems:
    """Fit the model, the clinical floor and every repetition of the controls."""
    systems: Systems = {"model": [cross_validate(config.model, blocks, outcomes, folds, seed=config.seed)]}
    if clinical:
        systems["clinical"] = [cross_validate(Cox(), clinical, outcomes, folds, seed=config.seed)]
    width = systems["model"][0][0].facts["width"]
    for control in config.controls:
        systems[control] = [
            cross_validate(
                config.model,
                [noise(outcomes.cases, width, seed)] if control == "noise" else blocks,
                outcomes,
                folds,
                seed=seed,
                permute=control == "permuted",
            )
            for seed in range(config.seed, config.seed + config.repeats)
        ]
    return systems


def predictions(systems: Mapping[str, Sequence[Sequence[Answers]]]) -> pyarrow.Table:
    """Return a row per system, repetition and held-out case: fold, case, months, event, risk."""
    rows: dict[str, list[Any]] = {
        name: [] for name in ("system", "repetition", "fold", "case", "months", "event", "risk")
    }
    for name, several in systems.items():
        for repetition, answers in enumerate(several):
            for fold in answers:
                rows["system"] += [name] * len(fold.cases)
                rows["repetition"] += [repetition] * len(fold.cases)
                rows["fold"] += [fold.fold] * len(fold.cases)
                rows["case"] += fold.cases
                rows["months"] += fold.time_N.tolist()
                rows["event"] += fold.event_N.tolist()
                rows["risk"] += fold.risk_N.tolist()
    return pyarrow.table(rows)


def _system(name: str, several: Sequence[Sequence[Answers]], scores: Scores, level: float) -> dict[str, Any]:
    return {
        "name": name,
        "title": _TITLES[name],
        "repeats": len(several),
        "concordance": as_json(scores.mean(level)),
        "uno_concordance": or_none(scores.uno),
        "folds": [
            {
                "fold": fold.fold,
                "num_cases": len(fold.cases),
                "num_events": int(fold.event_N.sum()),
                "concordance": as_json(scores.fold(place, len(fold.cases), level)),
                "uno_concordance": or_none(float(scores.uno_F[place])),
                "fits": [answers[place].facts for answers in several],
            }
            for place, fold in enumerate(several[0])
        ],
    }

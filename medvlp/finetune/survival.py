"""Cross-validated survival models: fit on each fold's training part, score the held-out cases, beside floors.

Shape letters: N held-out cases of a fold, M training cases, K scaled columns, S bootstrap draws, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from medvlp.io import atomic_folder, write_json, write_manifest
from medvlp.metrics.bootstrap import Interval, draw_weights, interval
from medvlp.metrics.survival import concordance, uno_concordance

FORMAT = "medvlp-survival-1"
_SHOWN_WEIGHTS = 60
_TITLES = {
    "model": "model",
    "clinical": "clinical columns alone, Cox",
    "noise": "random features of the same width",
    "permuted": "training outcomes dealt out anew",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Risks of one fold's held-out cases, and what they are scored with."""

    fold: str
    cases: list[str]
    time_N: Floats
    event_N: NDArray[np.bool_]
    risk_N: Floats
    train_time_M: Floats
    train_event_M: NDArray[np.bool_]
    facts: dict[str, Any]


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


@dataclass(frozen=True)
class Scores:
    """Concordance by fold (F,) and, per fold, its bootstrap draws (F, S); of Uno's the values alone."""

    value_F: Floats
    draw_FS: Floats
    uno_F: Floats

    def fold(self, place: int, num_cases: int, level: float) -> Interval:
        """Return one fold's concordance with its interval."""
        return interval(float(self.value_F[place]), self.draw_FS[place], num_cases, level)

    def mean(self, level: float) -> Interval:
        """Return the mean over the folds where it is defined; each draw resamples the cases of every fold."""
        return interval(_mean(self.value_F), _column_means(self.draw_FS), 2, level)

    def difference(self, other: Scores, level: float) -> Interval:
        """Return ``self - other``, mean over folds, on the same draws."""
        draws_S = _column_means(self.draw_FS - other.draw_FS)
        return interval(_mean(self.value_F - other.value_F), draws_S, 2, level)


def score(answers: Sequence[Answers], num_draws: int, seed: int) -> Scores:
    """Score answers by fold; equal seeds give equal draws, so two systems on the same folds pair."""
    value_F, draw_FS, uno_F = [], [], []
    for place, fold in enumerate(answers):
        value_F.append(float(concordance(fold.time_N, fold.event_N, fold.risk_N)))
        uno_F.append(
            float(uno_concordance(fold.time_N, fold.event_N, fold.risk_N, fold.train_time_M, fold.train_event_M))
        )
        drawn = draw_weights(range(len(fold.cases)), num_draws, seed + place)
        draw_FS.append(np.concatenate([concordance(fold.time_N, fold.event_N, fold.risk_N, w) for w in drawn]))
    return Scores(np.array(value_F), np.stack(draw_FS), np.array(uno_F))


def _mean(value_F: Floats) -> float:
    defined = value_F[~np.isnan(value_F)]
    return float(defined.mean()) if len(defined) else float("nan")


def _column_means(draw_FS: Floats) -> Floats:
    count_S = (~np.isnan(draw_FS)).sum(0)
    total_S = np.nansum(draw_FS, axis=0)
    return np.where(count_S > 0, total_S / np.maximum(count_S, 1), np.nan)


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
    import pyarrow
    import pyarrow.parquet

    out = Path(out)
    outcomes = read_survival_table(resolve_path(config.outcome.table), columns_of(config.outcome))
    folds = read_folds(resolve_path(config.folds), train=config.train, test=config.test)
    blocks = [read_block(source, outcomes.cases, config.seed) for source in config.features]
    clinical = [read_block(source, outcomes.cases, config.seed) for source in config.clinical]
    folds, ledger = usable_folds(folds, common_cases([*blocks, *clinical], outcomes.cases))
    systems = {"model": cross_validate(config.model, blocks, outcomes, folds, seed=config.seed)}
    if clinical:
        systems["clinical"] = cross_validate(Cox(), clinical, outcomes, folds, seed=config.seed)
    if "noise" in config.controls:
        random = noise(outcomes.cases, systems["model"][0].facts["width"], config.seed)
        systems["noise"] = cross_validate(config.model, [random], outcomes, folds, seed=config.seed)
    if "permuted" in config.controls:
        systems["permuted"] = cross_validate(config.model, blocks, outcomes, folds, seed=config.seed, permute=True)
    scores = {name: score(answers, config.num_draws, config.seed) for name, answers in systems.items()}
    results = {
        "format": FORMAT,
        "version": __version__,
        "title": config.title,
        "config": config.model_dump(mode="json"),
        "metric": "Harrell's concordance, mean over folds; 0.5 is what no knowledge gives",
        "num_cases": len(set().union(*(fold.test for fold in folds))),
        "num_events": int(sum(fold.event_N.sum() for fold in systems["model"])),
        "clinical_missing": {
            column: int(np.isnan(block.values_ND[:, place]).sum())
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
    rows = [
        (name, fold, place) for name, folds_ in systems.items() for fold in folds_ for place in range(len(fold.cases))
    ]
    table = pyarrow.table(
        {
            "system": [name for name, _, _ in rows],
            "fold": [fold.fold for _, fold, _ in rows],
            "case": [fold.cases[place] for _, fold, place in rows],
            "months": [float(fold.time_N[place]) for _, fold, place in rows],
            "event": [bool(fold.event_N[place]) for _, fold, place in rows],
            "risk": [float(fold.risk_N[place]) for _, fold, place in rows],
        }
    )
    with atomic_folder(out, replace=overwrite) as folder:
        write_json(folder / "results.json", results)
        pyarrow.parquet.write_table(table, folder / "predictions.parquet")
        write_manifest(folder, {"format": FORMAT, "version": __version__})
    return out


def _system(name: str, answers: Sequence[Answers], scores: Scores, level: float) -> dict[str, Any]:
    return {
        "name": name,
        "title": _TITLES[name],
        "concordance": as_json(scores.mean(level)),
        "uno_concordance": _or_none(_mean(scores.uno_F)),
        "folds": [
            {
                "fold": fold.fold,
                "num_cases": len(fold.cases),
                "num_events": int(fold.event_N.sum()),
                "concordance": as_json(scores.fold(place, len(fold.cases), level)),
                "uno_concordance": _or_none(float(scores.uno_F[place])),
                **fold.facts,
            }
            for place, fold in enumerate(answers)
        ],
    }


def as_json(found: Interval) -> dict[str, float | None]:
    """Return value and bounds, null where undefined."""
    return {"value": _or_none(found.value), "low": _or_none(found.low), "high": _or_none(found.high)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value

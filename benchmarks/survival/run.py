"""Fit every arm on every cohort and endpoint, on the cases that all sources have; finished parts stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import records
from benchmarks.survival.config import Arm, Cohort, SurvivalBenchmarkConfig
from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.data.survival_table import Fold, SurvivalTable, read_folds, read_survival_table, tcga_endpoint, usable_folds
from medvlp.finetune.survival import cross_validate
from medvlp.finetune.survival_config import Noise, Vectors
from medvlp.finetune.survival_features import Block, common_cases, read_block
from medvlp.finetune.survival_scores import Answers
from medvlp.io import sha256_file, sha256_json


@dataclass(frozen=True)
class Cell:
    """One arm on one cohort and endpoint: answers of each repetition."""

    cohort: str
    endpoint: str
    arm: str
    runs: list[list[Answers]]
    seconds: float


def run(config: SurvivalBenchmarkConfig, out: Path) -> Iterator[Cell]:
    """Yield every cell when it is done, so that a partial table is seen.

    Args:
        config: Cohorts, endpoints and arms.
        out: Folder of the records.
    """
    for name, cohort in config.cohorts.items():
        for endpoint in config.endpoints:
            outcomes = read_survival_table(resolve_path(cohort.outcomes), tcga_endpoint(endpoint))
            blocks = {key: read_block(source, outcomes.cases, config.seed) for key, source in cohort.sources.items()}
            usable = common_cases(list(blocks.values()), outcomes.cases)
            folds, _ = usable_folds(read_folds(resolve_path(cohort.folds)), usable)
            made_from = [__version__, config.seed, _digests(cohort), [[f.train, f.test] for f in folds], endpoint]
            for key, arm in config.arms.items():
                identity = [*made_from, arm.model_dump(mode="json", exclude={"title"})]
                identity.append([cohort.sources[source].model_dump(mode="json") for source in arm.features])
                identity += _vector_digests(cohort, arm)
                record = records.once(
                    out / f"{name}-{endpoint}-{key}.json",
                    identity,
                    partial(_fit, config.seed, cohort, arm, blocks, outcomes, folds),
                )
                runs = [[_answers(fold) for fold in answers] for answers in record["runs"]]
                yield Cell(name, endpoint, key, runs, record["seconds"])


def _fit(
    first: int, cohort: Cohort, arm: Arm, blocks: dict[str, Block], outcomes: SurvivalTable, folds: list[Fold]
) -> records.Record:
    runs = []
    for seed in range(first, first + arm.repeats):
        chosen = []
        for name in arm.features:
            source = cohort.sources[name]  # random numbers are drawn anew for each repetition
            chosen.append(read_block(source, outcomes.cases, seed) if isinstance(source, Noise) else blocks[name])
        answers = cross_validate(arm.model, chosen, outcomes, folds, seed=seed, permute=arm.permuted)
        runs.append([{key: _plain(value) for key, value in vars(fold).items()} for fold in answers])
    return {"runs": runs}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _answers(record: dict[str, Any]) -> Answers:
    arrays: dict[str, Any] = dict(record)
    for key in ("time_N", "event_N", "risk_N", "train_time_M", "train_event_M"):
        arrays[key] = np.array(record[key], dtype=bool if "event" in key else np.float64)
    return Answers(**arrays)


def _digests(cohort: Cohort) -> list[str]:
    paths = {cohort.outcomes}
    for source in cohort.sources.values():
        paths |= {str(value) for key, value in source.model_dump().items() if key in {"table", "sets"}}
    return [sha256_file(resolve_path(path)) for path in sorted(paths)]


def _vector_digests(cohort: Cohort, arm: Arm) -> list[str]:
    """Digest the vectors of an arm that has any; the others do not depend on them."""
    folders = [
        resolve_path(source.folder) for name in arm.features if isinstance(source := cohort.sources[name], Vectors)
    ]
    return [sha256_json({file.name: sha256_file(file) for file in sorted(folder.glob("*.npy"))}) for folder in folders]

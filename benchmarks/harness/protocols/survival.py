"""Survival from features of each case, cross-validated on given folds; systems are sets of features, not models.

Every system of a task answers for the cases that all of them have, on the same folds. The score is Harrell's
concordance, the mean over folds; its draws resample the held-out cases within each fold.

Shape legend: F folds, S bootstrap draws.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.survival.config import Arm
from medvlp.config import Config as BaseConfig
from medvlp.config import resolve_path
from medvlp.data.survival_table import read_folds, read_survival_table, tcga_endpoint, usable_folds
from medvlp.errors import ConfigError, DataError
from medvlp.finetune.survival import cross_validate
from medvlp.finetune.survival_config import Noise, Source
from medvlp.finetune.survival_features import Block, common_cases, read_block
from medvlp.finetune.survival_scores import Answers, Scores, mean_scores, or_none, score
from medvlp.io import sha256_file, sha256_json
from medvlp.metrics._weighted import nanmean_columns

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

ABILITIES: frozenset[str] = frozenset()
SYSTEMS = ("pathways", "genes", "genes-clinical", "hazard", "hazard-clinical", "vectors", "vectors-clinical")
FLOORS = ("clinical", "noise", "permuted-outcomes")
FLOORS_OF_MODEL: tuple[str, ...] = ()
PROMPTED = False
Name = Literal[
    "pathways", "genes", "genes-clinical", "hazard", "hazard-clinical", "vectors", "vectors-clinical",
    "clinical", "noise", "permuted-outcomes",
]  # fmt: skip


class Config(BaseConfig):
    """Settings of survival; the task's data of the form `files` names `outcomes` and `folds`."""

    name: Literal["survival"] = Field(description="Survival from features of each case.")
    endpoint: Literal["os", "dss", "pfi"] = Field(description="Endpoint of the public TCGA tables.")
    sources: dict[str, Source] = Field(min_length=1, description="Features by short name.")
    systems: dict[Name, Arm] = Field(min_length=1, description="Features and model of each system and floor.")
    train: str = Field("train", description="Column of a fold file to fit on.")
    test: str = Field("val", description="Column of a fold file to score on; no choice is made there.")
    horizon: float = Field(60.0, gt=0, description="Months up to which Uno's concordance counts events.")

    @model_validator(mode="after")
    def _known(self) -> Config:
        for name, arm in self.systems.items():
            for feature in arm.features:
                if feature not in self.sources:
                    raise ValueError(f'system "{name}" wants "{feature}", which is no source')
            if (name == "permuted-outcomes") != arm.permuted:
                raise ValueError(f'system "{name}": `permuted` belongs to permuted-outcomes, and to it alone')
        return self


class SurvivalQuestion:
    """A task opened for survival: outcomes, features of the common cases, and folds.

    Attributes:
        digest: Sha256 of outcomes, folds and features; of every system, since they share their cases.
        prompts_digest: None; there are no texts.
        num: Held-out cases over all folds.
        num_cases: The same; a case is held out once.
    """

    prompts_digest: str | None = None

    def __init__(self, task: TaskConfig, settings: Config, context: Context) -> None:
        files = getattr(task.data, "files", None)
        if files is None or not {"outcomes", "folds"} <= files.keys():
            raise ConfigError("names no `outcomes` and `folds`", item=task.title, remedy="use data of the form files")
        self.settings, self.context = settings, context
        table, folder = resolve_path(files["outcomes"]), resolve_path(files["folds"])
        self.outcomes = read_survival_table(table, tcga_endpoint(settings.endpoint))
        self.blocks = {name: read_block(source, self.outcomes.cases, 0) for name, source in settings.sources.items()}
        usable = common_cases(list(self.blocks.values()), self.outcomes.cases)
        self.folds, self.ledger = usable_folds(read_folds(folder, train=settings.train, test=settings.test), usable)
        held_out = [case for fold in self.folds for case in fold.test]
        self.num, self.num_cases = len(held_out), len(set(held_out))
        features = {name: [*_digest(block), list(block.columns)] for name, block in self.blocks.items()}
        folds = [[fold.name, fold.train, fold.test] for fold in self.folds]
        self.digest = sha256_json(
            [sha256_file(table), features, settings.model_dump(mode="json"), folds, context.num_draws]
        )

    def system(self, name: str, seed: int) -> Outcome | Skipped:
        """Fit and score one system or floor; ``seed`` is for inner folds, networks and what controls draw.

        Raises:
            TrainingError: If a fold has too few events, or a fit fails.
            MissingExtraError: If a Cox model is asked for without the extra ``survival``.
        """
        arm = {str(key): arm for key, arm in self.settings.systems.items()}.get(name)
        if arm is None:
            return Skipped("this task does not configure it")
        runs = [self._answers(arm, seed * arm.repeats + number) for number in range(arm.repeats)]
        return self._outcome(runs, arm)

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Fit and score a floor: clinical columns alone, random numbers, or outcomes dealt out anew in training."""
        return self.system(name, seed)

    def _answers(self, arm: Arm, seed: int) -> list[Answers]:
        blocks = []
        for name in arm.features:
            source = self.settings.sources[name]  # random numbers are drawn anew for each repetition
            drawn = read_block(source, self.outcomes.cases, seed) if isinstance(source, Noise) else self.blocks[name]
            blocks.append(drawn)
        return cross_validate(arm.model, blocks, self.outcomes, self.folds, seed=seed, permute=arm.permuted)

    def _outcome(self, runs: list[list[Answers]], arm: Arm) -> Outcome:
        seed = draw_seed(self.digest)
        of_runs = [score(answers, self.context.num_draws, seed, self.settings.horizon) for answers in runs]
        scores: Scores = mean_scores(of_runs, seed)
        first = runs[0]
        metrics = (
            Metric(
                "concordance", "Harrell's concordance", _mean(scores.value_F), nanmean_columns(scores.draw_FS.T),
                self.num, self.num_cases, chance=0.5,
                reason="no fold orders any two cases" if np.isnan(scores.value_F).all() else None,
            ),
            Metric(
                "uno_concordance", f"Uno's concordance up to {self.settings.horizon:g} months", scores.uno,
                np.zeros(0), self.num, self.num_cases, chance=0.5,
                reason="no fold has an event within the horizon" if np.isnan(scores.uno) else None,
            ),
        )  # fmt: skip
        details = {
            "title": arm.title,
            "events": int(sum(fold.event_N.sum() for fold in first)),
            "repeats": arm.repeats,
            "folds": [
                {
                    "fold": fold.fold,
                    "num_cases": len(fold.cases),
                    "num_events": int(fold.event_N.sum()),
                    "concordance": or_none(float(scores.value_F[place])),
                    "fits": [answers[place].facts for answers in runs],
                }
                for place, fold in enumerate(first)
            ],
            "left_out": {"kept": self.ledger.kept, "dropped": dict(self.ledger.dropped)},
        }
        kept = {
            "case": np.array([case for fold in first for case in fold.cases]),
            "risk": np.concatenate([fold.risk_N for fold in first]),
            "months": np.concatenate([fold.time_N for fold in first]),
            "event": np.concatenate([fold.event_N for fold in first]),
        }
        limits = ["Intervals resample held-out cases; the chance of a single training is in repetitions alone."]
        return Outcome(metrics, predictions=kept, details=details, limits=tuple(limits))


def open(task: TaskConfig, settings: Config, context: Context) -> SurvivalQuestion:
    """Read outcomes, features and folds.

    Raises:
        ConfigError: If the task names no outcomes or folds.
        DataError: If a table cannot be used, a split leaks, or no fold is left.
    """
    question = SurvivalQuestion(task, settings, context)
    if question.num == 0:
        raise DataError("no case has an outcome and all features", item=task.title, remedy="check the tables' case ids")
    return question


def _mean(value_F: Any) -> float:
    return float(nanmean_columns(np.asarray(value_F, dtype=np.float64)[None])[0])


def _digest(block: Block) -> list[str]:
    """Return what identifies a block: cases, and a sha256 of its numbers."""
    return [*block.cases, hashlib.sha256(np.ascontiguousarray(block.values_ND).tobytes()).hexdigest()]

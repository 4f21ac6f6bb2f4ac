"""Draws of a few training images per class, and the scores of what is learned from them.

Shape legend: N training images, R scored images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from benchmarks.harness.outcome import Metric, Outcome
from benchmarks.harness.protocol import draw_seed
from benchmarks.harness.protocols import labelled
from benchmarks.harness.protocols.labelled import Floats, LabelledQuestion, Parts
from medvlp.config import Config as BaseConfig
from medvlp.finetune.few_shot import draw, mean_over_seeds, subset
from medvlp.finetune.probe import refuse_absent
from medvlp.io import sha256_json
from medvlp.metrics import bootstrap, classification, curves
from medvlp.metrics._weighted import nanmean_columns
from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.scoring import SPECS, Scored, System
from medvlp.zeroshot.task import Task

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from medvlp.zeroshot.prompts import PromptSet

Answers = Callable[[int, int], dict[str, tuple[Floats, Any]]]
"""Shots and seed to scores (R, K) of each method, and what it chose."""
NO_ANSWER = "needs text vectors, which this system has not"


class Shots(BaseConfig):
    """How training images are drawn."""

    shots: list[int] = Field([1, 5], min_length=1, description="Training images per class, from as many cases as can.")
    draws: int = Field(3, ge=1, le=100, description="Draws of the images; a score is their mean.")

    @field_validator("shots")
    @classmethod
    def _rising(cls, value: list[int]) -> list[int]:
        if min(value) < 1 or value != sorted(set(value)):
            raise ValueError("has to be positive and rising")
        return value


class ShotsQuestion(LabelledQuestion):
    """A task opened for a protocol that learns from drawn images.

    Attributes:
        methods: What is done with them, and how each is called; the first leads.
        prompts: Texts of the classes, where a method uses them.
    """

    prompts: PromptSet | None = None

    def __init__(self, parts: Parts, context: Context, shots: Shots, methods: Mapping[str, str]) -> None:
        super().__init__(parts, context)
        self.shots, self.methods = shots, dict(methods)
        refuse_test(parts.train.split)
        refuse_absent(parts.train)
        for count in shots.shots:
            draw(parts.train, count, 0, strict=True)

    def answer_prior(self, seed: int) -> Outcome:
        """Score the class frequencies of the drawn images."""

        def answers(shots: int, seed: int) -> dict[str, tuple[Floats, Any]]:
            drawn = subset(self.parts.train, draw(self.parts.train, shots, seed, strict=True))
            return {name: (labelled.share(drawn, self.num), None) for name in self.methods}

        return self.scored(answers, seed)

    def scored(self, answers: Answers, seed: int, *, with_text: bool = False, more: Sequence[Metric] = ()) -> Outcome:
        """Let every method answer on every draw, and score the means over draws.

        Args:
            answers: The methods.
            seed: Seed of the draws.
            with_text: Whether prompts were used.
            more: Further metrics.
        """
        parts, num_draws = self.parts, self.shots.draws
        found: dict[tuple[int, str], list[Scored]] = {}
        details: dict[str, Any] = {"shots": [], "draws": num_draws}
        for shots in self.shots.shots:
            for number in range(num_draws):
                own_seed = seed * num_draws + number
                images = drawn_images(parts.train, shots, own_seed)
                row: dict[str, Any] = {"shots": shots, "seed": own_seed, "images": images}
                for method, (score_RK, chosen) in answers(shots, own_seed).items():
                    scored = score_answers(parts.scored, score_RK, self.context.num_draws, self.digest)
                    found.setdefault((shots, method), []).append(scored)
                    leading = labelled.LEADING[parts.scored.mode][0]
                    row[method] = {"score": number_or_none(scored.value[leading][0]), "chosen": chosen}
                details["shots"].append(row)
        means = {key: mean_over_seeds(several, draw_seed(self.digest)) for key, several in found.items()}
        metrics = (*metrics_of(parts.scored, self.shots.shots, self.methods, means), *more)
        prompts = labelled.prompts_entry(self.prompts) if self.prompts is not None and with_text else None
        return Outcome(metrics, prompts=prompts, details=details, limits=self.limits())


def drawn_images(train: Task, shots: int, seed: int) -> str:
    """Return the digest of the drawn images' keys."""
    return sha256_json([train.keys[place] for place in draw(train, shots, seed, strict=True)])


def number_or_none(value: Any) -> float | None:
    """Return a number, null for NaN."""
    return None if np.isnan(value) else float(value)


def score_answers(task: Task, score_RK: Floats, num_draws: int, digest: str) -> Scored:
    """Score answers by the two leading metrics, on the question's draws of cases."""
    if task.mode == "single":
        target_R, answer_R, num = task.target_N, score_RK.argmax(1), len(task.classes)
        statistics: dict[str, bootstrap.Statistic] = {
            "balanced_accuracy": partial(classification.balanced_accuracy, target_R, answer_R, num),
            "accuracy": partial(classification.accuracy, target_R, answer_R),
        }
    else:
        statistics = {
            "auroc": partial(_class_mean, curves.auroc, task, score_RK),
            "average_precision": partial(_class_mean, curves.average_precision, task, score_RK),
        }
    ones = np.ones((1, len(task)))
    value = {name: np.asarray(statistic(ones), dtype=np.float64) for name, statistic in statistics.items()}
    drawn = bootstrap.draws(statistics, task.cases, num_draws, draw_seed(digest))
    return Scored(System("system", ""), None, value, drawn)


def _class_mean(curve: Any, task: Task, score_RK: Floats, weight_SN: Any) -> Floats:
    columns = [curve(task.target_NK[:, k], score_RK[:, k], weight_SN) for k in task.columns]
    return nanmean_columns(np.stack(columns, axis=1))


def metrics_of(
    task: Task,
    shots: Sequence[int],
    methods: Mapping[str, str],
    found: Mapping[tuple[int, str], Scored],
) -> tuple[Metric, ...]:
    """Return the scores by method and shots: the first method with the most shots leads.

    What has no answers is listed with the reason.
    """
    present = max(1, int(task.target_NK.any(0).sum()))
    chance = {"balanced_accuracy": 1 / present, "auroc": 0.5}
    out = []
    for name in labelled.LEADING[task.mode]:
        for method in methods:
            for count in sorted(shots, reverse=True):
                scored, spec = found.get((count, method)), SPECS[name]
                value = float("nan") if scored is None else float(scored.value[name][0])
                reason = NO_ANSWER if scored is None else ("undefined on these images" if np.isnan(value) else None)
                drawn_S = np.zeros(0) if scored is None else scored.draws[name]
                out.append(
                    Metric(
                        f"{name}.{method}.{count}", f"{spec.title}, {methods[method]}, {count} per class", value,
                        drawn_S, len(task), task.num_cases, chance=chance.get(name), reason=reason,
                    )
                )  # fmt: skip
    return tuple(out)

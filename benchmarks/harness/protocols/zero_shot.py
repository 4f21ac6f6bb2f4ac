"""Zero-shot diagnosis, one class per image or several findings.

Shape legend: N scored images, M development images, K classes, P prompts of a class, D embedding size, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import Context, draw_seed
from benchmarks.harness.protocols import zero_shot_details as detail
from benchmarks.harness.protocols.zero_shot_metrics import LEAD, score
from benchmarks.harness.protocols.zero_shot_scorers import Scorer, scorer_of
from medvlp.config import Config as BaseConfig
from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.zeroshot import floors
from medvlp.zeroshot.evaluate import EvaluateConfig
from medvlp.zeroshot.prompts import PromptSet, from_config
from medvlp.zeroshot.questions import Questions, ask_store
from medvlp.zeroshot.scoring import System
from medvlp.zeroshot.task import Task

if TYPE_CHECKING:
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig
    from medvlp.knowledge.graph import DiseaseGraph

TEXT_ONLY, PERMUTED = "text-only", "permuted-graph"
ABILITIES = frozenset({"image", "text"})
FLOORS = (floors.PRIOR, floors.COLOUR)
FLOORS_OF_MODEL = (floors.UNTRAINED, TEXT_ONLY, PERMUTED)
SEEDED = frozenset({floors.COLOUR, floors.UNTRAINED, PERMUTED})
_FEW_CASES = 10


class Config(BaseConfig):
    """Settings of zero-shot diagnosis."""

    name: Literal["zero_shot"] = Field(description="Zero-shot diagnosis.")
    multi_score: Literal["sigmoid", "pairs"] = Field(
        "pairs", description="Multi-label probability: sigmoid of the logit, or presence against absence prompts."
    )
    specificity: float = Field(0.95, gt=0, lt=1, description="Specificity at which sensitivity is reported.")
    prompt_draws: int = Field(20, ge=0, le=1000, description="Draws of one prompt per class, for prompt sensitivity.")
    shifts: bool = Field(False, description="Also score shifted images: stain, JPEG, blur, contrast, noise.")
    shift_images: int = Field(100, ge=10, le=10_000, description="Images that are shifted, at most.")


def open(task: TaskConfig, settings: Config, context: Context) -> Question:
    """Find the rows and make the prompts.

    Raises:
        DataError: If there is no store, a class is missing, or something was to be fitted on test.
    """
    if context.store is None:
        raise DataError("zero_shot needs images with classes", item="data", remedy="use the form pairs")
    asked = ask_store(
        EvaluateConfig(
            checkpoint="the grid's models",
            data=context.store.folder.name,
            split=task.split,
            fit_split=task.fit_split,
            mode=task.mode,
            classes=task.classes,
            class_concepts=task.class_concepts,
            positive=task.positive,
            prompts=context.prompts or task.prompts,
            multi_score=settings.multi_score,
        ),
        context.store,
        context.graph,
    )
    return Question(task, settings, context, asked)


@dataclass
class Question:
    """One set of images, asked about with prompts."""

    config: TaskConfig
    settings: Config
    context: Context
    asked: Questions

    @property
    def num(self) -> int:
        """Images."""
        return len(self.asked.task)

    @property
    def num_cases(self) -> int:
        """Cases."""
        return self.asked.task.num_cases

    @property
    def prompts_digest(self) -> str:
        """Digest of the texts."""
        return self.asked.prompts.digest

    @cached_property
    def digest(self) -> str:
        """Sha256 over rows, truth, cases, development rows, prompts, settings and hierarchy."""
        development, graph = self.asked.development, self.context.graph
        return sha256_json(
            [
                self.asked.store.digest,
                [self.asked.task.mode, self.asked.task.columns, self.asked.task.digest],
                None if development is None else development.digest,
                self.asked.prompts.digest,
                self.asked.concepts,
                None if graph is None else graph.digest,
                self.settings.model_dump(mode="json"),
                [self.context.num_draws, self.context.level],
            ]
        )

    @property
    def draw_seed(self) -> int:
        """Seed of the bootstrap draws."""
        return draw_seed(self.digest)

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Classify every image against the prompts; ``seed`` plays no part."""
        return self._zero_shot(subject, self.asked.prompts, self.context.graph, whole=True)

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Let a floor answer."""
        if name in FLOORS:
            return self._without_model(name, seed)
        assert subject is not None, f"{name} is made from a model"
        if name == floors.UNTRAINED:
            fresh = subject.untrained(seed)
            if fresh is None:
                return Skipped("the model is not a network whose weights can be redrawn")
            return self._zero_shot(fresh, self.asked.prompts, self.context.graph)
        return self._text_only(subject) if name == TEXT_ONLY else self._permuted(subject, seed)

    def _without_model(self, name: str, seed: int) -> Outcome | Skipped:
        training = self.asked.tasks["train"] if self.config.split != "train" else None
        task, development, store = self.asked.task, self.asked.development, self.asked.store
        if name == floors.PRIOR:
            system = floors.prior_floor(training, len(task), 0 if development is None else len(development))
        else:
            parts = [
                None if part is None else (store.split(part.split), part) for part in (training, task, development)
            ]
            system = floors.colour_floor(parts[0], parts[1], parts[2], seed)
        return self._outcome(system, self.context.graph)

    def _zero_shot(
        self, subject: Subject, prompts: PromptSet, graph: DiseaseGraph | None, whole: bool = False
    ) -> Outcome | Skipped:
        """Score a model; ``whole`` adds what only a model is asked: prompt draws and shifted images."""
        scorer = self._scorer(subject, prompts)
        seen, development = self._look(scorer, self.asked.task), self.asked.development
        answered = None if development is None else scorer.answer(self._look(scorer, development))
        system = System(subject.name, "", scorer.answer(seen), answered)
        found = self._outcome(system, graph, prompts)
        if whole and isinstance(found, Outcome):
            self._add_sensitivity(found, scorer, seen, prompts)
            if self.settings.shifts:
                found.details["shifts"] = detail.shifts(
                    self.asked,
                    lambda images: scorer.answer(scorer.images(images)),
                    most=self.settings.shift_images,
                    lead=self.lead,
                    num_draws=self.context.num_draws,
                    level=self.context.level,
                    seed=self.draw_seed,
                )
        return found

    def _text_only(self, subject: Subject) -> Outcome | Skipped:
        """Every image is the mean image of a part that is not scored: what the prompts alone prefer."""
        part = self.asked.development or self.asked.tasks["train"]
        if len(part) == 0 or part.split == self.asked.task.split:
            return Skipped("there is no other labelled part to take a mean image from")
        scorer = self._scorer(subject, self.asked.prompts)
        seen = scorer.mean_image(self.asked.store.split(part.split), part.rows_N.tolist())
        if seen is None:
            return Skipped("the mean image embedding is zero")
        answer_1K = scorer.answer(seen)
        development = self.asked.development
        system = System(
            TEXT_ONLY,
            "",
            np.tile(answer_1K, (self.num, 1)),
            None if development is None else np.tile(answer_1K, (len(development), 1)),
        )
        return self._outcome(system, self.context.graph, self.asked.prompts)

    def _permuted(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Prompts and hierarchy from a graph whose "is a" is rewired: names are right, paths and places are not."""
        graph = self.context.graph
        wording = self.context.prompts or self.config.prompts
        if graph is None:
            return Skipped("there is no graph to permute")
        in_prompts = wording.num_paths > 0 and wording.file is None
        in_scores = self.asked.task.mode == "single" and detail.hierarchy(graph, self.asked) is not None
        if not in_prompts and not in_scores:
            return Skipped("neither prompts nor scores use the hierarchy")
        other = _permuted_graph(graph, seed)
        classes = {label: self.asked.concepts[label] for label in self.asked.classes}
        prompts = from_config(wording, other, classes, 0) if in_prompts else self.asked.prompts
        found = self._zero_shot(subject, prompts, other)
        if isinstance(found, Outcome) and not in_prompts:
            note = (
                "Prompts hold no path, so the hierarchy is in the hierarchy scores alone; the others are the model's."
            )
            return Outcome(found.metrics, found.prompts, found.predictions, found.details, (note, *found.limits))
        return found

    def _absent(self, prompts: PromptSet) -> Sequence[Sequence[str]] | None:
        """Prompts for absence, where presence is measured against it."""
        if not self.asked.needs_absence or self.settings.multi_score != "pairs":
            return None
        if not prompts.absent:
            raise DataError("has no prompts for absence", item=prompts.source, remedy="score with multi_score: sigmoid")
        return prompts.absent

    def _scorer(self, subject: Subject, prompts: PromptSet) -> Scorer:
        return scorer_of(subject, prompts.texts, self._absent(prompts), self.asked.task.mode, self.context.folder)

    def _look(self, scorer: Scorer, part: Task) -> Any:
        return scorer.split(self.asked.store.split(part.split), part.rows_N.tolist())

    def _add_sensitivity(self, found: Outcome, scorer: Scorer, seen: Any, prompts: PromptSet) -> None:
        if self.settings.prompt_draws == 0 or all(len(texts) == 1 for texts in prompts.texts):
            return
        rng, answers, absent = np.random.default_rng([self.draw_seed, 1]), [], self._absent(prompts)
        for _ in range(self.settings.prompt_draws):
            chosen = [[int(rng.integers(len(texts))) for texts in side] for side in (prompts.texts, absent or ())]
            answers.append(scorer.answer(seen, (chosen[0], chosen[1])))
        found.details["prompt_sensitivity"] = detail.sensitivity(self.asked.task, answers, self.lead)

    @property
    def lead(self) -> str:
        """Name of the leading metric."""
        return "auroc" if self.config.positive is not None else LEAD[self.asked.task.mode]

    def _outcome(
        self, system: System, graph: DiseaseGraph | None, prompts: PromptSet | None = None
    ) -> Outcome | Skipped:
        if system.probability_NK is None:
            return Skipped(system.skipped or "it could not run")
        scored, metrics = score(
            self.asked,
            system,
            graph,
            lead=self.lead,
            specificity=self.settings.specificity,
            num_draws=self.context.num_draws,
            seed=self.draw_seed,
        )
        details = detail.standing(
            self.config,
            self.asked,
            scored,
            system,
            graph,
            lead=self.lead,
            num_draws=self.context.num_draws,
            level=self.context.level,
            seed=self.draw_seed,
        )
        return Outcome(
            metrics=metrics,
            prompts=None if prompts is None else _told(prompts),
            predictions={
                "keys": np.array(self.asked.task.keys),
                "target": self.asked.task.target_NK,
                "probability": system.probability_NK,
            },
            details=details,
            limits=self._limits(metrics, prompts),
        )

    def _limits(self, metrics: tuple[Metric, ...], prompts: PromptSet | None) -> tuple[str, ...]:
        task, out = self.asked.task, []
        cases = np.array(task.cases)
        few = [label for k, label in enumerate(task.classes) if len(set(cases[task.target_NK[:, k]])) < _FEW_CASES]
        if few:
            out.append(f"Fewer than {_FEW_CASES} cases of {', '.join(few)}: their scores are anecdotes.")
        if task.num_cases == len(task):
            out.append("Every image counts as its own case; if patients gave several, intervals are too narrow.")
        if task.split != "test":
            out.append(f"Scores on the {task.split} split, not on held-out test data.")
        if self.asked.development is None:
            out.append("No development part, so nothing was fitted: no thresholds, temperature or conformal sets.")
        if prompts is not None and prompts.fallback:
            out.append(f"No concept of the graph names {', '.join(prompts.fallback)}; the display name was used.")
        return tuple(out)


@lru_cache(maxsize=2)
def _permuted_graph(graph: DiseaseGraph, seed: int) -> DiseaseGraph:
    """Rewiring tens of thousands of concepts takes seconds, and every task and model asks for the same."""
    return graph.permuted(seed)


def _told(prompts: PromptSet) -> dict[str, Any]:
    texts = [text for side in (prompts.texts, prompts.absent) for of_class in side for text in of_class]
    return {"digest": prompts.digest, "source": prompts.source, "num": len(set(texts))}

"""Prompt tuning on a few images per class, in the manner of PathPT: towers frozen, a learned context for each class.

PathPT tunes 32 context vectors per class and a network over the tiles of a slide; here single images are asked, so the
context alone is learned (``tuning``). Class texts come from the prompts of the cell: with names,
definitions and paths of a graph they carry its knowledge into the start. Beside it stand the score before tuning, and
the mean of each class's text vector and image prototype, which needs no training. When to stop is decided on
development images, as many per class as there are shots.

Shape legend: N training images, M development images, R scored images, D embedding size, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.outcome import Outcome, Skipped
from benchmarks.harness.protocols import labelled, tuning
from benchmarks.harness.protocols.few_shot import prototype_scores
from benchmarks.harness.protocols.labelled import Floats, Inputs, Parts
from benchmarks.harness.protocols.linear_probe import probabilities
from benchmarks.harness.protocols.shots import Shots, ShotsQuestion, metrics_of, score_answers
from medvlp.errors import ConfigError
from medvlp.finetune.config import Probe
from medvlp.finetune.few_shot import draw, subset
from medvlp.finetune.probe import solve
from medvlp.zeroshot.classifier import class_vectors, classify, classify_multi, refuse_test, unit_vectors

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig
    from medvlp.zeroshot.prompts import PromptSet

ABILITIES = frozenset({"image", "text"})
FLOORS = labelled.FLOORS
FLOORS_OF_MODEL = labelled.FLOORS_OF_MODEL
TUNED, MIXED, BEFORE = "tuned", "text-prototypes", "untuned"
_COLOUR_C = 0.1  # of the colour floor everywhere
_SHOWN_STEPS = 20


class Config(Shots):
    """Settings of prompt tuning."""

    name: Literal["prompt_tuning"] = Field(description="Learned context of class texts, a few images per class.")
    space: Literal["auto", "tokens", "vectors"] = Field(
        "vectors",
        description="Learn token vectors, or a shift of class vectors; auto takes tokens where the text tower can.",
    )
    shared: bool = Field(False, description="One context for all classes instead of one each.")
    num_context: int = Field(4, ge=1, le=64, description="Context vectors in front of a text's tokens.")
    start: str = Field("an image of", description="Words that context vectors start from.")
    steps: int = Field(100, ge=1, le=10_000, description="Most steps.")
    learning_rate: float = Field(0.002, gt=0, description="Rate of Adam.")
    patience: int = Field(20, ge=1, description="Steps without a better development loss before stopping.")
    scale: float | None = Field(None, gt=0, le=1000, description="Multiplier of cosines; the model's own by default.")


@dataclass(frozen=True)
class Asked:
    """A model's side of the question: features, and what class vectors start from."""

    subject: Subject
    inputs: Inputs
    class_KD: Floats
    absent_KD: Floats | None
    scale: float
    tokens: bool


class TuningQuestion(ShotsQuestion):
    """A task opened for prompt tuning."""

    prompts: PromptSet

    def __init__(self, task: TaskConfig, parts: Parts, settings: Config, context: Context) -> None:
        super().__init__(parts, context, settings, {TUNED: "tuned prompts", MIXED: "text and prototypes"})
        self.settings = settings
        self.prompts = labelled.prompts_of(task, context, parts.concepts)
        self.prompts_digest = self.prompts.digest
        self.digest = labelled.digest_of(parts, settings, context, self.prompts_digest)
        if task.mode == "multi" and not self.prompts.absent:
            raise ConfigError("has no prompts for absence", item=self.prompts.source, remedy="give prompts.absent")

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Let a model's prompts be tuned; ``seed`` draws the images. The score before tuning stands beside it."""
        able = tuning.takes_tokens(subject.model)
        if self.settings.space == "tokens" and not able:
            return Skipped("its text tower does not take token embeddings; use space vectors")
        inputs, model = self.inputs(subject), subject.model
        absent = class_vectors(model, self.prompts, absent=True) if self.parts.scored.mode == "multi" else None
        scale = subject.scale if self.settings.scale is None else self.settings.scale
        inputs = Inputs(
            unit_vectors(inputs.train_NI, "training images"),
            None if inputs.dev_MI is None else unit_vectors(inputs.dev_MI, "development images"),
            unit_vectors(inputs.scored_RI, "scored images"),
        )
        tokens = able and self.settings.space != "vectors"
        asked = Asked(subject, inputs, class_vectors(model, self.prompts), absent, scale, tokens)
        before = score_answers(
            self.parts.scored, self._probabilities(asked, asked.class_KD), self.context.num_draws, self.digest
        )
        more = metrics_of(self.parts.scored, [0], {BEFORE: "before tuning"}, {(0, BEFORE): before})
        found = self.scored(partial(self._tuned, asked), seed, with_text=True, more=more)
        found.details["space"] = "tokens" if tokens else "vectors"
        return found

    def answer(self, inputs: Inputs, seed: int) -> Outcome:
        """Fit a linear head on features of the drawn images, which is what the colour floor does here."""

        def answers(shots: int, seed: int) -> dict[str, tuple[Floats, Any]]:
            places = draw(self.parts.train, shots, seed, strict=True)
            drawn = subset(self.parts.train, places)
            solved = solve(Probe(C=_COLOUR_C), False, drawn, inputs.train_NI[places], None, None)
            return {TUNED: (probabilities(solved, inputs.scored_RI, drawn.mode), {"C": _COLOUR_C})}

        return self.scored(answers, seed)

    def _tuned(self, asked: Asked, shots: int, seed: int) -> dict[str, tuple[Floats, Any]]:
        settings, parts, inputs = self.settings, self.parts, asked.inputs
        refuse_test(parts.train.split)
        places = draw(parts.train, shots, seed, strict=True)
        dev, dev_MD = None, None
        if parts.dev is not None and inputs.dev_MI is not None:
            refuse_test(parts.dev.split)
            held_out = draw(parts.dev, shots, seed, strict=False)
            dev, dev_MD = subset(parts.dev, held_out), inputs.dev_MI[held_out]
        vectors: tuning.ClassVectors = tuning.ShiftedVectors(asked.class_KD, settings.shared)
        if asked.tokens:
            texts = [texts[0] for texts in self.prompts.texts]
            model = asked.subject.model
            vectors = tuning.ContextTokens(model, texts, settings.start, settings.num_context, settings.shared)
        tuned = tuning.tune(
            vectors, subset(parts.train, places), inputs.train_NI[places], dev, dev_MD,
            scale=asked.scale, absent_KD=asked.absent_KD, steps=settings.steps,
            learning_rate=settings.learning_rate, patience=settings.patience,
        )  # fmt: skip
        chosen = {"step": tuned.step, "loss": _thinned(tuned.loss), "development_loss": _thinned(tuned.development)}
        mixed = prototype_scores(subset(parts.train, places), inputs.train_NI[places], inputs.scored_RI, asked.class_KD)
        return {TUNED: (self._probabilities(asked, tuned.class_KD), chosen), MIXED: (mixed, None)}

    def _probabilities(self, asked: Asked, class_KD: Floats) -> Floats:
        if self.parts.scored.mode == "single":
            return classify(asked.inputs.scored_RI, class_KD, asked.scale)
        return classify_multi(asked.inputs.scored_RI, class_KD, asked.scale, absent_KD=asked.absent_KD)


def open(task: TaskConfig, settings: Config, context: Context) -> TuningQuestion:
    """Read the three parts of the task's images and make the prompts.

    Raises:
        ConfigError: If several labels per image are asked and prompts for absence are missing.
        DataError: If a part is missing or named test, classes are wrong, or a class has too few images.
    """
    return TuningQuestion(task, labelled.open_parts(task, context), settings, context)


def _thinned(value_T: list[float]) -> list[list[float]]:
    """Return up to 20 points (step, value) of a curve, its ends included."""
    if not value_T:
        return []
    steps = np.unique(np.linspace(0, len(value_T) - 1, min(len(value_T), _SHOWN_STEPS)).round().astype(int))
    return [[int(step), float(value_T[step])] for step in steps]

"""A few training images per class: class prototypes, or a linear head, over several draws of the images.

Methods: ``prototypes`` (mean embedding of a class's images, nearest by cosine; Snell et al. 2017), ``linear`` (logistic
regression as in ``medvlp.finetune``, its penalty chosen by log-loss on as many development images).

Shape legend: N training images, R scored images, D feature width, K classes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.outcome import Outcome
from benchmarks.harness.protocols import labelled
from benchmarks.harness.protocols.labelled import Floats, Inputs, Parts
from benchmarks.harness.protocols.linear_probe import probabilities
from benchmarks.harness.protocols.shots import Shots, ShotsQuestion
from medvlp.errors import DataError
from medvlp.finetune.config import Probe
from medvlp.finetune.few_shot import draw, subset
from medvlp.finetune.probe import NO_DEV, refuse_absent, solve
from medvlp.zeroshot.classifier import refuse_test, unit_vectors
from medvlp.zeroshot.task import Task

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.task import TaskConfig

ABILITIES = frozenset({"image"})
FLOORS = labelled.FLOORS
FLOORS_OF_MODEL = labelled.FLOORS_OF_MODEL
PROMPTED = False
Method = Literal["prototypes", "linear"]
_TITLES: dict[Method, str] = {"prototypes": "prototypes", "linear": "linear head"}


class Config(Shots):
    """Settings of few shots."""

    name: Literal["few_shot"] = Field(description="A few training images per class.")
    methods: list[Method] = Field(
        ["prototypes", "linear"], min_length=1, description="What is done with the images; the first one leads."
    )
    C: float | None = Field(None, gt=0, description="Inverse penalty of `linear`; by default chosen on development.")
    grid: list[float] = Field(
        [-3.0, 3.0], min_length=2, max_length=2, description="Lowest and highest power of ten of C that is tried."
    )
    grid_points: int = Field(7, ge=1, le=100, description="Values of C that are tried, evenly in the logarithm.")


class FewShotQuestion(ShotsQuestion):
    """A task opened for few shots."""

    def __init__(self, parts: Parts, settings: Config, context: Context) -> None:
        super().__init__(parts, context, settings, {name: _TITLES[name] for name in settings.methods})
        self.settings = settings
        self.digest = labelled.digest_of(parts, settings, context)
        if "linear" in settings.methods and settings.C is None and parts.dev is None:
            raise DataError(NO_DEV, item="development part", remedy="set C, or prepare the data with one")

    def answer(self, inputs: Inputs, seed: int) -> Outcome:
        """Learn from the rows of these features that ``seed`` draws."""
        return self.scored(partial(self._answers, inputs), seed)

    def _answers(self, inputs: Inputs, shots: int, seed: int) -> dict[str, tuple[Floats, Any]]:
        """Return scores (R, K) of each method, and what it chose."""
        train = self.parts.train
        places = draw(train, shots, seed, strict=True)
        drawn, own_ND = subset(train, places), inputs.train_NI[places]
        out: dict[str, tuple[Floats, Any]] = {}
        for method in self.settings.methods:
            if method == "linear":
                solved = self._linear(drawn, own_ND, inputs, shots, seed)
                chosen = {"C": solved.C, "converged": solved.converged}
                out[method] = probabilities(solved, inputs.scored_RI, train.mode), chosen
            else:
                out[method] = prototype_scores(drawn, own_ND, inputs.scored_RI), None
        return out

    def _linear(self, drawn: Task, own_ND: Floats, inputs: Inputs, shots: int, seed: int) -> Any:
        config = Probe(C=self.settings.C, grid=self.settings.grid, grid_points=self.settings.grid_points)
        if self.settings.C is not None:
            return solve(config, False, drawn, own_ND, None, None)
        assert self.parts.dev is not None
        assert inputs.dev_MI is not None
        refuse_test(self.parts.dev.split)
        places = draw(self.parts.dev, shots, seed, strict=False)
        return solve(config, False, drawn, own_ND, subset(self.parts.dev, places), inputs.dev_MI[places])


def open(task: TaskConfig, settings: Config, context: Context) -> FewShotQuestion:
    """Read the three parts of the task's images.

    Raises:
        DataError: If a part is missing or named test, classes are wrong, or a class has too few images.
    """
    return FewShotQuestion(labelled.open_parts(task, context), settings, context)


def prototype_scores(drawn: Task, own_ND: Floats, asked_RD: Floats, text_KD: Floats | None = None) -> Floats:
    """Return scores (R, K): cosine to each class's mean unit embedding; of several labels, less that to the others'.

    Args:
        drawn: The training images.
        own_ND: Their features.
        asked_RD: Features of the images that are asked.
        text_KD: Text vectors that are averaged with the prototypes, both of length one; None for none.
    """
    own_ND, asked_RD = unit_vectors(own_ND, "training images"), unit_vectors(asked_RD, "asked images")

    def means(member_NK: Any) -> Floats:
        weight_NK = member_NK / member_NK.sum(0)
        return unit_vectors(weight_NK.T @ own_ND, "prototypes")

    member_NK = drawn.target_NK.astype(np.float64)
    class_KD = means(member_NK)
    if text_KD is not None:
        class_KD = unit_vectors(class_KD + text_KD, "prototypes and text")
    score_RK = asked_RD @ class_KD.T
    if drawn.mode == "multi":
        refuse_absent(drawn)
        score_RK = score_RK - asked_RD @ means(1 - member_NK).T
    return np.asarray(score_RK)

"""Linear probe: logistic regression on frozen image embeddings, its penalty chosen on the development part.

Shape legend: N training images, M development images, R scored images, I feature width, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.protocols import labelled
from benchmarks.harness.protocols.labelled import Floats, Inputs, LabelledQuestion, Parts
from medvlp.config import Config as BaseConfig
from medvlp.errors import DataError
from medvlp.finetune.config import Probe
from medvlp.finetune.probe import NO_DEV, NO_DEV_REMEDY, Solved, grid, log_loss, solve
from medvlp.zeroshot.classifier import refuse_test, softmax

if TYPE_CHECKING:
    from benchmarks.harness.outcome import Outcome
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.task import TaskConfig

ABILITIES = frozenset({"image"})
FLOORS = labelled.FLOORS
FLOORS_OF_MODEL = labelled.FLOORS_OF_MODEL
PROMPTED = False
SEEDED = frozenset(labelled.FLOORS_OF_MODEL)


class Config(BaseConfig):
    """Settings of the linear probe."""

    name: Literal["linear_probe"] = Field(description="Logistic regression on frozen image embeddings.")
    C: float | None = Field(None, gt=0, description="Inverse penalty; by default chosen on the development part.")
    grid: list[float] = Field(
        [-4.0, 4.0], min_length=2, max_length=2, description="Lowest and highest power of ten of C that is tried."
    )
    grid_points: int = Field(9, ge=1, le=100, description="Values of C that are tried, evenly in the logarithm.")
    standardise: bool = Field(True, description="Scale features by mean and deviation of the training images.")
    balanced: bool = Field(False, description="Weigh every class the same in the loss.")
    max_iter: int = Field(2000, ge=1, description="Iterations of the solver.")


class ProbeQuestion(LabelledQuestion):
    """A task opened for the linear probe."""

    def __init__(self, parts: Parts, settings: Config, context: Context) -> None:
        super().__init__(parts, context)
        self.settings = settings
        self.digest = labelled.digest_of(parts, settings, context)

    def answer(self, inputs: Inputs, seed: int) -> Outcome:
        """Fit, choose C, score; nothing is drawn, so ``seed`` changes nothing."""
        solved, tried = choose(self.settings, self.parts, inputs)
        mode = self.parts.scored.mode
        dev_MK = None if inputs.dev_MI is None else probabilities(solved, inputs.dev_MI, mode)
        details: dict[str, Any] = {
            "C": solved.C,
            "converged": solved.converged,
            "development": {f"{C:g}": {"score": score, "log_loss": loss} for C, (score, loss) in tried.items()},
            "width": inputs.train_NI.shape[1],
            "num_train": len(self.parts.train),
        }
        return self.outcome(probabilities(solved, inputs.scored_RI, mode), dev_MK, details)

    def answer_prior(self, seed: int) -> Outcome:
        """Score the class frequencies of the training images."""
        train, dev = self.parts.train, self.parts.dev
        dev_MK = None if dev is None else labelled.share(train, len(dev))
        return self.outcome(labelled.share(train, self.num), dev_MK, {"num_train": len(train)})


def open(task: TaskConfig, settings: Config, context: Context) -> ProbeQuestion:
    """Read the three parts of the task's images.

    Raises:
        DataError: If a part is missing or named test, or classes are wrong.
    """
    return ProbeQuestion(labelled.open_parts(task, context), settings, context)


def choose(settings: Config, parts: Parts, inputs: Inputs) -> tuple[Solved, dict[float, tuple[float, float]]]:
    """Fit the probe at every C and take the one of the best development score.

    The score is balanced accuracy, or the mean AUROC of several labels. Of equal scores the lowest log-loss decides,
    then the strongest penalty.

    Returns:
        The fit, and score and log-loss by C.

    Raises:
        DataError: If a class cannot be learned, C cannot be chosen, or the part to fit on is named test.
        TrainingError: If features are not finite.
    """
    refuse_test(parts.train.split)
    config = Probe(
        C=settings.C, grid=settings.grid, grid_points=settings.grid_points, standardise=settings.standardise,
        max_iter=settings.max_iter,
    )  # fmt: skip

    def fit(C: float) -> Solved:
        own = config.model_copy(update={"C": C})
        return solve(own, settings.balanced, parts.train, inputs.train_NI, None, None)

    if settings.C is not None:
        return fit(settings.C), {}
    if parts.dev is None or inputs.dev_MI is None:
        raise DataError(NO_DEV, item="development part", remedy=NO_DEV_REMEDY.replace("method.C", "C"))
    refuse_test(parts.dev.split)
    fits = [fit(C) for C in grid(config)]
    tried = []
    for solved in fits:
        logit_MK = logits(solved, inputs.dev_MI)
        score = labelled.development_score(parts.dev, to_probabilities(logit_MK, parts.dev.mode))
        tried.append((score, log_loss(parts.dev, logit_MK)))
    chosen = fits[labelled.best(tried)]
    return chosen, {solved.C: found for solved, found in zip(fits, tried, strict=True)}


def logits(solved: Solved, features_RI: Floats) -> Floats:
    """Return the linear layer's output (R, K)."""
    return np.asarray(features_RI @ solved.weight_KI.T + solved.bias_K)


def to_probabilities(logit_RK: Floats, mode: str) -> Floats:
    """Softmax over classes, or a sigmoid each."""
    return softmax(logit_RK) if mode == "single" else 1 / (1 + np.exp(-np.clip(logit_RK, -60, 60)))


def probabilities(solved: Solved, features_RI: Floats, mode: str) -> Floats:
    """Return what a fitted probe answers (R, K)."""
    return to_probabilities(logits(solved, features_RI), mode)

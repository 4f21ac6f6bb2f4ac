"""Nearest neighbours among training images, votes weighted as in DINO (Caron et al. 2021; Wu et al. 2018).

Each of the k training images of highest cosine votes for its class with ``exp(cosine / T)``; k = 20 and T = 0.07 are
DINO's. With several labels per image each class is a vote of its own.

Shape legend: N training images, M development images, R scored images, I feature width, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from benchmarks.harness.protocols import labelled
from benchmarks.harness.protocols.labelled import Floats, Inputs, LabelledQuestion, Parts
from medvlp.config import Config as BaseConfig
from medvlp.errors import DataError
from medvlp.finetune.probe import refuse_absent
from medvlp.zeroshot.classifier import refuse_test, unit_vectors

if TYPE_CHECKING:
    from benchmarks.harness.outcome import Outcome
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.task import TaskConfig

ABILITIES = frozenset({"image"})
FLOORS = labelled.FLOORS
FLOORS_OF_MODEL = labelled.FLOORS_OF_MODEL
PROMPTED = False
SEEDED = frozenset(labelled.FLOORS_OF_MODEL)
_ROWS = 512  # of the cosines at a time


class Config(BaseConfig):
    """Settings of nearest neighbours."""

    name: Literal["knn"] = Field(description="Votes of the nearest training images.")
    k: list[int] = Field(
        [20], min_length=1, description="Neighbours; of several the best on the development part is taken."
    )
    temperature: float = Field(0.07, gt=0, description="Votes weigh exp(cosine / temperature).")

    @field_validator("k")
    @classmethod
    def _rising(cls, value: list[int]) -> list[int]:
        if min(value) < 1 or value != sorted(set(value)):
            raise ValueError("has to be positive and rising")
        return value


class NeighbourQuestion(LabelledQuestion):
    """A task opened for nearest neighbours."""

    def __init__(self, parts: Parts, settings: Config, context: Context) -> None:
        super().__init__(parts, context)
        self.settings = settings
        self.digest = labelled.digest_of(parts, settings, context)

    def answer(self, inputs: Inputs, seed: int) -> Outcome:
        """Choose k and vote; nothing is drawn, so ``seed`` changes nothing."""
        k, tried = choose(self.settings, self.parts, inputs)
        target_NK, T = self.parts.train.target_NK, self.settings.temperature
        dev_MK = None if inputs.dev_MI is None else votes(inputs.train_NI, target_NK, inputs.dev_MI, k, T)
        details: dict[str, Any] = {
            "k": k,
            "development": {str(value): score for value, score in tried.items()},
            "num_train": len(self.parts.train),
        }
        return self.outcome(votes(inputs.train_NI, target_NK, inputs.scored_RI, k, T), dev_MK, details)

    def answer_prior(self, seed: int) -> Outcome:
        """Score the class frequencies of the training images."""
        train, dev = self.parts.train, self.parts.dev
        dev_MK = None if dev is None else labelled.share(train, len(dev))
        return self.outcome(labelled.share(train, self.num), dev_MK, {"num_train": len(train)})


def open(task: TaskConfig, settings: Config, context: Context) -> NeighbourQuestion:
    """Read the three parts of the task's images.

    Raises:
        DataError: If a part is missing or named test, or classes are wrong.
    """
    return NeighbourQuestion(labelled.open_parts(task, context), settings, context)


def choose(settings: Config, parts: Parts, inputs: Inputs) -> tuple[int, dict[int, float]]:
    """Take the k of the best development score, the smallest of equals; values above the training size are left out.

    Returns:
        k, and the score of each that was tried.

    Raises:
        DataError: If every k is above the training size, a class has no training image, or a choice needs a
            development part that is missing or named test.
    """
    refuse_test(parts.train.split)
    refuse_absent(parts.train)
    possible = [k for k in settings.k if k <= len(parts.train)]
    if not possible:
        raise DataError(f"there are {len(parts.train)} training images", item=f"k {min(settings.k)}", remedy="lower k")
    if len(possible) == 1:
        return possible[0], {}
    if parts.dev is None or inputs.dev_MI is None:
        raise DataError("k cannot be chosen", item="development part", remedy="give one k, or prepare the data with it")
    refuse_test(parts.dev.split)
    target_NK, T = parts.train.target_NK, settings.temperature
    scores = [
        labelled.development_score(parts.dev, votes(inputs.train_NI, target_NK, inputs.dev_MI, k, T)) for k in possible
    ]
    return possible[labelled.best([(score, 0.0) for score in scores])], dict(zip(possible, scores, strict=True))


def votes(train_NI: Floats, target_NK: Any, asked_RI: Floats, k: int, temperature: float) -> Floats:
    """Return each class's share of the weighted votes (R, K); with one label per image they sum to one.

    Of equally near images the first ones vote. ``target_NK`` says which classes each training image has.
    """
    train_NI, asked_RI = unit_vectors(train_NI, "training images"), unit_vectors(asked_RI, "asked images")
    target_NK = np.asarray(target_NK, dtype=np.float64)
    out = np.empty((len(asked_RI), target_NK.shape[1]))
    for begin in range(0, len(asked_RI), _ROWS):
        # Rounded, so that images that are copies of each other tie whatever the order of the sums.
        cosine_RN = np.round(asked_RI[begin : begin + _ROWS] @ train_NI.T, 12)
        near_Rk = np.argsort(-cosine_RN, axis=1, kind="stable")[:, :k]
        near_cosine_Rk = np.take_along_axis(cosine_RN, near_Rk, axis=1)
        weight_Rk = np.exp((near_cosine_Rk - near_cosine_Rk[:, :1]) / temperature)
        counted_RK = np.einsum("rk,rkc->rc", weight_Rk, target_NK[near_Rk])
        out[begin : begin + _ROWS] = counted_RK / weight_Rk.sum(1, keepdims=True)
    return np.clip(out, 0.0, 1.0)

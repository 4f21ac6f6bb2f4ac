"""A factor of an objective that changes over the steps: a warm-up of one term, a hand-over from one to another."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from medvlp.config import Config


class Ramp(Config):
    """From one factor to another; the factor multiplies the objective's ``weight``.

    A step is an optimiser step of the run, so that a run that was cut goes on with the factor it had.
    """

    start: int = Field(default=0, ge=0, description="Step up to which the factor is `first`.")
    stop: int = Field(ge=0, description="Step from which on it is `last`; equal to start: a jump.")
    first: float = Field(default=0.0, ge=0.0, description="Factor before.")
    last: float = Field(default=1.0, ge=0.0, description="Factor after.")
    shape: Literal["linear", "cosine"] = Field(default="linear", description="Way from one to the other.")

    @model_validator(mode="after")
    def _forward(self) -> Ramp:
        if self.stop < self.start:
            raise ValueError(f"stops at step {self.stop}, before it starts at {self.start}")
        return self

    def factor(self, step: int) -> float:
        """Return the factor of a step, counted from 0."""
        if step >= self.stop:
            return self.last
        if step <= self.start:
            return self.first
        share = (step - self.start) / (self.stop - self.start)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.first + share * (self.last - self.first)

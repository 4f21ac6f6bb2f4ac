"""The settings every recipe shares: how long, on what, how often to log, validate and save."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config
from medvlp.training.checkpoint import Retention
from medvlp.training.ema import Ema
from medvlp.training.optim import OptimizerConfig


class RunConfig(Config):
    """Base of the configurations of all recipes."""

    seed: int = Field(0, ge=0, description="Decides the order of data, augmentation, dropout and initial weights.")
    steps: int = Field(ge=1, description="Optimiser steps.")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="Optimiser, rates and schedule.")
    accumulate: int = Field(1, ge=1, description="Batches per optimiser step; each is a contrast of its own.")
    clip_norm: float | None = Field(1.0, gt=0, description="Largest norm of the gradient, or no limit.")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Arithmetic of the towers; auto is bf16-mixed where the device has bf16 arithmetic."
    )
    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to compute.")
    num_workers: int = Field(0, ge=0, description="Processes that read and augment images; never changes the result.")
    grad_checkpointing: bool = Field(False, description="Compute activations twice to save memory.")
    log_every: int = Field(10, ge=1, description="Steps between log lines.")
    validate_every: int = Field(0, ge=0, description="Steps between validations; 0 validates at the end only.")
    tensorboard: bool = Field(True, description="Also write TensorBoard files where it is installed.")
    ema: Ema.Config | None = Field(None, description="Also keep a moving average of the weights, or none.")
    checkpoint: Retention = Field(Retention(), description="How often to save and what to keep.")


HARMLESS = frozenset(
    {"num_workers", "accelerator", "log_every", "tensorboard", "checkpoint", "grad_checkpointing", "validate_every"}
    | {"ema.validation"}
)
"""Fields that may differ when a run is resumed: they do not change what is learned."""

"""The optimiser and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from medvlp.config import Config
from medvlp.errors import ConfigError

Share = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Config):
    """AdamW with a warm-up and a schedule."""

    name: Literal["adamw"] = Field("adamw", description="The optimiser.")
    lr: float = Field(1e-5, gt=0, description="Peak learning rate.")
    part_lr: dict[str, float] = Field({}, description="Peak learning rate of single parts, instead of lr.")
    betas: tuple[Share, Share] = Field((0.9, 0.98), description="Decay rates of the two moments.")
    eps: float = Field(1e-6, gt=0, description="Added to the root of the second moment.")
    weight_decay: float = Field(0.2, ge=0, description="Decoupled decay; never on biases, norms and the scale.")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="Course of the rate after the warm-up.")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear rise to the peak.")
    final_share: float = Field(0.0, ge=0, le=1, description="Share of the peak that cosine ends at.")


def rate(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Return the share of the peak learning rate used in a step (counted from 0)."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    return config.final_share + (1 - config.final_share) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every parameter group to a share of its own peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share


def build_optimizer(parts: Mapping[str, Sequence[nn.Parameter]], config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW over the parts of a model.

    Matrices decay; parameters of one dimension or none (biases, norms, logit scale) do not.

    Args:
        parts: Parameters by part; a part may be empty.
        config: Settings.

    Raises:
        ConfigError: If ``part_lr`` names a part the model does not have, or a rate is not positive.
    """
    for name, lr in config.part_lr.items():
        if name not in parts:
            raise ConfigError(
                "no such part of the model", item=f"optimizer.part_lr.{name}", remedy=f"use {', '.join(parts)}"
            )
        if not lr > 0:
            raise ConfigError(f"{lr} is not positive", item=f"optimizer.part_lr.{name}")
    groups = []
    for name, parameters in parts.items():
        peak = config.part_lr.get(name, config.lr)
        for decays in (True, False):
            chosen = [parameter for parameter in parameters if (parameter.ndim > 1) == decays]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "part": name,
                        "lr": peak,
                        "peak_lr": peak,
                        "weight_decay": config.weight_decay if decays else 0.0,
                    }
                )
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)

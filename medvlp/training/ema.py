"""Exponential moving average of weights: a second, smoother set of weights beside the ones that train.

Source: Polyak & Juditsky 1992 (averaging); the warm-up of the decay is TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.config import Config as BaseConfig
from medvlp.errors import CheckpointError, TrainingError


class Ema:
    """The average of a module's state under its own names, at least float32, on the module's device.

    Floating tensors (parameters and batch statistics) follow ``average += (1 - d) * (value - average)``, so that a
    frozen weight stays exactly what it is; counters are copied. Nothing is communicated: ranks of data-parallel
    training hold equal weights and so have equal averages, as long as their batch statistics are equal or fixed.

    Args:
        model: The module to follow, as it is now; pass the bare module, not its data-parallel wrapper.
        config: Decay and warm-up.
        only: Which names to follow, all by default; for example those of an adapter.
    """

    class Config(BaseConfig):
        """How fast the average follows."""

        decay: float = Field(0.999, ge=0, lt=1, description="Share of the average that stays at each step.")
        warmup: bool = Field(True, description="Use at most (1 + n) / (10 + n) as decay at step n, to start fast.")
        validation: bool = Field(True, description="Validate the averaged weights instead of the last ones.")

    def __init__(
        self, model: nn.Module, config: Ema.Config | None = None, only: Callable[[str], bool] | None = None
    ) -> None:
        self.config = config if config is not None else Ema.Config()
        self.num_updates = 0
        self._average = {
            name: _wide(tensor.detach()).clone() for name, tensor in model.state_dict().items() if _wanted(name, only)
        }

    @property
    def decay(self) -> float:
        """The decay of the next update."""
        if not self.config.warmup:
            return self.config.decay
        return min(self.config.decay, (1 + self.num_updates) / (10 + self.num_updates))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Let the average follow one step; call it after the optimiser's.

        Raises:
            TrainingError: If the module lacks a tensor that is followed.
        """
        weight = 1.0 - self.decay
        state = model.state_dict()
        for name, average in self._average.items():
            value = _found(state, name)
            if average.is_floating_point():
                average.lerp_(value.to(average), weight)
            else:
                average.copy_(value)
        self.num_updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return ``{"num_updates": int, "average": {name: tensor}}``: tensors and plain values only."""
        return {"num_updates": self.num_updates, "average": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`, bit for bit.

        Raises:
            CheckpointError: If it is of another module.
        """
        saved: Mapping[str, Tensor] = state["average"]
        misfits = sorted(saved.keys() ^ self._average.keys()) or [
            name for name, average in self._average.items() if saved[name].shape != average.shape
        ]
        if misfits:
            raise CheckpointError("the saved average is of another model", item=misfits[0])
        for name, average in self._average.items():
            average.copy_(saved[name])
        self.num_updates = int(state["num_updates"])

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the module's tensors with the average, in the module's own precision."""
        state = model.state_dict()
        for name, average in self._average.items():
            _found(state, name).copy_(average)

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Lend the average to the module for a block; afterwards its tensors are bit for bit what they were."""
        state = model.state_dict()
        kept = {name: _found(state, name).detach().clone() for name in self._average}
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in kept.items():
                    state[name].copy_(tensor)


def _wide(tensor: Tensor) -> Tensor:
    """Return a floating tensor in at least float32: with half precision, small steps would round to none."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor


def _wanted(name: str, only: Callable[[str], bool] | None) -> bool:
    return only is None or only(name)


def _found(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise TrainingError(
            "the moving average follows a tensor this module lacks", item=name, remedy="pass the same, bare module"
        )
    return state[name]

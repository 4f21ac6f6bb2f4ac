"""What the engine (``loop``) needs to know of a stage of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.objectives.base import Objective
    from medvlp.training.settings import RunConfig


class Recipe(Protocol):
    """What the engine needs to know of a stage.

    Attributes:
        name: ``knowledge`` or ``align``.
        module: Called with :meth:`inputs`; returns the fields of :class:`Outputs`, or of the recipe's own ``outputs``.
        objective: The loss.
    """

    name: str
    objective: Objective

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def config(self) -> RunConfig:
        """Settings."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Facts that must be equal on resume."""
        ...

    @property
    def header(self) -> Mapping[str, Any]:
        """Facts for the manifests of checkpoints."""
        ...

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part."""
        ...

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Return what the module's forward takes."""
        ...

    def batches(self, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this rank's batches from micro-step ``start`` on, without end."""
        ...

    def begin_step(self, step: int) -> None:
        """Prepare the module for a step: freezing, training mode."""
        ...

    def validate(self) -> dict[str, float]:
        """Score the model on held-out data (rank 0 only); empty if there is none."""
        ...

    def report(self) -> dict[str, float]:
        """Return scalars worth logging since the last call."""
        ...

    def save_model(self, folder: Path) -> None:
        """Write the model's files."""
        ...

    def load_model(self, folder: Path) -> None:
        """Read what :meth:`save_model` wrote into the module."""
        ...

"""Several objectives on one step, added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from medvlp.errors import ConfigError
from medvlp.objectives.base import Losses, Objective, Outputs, Seen
from medvlp.objectives.gather import Gather
from medvlp.objectives.ramp import Ramp

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.objectives.context import Context


class WeightedObjectives(nn.Module):
    """Sum of objectives; each applies its own ``weight``, here each ramp is applied.

    Args:
        objectives: Objectives of distinct classes.
        ramps: Ramp of each, None for a factor of 1 throughout; none has one by default.

    Raises:
        ConfigError: If the list is empty or a class occurs twice.
    """

    def __init__(self, objectives: Sequence[Objective], ramps: Sequence[Ramp | None] | None = None) -> None:
        super().__init__()
        names = [type(objective).__name__ for objective in objectives]
        if not names:
            raise ConfigError("the list is empty", item="objective", remedy="name at least one objective")
        for name in names:
            if names.count(name) > 1:
                raise ConfigError("occurs twice in the list", item=name, remedy="give each objective once")
        self.objectives = list(objectives)
        self.ramps = [None] * len(self.objectives) if ramps is None else list(ramps)
        self.step = 0
        self.needs = frozenset[str]().union(*(getattr(objective, "needs", ()) for objective in objectives))
        self.reads = frozenset[str]().union(*(getattr(objective, "reads", ()) for objective in objectives))
        sizes = [getattr(objective, "triple_size", None) for objective in objectives]
        self.triple_size = next((size for size in sizes if size is not None), None)
        self.heads = self._heads()

    def begin_step(self, step: int) -> None:
        """Take the factors of a step."""
        self.step = step

    def prepare(self, context: Context) -> None:
        """Prepare those that want to be, which may give them heads."""
        for objective in self.objectives:
            if hasattr(objective, "prepare"):
                objective.prepare(context)
        self.heads = self._heads()

    def _heads(self) -> nn.Module | None:
        found = {type(one).__name__: getattr(one, "heads", None) for one in self.objectives}
        heads = {name: module for name, module in found.items() if module is not None}
        return _AllHeads(heads) if heads else None

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return the terms and reports of all objectives, the reports prefixed by their first term.

        A factor of 0 is multiplied like any other: every arm and step costs the same, and all ranks gather alike.
        """
        terms, report = {}, {}
        for objective, ramp in zip(self.objectives, self.ramps, strict=True):
            losses = objective(out, batch, gather)
            prefix = next(iter(losses.terms))
            factor = 1.0
            if ramp is not None:
                factor = ramp.factor(self.step)
                report[f"{prefix}/ramp"] = losses.terms[prefix].new_tensor(factor)
            terms.update({name: factor * term for name, term in losses.terms.items()})
            report.update({f"{prefix}/{key}": value for key, value in losses.report.items()})
        return Losses(terms, report)


class _AllHeads(nn.ModuleDict):
    """The heads of several objectives; each names its tensors after itself."""

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Return what all of them made."""
        return {name: tensor for heads in self.values() for name, tensor in heads(seen).items()}

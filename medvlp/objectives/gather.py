"""Collect embeddings from every rank so that a contrast sees the whole batch and gradients stay exact.

Shapes: B rows of this rank, M = B · world rows of all ranks (in rank order).

Each rank computes the loss of *its own* rows against the gathered columns and divides by its own
share; the backward of the gather sums what every rank's loss says about this rank's rows. The mean of
gradients that data-parallel training takes over ranks then equals the gradient of one process.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from medvlp.errors import TrainingError

_MAX_DIMS = 7


@runtime_checkable
class Gather(Protocol):
    """Concatenates a tensor over ranks, ``[B, ...] -> [M, ...]``, differentiably."""

    rank: int
    world: int

    def __call__(self, tensor_B: Tensor) -> Tensor:
        """Return the rows of every rank, in rank order."""
        ...


class LocalGather:
    """The gather of one process: the identity."""

    rank = 0
    world = 1

    def __call__(self, tensor_B: Tensor) -> Tensor:
        """Return the tensor itself."""
        return tensor_B


class DistributedGather:
    """All-gather over a process group whose backward sums the gradients of all ranks.

    Every call first compares shapes over ranks, so that unequal batches raise on every rank instead of
    hanging or mixing rows.

    Args:
        group: Process group; the default group when None.

    Raises:
        TrainingError: If no process group is initialised, or (on call) if ranks hold different shapes.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise TrainingError(
                "no process group is initialised", item="DistributedGather", remedy="start the run with torchrun"
            )
        self.group = group
        self.rank = dist.get_rank(group)
        self.world = dist.get_world_size(group)

    def __call__(self, tensor_B: Tensor) -> Tensor:
        """Return the rows of every rank, in rank order.

        Raises:
            TrainingError: On every rank, naming the shape on each, if shapes differ.
        """
        self._check_shapes(tensor_B)
        if tensor_B.requires_grad and torch.is_grad_enabled():
            return _AllGather.apply(tensor_B, self)
        return self.collect(tensor_B.detach())

    def collect(self, tensor_B: Tensor) -> Tensor:
        """All-gather without gradient."""
        parts = [torch.empty_like(tensor_B, memory_format=torch.contiguous_format) for _ in range(self.world)]
        dist.all_gather(parts, tensor_B.contiguous(), group=self.group)
        return torch.cat(parts)

    def _check_shapes(self, tensor_B: Tensor) -> None:
        shape = [tensor_B.ndim, *tensor_B.shape]
        mine = torch.tensor(shape + [0] * (_MAX_DIMS + 1 - len(shape)), device=tensor_B.device)
        theirs = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(theirs, mine, group=self.group)
        shapes = [tuple(row[1 : 1 + row[0]]) for row in torch.stack(theirs).tolist()]
        if len(set(shapes)) > 1:
            sizes = ", ".join(f"rank {rank}: {list(shape)}" for rank, shape in enumerate(shapes))
            raise TrainingError(
                f"ranks hold different shapes ({sizes})",
                item="gather",
                remedy="give every rank equal numbers of images and texts (medvlp.data.plan does)",
            )


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor_B: Tensor, gather: DistributedGather) -> Tensor:
        ctx.gather = gather
        return gather.collect(tensor_B)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gather: DistributedGather = ctx.gather
        summed_M = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed_M, group=gather.group)
        return summed_M.chunk(gather.world)[gather.rank], None

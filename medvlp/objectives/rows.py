"""Rows of this rank among those of all ranks, and rows worked on a few at a time; shared by losses with weights.

Shapes: N rows of this rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from medvlp.objectives.gather import Gather


def global_rows(num_rows: int, gather: Gather, device: torch.device) -> Tensor:
    """Return the numbers (N,) that this rank's rows have among the gathered ones."""
    return torch.arange(num_rows, device=device) + gather.rank * num_rows


def mean_over_ranks(total: Tensor, mass: Tensor, gather: Gather) -> Tensor:
    """Divide this rank's sum so that the mean over ranks of the results is the weighted mean over all rows.

    Args:
        total: Weighted sum of this rank's rows.
        mass: Sum of their weights, or their count; unlike a count it may lie between 0 and 1.
        gather: Collects the masses.

    Returns:
        A scalar, 0 where no rank has any mass.
    """
    share = gather(mass.detach().reshape(1)).sum() / gather.world
    return total / torch.where(share > 0, share, 1.0)


def in_chunks(block: Callable[..., Any], chunk: int | None, *rows: Tensor, shared: tuple[Any, ...] = ()) -> list[Any]:
    """Apply a function to slices of rows, recomputed in the backward so that one slice's memory is held at a time.

    Args:
        block: Takes a slice of each of ``rows``, then ``shared``.
        chunk: Rows at a time; None takes all at once and recomputes nothing.
        rows: Tensors of equal length.
        shared: What every slice needs whole.

    Returns:
        The results in order; one, of no rows, if there are none.
    """
    if chunk is None or len(rows[0]) == 0:
        return [block(*rows, *shared)]
    return [
        checkpoint(block, *(one[start : start + chunk] for one in rows), *shared, use_reentrant=False)
        for start in range(0, len(rows[0]), chunk)
    ]

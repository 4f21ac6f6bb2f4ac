"""The draws of a plan in order, and the loader that turns them into batches: the same for every recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from medvlp.data.plan import Plan


@dataclass(frozen=True)
class Draw:
    """One place in a step: which row, and where in the global batch, which seeds its randomness."""

    step: int
    slot: int
    row: int


class Order:
    """The draws of each step from a start on, one list per batch; without end."""

    def __init__(self, plan: Plan, start: int, rank: int, world: int) -> None:
        self.plan, self.start, self.rank, self.world = plan, start, rank, world

    def __iter__(self) -> Iterator[list[Draw]]:
        step = self.start
        while True:
            rows = self.plan.batch(step, self.rank, self.world)
            first = self.rank * len(rows)
            yield [Draw(step, first + place, int(row)) for place, row in enumerate(rows)]
            step += 1


def in_order(
    data: Dataset[Any],
    order: Order,
    num_workers: int,
    collate: Callable[[list[Any]], Any] = list,
    *,
    pin: bool = False,
) -> Iterator[Any]:
    """Yield the collated items of each step; the number of workers changes only the speed.

    Args:
        data: Gives the item of a :class:`Draw`.
        order: Which draws.
        num_workers: Processes that make items ahead; 0 makes them here.
        collate: What becomes of the items of a step.
        pin: Pin memory, for a GPU.
    """
    loader: Any = DataLoader(
        data,
        batch_sampler=order,  # type: ignore[arg-type]
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin,
        generator=torch.Generator(),  # its own: the loader then draws nothing from the global one
    )
    yield from loader

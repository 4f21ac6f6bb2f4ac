"""The order of training data as a pure function, so that resuming a run takes one integer and no worker state.

``plan.batch(step, rank, world)`` always gives the same rows for the same seed: batches are those of one process,
and rank r takes the r-th slice. Shape legend: N rows, U units (rows or semantic groups), G groups per batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import TrainingError

Sampling = Literal["natural", "sqrt", "balanced"]
Rows = NDArray[np.int64]

_UNITS, _MEMBERS = 0, 1  # separate random streams for the order of units and for the members drawn


class Plan(Protocol):
    """Which rows belong to a step."""

    batch_size: int
    steps_per_epoch: int

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Return the rows (batch_size / world,) of one rank."""
        ...


class PairPlan:
    """Batches of distinct rows; an epoch's permutation comes from (seed, epoch).

    The last ``N mod batch_size`` rows of a permutation wait for another epoch. With ``sampling`` other than
    ``natural``, labels share an epoch by the square root of their counts, or equally, and a row of a rare label comes
    several times per epoch, in different batches.

    Args:
        num_rows: N.
        batch_size: Rows per batch over all ranks.
        seed: Same seed, same order.
        sampling: How much frequent labels weigh.
        labels: Label of each row; needed unless ``sampling`` is natural.

    Raises:
        TrainingError: If a batch is larger than the data, or labels are missing.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        seed: int,
        sampling: Sampling = "natural",
        labels: Sequence[str | None] | None = None,
    ) -> None:
        if num_rows < batch_size:
            raise TrainingError(
                f"a batch of {batch_size} rows is more than the {num_rows} rows of the training split",
                item="batch_size",
                remedy="lower it or add data",
            )
        self.batch_size, self.seed = batch_size, seed
        self.steps_per_epoch = num_rows // batch_size
        self._units = _Units(num_rows, batch_size, seed, sampling, labels)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Return the rows (batch_size / world,) of one rank.

        Raises:
            TrainingError: If the batch does not divide over the ranks.
        """
        rows = self._units.batch(*divmod(step, self.steps_per_epoch))
        return rows[_slice(self.batch_size, rank, world, "batch_size")]


class GroupPlan:
    """Batches of distinct groups with equally many members each; rows of a group are contiguous.

    A group with fewer members than ``instances`` repeats them as evenly as possible; a larger one gives distinct ones.

    Args:
        groups: Group id of each row (N,).
        groups_per_batch: Groups per batch over all ranks.
        instances: Members drawn per group.
        seed: Same seed, same order.
        sampling: How much groups of frequent labels weigh; see :class:`PairPlan`.
        labels: Label of each row (a group has that of its first row); needed unless ``sampling`` is natural.

    Raises:
        TrainingError: If there are fewer groups than a batch takes, or labels are missing.
    """

    def __init__(
        self,
        groups: Sequence[int] | Rows,
        groups_per_batch: int,
        instances: int,
        seed: int,
        sampling: Sampling = "natural",
        labels: Sequence[str | None] | None = None,
    ) -> None:
        values, first, counts = np.unique(np.asarray(groups), return_index=True, return_counts=True)
        if len(values) < groups_per_batch:
            raise TrainingError(
                f"a batch of {groups_per_batch} groups is more than the {len(values)} groups of the training split",
                item="groups_per_batch",
                remedy="lower it or add data",
            )
        self.groups_per_batch, self.instances, self.seed = groups_per_batch, instances, seed
        self.batch_size = groups_per_batch * instances
        self.steps_per_epoch = len(values) // groups_per_batch
        self._members = np.split(np.argsort(groups, kind="stable").astype(np.int64), np.cumsum(counts)[:-1])
        of_group = None if labels is None else [labels[row] for row in first]
        self._units = _Units(len(values), groups_per_batch, seed, sampling, of_group)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Return the rows (groups_per_batch / world · instances,) of one rank, group after group.

        Raises:
            TrainingError: If the groups do not divide over the ranks.
        """
        mine = _slice(self.groups_per_batch, rank, world, "groups_per_batch")
        groups = self._units.batch(*divmod(step, self.steps_per_epoch))[mine]
        return np.concatenate([self._draw(step, int(group)) for group in groups])

    def _draw(self, step: int, group: int) -> Rows:
        members = self._members[group]
        rng = np.random.default_rng([self.seed, _MEMBERS, step, group])
        rounds = -(-self.instances // len(members))
        drawn = np.concatenate([rng.permutation(members) for _ in range(rounds)])
        return drawn[: self.instances]


class _Units:
    """Cuts each epoch into batches of distinct units, every unit as often as its weight says."""

    def __init__(
        self, num_units: int, per_batch: int, seed: int, sampling: Sampling, labels: Sequence[str | None] | None
    ) -> None:
        self.per_batch, self.seed = per_batch, seed
        self.num_batches = num_units // per_batch
        weight_U = _weights(num_units, sampling, labels)
        self.expected_U = _capped(weight_U, self.num_batches * per_batch, self.num_batches)
        self._epoch, self._batches = -1, np.empty((0, 0), dtype=np.int64)

    def batch(self, epoch: int, position: int) -> Rows:
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._cut(np.random.default_rng([self.seed, _UNITS, epoch]))
        return self._batches[position]

    def _cut(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Systematic sampling over shuffled units: unit u comes floor or ceil of its expected count.

        Copies of a unit stand next to one another, so dealing the list out like cards puts each into another batch.
        """
        order = rng.permutation(len(self.expected_U))
        edges = np.cumsum(self.expected_U[order])
        points = np.arange(self.num_batches * self.per_batch) + rng.random()
        drawn = order[np.minimum(np.searchsorted(edges, points, side="right"), len(order) - 1)]
        dealt = drawn.reshape(self.per_batch, self.num_batches).T[rng.permutation(self.num_batches)]
        return rng.permuted(dealt, axis=1).astype(np.int64)


def _weights(num_units: int, sampling: Sampling, labels: Sequence[str | None] | None) -> NDArray[np.float64]:
    if sampling == "natural":
        return np.ones(num_units)
    if labels is None or all(label is None for label in labels):
        raise TrainingError(
            "needs labels, which the data do not have", item=f"sampling: {sampling}", remedy="use natural"
        )
    counts = Counter(labels)
    power = 0.5 if sampling == "sqrt" else 1.0
    return np.array([counts[label] ** -power for label in labels])


def _capped(weight_U: NDArray[np.float64], total: int, most: int) -> NDArray[np.float64]:
    """Scale weights to sum to ``total`` with none above ``most``; what is cut off goes to the others."""
    share_U = weight_U * (total / weight_U.sum())
    while (share_U > most * (1 + 1e-9)).any():
        full_U = share_U >= most
        rest = total - most * int(full_U.sum())
        share_U = np.where(full_U, most, weight_U * (rest / weight_U[~full_U].sum()))
    return np.minimum(share_U, most)


def _slice(total: int, rank: int, world: int, item: str) -> slice:
    if total % world != 0:
        raise TrainingError(
            f"{total} does not divide over {world} processes",
            item=item,
            remedy=f"choose a multiple of {world}, for example {-(-total // world) * world}",
        )
    size = total // world
    return slice(rank * size, (rank + 1) * size)

"""A few images per class, and scores as means over several draws of them.

Shape letters: N images · K classes · R draws (seeds) · S bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.zeroshot.scoring import Scored, System
from medvlp.zeroshot.task import Task

_TRAIN, _DEV, _SEEDS = 0, 1, 2


def draw(task: Task, shots: int, seed: int, *, strict: bool) -> NDArray[np.int64]:
    """Return the places of ``shots`` distinct images per class, in the task's order.

    They come from as many cases as possible, and fewer shots of one seed are always among the more. In multi-label
    tasks each class draws among the images that carry it, so an image may serve several classes.

    Args:
        task: The split to draw from.
        shots: Images per class.
        seed: Seed of the draw.
        strict: Refuse a class with fewer images; otherwise take all it has.

    Raises:
        DataError: Naming the class that is too small.
    """
    stream = _TRAIN if strict else _DEV
    chosen: set[int] = set()
    for k, label in enumerate(task.classes):
        members = np.flatnonzero(task.target_NK[:, k])
        if strict and len(members) < shots:
            raise DataError(
                f"has {len(members)} images in the {task.split} split, fewer than {shots} shots",
                item=f"class {label}",
                remedy="lower method.shots, or leave the class out with task.classes",
            )
        shuffled = np.random.default_rng([seed, stream, k]).permutation(members)
        chosen |= {int(place) for place in _spread(shuffled, [task.cases[place] for place in shuffled])[:shots]}
    return np.array(sorted(chosen), dtype=np.int64)


def _spread(places: NDArray[np.int64], cases: Sequence[str]) -> NDArray[np.int64]:
    """Put the first image of every case first, then the second ones, and so on."""
    seen: dict[str, int] = {}
    turns = []
    for case in cases:
        turns.append(seen.get(case, 0))
        seen[case] = turns[-1] + 1
    return places[np.argsort(turns, kind="stable")]


def subset(task: Task, places: NDArray[np.int64]) -> Task:
    """Return a task of these images alone."""
    return replace(
        task,
        rows_N=task.rows_N[places],
        target_NK=task.target_NK[places],
        keys=tuple(task.keys[place] for place in places),
        cases=tuple(task.cases[place] for place in places),
    )


def mean_over_seeds(parts: Sequence[Scored], seed: int) -> Scored:
    """Return the mean of systems that were scored on the same draws of test cases.

    Each bootstrap draw also draws the seeds with replacement: the interval holds both kinds of chance, which cases
    are in the test and which images were in the training.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    num_draws = len(next(iter(first.draws.values())))
    rng = np.random.default_rng([seed, _SEEDS])
    drawn_SR = rng.integers(len(parts), size=(num_draws, len(parts)))
    value, draws = {}, {}
    for name in first.value:
        value[name] = np.mean([part.value[name] for part in parts], axis=0)
        stacked = np.stack([part.draws[name] for part in parts], axis=1)  # (S, R) or (S, R, K)
        draws[name] = stacked[np.arange(num_draws)[:, None], drawn_SR].mean(1)
    description = f"{first.system.description} Mean over {len(parts)} draws of training images."
    return Scored(System(first.system.name, description), first.thresholds, value, draws)

"""What one system scored on one question, before it becomes a record.

Shape legend: S bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One score with its bootstrap distribution.

    Attributes:
        name: Machine name, the same in all records of a protocol.
        title: For people.
        value: NaN where it is undefined; ``reason`` then says why.
        draw_S: Its value on every draw of cases. All systems of one question share their draws, so that differences
            are paired; empty where no interval exists.
        n: Samples (images, queries, slides, mentions) it is about.
        num_cases: Units of resampling (patients, slides, documents).
        higher_is_better: Direction.
        unit: ``fraction``, ``edges``, ``rank``, ...
        chance: The value a system without information has, where that is known exactly.
        reason: Why there is no value.
    """

    name: str
    title: str
    value: float
    draw_S: Floats
    n: int
    num_cases: int
    higher_is_better: bool = True
    unit: str = "fraction"
    chance: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Everything one system yielded on one question.

    Attributes:
        metrics: The leading metric first.
        prompts: ``digest``, ``source`` and ``num`` of the texts that were used, or None where none were.
        predictions: Arrays worth keeping (keys, probabilities, ranks); saved beside the record; never report text.
        details: JSON value: per-class rows, curves, subgroups, trust, sensitivity; by section name.
        limits: Sentences a reader has to know.
    """

    metrics: tuple[Metric, ...]
    prompts: dict[str, Any] | None = None
    predictions: dict[str, NDArray[Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """Why a system has no score on a question; the leaderboard shows the reason."""

    reason: str

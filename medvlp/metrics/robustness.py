"""How much of a score is left on shifted images: the score at each severity, the mean drop, intervals by case.

Shape legend: N samples, S draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medvlp.metrics.bootstrap import Interval, Statistic, intervals


@dataclass(frozen=True)
class Robustness:
    """Scores of one system under one shift; ``mean_drop`` is positive where the shift costs score."""

    score: dict[int, Interval]
    drop: dict[int, Interval]
    mean_drop: Interval


def robustness(
    scores: Mapping[int, Statistic],
    case_N: Sequence[Any],
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Robustness:
    """Summarise one score at several severities; all of them are scored on the same draws of cases.

    Args:
        scores: Severity to metric with its data bound (see :data:`~medvlp.metrics.bootstrap.Statistic`); all severities
            on the same samples in the same order, 0 being the images as they are.
        case_N: Case of each sample.
        num_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Coverage.

    Returns:
        The score at each severity, its drop from severity 0 at each other, and the mean of those drops.

    Raises:
        ValueError: If severity 0 or every other severity is missing.
    """
    shifted = sorted(severity for severity in scores if severity != 0)
    if 0 not in scores or not shifted:
        raise ValueError(f"needs severity 0 and at least one other, got {sorted(scores)}")

    def drop(severity: int) -> Statistic:
        return lambda weight: np.asarray(scores[0](weight)) - np.asarray(scores[severity](weight))

    def mean_drop(weight: Any) -> Any:
        return np.mean([drop(severity)(weight) for severity in shifted], axis=0)

    statistics: dict[str, Statistic] = {f"score {severity}": scores[severity] for severity in (0, *shifted)}
    statistics |= {f"drop {severity}": drop(severity) for severity in shifted} | {"mean drop": mean_drop}
    found = intervals(statistics, case_N, num_draws, seed, level)
    return Robustness(
        {severity: found[f"score {severity}"] for severity in (0, *shifted)},
        {severity: found[f"drop {severity}"] for severity in shifted},
        found["mean drop"],
    )

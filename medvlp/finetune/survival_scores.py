"""Scores of cross-validated survival models: by fold, and their mean with intervals that resample cases within folds.

Shape letters: N held-out cases of a fold, M training cases, S bootstrap draws, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.metrics.bootstrap import Interval, draw_weights, interval
from medvlp.metrics.survival import concordance, uno_concordance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Risks of one fold's held-out cases, and what they are scored with."""

    fold: str
    cases: list[str]
    time_N: Floats
    event_N: NDArray[np.bool_]
    risk_N: Floats
    train_time_M: Floats
    train_event_M: NDArray[np.bool_]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """Concordance by fold (F,) and, per fold, its bootstrap draws (F, S); of Uno's the values alone."""

    value_F: Floats
    draw_FS: Floats
    uno_F: Floats

    @property
    def uno(self) -> float:
        """Mean of Uno's concordance over the folds where it is defined."""
        return _mean(self.uno_F)

    def fold(self, place: int, num_cases: int, level: float) -> Interval:
        """Return one fold's concordance with its interval."""
        return interval(float(self.value_F[place]), self.draw_FS[place], num_cases, level)

    def mean(self, level: float) -> Interval:
        """Return the mean over the folds where it is defined; each draw resamples the cases of every fold."""
        return interval(_mean(self.value_F), _column_means(self.draw_FS), 2, level)

    def difference(self, other: Scores, level: float) -> Interval:
        """Return ``self - other``, mean over folds, on the same draws."""
        draws_S = _column_means(self.draw_FS - other.draw_FS)
        return interval(_mean(self.value_F - other.value_F), draws_S, 2, level)


def score(answers: Sequence[Answers], num_draws: int, seed: int, horizon: float) -> Scores:
    """Score answers by fold; equal seeds give equal draws, so two systems on the same folds pair.

    Args:
        answers: One per fold.
        num_draws: Bootstrap draws of each fold's cases.
        seed: Seed of the draws.
        horizon: Months up to which Uno's concordance counts events: late ones would weigh too much.
    """
    value_F, draw_FS, uno_F = [], [], []
    for place, fold in enumerate(answers):
        own = (fold.time_N, fold.event_N, fold.risk_N)
        value_F.append(float(concordance(*own)))
        uno_F.append(float(uno_concordance(*own, fold.train_time_M, fold.train_event_M, horizon)))
        drawn = draw_weights(range(len(fold.cases)), num_draws, seed + place)
        draw_FS.append(np.concatenate([concordance(*own, weight_SN) for weight_SN in drawn]))
    return Scores(np.array(value_F), np.stack(draw_FS), np.array(uno_F))


def mean_scores(several: Sequence[Scores], seed: int = 0) -> Scores:
    """Return the mean over repetitions that were scored on the same draws; each draw resamples the repetitions too."""
    draw_RFS = np.stack([scores.draw_FS for scores in several])
    num, _, num_draws = draw_RFS.shape
    pick_RS = np.random.default_rng([seed, num]).integers(num, size=(num, num_draws))
    drawn_FS = np.mean([draw_RFS[pick_S, :, np.arange(num_draws)].T for pick_S in pick_RS], axis=0)
    value_F = np.mean([scores.value_F for scores in several], axis=0)
    return Scores(value_F, drawn_FS, np.mean([scores.uno_F for scores in several], axis=0))


def _mean(value_F: Floats) -> float:
    defined = value_F[~np.isnan(value_F)]
    return float(defined.mean()) if len(defined) else float("nan")


def _column_means(draw_FS: Floats) -> Floats:
    count_S = (~np.isnan(draw_FS)).sum(0)
    total_S = np.nansum(draw_FS, axis=0)
    return np.where(count_S > 0, total_S / np.maximum(count_S, 1), np.nan)


def as_json(found: Interval) -> dict[str, float | None]:
    """Return value and bounds, null where undefined."""
    return {"value": or_none(found.value), "low": or_none(found.low), "high": or_none(found.high)}


def or_none(value: float) -> float | None:
    """Return the value, null for NaN."""
    return None if np.isnan(value) else value

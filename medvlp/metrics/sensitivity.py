"""How much a result hangs on the wording of prompts.

Shape legend: P prompt draws, N samples, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medvlp.metrics._weighted import Floats, answer, ratio, weights


@dataclass(frozen=True)
class Spread:
    """5th, 50th and 95th percentile of a score over prompt draws; NaN where no draw defines it.

    Attributes:
        low: 5th percentile.
        median: 50th percentile.
        high: 95th percentile.
        num_draws: Draws that define the score.
        num_undefined: Draws that do not.
    """

    low: float
    median: float
    high: float
    num_draws: int
    num_undefined: int


def prompt_spread(value_P: ArrayLike) -> Spread:
    """Return the percentiles of a score over prompt draws, linear between order statistics.

    It tells how the score moves with the wording on these samples; it is no confidence interval.

    Args:
        value_P: The score under each draw of prompts.
    """
    value_P = np.asarray(value_P, dtype=np.float64)
    defined_P = value_P[~np.isnan(value_P)]
    if len(defined_P) == 0:
        nan = float("nan")
        return Spread(nan, nan, nan, 0, len(value_P))
    low, median, high = np.percentile(defined_P, [5, 50, 95])
    return Spread(float(low), float(median), float(high), len(defined_P), len(value_P) - len(defined_P))


def agreement(answer_PN: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Mean share of pairs of prompt draws that give a sample the same answer; NaN without samples or with one draw.

    Args:
        answer_PN: Answered class numbers, zero or more, under each draw of prompts.
        weight: Sample weights, (N,) or (S, N).
    """
    answer_PN = np.asarray(answer_PN, dtype=np.int64)
    num_draws, num = answer_PN.shape
    weight_SN = weights(weight, num)
    if num_draws < 2 or num == 0:
        return answer(np.full(len(weight_SN), np.nan), weight)
    count_KN = np.stack([(answer_PN == k).sum(0) for k in range(int(answer_PN.max()) + 1)])
    same_N = (count_KN * (count_KN - 1)).sum(0) / (num_draws * (num_draws - 1))
    return answer(ratio(weight_SN @ same_N, weight_SN.sum(1)), weight)

"""Differences between systems on the same cases: errors, p values, the smallest difference the set could show.

Three tests, for different questions. :func:`paired_test` takes any metric and resamples cases; :func:`sign_flip_test`
takes values that are averaged over samples and is exact up to chance; :func:`mcnemar` takes right and wrong answers of
independent samples and is exact. Several p values go through :func:`holm`.

The smallest detectable difference of a two-sided test at 5 % with 80 % power is ``(z_0.975 + z_0.8) · SE``, that is
``2.80 · SE``, with SE the standard deviation of the paired difference over draws. The bootstrap's p values are
``2 (1 - Φ(|d| / SE))``.

Shape legend: N samples, C cases, R seeds, S draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medvlp.metrics._weighted import Floats
from medvlp.metrics.bootstrap import Interval, Statistic, draws, interval

ALPHA, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Measured:
    """One score of one system on one question: a value per seed, and their mean on every bootstrap draw."""

    by_seed_R: Floats
    draw_S: Floats
    num_cases: int

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.by_seed_R.mean())

    def interval(self) -> Interval:
        """Mean over seeds with its 95 % interval."""
        return interval(self.value, self.draw_S, self.num_cases)


@dataclass(frozen=True)
class Difference:
    """A paired difference; ``smallest`` is the smallest detectable one, NaN where no draw differs from another."""

    value: float
    low: float
    high: float
    standard_error: float
    smallest: float
    p_value: float


def difference(first: Measured, second: Measured) -> Difference:
    """Return ``first - second``, both on the same draws."""
    return of_draws(first.value - second.value, first.draw_S - second.draw_S, first.num_cases)


def mean_difference(pairs: Sequence[tuple[Measured, Measured]]) -> Difference:
    """Return the mean of several sets' differences; the sets are drawn apart from one another."""
    values = [first.value - second.value for first, second in pairs]
    draw_S = np.mean([first.draw_S - second.draw_S for first, second in pairs], axis=0)
    return of_draws(float(np.mean(values)), draw_S, min(first.num_cases for first, _ in pairs))


def paired_test(
    first: Statistic, second: Statistic, case_N: Sequence[Any], num_draws: int = 1000, seed: int = 0
) -> Difference:
    """Return ``first - second`` for two systems on the same samples, resampled by case.

    Args:
        first: Metric of one system with its data bound, as for ``medvlp.metrics.bootstrap.intervals``.
        second: The same metric of the other system.
        case_N: Case of each sample.
        num_draws: Bootstrap draws.
        seed: Seed of the draws.
    """
    drawn = draws({"first": first, "second": second}, case_N, num_draws, seed)
    return of_draws(float(first(None)) - float(second(None)), drawn["first"] - drawn["second"], len(set(case_N)))


def of_draws(value: float, draw_S: Floats, num_cases: int) -> Difference:
    """Return a difference with its error and p value from its bootstrap draws; undefined draws (NaN) are left out."""
    found = interval(value, draw_S, num_cases)
    nan = float("nan")
    defined_S = draw_S[~np.isnan(draw_S)]
    if np.isnan(found.low):
        return Difference(value, nan, nan, nan, nan, nan)
    error = float(np.std(defined_S, ddof=1))
    if error < 1e-12:  # every draw alike: the bootstrap has nothing to say about its own precision
        return Difference(value, found.low, found.high, 0.0, nan, nan)
    p_value = 2 * (1 - NormalDist().cdf(abs(value) / error))
    return Difference(value, found.low, found.high, error, smallest_detectable(error), p_value)


def smallest_detectable(standard_error: float) -> float:
    """Return ``(z_0.975 + z_0.8) · standard_error``: found significant in 80 % of repetitions, were it true."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)) * standard_error


def sign_flip_test(difference_N: ArrayLike, case_N: Sequence[Any], num_draws: int = 10_000, seed: int = 0) -> float:
    """P value of a mean paired difference, two-sided, by flipping the sign of whole cases (Fisher 1935).

    Were the two systems alike, each case's differences could as well have the other sign. With 12 cases or fewer all
    sign patterns are counted; with more, random ones and the observed one, so that p is never 0.

    Args:
        difference_N: A value per sample of one system minus that of the other, for example right minus right.
        case_N: Case of each sample.
        num_draws: Random patterns.
        seed: Seed of the patterns.

    Returns:
        The p value; NaN without samples.
    """
    difference_N = np.asarray(difference_N, dtype=np.float64)
    if len(difference_N) == 0:
        return float("nan")
    _, case_index_N = np.unique(np.asarray(case_N), return_inverse=True)
    sum_C = np.bincount(case_index_N, weights=difference_N)
    observed = abs(sum_C.sum()) * (1 - 1e-12) - 1e-12
    if len(sum_C) <= 12:
        sign_SC = 1.0 - 2.0 * (np.arange(2 ** len(sum_C))[:, None] >> np.arange(len(sum_C)) & 1)
        return float((np.abs(sign_SC @ sum_C) >= observed).mean())
    rng, extreme = np.random.default_rng(seed), 0
    for begin in range(0, num_draws, 500):
        sign_SC = 1.0 - 2.0 * rng.integers(0, 2, (min(500, num_draws - begin), len(sum_C)))
        extreme += int((np.abs(sign_SC @ sum_C) >= observed).sum())
    return (1 + extreme) / (1 + num_draws)


def mcnemar(first_right_N: ArrayLike, second_right_N: ArrayLike) -> float:
    """P value that two systems are right equally often, exact and two-sided (McNemar 1947, binomial form).

    Only for independent samples, one per case; with several per case use :func:`sign_flip_test`.

    Args:
        first_right_N: Whether one system is right.
        second_right_N: Whether the other one is.

    Returns:
        ``min(1, 2 P(X <= min(b, c)))`` with X binomial of ``b + c`` and 1/2, where b and c count the samples that
        only one system has right; 1 where they never differ.
    """
    first_N, second_N = np.asarray(first_right_N, dtype=bool), np.asarray(second_right_N, dtype=bool)
    assert first_N.shape == second_N.shape, (first_N.shape, second_N.shape)
    only_first, only_second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    num = only_first + only_second
    if num == 0:
        return 1.0
    term, tail = 1, 0  # whole numbers: the binomials of thousands of samples do not fit a float
    for k in range(min(only_first, only_second) + 1):
        tail += term
        term = term * (num - k) // (k + 1)
    return min(1.0, _quotient(2 * tail, num))


def _quotient(count: int, power: int) -> float:
    """Return ``count / 2**power`` for whole numbers of any size."""
    spare = max(0, count.bit_length() - 64)
    return math.ldexp(count >> spare, spare - power)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979, step down); NaN stays and does not count."""
    p_N = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p_N))
    order = known[np.argsort(p_N[known], kind="stable")]
    out_N = np.full(len(p_N), np.nan)
    if len(order) > 0:
        out_N[order] = np.minimum(1, np.maximum.accumulate(p_N[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in out_N]

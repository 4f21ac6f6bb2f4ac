"""A metric by subgroup (age, sex, site, scanner): values with intervals, each group against the rest, and the gap.

A group's value is the metric with the weights of all other samples set to zero, so any metric that takes weights works,
and all groups are scored on the same draws of cases. The largest gap between noisy values is never zero, so it comes
with the chance that groups of these sizes, filled at random, show one as large.

Shape legend: N samples, C cases, G groups, S draws, P permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats
from medvlp.metrics.bootstrap import Interval, Statistic, draw_weights, interval
from medvlp.metrics.paired import Difference, holm, of_draws

UNKNOWN = "unknown"
_BLOCK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Subgroup:
    """One row of the table.

    Attributes:
        name: The group; ``unknown`` holds samples without a value.
        num_samples: Samples in it.
        num_cases: Cases in it.
        value: The metric on the group alone, NaN where undefined.
        against_rest: The group minus all other samples, on the same draws.
        p_holm: P value of that difference, corrected for the number of groups.
        in_gap: Whether it counts in the gap: known, of enough cases, and defined.
    """

    name: str
    num_samples: int
    num_cases: int
    value: Interval
    against_rest: Difference
    p_holm: float
    in_gap: bool


@dataclass(frozen=True)
class Subgroups:
    """All rows, and the largest difference between two of them.

    Attributes:
        rows: In order of name, ``unknown`` last.
        gap: Highest minus lowest value over rows with ``in_gap``; its interval lies above zero even without a true
            gap.
        gap_p_value: Share of random fillings of the groups, by case, with a gap as large; NaN where cases have samples
            in several groups, where fewer than two rows count, or without permutations.
    """

    rows: tuple[Subgroup, ...]
    gap: Interval
    gap_p_value: float


def age_bands(age_N: ArrayLike, edges: Sequence[float] = (40, 60, 80)) -> list[str | None]:
    """Return each age's band (``<40``, ``40-59``, ``60-79``, ``>=80``), None for NaN; edges are whole years, rising."""
    assert len(edges) > 0, "no edges"
    assert list(edges) == sorted(set(edges)), "edges have to rise"
    names = [f"<{edges[0]:g}", *(f"{a:g}-{b - 1:g}" for a, b in pairwise(edges))]
    names.append(f">={edges[-1]:g}")
    age_N = np.asarray(age_N, dtype=np.float64)
    band_N = np.searchsorted(np.asarray(edges, dtype=np.float64), age_N, side="right")
    return [None if np.isnan(age) else names[band] for age, band in zip(age_N, band_N, strict=True)]


def by_subgroup(
    statistic: Statistic,
    group_N: Sequence[Any],
    case_N: Sequence[Any],
    *,
    num_draws: int = 1000,
    num_permutations: int = 1000,
    min_cases: int = 10,
    seed: int = 0,
    level: float = 0.95,
) -> Subgroups:
    """Score every group.

    Args:
        statistic: Metric with its data bound, as for ``medvlp.metrics.bootstrap.intervals``.
        group_N: Group of each sample; None, NaN and "" are ``unknown``.
        case_N: Case of each sample.
        num_draws: Bootstrap draws of cases.
        num_permutations: Random fillings of the groups for the gap's p value.
        min_cases: A group of fewer cases is listed and left out of the gap.
        seed: Seed of draws and permutations.
        level: Coverage of the intervals.
    """
    nan = float("nan")
    if len(group_N) == 0:
        return Subgroups((), Interval(nan, nan, nan, 0), nan)
    label_N = np.array([_label(group) for group in group_N], dtype=object)
    names = sorted(set(label_N) - {UNKNOWN}) + ([UNKNOWN] if UNKNOWN in label_N else [])
    code_N = np.array([names.index(label) for label in label_N], dtype=np.int64)
    _, case_index_N = np.unique(np.asarray(case_N), return_inverse=True)
    plain_GN = (code_N == np.arange(len(names))[:, None]).astype(np.float64)
    cases_G = np.array([len(np.unique(case_index_N[code_N == g])) for g in range(len(names))], dtype=np.int64)
    value_G, rest_G = _values(statistic, plain_GN), _values(statistic, 1 - plain_GN)
    parts = []
    for weight_SN in draw_weights(case_N, num_draws, seed):
        own = [_values(statistic, weight_SN * member_N) for member_N in plain_GN]
        rest = [_values(statistic, weight_SN * (1 - member_N)) for member_N in plain_GN]
        parts.append(np.stack([np.stack(own), np.stack(rest)]))
    drawn_2GS = np.concatenate(parts, axis=2) if parts else np.zeros((2, len(names), 0))
    # A difference to the rest is as uncertain as the smaller of the two sides.
    fewer_G = [min(cases_G[g], len(np.unique(case_index_N[code_N != g]))) for g in range(len(names))]
    differences = [
        of_draws(float(value_G[g] - rest_G[g]), drawn_2GS[0, g] - drawn_2GS[1, g], int(fewer_G[g]))
        for g in range(len(names))
    ]
    corrected = holm([found.p_value for found in differences])
    counts_G = (cases_G >= min_cases) & ~np.isnan(value_G) & (np.array(names, dtype=object) != UNKNOWN)
    rows = tuple(
        Subgroup(
            name,
            int(plain_GN[g].sum()),
            int(cases_G[g]),
            interval(float(value_G[g]), drawn_2GS[0, g], int(cases_G[g]), level),
            differences[g],
            corrected[g],
            bool(counts_G[g]),
        )
        for g, name in enumerate(names)
    )
    if counts_G.sum() < 2:
        return Subgroups(rows, Interval(nan, nan, nan, 0), nan)
    gap = float(np.ptp(value_G[counts_G]))
    gap_interval = interval(gap, np.ptp(drawn_2GS[0, counts_G], axis=0), int(cases_G[counts_G].min()), level)
    p_value = _gap_p_value(statistic, gap, code_N, case_index_N, counts_G, num_permutations, seed)
    return Subgroups(rows, gap_interval, p_value)


def _label(group: Any) -> str:
    missing = group is None or (isinstance(group, float) and np.isnan(group)) or str(group) == ""
    return UNKNOWN if missing else str(group)


def _values(statistic: Statistic, weight_SN: Floats) -> Floats:
    return np.asarray(statistic(weight_SN), dtype=np.float64)


def _gap_p_value(
    statistic: Statistic,
    gap: float,
    code_N: NDArray[np.int64],
    case_index_N: NDArray[np.int64],
    counts_G: NDArray[np.bool_],
    num_permutations: int,
    seed: int,
) -> float:
    """Fill the groups that count with their cases in random order, and see how often the gap is as large."""
    inside_N = counts_G[code_N]
    code_C = np.full(int(case_index_N.max()) + 1, -1)
    code_C[case_index_N] = code_N
    if num_permutations == 0 or not np.array_equal(code_C[case_index_N], code_N):
        return float("nan")
    movable_C = np.unique(case_index_N[inside_N])
    rng, block, extreme = np.random.default_rng([seed, 1]), max(1, _BLOCK_NUMBERS // len(code_N)), 0
    for begin in range(0, num_permutations, block):
        num = min(block, num_permutations - begin)
        code_PC = np.tile(code_C, (num, 1))
        code_PC[:, movable_C] = rng.permuted(code_PC[:, movable_C], axis=1)
        code_PN = code_PC[:, case_index_N]
        groups = [_values(statistic, (code_PN == g).astype(np.float64)) for g in np.flatnonzero(counts_G)]
        gap_P = np.ptp(np.stack(groups), axis=0)
        # A filling in which a group is undefined shows no gap that could be compared: counted as one as large.
        extreme += int((~(gap_P < gap - 1e-12)).sum())
    return (1 + extreme) / (1 + num_permutations)

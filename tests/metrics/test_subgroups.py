"""Subgroup tables: each group's own value, the same draws for all, and gaps that chance would show too."""

from functools import partial

import numpy as np
import pytest

from medvlp.metrics import classification, curves, sensitivity, subgroups


def accuracy_of(right):
    return partial(classification.accuracy, np.asarray(right, dtype=int), np.ones(len(right), dtype=int))


def table(right, group, case=None, **options):
    case = range(len(right)) if case is None else case
    return subgroups.by_subgroup(
        accuracy_of(right), group, case, **{"num_draws": 200, "num_permutations": 200} | options
    )


def test_values_are_those_of_the_group_alone():
    rng = np.random.default_rng(0)
    target, score = rng.random(300) < 0.4, rng.integers(0, 9, 300)
    group = rng.choice(["f", "m", ""], 300, p=[0.4, 0.4, 0.2])
    found = subgroups.by_subgroup(
        lambda w: curves.auroc(target, score, w), group, range(300), num_draws=100, num_permutations=0
    )
    assert [row.name for row in found.rows] == ["f", "m", "unknown"]
    for row, key in zip(found.rows, ("f", "m", ""), strict=True):
        own = group == key
        assert row.value.value == pytest.approx(float(curves.auroc(target[own], score[own])))
        rest = float(curves.auroc(target[~own], score[~own]))
        assert row.against_rest.value == pytest.approx(row.value.value - rest)
        assert row.num_samples == row.num_cases == own.sum()
        assert row.value.low < row.value.value < row.value.high
    assert [row.in_gap for row in found.rows] == [True, True, False]
    assert found.gap.value == pytest.approx(abs(found.rows[0].value.value - found.rows[1].value.value))
    assert np.isnan(found.gap_p_value)


def test_a_true_gap_is_found_and_chance_is_not():
    rng = np.random.default_rng(1)
    group = np.repeat(["a", "b"], 150)
    found = table(rng.random(300) < np.where(group == "a", 0.9, 0.6), group)
    assert found.gap.value == pytest.approx(0.3, abs=0.12)
    assert found.gap_p_value == 1 / 201
    assert found.rows[0].against_rest.low > 0
    assert found.rows[0].p_holm < 0.01
    low = [table(rng.random(60) < 0.7, np.repeat(list("abc"), 20), num_draws=2).gap_p_value <= 0.1 for _ in range(150)]
    assert np.mean(low) < 0.19  # 10 % of tables without a gap; 4 binomial deviations above that


def test_cases_are_the_unit():
    rng = np.random.default_rng(2)
    right, group = np.repeat(rng.random(40) < 0.6, 10), np.repeat(["a", "b"] * 20, 10)
    by_case = table(right, group, np.repeat(np.arange(40), 10))
    by_sample = table(right, group)
    assert by_case.rows[0].num_cases == 20
    assert by_case.rows[0].value.high - by_case.rows[0].value.low > 2 * (
        by_sample.rows[0].value.high - by_sample.rows[0].value.low
    )
    assert by_case.gap_p_value > by_sample.gap_p_value
    assert np.isnan(table(right, group, np.repeat(np.arange(20), 20)).gap_p_value)  # both groups within each case


def test_small_undefined_and_missing_groups_are_listed_and_left_out():
    group = ["a"] * 30 + ["b"] * 30 + ["c"] * 3 + [None] * 5 + [float("nan")] * 5
    found = table(np.arange(73) % 2 == 0, group)
    assert {row.name: (row.num_samples, row.in_gap) for row in found.rows} == {
        "a": (30, True),
        "b": (30, True),
        "c": (3, False),
        "unknown": (10, False),
    }
    one = table([True] * 20, ["a"] * 20)
    assert np.isnan(one.gap.value)
    assert np.isnan(one.rows[0].against_rest.value)
    target = np.r_[np.zeros(20), np.ones(20)] > 0  # the first group has one class only
    mixed = np.r_[["a"] * 20, ["b", "c"] * 10]
    found = subgroups.by_subgroup(lambda w: curves.auroc(target, np.arange(40), w), mixed, range(40), num_draws=20)
    assert all(np.isnan(row.value.value) and not row.in_gap for row in found.rows)
    assert table([], []).rows == ()


def test_age_bands():
    ages = [0, 39.9, 40, 59, 60, 79, 80, 101, np.nan]
    assert subgroups.age_bands(ages) == ["<40", "<40", "40-59", "40-59", "60-79", "60-79", ">=80", ">=80", None]
    assert subgroups.age_bands([17, 18], [18]) == ["<18", ">=18"]


def test_spread_over_prompts():
    found = sensitivity.prompt_spread([np.nan, *np.arange(101)])
    assert (found.low, found.median, found.high, found.num_draws, found.num_undefined) == (5, 50, 95, 101, 1)
    none = sensitivity.prompt_spread([np.nan, np.nan])
    assert np.isnan(none.median)
    assert (none.num_draws, none.num_undefined) == (0, 2)
    assert sensitivity.agreement([[0, 1, 2], [0, 1, 0], [0, 2, 1]]) == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert np.isnan(sensitivity.agreement([[0, 1]]))

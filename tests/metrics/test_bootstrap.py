"""The bootstrap resamples cases, pairs systems, repeats with its seed and is fast enough to be always on."""

import time

import numpy as np
import pytest

from medvlp.metrics import bootstrap, classification, curves


def test_interval_of_a_mean_is_the_normal_one():
    right = np.random.default_rng(0).random(2000) < 0.7
    found = bootstrap.intervals({"a": lambda w: classification.accuracy(right, np.ones(2000), w)}, range(2000))["a"]
    half = 1.96 * np.sqrt(0.7 * 0.3 / 2000)
    assert found.value == right.mean()
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.num_draws == 1000


def test_cases_not_samples_are_the_unit():
    """100 cases of 20 equal samples carry the information of 100 samples, so the interval is sqrt(20) wider."""
    right = np.repeat(np.random.default_rng(0).random(100) < 0.5, 20)
    case = np.repeat([f"case{i}" for i in range(100)], 20)

    def accuracy(weight):
        return classification.accuracy(right, np.ones(2000), weight)

    by_case = bootstrap.intervals({"a": accuracy}, case)["a"]
    by_sample = bootstrap.intervals({"a": accuracy}, range(2000))["a"]
    assert (by_case.high - by_case.low) / (by_sample.high - by_sample.low) == pytest.approx(np.sqrt(20), rel=0.15)


def test_coverage_of_the_interval():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        right = rng.random(80) < 0.6
        found = bootstrap.intervals(
            {"a": lambda w, right=right: classification.accuracy(right, np.ones(80), w)}, range(80), 300, trial
        )["a"]
        covered += found.low <= 0.6 <= found.high
    assert 0.89 <= covered / 200 <= 0.985


def test_seed_repeats_and_block_size_does_not_matter():
    a = np.concatenate(list(bootstrap.draw_weights(list("aabbc"), 20, 0)))
    assert np.array_equal(a, np.concatenate(list(bootstrap.draw_weights(list("aabbc"), 20, 0, block=3))))
    assert not np.array_equal(a, np.concatenate(list(bootstrap.draw_weights(list("aabbc"), 20, 1))))
    assert np.array_equal(a[:, 0], a[:, 1])
    assert a.sum(1).max() <= 6


def test_paired_difference_is_narrower_than_unpaired():
    rng = np.random.default_rng(0)
    target, score = rng.random(500) < 0.5, rng.random(500)
    score = score + 0.5 * target
    near = score + rng.normal(size=500) * 0.01
    difference = bootstrap.paired_difference(
        lambda w: curves.auroc(target, score, w), lambda w: curves.auroc(target, near, w), range(500), 300
    )
    alone = bootstrap.intervals({"a": lambda w: curves.auroc(target, score, w)}, range(500), 300)["a"]
    assert difference.high - difference.low < (alone.high - alone.low) / 5
    same = bootstrap.paired_difference(
        lambda w: curves.auroc(target, score, w), lambda w: curves.auroc(target, score, w), range(500), 50
    )
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_undefined_draws_and_single_case():
    target = np.array([1, 0, 0, 0])
    found = bootstrap.intervals({"a": lambda w: curves.auroc(target, [4, 3, 2, 1], w)}, range(4), 200)["a"]
    assert found.value == 1
    assert 0 < found.num_draws < 200
    one = bootstrap.intervals({"a": lambda w: classification.accuracy([1, 0], [1, 1], w)}, ["p", "p"], 100)["a"]
    assert one.value == 0.5
    assert np.isnan(one.low)


def test_thousand_draws_of_ten_thousand_samples_take_seconds():
    rng = np.random.default_rng(0)
    target, predicted, score = rng.integers(0, 3, 10_000), rng.integers(0, 3, 10_000), rng.random(10_000)
    start = time.process_time()
    bootstrap.intervals(
        {
            "accuracy": lambda w: classification.accuracy(target, predicted, w),
            "balanced": lambda w: classification.balanced_accuracy(target, predicted, 3, w),
            "f1": lambda w: classification.f1(target, predicted, 3, "macro", w),
            "auroc": lambda w: curves.auroc(target == 0, score, w),
            "ap": lambda w: curves.average_precision(target == 0, score, w),
        },
        rng.integers(0, 2000, 10_000),
        1000,
    )
    assert time.process_time() - start < 20

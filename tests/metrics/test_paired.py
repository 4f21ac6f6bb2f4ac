"""Paired tests: right rates under no difference, power under one, and agreement with one another."""

import numpy as np
import pytest
from scipy.stats import binomtest

from medvlp.metrics import classification, paired


def test_exact_test_equals_the_binomial_one_also_for_thousands():
    rng = np.random.default_rng(0)
    for num in (3, 30, 8000):
        first, second = rng.random(num) < 0.6, rng.random(num) < 0.57
        b, c = int((first & ~second).sum()), int((second & ~first).sum())
        expected = binomtest(b, b + c).pvalue if b + c else 1.0
        assert paired.mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_rates_of_the_three_tests(share):
    """At 5 %: about that without a difference, most of the time with one of 0.2."""
    rng, found = np.random.default_rng(1), []
    for seed in range(150):
        first, second = rng.random(120) < share, rng.random(120) < 0.6
        score = lambda right: lambda w: classification.accuracy(right, np.ones(120), w)  # noqa: E731
        found.append(
            [
                paired.mcnemar(first, second),
                paired.sign_flip_test(first * 1 - second, range(120), 200, seed),
                paired.paired_test(score(first), score(second), range(120), 60, seed).p_value,
            ]
        )
    rate = (np.array(found) < 0.05).mean(0)
    if share == 0.6:
        assert (rate < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 150)).all()
    else:
        assert (rate > 0.8).all()


def test_cases_flip_together():
    """Ten equal samples of one case are one observation."""
    right = np.repeat(np.array([1.0] * 4 + [0.0]), 10)
    assert paired.sign_flip_test(right, np.repeat(range(5), 10)) == 2 / 2**4
    assert paired.sign_flip_test(right, range(50), 2000) < 0.01
    assert np.isnan(paired.sign_flip_test([], []))


def test_a_difference_comes_with_its_detectable_size():
    rng = np.random.default_rng(3)
    first, second = rng.random(200) < 0.8, rng.random(200) < 0.6
    score = lambda right: lambda w: classification.accuracy(right, np.ones(200), w)  # noqa: E731
    found = paired.paired_test(score(first), score(second), range(200), 400)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.low < found.value < found.high
    assert found.standard_error == pytest.approx(np.std(first * 1.0 - second) / np.sqrt(200), rel=0.15)
    assert found.smallest == pytest.approx(2.8016 * found.standard_error, rel=1e-4)
    assert np.isnan(paired.paired_test(score(first), score(first), range(200), 50).p_value)

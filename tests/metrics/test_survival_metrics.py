"""Concordance equals a double loop and lifelines, on ties and on bootstrap draws; the wrong rules are caught."""

import numpy as np
import pytest

from medvlp.metrics.survival import concordance, uncensored_share, uno_concordance


def sample(seed, num=60, ties=True):
    rng = np.random.default_rng(seed)
    time = rng.integers(1, 12, num).astype(float) if ties else rng.exponential(10, num)
    risk = rng.integers(0, 6, num).astype(float) if ties else rng.normal(size=num)
    return time, rng.random(num) < 0.5, risk


def by_loops(time, event, risk, weight=None, factor=None, tied_risk=0.5, tied_time=True):
    weight = np.ones(len(time)) if weight is None else weight
    factor = np.ones(len(time)) if factor is None else factor
    won = total = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            equal = tied_time and time[i] == time[j] and not event[j]
            if i != j and event[i] and (time[i] < time[j] or equal):
                share = weight[i] * weight[j] * factor[i]
                total += share
                won += share * (1.0 if risk[i] > risk[j] else tied_risk if risk[i] == risk[j] else 0.0)
    return won / total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [True, False])
def test_equals_a_double_loop(seed, ties):
    time, event, risk = sample(seed, ties=ties)
    assert concordance(time, event, risk) == pytest.approx(by_loops(time, event, risk), abs=1e-12)


@pytest.mark.extras
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [True, False])
def test_equals_lifelines(seed, ties):
    utils = pytest.importorskip("lifelines.utils", reason="extra survival is not installed")
    time, event, risk = sample(seed, 150, ties)
    assert concordance(time, event, risk) == pytest.approx(utils.concordance_index(time, -risk, event), abs=1e-12)


def test_other_rules_give_other_numbers():
    time, event, risk = sample(0)
    found = float(concordance(time, event, risk))
    assert by_loops(time, event, risk, tied_risk=0.0) != pytest.approx(found, abs=1e-3)
    assert by_loops(time, event, risk, tied_time=False) != pytest.approx(found, abs=1e-4)
    assert by_loops(time, ~event, risk) != pytest.approx(found, abs=1e-3)


def test_each_draw_is_one_resample():
    time, event, risk = sample(1)
    weight = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=3).astype(float)
    several = concordance(time, event, risk, weight)
    for row, draw in enumerate(weight):
        again = np.repeat(np.arange(60), draw.astype(int))
        # A case drawn twice is no pair with itself: an event is never ordered before itself.
        assert several[row] == pytest.approx(concordance(time[again], event[again], risk[again]), abs=1e-12)


def test_sign_constant_and_undefined():
    time, event, _ = sample(2, ties=False)
    assert concordance(time, event, -time) == 1.0
    assert concordance(time, event, time) == 0.0
    assert concordance(time, event, np.zeros(60)) == 0.5
    assert np.isnan(concordance([1.0, 2.0], [False, False], [0.0, 1.0]))
    assert concordance([1.0, 2.0], [True, False], [[1.0, 0.0]][0], [[1.0, 1.0], [1.0, 0.0]])[0] == 1.0


def test_uncensored_share_by_hand():
    time, event = [1.0, 2.0, 2.0, 3.0, 5.0], [True, False, True, False, True]
    # at 2: 4 at risk, one has the event first, so one of 3 is censored; at 3: one of 2
    assert uncensored_share(time, event, [1, 2, 2.5, 3, 4]) == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3])
    assert uncensored_share(time, [True] * 5, [9.0]) == pytest.approx([1.0])


@pytest.mark.extras
def test_uncensored_share_equals_lifelines():
    lifelines = pytest.importorskip("lifelines", reason="extra survival is not installed")
    time, event, _ = sample(3, ties=False)
    fitted = lifelines.KaplanMeierFitter().fit(time, ~event)
    later = np.sort(time)[:-1] + 1e-9  # just after each time
    expected = fitted.survival_function_at_times(later).to_numpy()
    assert uncensored_share(time, event, later) == pytest.approx(expected)


@pytest.mark.parametrize("tau", [None, 8.0])
def test_uno_equals_a_double_loop(tau):
    time, event, risk = sample(4)
    train_time, train_event, _ = sample(5, 200)
    share = uncensored_share(train_time, train_event, time)
    factor = np.where(share > 0, 1 / np.maximum(share, 1e-9) ** 2, 0.0)
    if tau is not None:
        factor = np.where(time < tau, factor, 0.0)
    expected = by_loops(time, event, risk, factor=factor)
    assert uno_concordance(time, event, risk, train_time, train_event, tau) == pytest.approx(expected, abs=1e-12)


def test_uno_without_censoring_is_harrell():
    time, _, risk = sample(6)
    event = np.ones(60, dtype=bool)
    assert uno_concordance(time, event, risk, time, event) == pytest.approx(concordance(time, event, risk))


def test_uno_undoes_censoring_that_harrell_feels():
    rng = np.random.default_rng(0)
    num = 3000
    risk = rng.normal(size=num)
    late = 0.5 + rng.exponential(1, num) * np.exp(-1.5 * risk)  # risk matters late only, where most are censored
    time = np.where(rng.random(num) < 0.5, rng.exponential(0.3, num), late)
    end = rng.exponential(0.5, num)
    seen, event = np.minimum(time, end), time <= end
    tau = 1.5
    truth = float(uno_concordance(time, np.ones(num, bool), risk, time, np.ones(num, bool), tau))
    uno = abs(float(uno_concordance(seen, event, risk, seen, event, tau)) - truth)
    assert uno < 0.02
    assert abs(float(concordance(seen, event, risk)) - truth) > 0.04

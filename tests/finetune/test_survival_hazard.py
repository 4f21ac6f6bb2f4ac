"""The discrete hazard: loss against a loop over bins, mutants caught, bins and stopping from the training part."""

import math

import numpy as np
import pytest
import torch
from finetune.survival_cases import halves, made_up

from medvlp.errors import TrainingError
from medvlp.finetune.survival import cross_validate
from medvlp.finetune.survival_config import Hazard
from medvlp.finetune.survival_hazard import fit_hazard, hazard_loss, risk_of, time_bin, time_edges
from medvlp.metrics.survival import concordance

SMALL = Hazard(hidden=0, epochs=60, members=1, learning_rate=0.03)


def by_loops(logits, bins, events, flipped=False, forgets=False):
    total = 0.0
    for row, last, seen in zip(logits, bins, events, strict=True):
        hazard = [1 / (1 + math.exp(-value)) for value in row]
        lived = 1.0
        for place in range(last):
            lived *= 1 - hazard[place]
        if seen != flipped:
            total -= math.log(hazard[last] * (1.0 if forgets else lived))
        else:
            total -= math.log(lived * (1 - hazard[last]))
    return total / len(logits)


def drawn(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(30, 4)), rng.integers(0, 4, 30), rng.random(30) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_loss_equals_a_loop(seed):
    logits, bins, events = drawn(seed)
    loss = hazard_loss(torch.tensor(logits), torch.tensor(bins), torch.tensor(events))
    assert float(loss) == pytest.approx(by_loops(logits, bins, events), abs=1e-10)
    assert by_loops(logits, bins, events, flipped=True) != pytest.approx(float(loss), abs=1e-2)
    assert by_loops(logits, bins, events, forgets=True) != pytest.approx(float(loss), abs=1e-2)


def test_loss_is_finite_where_a_hazard_is_certain():
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]])
    loss = hazard_loss(logits, torch.tensor([1, 0]), torch.tensor([True, False]))
    assert float(loss) == pytest.approx((80 + 80 + 0) / 2, abs=1e-3)


def test_risk_is_minus_the_bins_lived_through():
    logits = torch.zeros(1, 3)
    assert float(risk_of(logits)) == pytest.approx(-(0.5 + 0.25 + 0.125))
    assert risk_of(torch.tensor([[2.0, 0.0]])) > risk_of(torch.tensor([[-2.0, 0.0]]))


def test_edges_are_quantiles_of_event_times():
    time = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 100, 200])
    event = np.array([True] * 8 + [False] * 2)
    edges = time_edges(time, event, 4)
    assert edges == pytest.approx(np.quantile(np.arange(1, 9), [0.25, 0.5, 0.75]))
    assert time_bin(np.array([0.5, edges[0], 4.0, 300.0]), edges).tolist() == [0, 1, 1, 3]
    assert time_edges(np.array([1.0, 4, 4, 4, 4, 9]), np.ones(6, bool), 4).tolist() == [4.0]  # equal edges once
    with pytest.raises(TrainingError, match="3 events for 4 time bins"):
        time_edges(time, np.arange(10) < 3, 4)
    with pytest.raises(TrainingError, match="too much alike for bins"):
        time_edges(np.ones(5), np.ones(5, bool), 4)


def test_recovers_order_and_sign_and_repeats_itself():
    block, outcomes = made_up()
    first = cross_validate(SMALL, [block], outcomes, halves(outcomes.cases))
    for fold in first:
        assert concordance(fold.time_N, fold.event_N, fold.risk_N) > 0.6
    again = cross_validate(SMALL, [block], outcomes, halves(outcomes.cases))
    assert all(np.array_equal(a.risk_N, b.risk_N) for a, b in zip(first, again, strict=True))


def test_the_draw_of_others_is_left_alone():
    block, outcomes = made_up(60)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    fit_hazard(Hazard(epochs=2), block.values_ND, outcomes.time_C, outcomes.event_C, 0)
    assert torch.equal(torch.rand(1), expected)


def test_stops_early_and_keeps_the_best():
    block, outcomes = made_up(80, width=40, effect=0.0)
    config = Hazard(hidden=16, dropout=0.0, learning_rate=0.05, patience=5, members=2)
    _, facts = fit_hazard(config, block.values_ND, outcomes.time_C, outcomes.event_C, 0)
    assert len(facts["epochs"]) == 2
    assert max(facts["epochs"]) < 30  # noise is learned by heart at once


def test_a_loss_that_explodes_is_told():
    block, outcomes = made_up(60)
    with pytest.raises(TrainingError, match="the loss is not finite"):
        fit_hazard(Hazard(), block.values_ND * np.inf, outcomes.time_C, outcomes.event_C, 0)

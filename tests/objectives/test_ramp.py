"""Factors over the steps: their values, and what they do to a sum of objectives."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from medvlp.objectives import ClipObjective, LocalObjective, build
from medvlp.objectives.base import Losses
from medvlp.objectives.ramp import Ramp
from medvlp.objectives.weighted import WeightedObjectives


class Constant(nn.Module):
    """An objective whose one term is its weight."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)))

    def forward(self, out, batch, gather):
        return Losses({type(self).__name__.lower(): self.value * 1.0}, {"share": torch.tensor(0.5)})


class Other(Constant):
    """A second class: a list holds each class once."""


@pytest.mark.parametrize(
    ("shape", "step", "wanted"),
    [
        ("linear", 0, 0.2), ("linear", 10, 0.2), ("linear", 15, 0.6), ("linear", 20, 1.0), ("linear", 99, 1.0),
        ("cosine", 10, 0.2), ("cosine", 12.5, 0.2 + 0.8 * (1 - 0.5**0.5) / 2), ("cosine", 15, 0.6), ("cosine", 20, 1.0),
    ],
)  # fmt: skip
def test_values(shape, step, wanted):
    assert Ramp(start=10, stop=20, first=0.2, last=1.0, shape=shape).factor(step) == pytest.approx(wanted)


def test_down_and_a_jump():
    assert Ramp(stop=4, first=1.0, last=0.0).factor(1) == 0.75
    jump = Ramp(start=5, stop=5)
    assert [jump.factor(step) for step in (4, 5)] == [0.0, 1.0]


def test_backwards_is_refused():
    with pytest.raises(ValidationError, match="stops at step 3, before it starts at 5"):
        Ramp(start=5, stop=3)


def test_a_sum_over_the_steps():
    both = WeightedObjectives([Constant(2), Other(3)], [Ramp(stop=4, first=1.0, last=0.0), None])
    seen = []
    for step in (0, 1, 4):
        both.begin_step(step)
        losses = both(None, None, None)
        seen.append((float(losses.terms["constant"]), float(losses.terms["other"]), float(losses.total)))
        assert float(losses.report["constant/ramp"]) == Ramp(stop=4, first=1.0, last=0.0).factor(step)
        assert "other/ramp" not in losses.report
    assert seen == [(2.0, 3.0, 5.0), (1.5, 3.0, 4.5), (0.0, 3.0, 3.0)]
    both.objectives[0].value.grad = None
    losses.total.backward()
    assert float(both.objectives[0].value.grad) == 0.0  # a gradient of zero, not none


def test_what_a_config_builds():
    plain = build(ClipObjective.Config())
    assert isinstance(plain, ClipObjective)
    ramped = build(ClipObjective.Config(ramp=Ramp(stop=7)))
    assert isinstance(ramped, WeightedObjectives)
    assert ramped.ramps == [Ramp(stop=7)]
    two = build([ClipObjective.Config(), LocalObjective.Config(ramp=Ramp(stop=7))])
    assert two.ramps == [None, Ramp(stop=7)]
    assert two.reads == build([ClipObjective.Config(), LocalObjective.Config()]).reads

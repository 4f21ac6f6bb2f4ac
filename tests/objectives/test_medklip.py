"""MedKLIP's losses: what counts as positive, negative and nothing, invariance, and the published variant."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.medklip import (
    MedklipObjective,
    draw_positions,
    existence_loss,
    location_loss,
    published_location_loss,
)

B, Q, P, D = 4, 3, 5, 6
ABOVE = torch.zeros(P, P, dtype=torch.bool)
ABOVE[0, 1] = ABOVE[1, 2] = ABOVE[0, 2] = True  # 2 is above 1 is above 0


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    place = normalize(torch.randn(B, Q, D, generator=generator, dtype=torch.float64), dim=-1)
    position = normalize(torch.randn(P, D, generator=generator, dtype=torch.float64), dim=-1)
    state = torch.tensor([1, 0, 2, -100])[torch.randint(0, 4, (B, Q, P), generator=generator)]
    return place, position, state


def made(place, position, state, logit, **more):
    label = torch.where((state == 1).any(-1), 1, torch.where((state == 0).any(-1), 0, -100))
    batch = SimpleNamespace(entity_label_BQ=label, entity_position_BQP=state)
    extra = {
        "medklip.exists_BQ2": logit,
        "medklip.place_BQD": place,
        "medklip.position_PD": position,
        "medklip.above_PP": ABOVE.long(),
        **more,
    }
    return Outputs(place[:, 0], place[:, 0], 1.0, extra=extra), batch


def test_what_is_above_or_below_a_true_position_gets_no_gradient():
    place, position, _ = draw()
    position.requires_grad_(True)
    state = torch.full((B, Q, P), -100)
    state[0, 0, 1] = 1
    state[0, 0, 3] = 2
    location_loss(place, position, state, ABOVE).backward()
    moved = position.grad.abs().sum(1) > 0
    assert moved.tolist() == [False, True, False, False, True]  # its child, itself, its parent, uncertain, a negative


def test_several_true_positions_are_no_negatives_of_one_another():
    place, position, _ = draw()
    state = torch.full((1, 1, P), 2)
    state[0, 0, 3] = state[0, 0, 4] = 1
    assert location_loss(place[:1, :1], position, state, ABOVE) == 0


def test_the_order_of_images_entities_and_positions_does_not_matter():
    place, position, state = draw(1)
    logit = torch.randn(B, Q, 2, dtype=torch.float64)
    images, entities, positions = torch.randperm(B), torch.randperm(Q), torch.randperm(P)
    label = state.amax(-1)
    torch.testing.assert_close(
        existence_loss(logit, label), existence_loss(logit[images][:, entities], label[images][:, entities])
    )
    torch.testing.assert_close(
        location_loss(place, position, state, ABOVE),
        location_loss(
            place[images][:, entities],
            position[positions],
            state[images][:, entities][:, :, positions],
            ABOVE[positions][:, positions],
        ),
    )


def test_what_is_not_mentioned_changes_nothing():
    logit, label = torch.randn(B, Q, 2), torch.tensor([[1, -100, 0]] * B)
    other = logit.clone()
    other[:, 1] = float("nan")
    assert existence_loss(logit, label) == existence_loss(other, label)


@pytest.mark.parametrize("compat", [None, "published"])
@pytest.mark.parametrize("state", [-100, 0, 2])
def test_a_batch_without_a_present_entity_gives_no_nan(compat, state):
    """The released code divides by the number of present entities, which is then 0."""
    place, position, _ = draw()
    logit = torch.randn(B, Q, 2, dtype=torch.float64)
    leaves = [tensor.clone().requires_grad_(True) for tensor in (place, position, logit)]
    out, batch = made(leaves[0], leaves[1], torch.full((B, Q, P), state), leaves[2])
    losses = MedklipObjective(MedklipObjective.Config(compat=compat))(out, batch, LocalGather())
    losses.total.backward()
    assert losses.terms["medklip_location"] == 0
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_true_everywhere_gives_no_nan():
    place, position, _ = draw()
    out, batch = made(place, position, torch.ones(B, Q, P, dtype=torch.long), torch.randn(B, Q, 2))
    for compat in (None, "published"):
        losses = MedklipObjective(MedklipObjective.Config(compat=compat))(out, batch, LocalGather())
        assert losses.terms["medklip_location"] == 0


def test_published_draws_a_true_position_and_others_that_are_not():
    state = torch.tensor([[1, 1, 0, 2, -100], [0, 0, 0, 0, 1], [1, 1, 1, 1, -100], [0] * 5, [1] * 5])
    hits = torch.zeros(5, 5)
    for seed in range(60):
        torch.manual_seed(seed)
        positive, negative, counts = draw_positions(state, 3)
        assert counts.tolist() == [True, True, True, False, False]
        for row in range(3):
            assert state[row, positive[row]] == 1
            assert (state[row, negative[row]] != 1).all()
            hits[row, positive[row]] += 1
        assert len(set(negative[0].tolist())) == len(set(negative[1].tolist())) == 3
        assert negative[2].tolist() == [4, 4, 4]
    assert hits[0, :2].min() > 15  # any true position, not the first


def test_published_reads_the_uncertain_as_not_mentioned_and_equals_its_formula():
    torch.manual_seed(3)
    place, position, logit = torch.randn(1, 1, D), torch.randn(P, D), torch.randn(1, 1, 2)
    state = torch.tensor([[[1, 2, 2, 2, 2]]])
    objective = MedklipObjective(MedklipObjective.Config(compat="published", num_negatives=4))
    out, batch = made(place, position, state, logit)
    location = objective(out, batch, LocalGather()).terms["medklip_location"]
    expected = published_location_loss(place[0], position, torch.tensor([0]), torch.tensor([[1, 2, 3, 4]]))
    torch.testing.assert_close(location, expected)
    batch.entity_label_BQ = torch.tensor([[2]])
    assert objective(out, batch, LocalGather()).terms["medklip_existence"] == 0


def test_a_learned_target_of_the_uncertain_gets_a_gradient_from_the_uncertain_alone():
    place, position, state = draw()
    target = torch.full((Q,), 0.5, requires_grad=True)
    out, batch = made(place, position, state, torch.randn(B, Q, 2), **{"medklip.uncertain_Q": target})
    batch.entity_label_BQ = torch.tensor([[2, 1, 0]] * B)
    MedklipObjective(MedklipObjective.Config(uncertain="learned"))(out, batch, LocalGather()).total.backward()
    assert (target.grad != 0).tolist() == [True, False, False]


def test_without_location_no_position_is_needed():
    assert MedklipObjective(MedklipObjective.Config(location=0)).needs == {"entity_label_BQ"}
    out, batch = made(*draw(), torch.randn(B, Q, 2))
    batch.entity_position_BQP = None
    assert set(MedklipObjective(MedklipObjective.Config(location=0))(out, batch, LocalGather()).terms) == {
        "medklip_existence"
    }


def test_half_precision_is_widened():
    place, position, state = draw()
    wide = location_loss(place.float(), position.float(), state, ABOVE)
    assert location_loss(place.bfloat16(), position.bfloat16(), state, ABOVE).dtype == torch.float32
    torch.testing.assert_close(
        location_loss(place.bfloat16(), position.bfloat16(), state, ABOVE), wide, rtol=0.1, atol=0.1
    )

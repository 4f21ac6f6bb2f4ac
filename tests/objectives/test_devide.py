"""The losses in DeViDe's manner: many descriptions count as a mean, absent entities alone are negatives."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from medvlp.errors import TrainingError
from medvlp.objectives.base import Outputs
from medvlp.objectives.devide import (
    DevideObjective,
    entity_bce,
    many_description_scores,
    text_knowledge_loss,
    with_knowledge,
)
from medvlp.objectives.gather import LocalGather

B, M, Q, E, N, D = 3, 5, 3, 6, 4, 8
ENTITY = torch.tensor([0, 0, 1, 1, 2, 2])
OWNER = torch.tensor([0, 0, 1, 2, 2])


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def test_saying_the_same_twice_changes_no_score():
    image, description = unit(B, D), unit(E, D, seed=1)
    once = many_description_scores(image, description, ENTITY, Q)
    twice = many_description_scores(image, description.repeat(2, 1), ENTITY.repeat(2), Q)
    torch.testing.assert_close(once, twice)
    order = torch.randperm(E)
    torch.testing.assert_close(many_description_scores(image, description[order], ENTITY[order], Q), once)


def test_one_description_is_its_cosine():
    image, description = unit(B, D), unit(Q, D, seed=1)
    scores = many_description_scores(image, description, torch.arange(Q), Q, temperature=0.5)
    torch.testing.assert_close(scores, image @ description.T / 0.5)


def test_scores_stay_finite_at_a_low_temperature():
    image = unit(B, D).float().requires_grad_(True)
    scores = many_description_scores(image, -unit(E, D, seed=1).float(), ENTITY, Q, temperature=1e-3)
    scores.sum().backward()
    assert torch.isfinite(scores).all()
    assert torch.isfinite(image.grad).all()


def test_only_absent_entities_are_negatives():
    text, description = unit(1, D), unit(E, D, seed=1).requires_grad_(True)
    label = torch.tensor([[1, 0, 2]])
    owner, valid = torch.tensor([0]), torch.tensor([True])
    text_knowledge_loss(text, description, ENTITY, label, owner, valid, 5.0).backward()
    assert (description.grad.abs().sum(1) > 0).tolist() == [True] * 4 + [False] * 2
    for other in (2, -100):
        label = torch.tensor([[1, other, other]])
        assert text_knowledge_loss(text, description, ENTITY, label, owner, valid, 5.0) == 0


def test_nothing_present_or_valid_or_mentioned_gives_no_nan():
    text, description = unit(M, D).requires_grad_(True), unit(E, D, seed=1).requires_grad_(True)
    every, none = torch.ones(M, dtype=torch.bool), torch.zeros(M, dtype=torch.bool)
    for state in (0, 2, -100):
        loss = text_knowledge_loss(text, description, ENTITY, torch.full((B, Q), state), OWNER, every, 5.0)
        assert loss == 0
    broken = torch.full((M, D), float("nan"), dtype=torch.float64, requires_grad=True)
    loss = text_knowledge_loss(broken, description, ENTITY, torch.ones(B, Q, dtype=torch.long), OWNER, none, 5.0)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(broken.grad).all()
    assert torch.isfinite(description.grad).all()
    bias = torch.zeros(Q, dtype=torch.float64, requires_grad=True)
    entity_bce(unit(B, Q), torch.full((B, Q), -100), bias).backward()
    assert (bias.grad == 0).all()


def test_retrieved_knowledge_is_that_of_the_nearest_descriptions():
    description = torch.eye(E, D, dtype=torch.float64)
    text = normalize(torch.tensor([[3.0, 2.0, 0.1, 0, 0, 0, 0, 1.0]], dtype=torch.float64), dim=1)
    out = with_knowledge(text, description, 2, 0.5, 0.07)
    moved = out / out[0, 7] - text / text[0, 7]
    assert (moved.abs() > 1e-9).tolist()[0] == [True, True] + [False] * 6
    torch.testing.assert_close(out.norm(dim=1), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(with_knowledge(text, description, 2, 0.0, 0.07), text)
    assert with_knowledge(text, description, 99, 0.5, 0.07).shape == text.shape


def made(seed=0, **changes):
    extra = {
        "devide.description_ED": unit(E, D, seed=seed + 1),
        "devide.entity_E": ENTITY,
        "devide.bias_Q": torch.zeros(Q, dtype=torch.float64),
    }
    settings = {"patch_BND": unit(B, N, D, seed=seed + 2), "extra": extra, **changes}
    return Outputs(unit(B, D, seed=seed + 3), unit(M, D, seed=seed + 4), 6.0, **settings)


def batch_of(owner=OWNER, valid=None, label=None):
    return SimpleNamespace(
        entity_label_BQ=torch.tensor([[1, 0, -100], [0, 1, 1], [2, 0, 1]]) if label is None else label,
        text_owner_M=owner, text_valid_M=valid, group_B=torch.arange(B), concept_B=torch.full((B,), -1),
        texts=[f"t{number}" for number in range(len(owner))], concepts=[()] * B,
    )  # fmt: skip


def test_the_four_terms_have_their_factors_and_go_with_them():
    config = DevideObjective.Config(threshold=-1.0)
    whole = DevideObjective(config)(made(), batch_of(), LocalGather()).terms
    assert set(whole) == {"devide_bce", "devide_itc", "devide_tnc", "devide_pta"}
    assert all(term > 0 for term in whole.values())
    for name in ("bce", "itc", "tnc", "pta"):
        doubled = config.model_copy(update={name: 2 * getattr(config, name), "weight": 0.5})
        terms = DevideObjective(doubled)(made(), batch_of(), LocalGather()).terms
        for key, term in terms.items():
            torch.testing.assert_close(term, whole[key] * (1.0 if key == f"devide_{name}" else 0.5))
        without = DevideObjective(config.model_copy(update={name: 0.0}))
        assert set(without(made(), batch_of(), LocalGather()).terms) == set(whole) - {f"devide_{name}"}
    assert "patches" not in DevideObjective(config.model_copy(update={"pta": 0.0})).reads


def test_texts_in_another_order_and_texts_that_do_not_count_change_nothing():
    objective, out = DevideObjective(DevideObjective.Config(threshold=-1.0, positives="own")), made()
    valid = torch.tensor([True, True, True, False, True])
    whole = objective(out, batch_of(valid=valid), LocalGather()).terms
    for rows in (torch.tensor([4, 2, 3, 1, 0]), valid.nonzero().flatten()):
        part = Outputs(out.image_BD, out.text_MD[rows], 6.0, patch_BND=out.patch_BND, extra=out.extra)
        terms = objective(part, batch_of(OWNER[rows], valid[rows]), LocalGather()).terms
        for name, term in terms.items():
            torch.testing.assert_close(term, whole[name])


def test_a_step_without_patches_is_refused():
    with pytest.raises(TrainingError, match="needs embeddings of places"):
        DevideObjective()(made(patch_BND=None), batch_of(), LocalGather())

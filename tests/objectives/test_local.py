"""The word-region contrast: length does not matter unless asked, words without a place in it neither."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from medvlp.errors import TrainingError
from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.clip import info_nce
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.local import LocalObjective, local_contrast, word_region_scores

IMAGES, TEXTS, PLACES, TOKENS, SIZE = 3, 5, 4, 6, 7


def unit(*shape, seed):
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, SIZE, generator=draw, dtype=torch.float64), dim=-1)


@pytest.fixture
def case():
    return SimpleNamespace(
        patch_BND=unit(IMAGES, PLACES, seed=1).requires_grad_(),
        word_MLD=unit(TEXTS, TOKENS, seed=2).requires_grad_(),
        token_mask_ML=torch.arange(TOKENS) < torch.tensor([6, 3, 1, 4, 2])[:, None],
        text_owner_M=torch.tensor([0, 1, 2, 1, 0]),
        text_valid_M=torch.tensor([True, True, True, True, False]),
    )


def scores(case, **options):
    return word_region_scores(case.patch_BND, case.word_MLD, case.token_mask_ML, **options)


def losses(case, **settings):
    out = Outputs(None, torch.zeros(TEXTS, SIZE), 1.0, patch_BND=case.patch_BND, word_MLD=case.word_MLD)
    return LocalObjective(LocalObjective.Config(**settings))(out, case, LocalGather())


def test_saying_a_text_twice_changes_nothing_but_in_the_published_way(case):
    twice = SimpleNamespace(
        patch_BND=case.patch_BND,
        word_MLD=torch.cat([case.word_MLD, case.word_MLD], 1),
        token_mask_ML=torch.cat([case.token_mask_ML, case.token_mask_ML], 1),
    )
    torch.testing.assert_close(scores(twice), scores(case))
    longer = torch.tensor(2.0, dtype=torch.float64).log() / 5
    torch.testing.assert_close(scores(twice, compat="gloria") - scores(case, compat="gloria"), longer.expand(3, 5))


def test_a_word_that_equals_a_place_scores_near_one_under_sharp_attention(case):
    word = case.patch_BND[1, 2].detach().expand(1, 1, SIZE)
    found = word_region_scores(case.patch_BND, word, torch.ones(1, 1), temperatures=(200.0, 5.0))
    assert found[1, 0].item() == pytest.approx(1, abs=1e-6)
    assert found[1, 0] == found.max()


def test_padding_of_words_and_chunks_change_nothing(case):
    noise = torch.full((TEXTS, 2, SIZE), torch.nan, dtype=torch.float64)
    padded = SimpleNamespace(
        patch_BND=case.patch_BND,
        word_MLD=torch.cat([case.word_MLD, noise], 1),
        token_mask_ML=torch.cat([case.token_mask_ML, torch.zeros(TEXTS, 2, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(scores(padded), scores(case))
    inputs = [case.patch_BND, case.word_MLD]
    expected = torch.autograd.grad(scores(case).square().sum(), inputs)
    for made in (scores(padded), scores(case, chunk=2)):
        for one, other in zip(torch.autograd.grad(made.square().sum(), inputs), expected, strict=True):
            torch.testing.assert_close(one, other)


def test_texts_without_a_word_and_batches_without_a_text(case):
    case.token_mask_ML = torch.zeros_like(case.token_mask_ML)
    found = scores(case)
    assert not found.any()
    found.sum().backward()
    assert not case.word_MLD.grad.any()
    case.text_valid_M = torch.zeros(TEXTS, dtype=torch.bool)
    loss = losses(case).total
    assert loss.item() == 0
    loss.backward()
    assert case.patch_BND.grad.isfinite().all()


def test_with_all_texts_valid_the_contrast_is_the_global_one_on_scores(case):
    score, everything = scores(case).detach(), torch.ones(TEXTS, dtype=torch.bool)
    expected = info_nce(score, torch.eye(TEXTS, dtype=torch.float64), 10.0, owner_M=case.text_owner_M)
    torch.testing.assert_close(local_contrast(score, case.text_owner_M, everything), expected)


def test_the_module_equals_the_functions_and_leaves_invalid_texts_out(case):
    expected = local_contrast(scores(case), case.text_owner_M, case.text_valid_M)
    made = losses(case)
    torch.testing.assert_close(made.terms["local"], expected)
    gradient = torch.autograd.grad(made.total, [case.patch_BND, case.word_MLD])
    assert gradient[0].any()
    assert gradient[1][:4].any()
    assert not gradient[1][4].any()
    heavier = losses(case, weight=2.0, temperature3=3.0, compat="gloria", chunk=None)
    again = local_contrast(scores(case, compat="gloria"), case.text_owner_M, case.text_valid_M, temperature3=3.0)
    torch.testing.assert_close(heavier.total, 2 * again)
    kept = case.text_valid_M
    own = scores(case)[case.text_owner_M, torch.arange(TEXTS)][kept]
    torch.testing.assert_close(made.report["matching_score"], own.mean().detach())


def test_order_of_images_and_texts_changes_nothing(case):
    images, texts = torch.tensor([2, 0, 1]), torch.tensor([4, 2, 0, 3, 1])
    moved = SimpleNamespace(
        patch_BND=case.patch_BND[images],
        word_MLD=case.word_MLD[texts],
        token_mask_ML=case.token_mask_ML[texts],
        text_owner_M=images.argsort()[case.text_owner_M[texts]],
        text_valid_M=case.text_valid_M[texts],
    )
    torch.testing.assert_close(losses(moved).total, losses(case).total)


def test_what_is_missing_is_named(case):
    objective = build(LocalObjective.Config())
    for missing, name in (("patch_BND", "places"), ("word_MLD", "tokens")):
        given = {"patch_BND": case.patch_BND, "word_MLD": case.word_MLD, missing: None}
        with pytest.raises(TrainingError, match=f"objective local: needs embeddings of {name}"):
            objective(Outputs(None, torch.zeros(TEXTS, SIZE), 1.0, **given), case, LocalGather())

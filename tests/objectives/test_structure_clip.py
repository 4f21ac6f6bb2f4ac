"""Structure-CLIP's losses: each defect of the published code has its test, then the module around the functions."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from medvlp.errors import ConfigError, TrainingError
from medvlp.fusion.knowledge import TripleEncoder
from medvlp.objectives import build
from medvlp.objectives.base import Outputs, Seen
from medvlp.objectives.context import Context
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.structure_clip import (
    StructureClipHeads,
    StructureClipObjective,
    hinge_contrast,
    swap_hinge,
    with_triples,
)

B, M, K, D = 4, 7, 5, 6
OWNER = torch.tensor([2, 0, 1, 3, 0, 2, 2])
OF = torch.tensor([0, -1, 6, 3, -1])


def unit(*shape, seed):
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, D, generator=draw, dtype=torch.float64), dim=-1)


class Rows(SimpleNamespace):
    def __len__(self):
        return len(self.group_B)


def rows_of(owner, of, texts="abcdefg"):
    return Rows(
        text_owner_M=owner, text_valid_M=None, swap_of_K=of, texts=list(texts), group_B=torch.arange(B),
        concepts=[()] * B, concept_B=torch.full((B,), -1),
    )  # fmt: skip


def make_case(seed=0, of=OF):
    knowledge = unit(M, seed=seed + 3)
    knowledge[2] = 0  # a text without triples
    return SimpleNamespace(
        image=unit(B, seed=seed).requires_grad_(),
        text=unit(M, seed=seed + 1).requires_grad_(),
        swap=unit(len(of), seed=seed + 2).requires_grad_(),
        knowledge=knowledge.requires_grad_(),
        batch=rows_of(OWNER, of),
    )


def losses_of(case, **settings):
    extra = {"structure_clip.knowledge_MD": case.knowledge}
    out = Outputs(case.image, case.text, 9.0, swap_KD=case.swap, extra=extra)
    return StructureClipObjective(StructureClipObjective.Config(**settings))(out, case.batch, LocalGather())


def test_the_order_of_images_texts_and_swaps_does_not_matter():
    case, again = make_case(), make_case()
    images, texts, swaps = torch.randperm(B), torch.randperm(M), torch.randperm(K)
    again.image, again.text, again.swap = case.image[images], case.text[texts], case.swap[swaps]
    again.knowledge = case.knowledge[texts]
    of = OF[swaps]
    moved = torch.where(of < 0, -1, texts.argsort()[of.clamp(min=0)])
    again.batch = rows_of(images.argsort()[OWNER[texts]], moved)
    one, other = losses_of(case), losses_of(again)
    for name in ("structure_contrast", "structure_swap"):
        assert one.terms[name] > 0
        torch.testing.assert_close(one.terms[name], other.terms[name])


def test_text_and_triples_together_are_a_unit_vector():
    """The released code adds a share of the triples and leaves the sum at whatever length it has."""
    case = make_case()
    told = with_triples(case.text, case.knowledge, 0.7)
    torch.testing.assert_close(told.norm(dim=1), torch.ones(M, dtype=torch.float64))
    torch.testing.assert_close(told[2], case.text[2])
    assert not torch.allclose(told[0], case.text[0], atol=0.1)


@pytest.mark.parametrize("hardest", [True, False])
def test_an_equal_text_of_another_image_is_no_negative(hardest):
    """It would always be the hardest, a whole margin away, and would draw all images to one point."""
    case = make_case()
    with torch.no_grad():
        case.text[1] = case.text[0]  # of images 0 and 2
        case.image[0] = case.image[2] = case.text[0]
        case.text[[2, 3, 4, 5, 6]] = -case.text[0]
        case.image[[1, 3]] = -case.text[0]
    case.batch = rows_of(torch.tensor([2, 0, 1, 3, 1, 3, 3]), OF, "aabbbbb")
    settings = {"share": 0.0, "swap": 0.0, "hardest": hardest}
    assert losses_of(case, **settings).total == 0
    own = losses_of(case, **settings, positives="own").total
    assert own > 0.05
    if hardest:
        torch.testing.assert_close(own, torch.tensor(0.4, dtype=torch.float64))


def test_both_margins_count():
    """The released code ignores the ones it is given."""
    case = make_case()
    small, large = losses_of(case, margin=0.0, swap_margin=0.0), losses_of(case, margin=1.5, swap_margin=1.5)
    for name in ("structure_contrast", "structure_swap"):
        assert large.terms[name] > small.terms[name] + 1


def test_the_positive_is_none_of_the_negatives_of_the_mean():
    """Counted among them, as released, it would add the margin itself and make the mean larger than its negatives."""
    image = torch.eye(3, dtype=torch.float64)
    loss = hinge_contrast(image, image, torch.arange(3), margin=0.5, hardest=False)
    assert loss == 0
    near = normalize(torch.ones(3, 3, dtype=torch.float64) * 9 + image, dim=1)
    expected = 0.5 + (near @ near.T)[0, 1] - 1
    torch.testing.assert_close(hinge_contrast(near, near, torch.arange(3), margin=0.5, hardest=False), 2 * expected)


def test_defaults_are_those_of_the_published_script():
    """The released code's own defaults give another model than its script: 4 layers, shares of .01 and 1."""
    config = StructureClipObjective.Config()
    assert (config.share, config.swap, config.encoder.layers) == (0.2, 5.0, 6)
    assert (config.margin, config.swap_margin, config.triples, config.part_tokens) == (0.2, 0.1, 6, 5)


def test_an_images_own_texts_are_no_negatives_of_one_another():
    image, text = unit(1, seed=0), unit(3, seed=1)
    for hardest in (True, False):
        assert hinge_contrast(image, text, torch.zeros(3, dtype=torch.long), margin=2.0, hardest=hardest) == 0


@pytest.mark.parametrize("hardest", [True, False])
def test_texts_that_do_not_count_and_their_nan_change_nothing(hardest):
    case = make_case()
    expected = hinge_contrast(case.image, case.text, OWNER, hardest=hardest)
    more = torch.cat([case.text, torch.full((2, D), float("nan"), dtype=torch.float64)])
    valid = torch.arange(M + 2) < M
    owner = torch.cat([OWNER, torch.tensor([1, 2])])
    loss = hinge_contrast(case.image, more, owner, hardest=hardest, valid_M=valid)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(case.image.grad).all()
    assert torch.isfinite(case.text.grad).all()
    nothing = hinge_contrast(case.image, case.text, OWNER, hardest=hardest, valid_M=torch.zeros(M, dtype=torch.bool))
    assert nothing == 0
    assert nothing.requires_grad


def test_swaps_that_fill_up_count_for_nothing_and_nothing_but_them_is_a_zero_with_a_gradient():
    case = make_case()
    kept = OF >= 0
    torch.testing.assert_close(
        swap_hinge(case.image, case.text, case.swap, OF, OWNER),
        swap_hinge(case.image, case.text, case.swap[kept], OF[kept], OWNER),
    )
    spoilt = torch.where(kept[:, None], case.swap.detach(), torch.nan).requires_grad_()
    torch.testing.assert_close(
        swap_hinge(case.image, case.text, spoilt, OF, OWNER), swap_hinge(case.image, case.text, case.swap, OF, OWNER)
    )
    nothing = make_case(of=torch.full((K,), -1))
    losses = losses_of(nothing)
    assert losses.terms["structure_swap"] == 0
    losses.total.backward()
    assert all(torch.isfinite(one.grad).all() for one in (nothing.image, nothing.text, nothing.swap, nothing.knowledge))
    assert not nothing.swap.grad.any()


def test_a_swapped_caption_is_told_the_triples_of_the_true_one():
    """Told none, it would lose to the true one by that alone."""
    case = make_case()
    case.swap = case.text.detach()[OF.clamp(min=0)].clone().requires_grad_()  # not one word is another
    losses = losses_of(case, swap_margin=0.25, share=0.8)
    torch.testing.assert_close(losses.terms["structure_swap"], torch.tensor(5 * 0.25, dtype=torch.float64))


def test_what_is_reported():
    case = make_case()
    with torch.no_grad():
        case.swap[0] = -case.image[OWNER[0]]
        case.swap[2] = case.image[OWNER[6]]
        case.swap[3] = case.image[OWNER[3]]
    report = losses_of(case, share=0.01).report
    torch.testing.assert_close(report["texts_with_triples"], torch.tensor(6 / 7))
    torch.testing.assert_close(report["swaps_below"], torch.tensor(1 / 3))
    torch.testing.assert_close(report["swaps_per_image"], torch.tensor(3 / 4))


def test_half_precision_is_widened():
    case = make_case()
    image, text = case.image.detach().bfloat16(), case.text.detach().bfloat16()
    assert hinge_contrast(image, text, OWNER).dtype == torch.float32
    assert with_triples(text, case.knowledge.detach().bfloat16(), 0.2).dtype == torch.float32


def context(**changes):
    settings = {
        "texts": None, "positions": [], "above_PP": torch.zeros(0, 0), "tokenize": None, "encode": None,
        "text_width": 9, "place_width": 9, "embed_dim": D, "state_width": None, "text_frozen": True,
        "has_triples": True, "table_size": (20, 8), "mask_id": 4,
    }  # fmt: skip
    return Context(**{**settings, **changes})


def small():
    return StructureClipObjective.Config(encoder=TripleEncoder.Config(width=8, layers=2, heads=2, dropout=0.0))


def test_every_parameter_of_the_encoder_and_the_table_learn():
    torch.manual_seed(0)
    heads = StructureClipHeads(small(), context())
    table = torch.randn(20, 8, requires_grad=True)
    ids = torch.randint(1, 20, (M, 6, 3, 5))
    mask = torch.ones_like(ids)
    mask[0], mask[1, 2:], mask[:, :, 1, 2:] = 0, 0, 0
    given = {"triple_ids_MX3L": ids, "triple_mask_MX3L": mask}
    seen = Seen(None, None, None, None, None, given, None, None, table_VI=table)
    case = make_case()
    case.knowledge = heads(seen)["structure_clip.knowledge_MD"]
    assert not case.knowledge[0].any()
    losses_of(case, margin=1.0, swap_margin=1.0).total.backward()
    silent = [name for name, one in heads.named_parameters() if one.grad is None or not one.grad.any()]
    assert silent == []
    assert table.grad.any()


def test_what_it_needs_follows_from_its_factors():
    assert isinstance(build(StructureClipObjective.Config()), StructureClipObjective)
    plain = StructureClipObjective(StructureClipObjective.Config(swap=0, share=0))
    assert plain.needs == {"text_owner_M", "group_B"}
    case = make_case()
    losses = plain(Outputs(case.image, case.text, 1.0), case.batch, LocalGather())
    assert set(losses.terms) == {"structure_contrast"}
    with pytest.raises(TrainingError, match=r"objective structure_clip: needs swapped captions.*set `swaps: \{\}`"):
        StructureClipObjective(StructureClipObjective.Config())(
            Outputs(case.image, case.text, 1.0), case.batch, LocalGather()
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"has_triples": False}, "entities: objective structure_clip reads triples"),
        ({"table_size": None}, "model.text: objective structure_clip reads the table"),
    ],
)
def test_a_run_that_cannot_tell_triples_is_refused(changes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        StructureClipHeads(small(), context(**changes))

"""MAKE's loss: each defect of the published code has its test, then the module around the functions."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from medvlp.data.batch import ASPECTS
from medvlp.errors import TrainingError
from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.make import MakeObjective, guidance_weights, local_loss, multi_aspect_loss, patch_regions

IMAGES, PLACES, SIZE, SCALE = 4, 6, 5, 8.0
KINDS = ("caption", "ontology-path", "concepts", "sentence", "sentence", "sentence")


def unit(*shape, seed):
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, SIZE, generator=draw, dtype=torch.float64), dim=-1)


def make_case(seed=0, kinds=KINDS, images=IMAGES):
    owner = torch.arange(images).repeat_interleave(len(kinds))
    return SimpleNamespace(
        image_BD=unit(images, seed=seed).requires_grad_(),
        patch_BND=unit(images, PLACES, seed=seed + 1).requires_grad_(),
        text_MD=unit(len(owner), seed=seed + 2).requires_grad_(),
        text_owner_M=owner,
        text_aspect_M=torch.tensor([ASPECTS.index(kind) for kind in kinds] * images),
        text_valid_M=None,
    )


def total(case, **settings):
    out = Outputs(case.image_BD, case.text_MD, SCALE, patch_BND=case.patch_BND)
    return MakeObjective(MakeObjective.Config(**settings))(out, case, LocalGather())


def flags(case):
    ontology = case.text_aspect_M == ASPECTS.index("ontology-path")
    sub = case.text_aspect_M == ASPECTS.index("sentence")
    return ontology, sub, torch.ones_like(sub)


def test_defect_a_any_order_of_samples_and_texts_gives_the_same_loss_and_weights():
    case = make_case()
    images, texts = torch.randperm(IMAGES), torch.randperm(len(case.text_owner_M))
    place = images.argsort()
    moved = SimpleNamespace(
        image_BD=case.image_BD[images],
        patch_BND=case.patch_BND[images],
        text_MD=case.text_MD[texts],
        text_owner_M=place[case.text_owner_M[texts]],
        text_aspect_M=case.text_aspect_M[texts],
        text_valid_M=None,
    )
    torch.testing.assert_close(total(moved).total, total(case).total)
    weight = guidance_weights(case.text_MD, case.text_owner_M, *flags(case))
    torch.testing.assert_close(guidance_weights(moved.text_MD, moved.text_owner_M, *flags(moved)), weight[texts])
    assert len(set(weight.tolist())) > IMAGES  # the ontology sentence does judge


def test_defect_b_every_sub_caption_has_its_own_patches_of_its_own_image():
    case = make_case()
    region, _ = patch_regions(case.patch_BND, case.text_MD, case.text_owner_M, 0.1)
    rows = [row for row, owner in enumerate(case.text_owner_M.tolist()) if owner == 1]
    assert len({tuple(region[row].tolist()) for row in rows}) == len(rows)
    for row in (rows[0], rows[-1]):
        gradient = torch.autograd.grad(region[row].sum(), case.patch_BND, retain_graph=True)[0]
        assert gradient[1].any()
        assert not gradient[[0, 2, 3]].any()


def test_defect_c_the_caption_stays_out_of_the_local_loss_wherever_it_stands():
    for kinds in (KINDS, KINDS[::-1]):
        case = make_case(kinds=kinds)
        _, sub, valid = flags(case)
        weight = torch.ones(len(sub), dtype=torch.float64)
        loss = local_loss(
            case.patch_BND, case.text_MD, SCALE, case.text_owner_M, valid, sub, weight, threshold=-1.0
        )  # fmt: skip
        heavier = torch.where(sub, weight, 100.0)  # what other texts weigh has no say
        torch.testing.assert_close(
            loss,
            local_loss(case.patch_BND, case.text_MD, SCALE, case.text_owner_M, valid, sub, heavier, threshold=-1.0),
        )
    captions = make_case(kinds=("caption", "concepts"))
    assert total(captions, threshold=-1.0).terms["make_local"].item() == 0


def test_defect_d_texts_of_one_image_are_no_negatives_of_one_another():
    case = make_case(images=1)
    _, _, valid = flags(case)
    loss = multi_aspect_loss(
        case.image_BD, case.text_MD, SCALE, case.text_owner_M, valid, torch.ones(len(valid), dtype=torch.float64)
    )
    assert loss.item() == 0
    case = make_case(kinds=("caption",))
    owner = torch.cat([case.text_owner_M, case.text_owner_M])
    twice = torch.cat([case.text_MD, case.text_MD])
    valid = torch.tensor([True] * IMAGES + [True, False, False, False])
    weights = torch.tensor([0.5] * IMAGES + [0.5, 0, 0, 0], dtype=torch.float64)
    logits = SCALE * case.image_BD @ case.text_MD.T
    # Image 0 says its text twice: for the others these are two negatives, for itself it is none.
    image = []
    for row, own in enumerate(logits):
        others = [*own[:row], *own[row + 1 :], *(own[:1] if row else [])]
        image.append(torch.stack([own[row], *others]).logsumexp(0) - own[row])
    text = logits.T.logsumexp(1) - logits.diag()
    expected = (torch.stack(image).mean() + torch.cat([text, text[:1]]).mean()) / 2
    torch.testing.assert_close(multi_aspect_loss(case.image_BD, twice, SCALE, owner, valid, weights), expected)


@pytest.mark.extras
def test_defect_e_an_image_is_encoded_to_one_tensor_whether_places_are_read_or_not(tmp_path):
    from tiny_models import tiny_model, write_bert

    from medvlp.training.align_model import AlignModel

    model = tiny_model(write_bert(tmp_path / "bert"))
    images = torch.zeros(2, 3, 64, 64)
    encoded = model.project_image(model.image_features(images))
    assert isinstance(encoded, torch.Tensor)
    ids, mask = model.tokenize(["the lung", "the colon"])
    made = AlignModel(model, MakeObjective())({"image_BCHW": images, "token_ids_ML": ids, "token_mask_ML": mask})
    out = Outputs(*made)
    assert out.image_BD.shape == (2, 32)
    torch.testing.assert_close(out.image_BD, encoded)
    assert out.patch_BND.shape[::2] == (2, 32)
    assert (out.image_BD @ out.text_MD.T).shape == (2, 2)


class Calls(TorchDispatchMode):
    """Counts operations, and those that bring a number to the host."""

    def __init__(self):
        super().__init__()
        self.all = self.to_host = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.all += 1
        self.to_host += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_defect_f_work_is_not_done_row_by_row():
    counts = []
    for images in (2, 40):
        with Calls() as calls:
            total(make_case(images=images)).total.backward()
        counts.append(calls.all)
        assert calls.to_host <= 2  # the width of the block of texts, once for the loss and once for the report
    assert counts[0] == counts[1]


def test_defect_g_each_half_works_without_the_other():
    case = make_case()
    both = total(case)
    for name, other in (("multi_aspect", "local"), ("local", "multi_aspect")):
        half = total(case, **{other: 0.0})
        key = {"multi_aspect": "make_aspects", "local": "make_local"}
        torch.testing.assert_close(half.terms[key[name]], both.terms[key[name]])
        assert half.terms[key[other]].item() == 0
    torch.testing.assert_close(both.total, both.terms["make_aspects"] + both.terms["make_local"])


def test_defect_h_one_threshold_everywhere():
    default = inspect.signature(local_loss).parameters["threshold"].default
    assert MakeObjective.Config().threshold == default == 0.3
    case = make_case()
    assert total(case).terms["make_local"].item() != total(case, threshold=0.6).terms["make_local"].item()


def test_texts_that_count_for_nothing_and_rows_of_nothing_but_them():
    case = make_case()
    expected = total(case)
    more = make_case(seed=9)
    padded = SimpleNamespace(
        image_BD=case.image_BD,
        patch_BND=case.patch_BND,
        text_MD=torch.cat([case.text_MD, torch.full_like(more.text_MD, torch.nan)]),
        text_owner_M=torch.cat([case.text_owner_M, more.text_owner_M]),
        text_aspect_M=torch.cat([case.text_aspect_M, more.text_aspect_M]),
        text_valid_M=torch.arange(2 * len(case.text_owner_M)) < len(case.text_owner_M),
    )
    losses = total(padded)
    torch.testing.assert_close(losses.total, expected.total)
    torch.testing.assert_close(losses.report["texts_per_image"], torch.tensor(float(len(KINDS))))
    gradient = torch.autograd.grad(losses.total, [case.image_BD, case.patch_BND, case.text_MD])
    assert all(one.isfinite().all() and one.any() for one in gradient)
    case.text_valid_M = torch.zeros(len(case.text_owner_M), dtype=torch.bool)
    nothing = total(case).total
    nothing.backward()
    assert nothing.item() == 0
    assert not case.text_MD.grad.any()


def test_chunks_change_nothing():
    case = make_case()
    whole = total(case).total
    expected = torch.autograd.grad(whole, [case.image_BD, case.patch_BND, case.text_MD])
    parts = total(case, chunk=3).total
    torch.testing.assert_close(parts, whole)
    again = torch.autograd.grad(parts, [case.image_BD, case.patch_BND, case.text_MD])
    for one, other in zip(again, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_guidance_counts_exactly_one_ontology_sentence_and_stops_the_gradient():
    case = make_case()
    ontology, sub, valid = flags(case)
    weight = guidance_weights(case.text_MD, case.text_owner_M, ontology, sub, valid)
    assert not weight.requires_grad
    assert weight[~sub].tolist() == [1.0] * int((~sub).sum())
    assert weight.view(IMAGES, -1).masked_fill(~sub.view(IMAGES, -1), 0).amax(1).tolist() == [1.0] * IMAGES
    ontology[0] = True  # image 0 has two now
    assert guidance_weights(case.text_MD, case.text_owner_M, ontology, sub, valid)[: len(KINDS)].tolist() == [1.0] * 6
    off = total(case, guidance=False).total
    assert off.item() != total(case).total.item()


def test_the_module_and_its_messages():
    assert isinstance(build(MakeObjective.Config()), MakeObjective)
    case = make_case()
    with pytest.raises(TrainingError, match="objective make: needs embeddings of places"):
        MakeObjective()(Outputs(case.image_BD, case.text_MD, SCALE), case, LocalGather())
    case.text_aspect_M = None
    with pytest.raises(TrainingError, match="objective make: needs kinds of texts"):
        total(case)
    with pytest.raises(ValidationError, match="poem is no kind of text"):
        MakeObjective.Config(sub_captions=["poem"])
    with pytest.raises(ValidationError, match="cannot be ontology sentence and sub-caption"):
        MakeObjective.Config(sub_captions=["ontology-path"])
    with pytest.raises(ValidationError, match="there is no loss"):
        MakeObjective.Config(multi_aspect=0, local=0)

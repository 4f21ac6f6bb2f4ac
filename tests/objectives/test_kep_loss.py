"""KEP's objective: both terms from their parts, equal captions, what no gradient reaches, and refusals."""

import pytest
import torch
from objective_cases import make_batch, make_outputs
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import cross_entropy, normalize

from medvlp.errors import TrainingError
from medvlp.objectives import ObjectiveConfig, build
from medvlp.objectives.base import Outputs
from medvlp.objectives.clip import info_nce
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.kep import KepObjective, kep_loss

LOCAL = LocalGather()
OWNER = torch.tensor([0, 1, 2, 3, 0])
TEXTS = ["Lung", "skin", "liver ", "lung", "LIVER"]  # images 0 and 3, and 0 and 2, share a caption
SAME = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 1, 0, 1]]).bool()
OWN = torch.arange(4)[:, None] == OWNER
CARRIES = (OWN.float() @ SAME.float()) > 0


def outputs(num_images=4, num_texts=5, seed=0):
    out = make_outputs(num_images, num_texts, seed=seed)
    draw = torch.randn(num_texts, 8, generator=torch.Generator().manual_seed(seed + 50), dtype=torch.float64)
    knowledge = normalize(draw, dim=1).requires_grad_()
    return Outputs(out.image_BD, out.text_MD, out.scale.clone().requires_grad_(), None, knowledge)


def value(out, batch, **settings):
    return KepObjective(KepObjective.Config(**settings))(out, batch, LOCAL)


def test_with_distinct_captions_it_is_two_cross_entropies():
    out, diagonal = outputs(4, 4), torch.arange(4)
    pairs, knowledge = (
        (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2
        for logits in (out.scale * out.image_BD @ out.text_MD.T, out.scale * out.text_MD @ out.knowledge_MD.T)
    )
    losses = value(out, make_batch([0, 1, 2, 3]))
    torch.testing.assert_close(losses.total, (pairs + 0.3 * knowledge) / 1.3)
    torch.testing.assert_close(losses.report["image_text"], pairs.detach())
    torch.testing.assert_close(losses.report["text_knowledge"], knowledge.detach())
    torch.testing.assert_close(kep_loss(out.image_BD, out.text_MD, out.knowledge_MD, out.scale), losses.total)
    torch.testing.assert_close(value(out, make_batch([0, 1, 2, 3]), weight=2.0).total, 2 * losses.total)
    torch.testing.assert_close(value(out, make_batch([0, 1, 2, 3]), text_knowledge=0.0).total, pairs)
    torch.testing.assert_close(value(out, make_batch([0, 1, 2, 3]), image_text=0.0).total, knowledge)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize(
    ("settings", "marks"),
    [
        ({"positives": "text"}, {"positive_BM": CARRIES, "positive_MM": SAME}),
        ({}, {"positive_BM": OWN, "exclude_BM": CARRIES, "positive_MM": torch.eye(5).bool(), "exclude_MM": SAME}),
        ({"exclude_equal": False}, {"positive_BM": OWN}),
    ],
)
def test_equal_captions_are_positives_or_left_out_or_negatives(settings, marks, chunk):
    out, batch = outputs(), make_batch([5, 8, 5, 6], OWNER, texts=TEXTS)
    expected = kep_loss(out.image_BD, out.text_MD, out.knowledge_MD, out.scale, **marks)
    torch.testing.assert_close(value(out, batch, chunk=chunk, **settings).total, expected)


def test_each_term_is_the_clip_loss_of_its_pair():
    out = outputs()
    pairs = info_nce(out.image_BD, out.text_MD, out.scale, positive_BM=CARRIES)
    knowledge = info_nce(out.text_MD, out.knowledge_MD, out.scale, positive_BM=SAME)
    both = kep_loss(
        out.image_BD, out.text_MD, out.knowledge_MD, out.scale, positive_BM=CARRIES, positive_MM=SAME,
        image_text=2.0, text_knowledge=3.0,
    )  # fmt: skip
    torch.testing.assert_close(both, (2 * pairs + 3 * knowledge) / 5)


def test_the_order_of_images_and_texts_changes_nothing():
    out, batch = outputs(), make_batch([5, 8, 5, 6], OWNER, texts=TEXTS)
    texts, images = torch.tensor([4, 2, 0, 1, 3]), torch.tensor([2, 0, 3, 1])
    place = torch.argsort(images)
    moved = Outputs(out.image_BD[images], out.text_MD[texts], out.scale, None, out.knowledge_MD[texts])
    other = make_batch([5, 5, 6, 8], place[OWNER[texts]], texts=[TEXTS[row] for row in texts])
    for kind in ("own", "text"):
        torch.testing.assert_close(value(moved, other, positives=kind).total, value(out, batch, positives=kind).total)


def test_a_wrong_sign_in_the_second_term_shows():
    out, batch = outputs(), make_batch([5, 8, 5, 6], OWNER, texts=TEXTS)
    near = normalize(out.text_MD.detach() + 0.1, dim=1)
    first = value(out, batch, text_knowledge=0.0).total.item()
    for knowledge, low, high in ((near, 0.0, 0.5), (-near, 5.0, 20.0)):
        given = Outputs(out.image_BD, out.text_MD, out.scale, None, knowledge)
        second = value(given, batch, image_text=0.0).total.item()
        assert low < second < high
        assert value(given, batch).total.item() == pytest.approx((first + 0.3 * second) / 1.3)
        assert value(given, batch).total.item() != pytest.approx((first - 0.3 * second) / 1.3, abs=1e-3)


@pytest.mark.parametrize("term", [{"text_knowledge": 0.0}, {"image_text": 0.0}, {}])
def test_no_gradient_reaches_the_knowledge_encoder_and_each_term_its_own_side(term):
    out, batch = outputs(), make_batch([5, 8, 5, 6], OWNER, texts=TEXTS)
    value(out, batch, **term).total.backward()
    assert out.knowledge_MD.grad is None
    assert out.text_MD.grad.abs().sum() > 0
    assert out.scale.grad.abs() > 0
    assert (out.image_BD.grad is not None) == (term != {"image_text": 0.0})
    whole = outputs()
    kep_loss(whole.image_BD, whole.text_MD, whole.knowledge_MD, whole.scale, positive_BM=OWN).backward()
    assert whole.knowledge_MD.grad is None


def test_half_precision_is_widened():
    out, batch = outputs(), make_batch([5, 8, 5, 6], OWNER, texts=TEXTS)
    half = Outputs(out.image_BD.bfloat16(), out.text_MD.bfloat16(), 25.0, None, out.knowledge_MD.bfloat16())
    wide = Outputs(half.image_BD.float(), half.text_MD.float(), 25.0, None, half.knowledge_MD.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = value(half, batch).total
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, value(wide, batch).total)


def test_what_is_missing_or_does_not_fit_is_named():
    out, batch = outputs(), make_batch([5, 8, 5, 6], OWNER, texts=TEXTS)
    bare = Outputs(out.image_BD, out.text_MD, out.scale)
    with pytest.raises(TrainingError, match="objective kep: needs the texts' embeddings by a frozen knowledge encoder.*"
                       "name a stage-1 run as knowledge_encoder"):  # fmt: skip
        value(bare, batch)
    assert value(bare, batch, text_knowledge=0.0).total > 0
    with pytest.raises(TrainingError, match="objective kep: needs image embeddings"):
        value(Outputs(None, out.text_MD, out.scale, None, out.knowledge_MD), batch)
    arguments = (out.image_BD, out.text_MD, out.knowledge_MD, out.scale)
    with pytest.raises(ValueError, match="4 images and 5 texts need"):
        kep_loss(*arguments)
    with pytest.raises(ValueError, match=r"excluded pairs is \(5, 4\), expected \(4, 5\)"):
        kep_loss(*arguments, positive_BM=OWN, exclude_BM=OWN.T)
    with pytest.raises(ValueError, match="have no positive sum"):
        kep_loss(*arguments, positive_BM=OWN, image_text=0.0, text_knowledge=0.0)


def test_it_is_built_by_name_and_refuses_to_be_nothing():
    adapter = TypeAdapter(ObjectiveConfig)
    config = adapter.validate_python({"name": "kep"})
    assert isinstance(build(config), KepObjective)
    assert config.needs_knowledge
    assert not adapter.validate_python({"name": "kep", "text_knowledge": 0.0}).needs_knowledge
    assert not adapter.validate_python({"name": "clip"}).needs_knowledge
    with pytest.raises(ValidationError, match="image_text and text_knowledge are both 0"):
        adapter.validate_python({"name": "kep", "text_knowledge": 0.0, "image_text": 0.0})
    with pytest.raises(ValidationError, match="positives"):
        adapter.validate_python({"name": "kep", "positives": "group"})

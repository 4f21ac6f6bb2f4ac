"""What mSTAR's losses must not depend on, and the objective as one term of training."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from medvlp.objectives.gather import LocalGather
from medvlp.objectives.mstar import (
    CaseOutputs,
    MstarObjective,
    cancer_triplet,
    decoder_loss,
    modality_contrast,
    pair_contrast,
    self_taught_loss,
)


def cases(rows=9, seed=0, share=0.7):
    draw = torch.Generator().manual_seed(seed)
    embedding = normalize(torch.randn(rows, 3, 5, generator=draw, dtype=torch.float64), dim=-1)
    present = torch.rand(rows, 3, generator=draw) < share
    present[:3] = True
    return embedding, present, torch.randint(0, 3, (rows,), generator=draw)


def losses(embedding, present, cancer):
    contrast, _ = modality_contrast(embedding, present, 14.0)
    return torch.stack([contrast, cancer_triplet(embedding, present, cancer)[0]])


def test_order_of_cases_changes_nothing():
    embedding, present, cancer = cases()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(losses(embedding[order], present[order], cancer[order]), losses(embedding, present, cancer))


@pytest.mark.parametrize("filler", [0.0, 5.0, float("nan"), float("inf")])
def test_what_stands_in_for_an_absent_modality_changes_neither_values_nor_gradients(filler):
    embedding, present, cancer = cases()
    wanted = losses(embedding, present, cancer)
    filled = torch.where(present.unsqueeze(-1), embedding, filler).requires_grad_()
    found = losses(filled, present, cancer)
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert torch.isfinite(filled.grad).all()
    assert filled.grad[~present].abs().max() == 0
    assert filled.grad[present].abs().max() > 0


def test_a_case_with_one_modality_is_no_candidate_of_the_contrast():
    embedding, present, _ = cases()
    more = torch.cat([embedding, embedding[:1]])
    for modality in range(3):
        marks = torch.zeros(1, 3, dtype=torch.bool)
        marks[0, modality] = True
        found, _ = modality_contrast(more, torch.cat([present, marks]), 14.0)
        assert torch.equal(found, modality_contrast(embedding, present, 14.0)[0])


def test_pairs_without_two_cases_leave_the_mean_and_are_reported_as_such():
    embedding, _, cancer = cases(4)
    present = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    found, report = modality_contrast(embedding, present, 14.0)
    assert torch.equal(found, pair_contrast(embedding[:, 0], embedding[:, 1], present[:, 0], 14.0)[0])
    assert [int(report[f"{name}_rows"]) for name in ("slide_report", "slide_genes", "report_genes")] == [4, 1, 1]
    nothing = torch.zeros(4, 3, dtype=torch.bool)
    none, report = modality_contrast(embedding.requires_grad_(), nothing, 14.0)
    assert none == 0
    assert all(torch.isfinite(value) for value in report.values())
    triplet, anchors = cancer_triplet(embedding, nothing, cancer)
    assert (float(triplet), int(anchors)) == (0.0, 0)
    (none + triplet).backward()
    assert embedding.grad.abs().max() == 0


def test_triplet_by_hand():
    """Three cases on the axes of a plane: the anchor's only positive is 2 away in two of three modalities."""
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    embedding = torch.stack([one.expand(3, 2), torch.stack([-one, one, one]), other.expand(3, 2)])
    everything = torch.ones(3, 3, dtype=torch.bool)
    cancer = torch.tensor([0, 0, 1])
    first = 2.0 - 6**0.5 + 0.3  # positive 2, negative sqrt(3 * 2)
    second = 2.0 - 6**0.5 + 0.3
    loss, anchors = cancer_triplet(embedding, everything, cancer)
    assert int(anchors) == 2
    assert float(loss) == pytest.approx(max(0, first) / 2 + max(0, second) / 2, abs=1e-6)
    loss, _ = cancer_triplet(embedding, everything, cancer, margin=1.0)
    assert float(loss) == pytest.approx(2.0 - 6**0.5 + 1.0, abs=1e-6)
    partly = everything.clone()
    partly[1, 1:] = False  # the pair shares one modality: 2 becomes 2 * sqrt(3), the other distances sqrt(2 * 3)
    loss, _ = cancer_triplet(embedding, partly, cancer, margin=1.0)
    assert float(loss) == pytest.approx(2 * 3**0.5 - 6**0.5 + 1.0, abs=1e-6)


def test_unknown_cancers_and_equal_cases_do_no_harm():
    embedding, present, cancer = cases()
    embedding = torch.cat([embedding, embedding]).requires_grad_()  # each case has a twin at distance 0
    loss, _ = cancer_triplet(embedding, torch.cat([present, present]), torch.cat([cancer, cancer]))
    loss.backward()
    assert torch.isfinite(embedding.grad).all()
    unknown = torch.full((9,), -1)
    assert int(cancer_triplet(embedding[:9], present, unknown)[1]) == 0


def test_targets_of_stage_2_get_no_gradient():
    student, teacher, average = (torch.randn(4, 3).requires_grad_() for _ in range(3))
    taught, kept = self_taught_loss(student, teacher, average)
    (taught + kept).backward()
    assert student.grad is not None
    assert (teacher.grad, average.grad) == (None, None)
    same, none = self_taught_loss(student, student, student)
    assert (float(same), float(none)) == pytest.approx((0, 0), abs=1e-6)
    features = torch.randn(4, 3).requires_grad_()
    decoder_loss(student, features, torch.tensor([3, 1])).backward()
    assert features.grad is None


def test_half_precision_is_computed_in_full():
    embedding, present, cancer = cases()
    half = embedding.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses(half, present, cancer)
    assert found.dtype == torch.float32
    assert torch.allclose(found, losses(half.float(), present, cancer))


def test_the_objective_adds_weighted_terms():
    embedding, present, cancer = cases()
    out = CaseOutputs(embedding, 14.0, torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, 2]))
    batch = SimpleNamespace(present_BM=present, cancer_B=cancer)
    config = MstarObjective.Config(triplet=0.5, decoder=2.0, weight=3.0, slide_genes=0.0)
    found = MstarObjective(config)(out, batch, LocalGather())
    contrast, _ = modality_contrast(embedding, present, 14.0, (1.0, 0.0, 1.0))
    assert float(found.terms["contrast"]) == pytest.approx(3 * float(contrast))
    assert float(found.terms["triplet"]) == pytest.approx(1.5 * float(cancer_triplet(embedding, present, cancer)[0]))
    assert float(found.terms["decoder"]) == pytest.approx(
        6 * float(decoder_loss(out.decoded_TI, out.features_TI, out.lengths_S))
    )
    bare = MstarObjective(MstarObjective.Config(triplet=0.0))(CaseOutputs(embedding, 14.0), batch, LocalGather())
    assert set(bare.terms) == {"contrast"}
    with pytest.raises(ValueError, match=r"expected \(B, 3, D\) embeddings"):
        modality_contrast(embedding[:, :2], present, 14.0)

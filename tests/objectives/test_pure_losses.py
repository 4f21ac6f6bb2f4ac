"""Values and properties of the pure loss functions."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from medvlp.objectives.clip import group_info_nce, info_nce
from medvlp.objectives.knowledge_metric import adasp_loss
from medvlp.objectives.semantic_groups import group_metric_loss
from medvlp.objectives.siglip import sigmoid_loss

VARIANTS = ["hp-hn", "hp-lhn", "lhp-hn", "lhp-lhn"]


def unit(num, size=8, seed=0, dtype=torch.float64):
    return normalize(torch.randn(num, size, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=1)


def test_equal_similarities_give_the_known_values():
    equal = torch.full((128, 128), 0.3)
    assert group_metric_loss(equal, 4, 25.0, compat="keep").item() == pytest.approx(math.log(1 + 31 * 16), abs=1e-4)
    assert group_metric_loss(equal, 4, 25.0, aggregate="mean", compat="keep").item() == pytest.approx(6.2086, abs=1e-4)
    for variant in VARIANTS:
        assert group_metric_loss(equal, 4, 25.0, variant=variant).item() == pytest.approx(math.log(32), abs=1e-4)


def published_group_loss(similarity, size, scale, variant, exclude):
    """One direction of the published computation: powers of e in matrices, reciprocals, an L1-normalised row."""
    num_groups = len(similarity) // size
    similarity = similarity.clone()
    score = torch.zeros(num_groups, num_groups, dtype=similarity.dtype)
    for g in range(num_groups):
        for h in range(num_groups):
            block = similarity[g * size : (g + 1) * size, h * size : (h + 1) * size]
            if g != h and exclude[g, h]:
                block = torch.full_like(block, -1.0)
            if g == h:
                inner = torch.exp(-scale * block)
                score[g, h] = 1 / inner.sum() if variant.startswith("hp") else (1 / inner.sum(1)).sum()
            else:
                inner = torch.exp(scale * block)
                score[g, h] = 1 / (1 / inner.sum(1)).sum() if variant.endswith("-lhn") else inner.sum()
    return -(score.diagonal() / score.sum(1)).log().mean()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("num_groups", "size"), [(5, 3), (32, 4), (2, 1)])
def test_compat_keep_is_the_published_computation(variant, num_groups, size):
    similarity = unit(num_groups * size) @ unit(num_groups * size, seed=1).T
    exclude = torch.rand(num_groups, num_groups, generator=torch.Generator().manual_seed(2)) < 0.3
    exclude = exclude | exclude.T
    expected = (
        published_group_loss(similarity, size, 12.0, variant, exclude)
        + published_group_loss(similarity.T, size, 12.0, variant, exclude)
    ) / 2
    loss = group_metric_loss(similarity, size, 12.0, exclude=exclude, variant=variant, compat="keep")
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_group_loss_does_not_depend_on_order_or_side(variant, aggregate):
    similarity = unit(12) @ unit(12, seed=1).T
    exclude = torch.zeros(4, 4, dtype=torch.bool)
    exclude[0, 2] = exclude[2, 0] = True
    options = {"variant": variant, "aggregate": aggregate}
    loss = group_metric_loss(similarity, 3, 20.0, exclude=exclude, **options)
    within = torch.cat([group * 3 + torch.tensor([2, 0, 1]) for group in range(4)])
    torch.testing.assert_close(
        group_metric_loss(similarity[within][:, within], 3, 20.0, exclude=exclude, **options), loss
    )
    groups = torch.tensor([3, 1, 0, 2])
    across = (groups[:, None] * 3 + torch.arange(3)).flatten()
    moved = group_metric_loss(similarity[across][:, across], 3, 20.0, exclude=exclude[groups][:, groups], **options)
    torch.testing.assert_close(moved, loss)
    if variant in ("hp-hn", "lhp-hn"):
        twice = group_metric_loss(similarity * 2, 3, 10.0, exclude=exclude, **options)
        torch.testing.assert_close(twice, loss)
    torch.testing.assert_close(group_metric_loss(similarity.T, 3, 20.0, exclude=exclude.T, **options), loss)


def test_exclusion_removes_a_pair_and_its_gradient():
    similarity = (unit(9) @ unit(9, seed=1).T).requires_grad_()
    exclude = torch.zeros(3, 3, dtype=torch.bool)
    exclude[0, 1] = exclude[1, 0] = True
    exclude.fill_diagonal_(True)  # the diagonal is ignored
    group_metric_loss(similarity, 3, 10.0, exclude=exclude).backward()
    assert similarity.grad[:3, 3:6].abs().sum() == 0
    assert similarity.grad[3:6, :3].abs().sum() == 0
    assert similarity.grad[:3, 6:].abs().sum() > 0
    assert similarity.grad[:3, :3].abs().sum() > 0
    changed = similarity.detach().clone()
    changed[:3, 3:6] += 0.5
    before = group_metric_loss(similarity.detach(), 3, 10.0, exclude=exclude)
    torch.testing.assert_close(group_metric_loss(changed, 3, 10.0, exclude=exclude), before)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_all_excluded_and_extreme_scales_stay_finite(variant, scale):
    similarity = (unit(8, dtype=torch.float32) @ unit(8, seed=1, dtype=torch.float32).T).requires_grad_()
    everything = torch.ones(4, 4, dtype=torch.bool)
    loss = group_metric_loss(similarity, 2, scale, exclude=everything, variant=variant)
    loss.backward()
    assert loss.item() == 0
    assert similarity.grad.abs().sum() == 0
    similarity.grad = None
    group_metric_loss(similarity, 2, scale, variant=variant).backward()
    assert similarity.grad.isfinite().all()


def test_half_precision_is_widened_also_under_autocast():
    similarity = (unit(8) @ unit(8, seed=1).T).bfloat16()
    loss = group_metric_loss(similarity, 2, 100.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, group_metric_loss(similarity.float(), 2, 100.0))
    image, text = unit(8, dtype=torch.float32), unit(8, seed=1, dtype=torch.float32)
    plain = [info_nce(image, text, 100.0), sigmoid_loss(image, text, 100.0, -10.0), adasp_loss(image, 2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = [info_nce(image, text, 100.0), sigmoid_loss(image, text, 100.0, -10.0), adasp_loss(image, 2)]
    for left, right in zip(plain, mixed, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    assert group_metric_loss(similarity.double(), 2, 100.0).dtype == torch.float64


def test_bad_shapes_and_options_are_named():
    with pytest.raises(ValueError, match="no whole number of groups of 3"):
        group_metric_loss(torch.zeros(8, 8), 3, 1.0)
    with pytest.raises(ValueError, match=r"exclude is \(2, 2\), expected \(4, 4\)"):
        group_metric_loss(torch.zeros(8, 8), 2, 1.0, exclude=torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="unknown variant 'hn-hp'"):
        group_metric_loss(torch.zeros(8, 8), 2, 1.0, variant="hn-hp")
    with pytest.raises(ValueError, match="8 rows are no whole number of groups of 3"):
        adasp_loss(torch.zeros(8, 4), 3)
    with pytest.raises(ValueError, match="3 images and 4 texts need owner_M"):
        info_nce(torch.zeros(3, 4), torch.zeros(4, 4), 1.0)
    with pytest.raises(ValueError, match="at most one"):
        info_nce(torch.zeros(3, 4), torch.zeros(3, 4), 1.0, owner_M=torch.arange(3), positive_BM=torch.eye(3))


def loop_adasp(embedding, size, temperature):
    unit_rows = normalize(embedding, dim=1)
    cosine = unit_rows @ unit_rows.T
    num_groups, losses = len(cosine) // size, []
    for g in range(num_groups):
        own = cosine[g * size : (g + 1) * size, g * size : (g + 1) * size] / temperature
        hard = -temperature * torch.logsumexp(-own.flatten(), 0)
        least = temperature * torch.logsumexp(torch.stack([-torch.logsumexp(-row, 0) for row in own]), 0)
        weight = (2 * hard * least / (hard + least)).detach() if hard >= 0 else 0.0
        positive = weight * hard + (1 - weight) * least
        total = 1.0
        for h in range(num_groups):
            if h != g:
                block = cosine[g * size : (g + 1) * size, h * size : (h + 1) * size] / temperature
                total = total + torch.exp((temperature * torch.logsumexp(block.flatten(), 0) - positive) / temperature)
        losses.append(torch.log(total))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("spread", [0.05, 0.3, 3.0])
def test_adasp_equals_its_formula_with_gradients(spread):
    centre = unit(5, seed=3).repeat_interleave(4, 0)
    raw = centre + spread * torch.randn(20, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    one, two = raw.clone().requires_grad_(), raw.clone().requires_grad_()
    loss, expected = adasp_loss(one, 4), loop_adasp(two, 4, 0.04)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(one.grad, two.grad)
    torch.testing.assert_close(adasp_loss(raw * 7, 4), loss.detach())


def test_adasp_is_finite_at_the_edges():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]).requires_grad_()
    same = torch.ones(6, 3).requires_grad_()
    zero = torch.zeros(4, 3).requires_grad_()
    for rows, size in ((opposite, 2), (same, 3), (zero, 2), (same, 6)):
        rows.grad = None
        loss = adasp_loss(rows, size)
        loss.backward()
        assert loss.isfinite()
        assert rows.grad.isfinite().all()
    assert adasp_loss(same, 6).item() == 0
    assert adasp_loss(same, 3, exclude=torch.ones(2, 2, dtype=torch.bool)).item() == 0


def test_info_nce_with_one_positive_is_cross_entropy():
    image, text, diagonal = unit(6), unit(6, seed=1), torch.arange(6)
    logits = 14.0 * image @ text.T
    expected = (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2
    torch.testing.assert_close(info_nce(image, text, 14.0), expected)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(info_nce(image, text[order], 14.0, owner_M=order), expected)


def test_info_nce_several_positives_soft_targets_and_rows_without():
    image, text, owner = unit(4), unit(7, seed=1), torch.tensor([0, 0, 1, 2, 2, 2, 1])
    positive = owner == torch.arange(4)[:, None]
    logits = 9.0 * image @ text.T
    by_image = [
        -logits.log_softmax(1)[row][positive[row]].mean() for row in range(4) if positive[row].any()
    ]  # image 3 has no text and does not count
    by_text = [-logits.T.log_softmax(1)[row, owner[row]] for row in range(7)]
    expected = (torch.stack(by_image).mean() + torch.stack(by_text).mean()) / 2
    torch.testing.assert_close(info_nce(image, text, 9.0, owner_M=owner), expected)
    torch.testing.assert_close(info_nce(image, text, 9.0, positive_BM=positive), expected)
    torch.testing.assert_close(info_nce(image, text, 9.0, target_BM=positive * 0.2), expected)
    nothing = info_nce(image, text, 9.0, positive_BM=torch.zeros_like(positive))
    assert nothing.item() == 0


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunked_equals_whole_with_gradients(chunk):
    owner, positive = torch.tensor([0, 1, 2, 3, 4, 0, 2]), torch.eye(5, 7, dtype=torch.bool)
    target = torch.rand(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cases = [
        lambda image, text, scale, **k: info_nce(image, text, scale, owner_M=owner, **k),
        lambda image, text, scale, **k: info_nce(image, text, scale, target_BM=target, **k),
        lambda image, text, scale, **k: sigmoid_loss(image, text, scale, scale - 20, positive_BM=positive, **k),
        lambda image, text, scale, **k: group_info_nce(text, owner, scale, **k) + 0 * image.sum(),
    ]
    for case in cases:
        results = []
        for size in (None, chunk):
            inputs = [unit(5).requires_grad_(), unit(7, seed=1).requires_grad_(), torch.tensor(9.0).requires_grad_()]
            loss = case(*inputs, chunk=size)
            results.append([loss.detach(), *torch.autograd.grad(loss, inputs)])
        for whole, part in zip(*results, strict=True):
            torch.testing.assert_close(part, whole)


def test_chunk_bounds_what_is_kept_for_the_backward():
    image, text = unit(256, dtype=torch.float32).requires_grad_(), unit(256, seed=1, dtype=torch.float32)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        info_nce(image, text, 10.0, chunk=16)
    assert max(kept) <= 256 * 16


def test_sigmoid_loss_is_its_formula():
    image, text = unit(4), unit(4, seed=1)
    total = 0.0
    for i in range(4):
        for j in range(4):
            logit = 8.0 * float(image[i] @ text[j]) - 3.0
            total += math.log1p(math.exp(-logit if i == j else logit))
    assert sigmoid_loss(image, text, 8.0, -3.0).item() == pytest.approx(total / 4)


def test_group_info_nce_never_matches_a_row_with_itself():
    rows, group = unit(6), torch.tensor([0, 1, 0, 1, 2, 2])
    logits = (11.0 * rows @ rows.T).fill_diagonal_(float("-inf"))
    losses = [-(logits[i, j] - logits[i].logsumexp(0)) for i, j in ((0, 2), (1, 3), (2, 0), (3, 1), (4, 5), (5, 4))]
    torch.testing.assert_close(group_info_nce(rows, group, 11.0), torch.stack(losses).mean())
    alone = rows.clone().requires_grad_()
    loss = group_info_nce(alone, torch.arange(6), 11.0)
    loss.backward()
    assert loss.item() == 0
    assert alone.grad.isfinite().all()

"""Position in attention: differences alone count, both axes alike, plain attention where nothing moves."""

import pytest
import torch

from medvlp.errors import ConfigError, DataError
from medvlp.fusion.attention import MAX_BIASED_TILES, packed_attention
from medvlp.fusion.position import alibi_bias, rotary, rotate

TILES, HEADS, WIDTH = 9, 2, 16


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(seed=7):
    return torch.rand(TILES, 2, generator=torch.Generator().manual_seed(seed)) * 20_000


def scores(q, k, centres):
    turns = rotary(centres, WIDTH)
    return torch.einsum("nhd,mhd->hnm", rotate(q, turns), rotate(k, turns))


@pytest.mark.parametrize("shift", [(50_000.0, -3_000.0), (128.0, 0.0), (0.0, 70_000.0)])
def test_scores_depend_on_differences_only(shift):
    q, k = random(TILES, HEADS, WIDTH), random(TILES, HEADS, WIDTH, seed=1)
    moved = scores(q, k, places() + torch.tensor(shift))
    torch.testing.assert_close(moved, scores(q, k, places()), rtol=0, atol=0.02)
    one_moved = places()
    one_moved[0] += 300.0
    assert (scores(q, k, one_moved) - scores(q, k, places())).abs().max() > 1.0


def test_no_displacement_is_plain_attention():
    q, k = random(TILES, HEADS, WIDTH), random(TILES, HEADS, WIDTH, seed=1)
    together = torch.full((TILES, 2), 12_345.0)
    plain = torch.einsum("nhd,mhd->hnm", q, k)
    torch.testing.assert_close(scores(q, k, together), plain, rtol=0, atol=1e-5)
    torch.testing.assert_close(rotate(q, rotary(torch.zeros(TILES, 2), WIDTH)), q, rtol=0, atol=1e-6)


def test_axes_are_alike():
    """Swapping x with y and the halves of the channels changes nothing."""
    q, k = random(TILES, HEADS, WIDTH), random(TILES, HEADS, WIDTH, seed=1)
    swapped = scores(q.roll(WIDTH // 2, 2), k.roll(WIDTH // 2, 2), places().flip(1))
    torch.testing.assert_close(swapped, scores(q, k, places()), rtol=0, atol=1e-5)
    assert (scores(q, k, places().flip(1)) - scores(q, k, places())).abs().max() > 1.0


def test_turning_keeps_length_and_dtype_and_carries_gradient():
    x = random(TILES, HEADS, WIDTH).float().requires_grad_()
    turned = rotate(x, rotary(places(), WIDTH))
    torch.testing.assert_close(turned.norm(dim=2), x.norm(dim=2))
    turned.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach(), rtol=1e-4, atol=1e-5)
    half = rotate(x.detach().bfloat16(), rotary(places(), WIDTH))
    assert half.dtype == torch.bfloat16
    # computed in float32: only the input and the output were rounded
    torch.testing.assert_close(half, rotate(x.detach().bfloat16().float(), rotary(places(), WIDTH)).bfloat16())


def test_what_rotary_cannot_do_is_told():
    with pytest.raises(ConfigError, match="heads are 6 wide, rotary position needs a multiple of 4"):
        rotary(places(), 6)
    with pytest.raises(ConfigError, match=r"from 100.0 to 50.0 um are not in order"):
        rotary(places(), 8, 100.0, 50.0)


def test_bias_falls_with_distance_and_stays_exact_far_from_the_corner():
    lengths = torch.tensor([4, 5])
    near = alibi_bias(places(), lengths, HEADS)
    assert [tuple(one.shape) for one in near] == [(HEADS, 4, 4), (HEADS, 5, 5)]
    for one in near:
        assert (one.diagonal(dim1=1, dim2=2) == 0).all()
        assert (one <= 0).all()
        assert (one[0] <= one[1]).all()  # the first head looks closer than the second
    far = alibi_bias(places() + 60_000.0, lengths, HEADS)
    for one, two in zip(near, far, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-3)
    q = torch.zeros(TILES, HEADS, 8)
    v = torch.eye(TILES, 8)[:, None].expand(TILES, HEADS, 8)
    weights = packed_attention(q, q, v, lengths, bias=near)[:4, :, :4]
    torch.testing.assert_close(weights.transpose(0, 1), near[0].softmax(-1))


def test_bias_of_a_whole_slide_is_refused():
    many = MAX_BIASED_TILES + 1
    with pytest.raises(DataError, match=r"4,097 tiles; .* use rotary position"):
        alibi_bias(torch.zeros(many + 1, 2), torch.tensor([1, many]), HEADS)

"""The encoder of triples and the stack in which words look at places: padding, roles, gradients, refusals."""

import pytest
import torch

from medvlp.errors import ConfigError
from medvlp.fusion.knowledge import CrossFusion, TripleEncoder
from medvlp.fusion.query_decoder import QueryDecoder

M, X, L, V, I, D = 4, 3, 2, 11, 6, 5  # noqa: E741


def encoder(**settings):
    torch.manual_seed(0)
    config = TripleEncoder.Config(**{"width": 8, "layers": 2, "heads": 2, "dropout": 0.0, **settings})
    return TripleEncoder(config, I, D, triples=X, part_tokens=L).eval()


def triples(seed=1):
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, V, (M, X, 3, L), generator=draw)
    mask = torch.ones_like(ids)
    mask[1, 1:] = 0  # one triple
    mask[2, :, 0, 1:] = 0  # heads of one token
    mask[3] = 0  # none
    return ids, mask, torch.randn(V, I, generator=draw)


def test_a_text_with_triples_is_a_unit_vector_and_one_without_is_zero():
    vector = encoder()(*triples())
    torch.testing.assert_close(vector.norm(dim=1), torch.tensor([1.0, 1, 1, 0]))


def test_nothing_is_read_of_padding():
    ids, mask, table = triples()
    other = torch.where(mask > 0, ids, (ids + 3) % V)
    assert not torch.equal(other, ids)
    torch.testing.assert_close(encoder()(other, mask, table), encoder()(ids, mask, table))
    wide = torch.cat([table, torch.full((1, I), torch.nan)])
    spoilt = torch.where(mask > 0, ids, V)
    torch.testing.assert_close(encoder()(spoilt, mask, wide), encoder()(ids, mask, table))


def test_fewer_triples_than_it_was_built_for_change_nothing():
    ids, mask, table = triples()
    torch.testing.assert_close(encoder()(ids[1:2, :1], mask[1:2, :1], table), encoder()(ids[1:2], mask[1:2], table))


def test_who_has_what_matters_only_with_roles():
    """As published, (effusion, at, lung) and (lung, at, effusion) are the same vector."""
    ids, mask, table = triples()
    mask = torch.ones_like(mask)
    mirrored = ids.flip(2)
    assert not torch.equal(ids, mirrored)
    published = encoder(roles=False)
    torch.testing.assert_close(published(ids, mask, table), published(mirrored, mask, table))
    assert not torch.allclose(encoder()(ids, mask, table), encoder()(mirrored, mask, table), atol=1e-3)


@pytest.mark.parametrize("roles", [True, False])
def test_every_parameter_learns(roles):
    ids, mask, table = triples()
    module = encoder(roles=roles).train()
    table.requires_grad_()
    (module(ids, mask, table) * torch.randn(D)).sum().backward()
    assert [name for name, one in module.named_parameters() if one.grad is None or not one.grad.any()] == []
    assert table.grad.any()


def test_texts_without_any_triple_give_no_nan():
    ids, mask, table = triples()
    module = encoder().train()
    vector = module(ids, torch.zeros_like(mask), table)
    vector.sum().backward()
    assert not vector.any()
    assert all(torch.isfinite(one.grad).all() for one in module.parameters() if one.grad is not None)


def fusion(**settings):
    torch.manual_seed(0)
    config = QueryDecoder.Config(**{"width": 8, "layers": 2, "heads": 2, "dropout": 0.0, **settings})
    return CrossFusion(config, I, 7).double().eval()


def words(seed=2, length=4):
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(M, length, I, generator=draw, dtype=torch.float64)
    places = torch.randn(3, 5, 7, generator=draw, dtype=torch.float64)
    mask = torch.arange(length) < torch.tensor([[4], [2], [3], [1]])
    return states, mask, places, torch.tensor([2, 0, 0, 1])


def test_words_do_not_read_padding_and_each_text_reads_its_image():
    states, mask, places, image = words()
    found = fusion()(states, mask, places, image)
    other = torch.where(mask[..., None], states, 5.0)
    torch.testing.assert_close(fusion()(other, mask, places, image)[mask], found[mask])
    alone = fusion()(states[1:2, :2], mask[1:2, :2], places[:1], torch.tensor([0]))
    torch.testing.assert_close(alone, found[1:2, :2])
    changed = places.clone()
    changed[0] += 1.0
    moved = (fusion()(states, mask, changed, image) - found).abs().amax((1, 2)) > 1e-6
    assert moved.tolist() == [False, True, True, False]


def test_words_exchange_among_themselves():
    states, mask, places, image = words()
    other = states.clone()
    other[0, 3] += 1.0
    moved = (fusion()(other, mask, places, image) - fusion()(states, mask, places, image)).abs().amax(2) > 1e-6
    assert moved[0].all()
    assert not moved[1:].any()


def test_widths_that_heads_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match=r"^objective\.encoder\.heads: width 9 is no multiple of 2 heads"):
        encoder(width=9)
    with pytest.raises(ConfigError, match=r"^objective\.fusion\.heads"):
        fusion(width=9)

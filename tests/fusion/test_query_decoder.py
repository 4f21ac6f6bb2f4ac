"""The query decoder against loops, its invariances, and what it does with an image without places."""

from __future__ import annotations

import pytest
import torch

from medvlp.errors import ConfigError
from medvlp.fusion.query_decoder import QueryDecoder

B, Q, N, WORDS, PLACES, D, H = 3, 4, 6, 5, 7, 8, 2


def decoder(**changes: object) -> QueryDecoder:
    torch.manual_seed(0)
    settings = {"width": D, "layers": 2, "heads": H, "dropout": 0.0} | changes
    return QueryDecoder(QueryDecoder.Config.model_validate(settings), WORDS, PLACES).double().eval()


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(Q, WORDS, generator=generator, dtype=torch.float64),
        torch.randn(B, N, PLACES, generator=generator, dtype=torch.float64),
    )


def by_loops(
    module: QueryDecoder, query_QI: torch.Tensor, tokens_NI: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One image, one query and one head at a time, from the formula of a pre-norm decoder layer."""
    place_ND = module.place(tokens_NI)
    state_QD = module.query(query_QI)
    width, total_QN = D // H, torch.zeros(Q, N, dtype=torch.float64)

    def attend(
        query_D: torch.Tensor, key_XD: torch.Tensor, value_XD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        out, share = [], torch.zeros(len(key_XD), dtype=torch.float64)
        for head in range(H):
            part = slice(head * width, (head + 1) * width)
            score = torch.stack([(query_D[part] * key[part]).sum() / width**0.5 for key in key_XD])
            weight = score.exp() / score.exp().sum()
            share = share + weight / H
            out.append(sum(w * value[part] for w, value in zip(weight, value_XD, strict=True)))
        return torch.cat(out), share

    for layer in module.layers:
        normed = layer.norms[0](state_QD)
        query, key, value = layer.own(normed).chunk(3, -1)
        state_QD = state_QD + layer.own_out(torch.stack([attend(query[q], key, value)[0] for q in range(Q)]))
        asked = layer.ask(layer.norms[1](state_QD))
        key, value = layer.answer(place_ND).chunk(2, -1)
        read = [attend(asked[q], key, value) for q in range(Q)]
        state_QD = state_QD + layer.out(torch.stack([one for one, _ in read]))
        total_QN = total_QN + torch.stack([share for _, share in read]) / len(module.layers)
        state_QD = state_QD + layer.feed(layer.norms[2](state_QD))
    return module.norm(state_QD), total_QN


def test_equals_loops_over_images_queries_and_heads() -> None:
    module, (query_QI, tokens_BNI) = decoder(), inputs()
    found = module(query_QI, tokens_BNI)
    for image in range(B):
        state_QD, attention_QN = by_loops(module, query_QI, tokens_BNI[image])
        assert torch.allclose(found.state_BQD[image], state_QD, atol=1e-10)
        assert torch.allclose(found.attention_BQN[image], attention_QN, atol=1e-10)
        assert torch.allclose(found.exists_BQ2[image], module.exists(state_QD), atol=1e-10)
    assert torch.allclose(found.attention_BQN.sum(-1), torch.ones(B, Q, dtype=torch.float64))


def test_order_of_images_queries_and_places_changes_nothing_else() -> None:
    module, (query_QI, tokens_BNI) = decoder(), inputs()
    found = module(query_QI, tokens_BNI)
    images, queries, places = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2]), torch.randperm(N)
    moved = module(query_QI[queries], tokens_BNI[images][:, places])
    assert torch.allclose(moved.state_BQD, found.state_BQD[images][:, queries], atol=1e-10)
    assert torch.allclose(moved.attention_BQN, found.attention_BQN[images][:, queries][:, :, places], atol=1e-10)


def test_padding_changes_nothing_and_an_image_without_places_gives_no_nan() -> None:
    module, (query_QI, tokens_BNI) = decoder(), inputs()
    found = module(query_QI, tokens_BNI)
    padded = torch.cat([tokens_BNI, torch.full((B, 2, PLACES), 1e3, dtype=torch.float64)], 1)
    mask_BN = torch.arange(N + 2).expand(B, -1) < N
    again = module(query_QI, padded, mask_BN)
    assert torch.allclose(again.state_BQD, found.state_BQD, atol=1e-10)
    assert torch.equal(again.attention_BQN[..., N:], torch.zeros(B, Q, 2, dtype=torch.float64))
    empty = module(query_QI, padded, torch.zeros_like(mask_BN))
    assert torch.isfinite(empty.state_BQD).all()
    assert torch.equal(empty.attention_BQN, torch.zeros(B, Q, N + 2, dtype=torch.float64))


def test_every_parameter_learns() -> None:
    module, (query_QI, tokens_BNI) = decoder().train(), inputs()
    found = module(query_QI, tokens_BNI)
    (found.exists_BQ2.square().sum() + found.state_BQD.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("answer.bias") and "own.bias" not in name:  # a key's bias cancels in the softmax
            assert parameter.grad.abs().sum() > 0, name


def test_without_exchange_between_queries_an_answer_depends_on_its_query_alone() -> None:
    query_QI, tokens_BNI = inputs()
    alone = decoder(between_queries=False)
    assert torch.allclose(
        alone(query_QI[:1], tokens_BNI).state_BQD, alone(query_QI, tokens_BNI).state_BQD[:, :1], atol=1e-10
    )
    together = decoder()
    assert not torch.allclose(
        together(query_QI[:1], tokens_BNI).state_BQD, together(query_QI, tokens_BNI).state_BQD[:, :1], atol=1e-4
    )


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.decoder\.heads"):
        decoder(width=9)

"""Graph attention, the knowledge stream of the fusion, and the decoder of hidden places."""

import pytest
import torch
from torch import nn

from medvlp.errors import ConfigError
from medvlp.fusion.graph_attention import GraphAttention, GraphAttentionLayer
from medvlp.fusion.knowledge_stream import KnowledgeFusion, entity_slots
from medvlp.fusion.place_decoder import PlaceDecoder, blank_places, hide_places, pixels_of_places

N, X = 5, 6
EDGES = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 2]])  # node 4 has none


def dense_attention(layer, node, edges):
    """The layer, node by node and head by head."""
    heads, width = layer.from_HC.shape
    out = []
    for taker in range(len(node)):
        givers = [taker] + [int(giver) for giver, other in edges.T if other == taker]
        parts = []
        for head in range(heads):
            rows = layer.project.weight[head * width : (head + 1) * width] @ node.T
            scores = torch.stack(
                [layer.from_HC[head] @ rows[:, g] + layer.to_HC[head] @ rows[:, taker] for g in givers]
            )
            weight = torch.where(scores > 0, scores, 0.2 * scores).softmax(0)
            parts.append(sum(w * rows[:, g] for w, g in zip(weight, givers, strict=True)))
        out.append(torch.cat(parts) + layer.bias)
    return torch.stack(out)


def test_graph_attention_equals_its_formula():
    torch.manual_seed(0)
    layer = GraphAttentionLayer(X, 3, 2, 0.0).double()
    nn.init.normal_(layer.bias)
    node = torch.randn(N, X, dtype=torch.float64)
    torch.testing.assert_close(layer(node, EDGES), dense_attention(layer, node, EDGES))


def test_graph_attention_knows_the_graph_not_the_order_of_nodes_or_edges():
    torch.manual_seed(0)
    config = GraphAttention.Config(width=8, hidden=4, heads=2)
    start, order = torch.randn(N, X), torch.tensor([3, 0, 4, 1, 2])
    plain = GraphAttention(config, start, EDGES).eval()
    moved = GraphAttention(config, start[order], torch.argsort(order)[EDGES][:, [4, 2, 0, 1, 3]]).eval()
    moved.load_state_dict({**plain.state_dict(), "node_NX": start[order]})
    torch.testing.assert_close(moved(), plain()[order])
    cut = GraphAttention(config, start, EDGES[:, :0]).eval()
    cut.load_state_dict(plain.state_dict())
    same = (cut() - plain()).abs().amax(1) < 1e-6
    assert same.tolist() == [False, False, False, False, True] or same.tolist() == [False, False, False, True, True]


def test_every_weight_of_graph_attention_learns():
    attention = GraphAttention(GraphAttention.Config(width=8, hidden=4, heads=2), torch.randn(N, X), EDGES)
    (attention() * torch.randn(N, 8)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())


def test_slots_hold_each_entity_once_and_cut_what_is_too_much():
    mention = torch.tensor([[-1, 4, 4, 0, -1, 4], [-1] * 6, [3, 2, 1, 0, -1, -1]])
    slots = entity_slots(mention, 5, 3)
    assert slots.used_RS.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert slots.entity_RS[0, :2].tolist() == [0, 4]
    assert slots.entity_RS[2].tolist() == [0, 1, 2]
    assert slots.at_RSL[0].tolist() == [[0, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 1], [0] * 6]
    assert slots.at_RSL[1].sum() == 0
    assert slots.at_RSL[2].sum(1).tolist() == [1, 1, 1]
    assert entity_slots(mention, 5, 24).entity_RS.shape == (3, 5)


R, L, T, WIDE, G, Q, PLACES = 4, 6, 12, 7, 8, 3, 5
SIZES = {"layers": 2, "heads": 3, "stream_heads": 2, "slots": 2, "dropout": 0.0}


def fusion(**changes):
    torch.manual_seed(0)
    return KnowledgeFusion(KnowledgeFusion.Config(**{**SIZES, **changes}), T, WIDE, G)


def inputs():
    torch.manual_seed(1)
    word, token, entity = torch.randn(R, L, T), torch.randn(2, PLACES, WIDE), torch.randn(Q, G)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4, [1] * 6])
    mention = torch.tensor([[-1, 0, 0, -1, 2, -1], [-1, 1, -1, -1, -1, -1], [-1] * 6, [0, 1, 2, -1, -1, -1]])
    return word, mask, token, torch.tensor([0, 1, 1, 0]), entity, mention


def test_an_entity_reaches_a_text_through_its_mention_alone():
    model, (word, mask, token, image, entity, mention) = fusion(layers=1), inputs()
    other = entity.clone()
    other[1] = torch.randn(G)
    before, after = (model(word, mask, token, image, given, mention) for given in (entity, other))
    changed = ((before - after).abs().amax(2) > 1e-6).tolist()
    assert changed[0] == changed[2] == [False] * 6
    assert changed[1] == [False, True, False, False, False, False]
    assert changed[3] == [True, True, False, False, False, False]  # the entity of the other slot heard of it


def test_padding_and_other_pairs_change_nothing():
    model, (word, mask, token, image, entity, mention) = fusion(), inputs()
    before = model(word, mask, token, image, entity, mention)
    wider = torch.cat([word, torch.full((R, 2, T), 3.0)], 1)
    more = torch.cat([mask, torch.zeros(R, 2, dtype=torch.long)], 1)
    none = torch.cat([mention, torch.full((R, 2), -1)], 1)
    after = model(wider, more, token, image, entity, none)[:, :L]
    torch.testing.assert_close(after[mask.bool()], before[mask.bool()])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        model(word[order], mask[order], token, image[order], entity, mention[order]), before[order]
    )


def test_the_image_matters_and_a_text_without_words_gives_no_nan():
    model, (word, mask, token, image, entity, mention) = fusion(), inputs()
    before = model(word, mask, token, image, entity, mention)
    assert (before - model(word, mask, token, 1 - image, entity, mention)).abs().amax((1, 2)).min() > 1e-4
    word.requires_grad_()
    out = model(word, torch.zeros_like(mask), token, image, entity, torch.full_like(mention, -1))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(word.grad).all()


@pytest.mark.parametrize("stream", [True, False])
def test_every_weight_of_the_fusion_learns(stream):
    model, given = fusion(stream=stream), inputs()
    (model(*given) * torch.randn(R, L, T)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"^objective.fusion.heads: width 12 is no multiple of 5 heads"):
        fusion(heads=5)
    with pytest.raises(ConfigError, match=r"^objective.decoder.heads: width 16 is no multiple of 3 heads"):
        PlaceDecoder(PlaceDecoder.Config(width=16, heads=3), WIDE, 4, PLACES, hides=True)


def test_as_many_places_of_each_image_are_hidden():
    torch.manual_seed(0)
    hidden = hide_places(torch.zeros(50, 16, 1), 0.75)
    assert hidden.sum(1).unique().tolist() == [12]
    assert hidden.float().mean(0).sub(0.75).abs().max() < 0.3
    assert hide_places(torch.zeros(3, 4, 1), 0.99).sum(1).tolist() == [3] * 3
    assert hide_places(torch.zeros(3, 4, 1), 0.01).sum(1).tolist() == [1] * 3


def test_pixels_of_places_are_cut_and_blanked_where_they_lie():
    image = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6) + 1
    pixels = pixels_of_places(image, 2)
    assert pixels.shape == (2, 6, 12)
    for place, (top, left) in enumerate([(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)]):
        assert torch.equal(pixels[1, place], image[1, :, top : top + 2, left : left + 2].flatten())
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[1, 4] = True
    blank = blank_places(image, hidden, 2)
    assert torch.equal(pixels_of_places(blank, 2)[~hidden], pixels[~hidden])
    assert not pixels_of_places(blank, 2)[hidden].any()
    assert torch.equal(blank[0], image[0])


def test_what_is_hidden_does_not_reach_the_guess():
    torch.manual_seed(0)
    model = PlaceDecoder(PlaceDecoder.Config(width=16, layers=2, heads=2), WIDE, 4, PLACES, hides=True)
    token, hidden = torch.randn(2, PLACES, WIDE), torch.tensor([[True, False, True, False, False]] * 2)
    other = torch.where(hidden[:, :, None], torch.randn(2, PLACES, WIDE), token)
    torch.testing.assert_close(model(token, hidden), model(other, hidden))
    assert not torch.allclose(model(token, hidden), model(token + 1, hidden))
    (model(token, hidden) * torch.randn(2, PLACES, 4)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_mixed_precision_stays_near_float32():
    model, given = fusion(), inputs()
    nodes = GraphAttention(GraphAttention.Config(width=G, hidden=4, heads=2), torch.randn(N, X), EDGES).eval()
    places = PlaceDecoder(PlaceDecoder.Config(width=16, layers=1, heads=2), WIDE, 4, PLACES, hides=True)
    hidden = torch.tensor([[True, False, True, False, False]] * 2)
    for function in (lambda: model(*given), nodes, lambda: places(given[2], hidden)):
        wide = function()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(function().float(), wide, atol=0.15, rtol=0.1)

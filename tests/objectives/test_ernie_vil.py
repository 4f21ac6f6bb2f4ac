"""After ERNIE-ViL: what is hidden, at which rates, what a control changes, and the losses around it."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy, normalize

from medvlp.data.batch import NODES
from medvlp.errors import ConfigError
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.objectives import build
from medvlp.objectives.base import Outputs, Seen
from medvlp.objectives.context import Context
from medvlp.objectives.ernie_vil import ErnieVilHeads, ErnieVilObjective, node_losses
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.node_masks import corrupt, draw_nodes, redraw, wrong_images

B, M, L, N, V, I = 3, 6, 8, 5, 30, 8  # noqa: E741


def layout(texts=M, length=L, seed=0):
    """First and last token are special; nodes of two tokens, of all kinds, in between."""
    draw = torch.Generator().manual_seed(seed)
    node = (torch.arange(length) - 1).div(2, rounding_mode="floor").expand(texts, -1).clone()
    kind = torch.randint(0, 3, (texts, length), generator=draw).gather(1, node.clamp(min=0))
    none = torch.rand(texts, length, generator=draw).gather(1, node.clamp(min=0)) < 0.3
    node[none], kind[none] = -1, -1
    node[:, 0] = node[:, -1] = -2
    kind[:, 0] = kind[:, -1] = -1
    return node, kind


def draw_once(seed, node, kind, rate=0.5, knowledge="real"):
    torch.manual_seed(seed)
    hidden = draw_nodes(node, kind, rate, torch.ones(len(node), dtype=torch.bool))
    return hidden, *redraw(hidden, kind, node, knowledge)


def test_a_node_is_hidden_whole_and_the_other_kinds_stay():
    node, kind = layout(texts=200)
    hidden, same, counted = draw_once(0, node, kind)
    assert torch.equal(same, hidden)
    assert torch.equal(counted, torch.where(hidden, kind, -1))
    assert hidden.any()
    assert not hidden[node < 0].any()
    for row in range(200):
        kinds = set(kind[row][hidden[row]].tolist())
        assert len(kinds) <= 1
        for number in set(node[row][node[row] >= 0].tolist()):
            assert len(set(hidden[row][node[row] == number].tolist())) == 1


def test_rates_over_a_hundred_thousand_tokens_are_the_asked_ones():
    """UmlsBERT's published masking gave 40/50/10 in place of 80/10/10."""
    torch.manual_seed(0)
    texts, length = 4000, 40
    node = torch.arange(length).expand(texts, -1)
    kind = torch.ones_like(node)
    hidden = draw_nodes(node, kind, 0.3, torch.ones(texts, dtype=torch.bool))
    assert hidden.numel() >= 1e5
    assert abs(hidden.float().mean() - 0.3) < 0.01
    ids = torch.full((texts, length), 7)
    every = torch.ones_like(hidden)
    shown = corrupt(ids, every, 4, 1000)
    shares = [(shown == 4).float().mean(), ((shown != 4) & (shown != 7)).float().mean(), (shown == 7).float().mean()]
    assert all(abs(share - wanted) < 0.01 for share, wanted in zip(shares, (0.8, 0.1, 0.1), strict=True))
    assert torch.equal(corrupt(ids, ~every, 4, 1000), ids)
    kinds = torch.tensor([0, 1, 2]).repeat(14)[:length].expand(texts, -1)
    chosen = draw_nodes(node, kinds, 1.0, torch.ones(texts, dtype=torch.bool))
    for number in range(3):  # each kind is as likely as the others
        assert abs(chosen[:, number].float().mean() - 1 / 3) < 0.03


@pytest.mark.parametrize("knowledge", ["permuted", "none"])
def test_a_control_hides_as_many_tokens_as_the_same_kinds_elsewhere(knowledge):
    node, kind = layout(texts=300, length=14)
    hidden, elsewhere, counted = draw_once(3, node, kind, knowledge=knowledge)
    assert torch.equal(hidden.sum(1), elsewhere.sum(1))
    assert not elsewhere[node == -2].any()
    assert torch.equal(counted >= 0, elsewhere)
    for number in range(3):
        assert torch.equal(((kind == number) & hidden).sum(1), (counted == number).sum(1))
    own = (elsewhere & (node >= 0)).sum() / elsewhere.sum()
    assert 0.5 < own < 0.9  # the share of tokens that are part of a node, not all as with real knowledge


def test_permuted_hides_where_another_text_has_its_nodes():
    node = torch.full((4, 10), -1)
    node[:, 0] = node[:, -1] = -2
    for row in range(4):
        node[row, 1 + 2 * row : 3 + 2 * row] = 0
    kind = torch.where(node >= 0, 1, -1)
    for seed in range(20):
        hidden, elsewhere, _ = draw_once(seed, node, kind, rate=1.0, knowledge="permuted")
        places = {tuple(row.nonzero().flatten().tolist()) for row in elsewhere}
        assert places == {tuple(row.nonzero().flatten().tolist()) for row in hidden}
        assert not (hidden & elsewhere).any()


def test_the_same_seed_draws_the_same_and_another_does_not():
    node, kind = layout()
    for knowledge in ("real", "permuted", "none"):
        one, again, other = (draw_once(seed, node, kind, knowledge=knowledge)[1] for seed in (5, 5, 6))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


def test_a_single_text_and_texts_that_do_not_count():
    node, kind = layout(texts=1)
    assert draw_once(0, node, kind, rate=1.0, knowledge="permuted")[1].sum() > 0
    node, kind = layout()
    counts = torch.arange(M) < 3
    assert not draw_nodes(node, kind, 1.0, counts)[3:].any()


def test_a_wrong_image_is_of_another_group_and_has_no_equal_text():
    ids = torch.tensor([[1, 2], [3, 4], [1, 2], [5, 6], [7, 8]])
    owner, group = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 1, 2, 0, 3])
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        row, any_wrong = wrong_images(ids, owner, group, torch.ones(5, dtype=torch.bool))
        assert any_wrong.all()
        seen.update(zip(range(5), row.tolist(), strict=True))
    allowed = {0: {1, 4}, 1: {0, 2, 3, 4}, 2: {1, 3, 4}, 3: {1, 2, 4}, 4: {0, 1, 2, 3}}
    assert seen == {(text, image) for text, images in allowed.items() for image in images}
    _, any_wrong = wrong_images(ids[:1], owner[:1], group[:1], torch.ones(1, dtype=torch.bool))
    assert any_wrong.tolist() == [False]


def test_each_kind_has_its_own_mean():
    torch.manual_seed(0)
    logit = torch.randn(2, 4, V, dtype=torch.float64)
    target = torch.tensor([[3, 4, -100, 5], [6, -100, 7, 8]])
    kind = torch.tensor([[0, 0, 1, 2], [0, 2, -1, 2]])
    rows = cross_entropy(logit.flatten(0, 1), target.flatten(), reduction="none").view(2, 4)
    expected = torch.stack([rows[[0, 0, 1], [0, 1, 0]].mean(), 0 * rows.sum(), rows[[0, 1], [3, 3]].mean()])
    torch.testing.assert_close(node_losses(logit, target, kind), expected)


def test_nothing_hidden_and_nan_elsewhere_give_finite_gradients():
    logit = torch.full((2, 3, V), torch.nan).requires_grad_()
    losses = node_losses(logit, torch.full((2, 3), -100), torch.zeros(2, 3, dtype=torch.long))
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 0]
    assert not logit.grad.any()


def context(**changes):
    settings = {
        "texts": None, "positions": [], "above_PP": torch.zeros(0, 0), "tokenize": None, "encode": None,
        "text_width": I, "place_width": 7, "embed_dim": 6, "state_width": None, "text_frozen": True,
        "has_triples": True, "table_size": (V, I), "mask_id": 4,
    }  # fmt: skip
    return Context(**{**settings, **changes})


SMALL = ErnieVilObjective.Config(rate=1.0, fusion=QueryDecoder.Config(width=8, layers=2, heads=2, dropout=0.0))


def step(seed=0, knowledge="real", valid=None):
    torch.manual_seed(0)
    objective = ErnieVilObjective(SMALL)
    objective.prepare(context(knowledge=knowledge))
    table = torch.randn(V, I, requires_grad=True)
    ids, (node, kind) = torch.randint(5, V, (M, L)), layout()
    owner = torch.arange(B).repeat(2)
    given = {
        "token_ids_ML": ids, "node_ML": node, "node_kind_ML": kind, "text_owner_M": owner,
        "group_B": torch.arange(B), **({} if valid is None else {"text_valid_M": valid}),
    }  # fmt: skip
    shown = []

    def encode_words(ids_ML, mask_ML):
        shown.append(ids_ML)
        return table[ids_ML]

    mask = torch.ones(M, L, dtype=torch.long)
    image, text = normalize(torch.randn(B, 6), dim=1), normalize(torch.randn(M, 6), dim=1)
    places = torch.randn(B, N, 7)
    torch.manual_seed(seed)
    seen = Seen(None, places, None, None, mask, given, None, None, encode_words, table_VI=table)
    extra = objective.heads(seen)
    batch = SimpleNamespace(
        text_owner_M=owner, text_valid_M=valid, group_B=given["group_B"], texts=[f"text {row}" for row in range(M)],
        concepts=[()] * B, concept_B=torch.full((B,), -1),
    )  # fmt: skip
    losses = objective(Outputs(image, text, 5.0, extra=extra), batch, LocalGather())
    return SimpleNamespace(losses=losses, heads=objective.heads, table=table, extra=extra, shown=shown[0], ids=ids)


def test_every_parameter_gets_a_gradient_and_every_loss_is_there():
    made = step()
    assert set(made.losses.terms) == {f"ernie_{name}" for name in (*NODES, "matching", "contrast")}
    assert all(term > 0 for term in made.losses.terms.values())
    made.losses.total.backward()
    silent = [name for name, one in made.heads.named_parameters() if one.grad is None or not one.grad.any()]
    assert silent == []
    assert made.table.grad.any()


def test_what_is_hidden_is_shown_to_neither_and_asked_for():
    made = step()
    hidden = made.shown != made.ids
    assert hidden.any()
    assert (made.shown[hidden] == 4).float().mean() > 0.5
    assert set(made.ids[hidden].tolist()) <= set(made.extra["ernie_vil.target_R"].tolist())


def test_texts_that_do_not_count_are_neither_hidden_nor_matched():
    valid = torch.tensor([True, True, True, False, True, False])
    made = step(valid=valid)
    assert (made.extra["ernie_vil.matches_R"].view(2, M) == -100).all(0).tolist() == (~valid).tolist()
    assert torch.equal(made.shown[~valid], made.ids[~valid])
    nothing = step(valid=torch.zeros(M, dtype=torch.bool))
    assert nothing.losses.total == 0
    nothing.losses.total.backward()
    assert all(torch.isfinite(one.grad).all() for one in nothing.heads.parameters() if one.grad is not None)


def test_controls_ask_for_equally_many_words():
    counts = {
        knowledge: len(step(7, knowledge).extra["ernie_vil.target_R"]) for knowledge in ("real", "permuted", "none")
    }
    assert len(set(counts.values())) == 1
    assert counts["real"] > 0


def test_settings_and_runs_that_do_not_fit():
    assert isinstance(build(SMALL), ErnieVilObjective)
    with pytest.raises(ValidationError, match="masked and random are shares of one whole"):
        ErnieVilObjective.Config(masked=0.8, random=0.3)
    for changes, message in (
        ({"has_triples": False}, r"entities: objective ernie_vil reads triples"),
        ({"table_size": None}, r"model\.text: objective ernie_vil reads the table"),
        ({"mask_id": None}, r"model\.text: objective ernie_vil hides tokens"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            ErnieVilHeads(SMALL, context(**changes))

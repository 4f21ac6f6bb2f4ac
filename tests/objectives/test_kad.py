"""KAD's losses: several positives per concept, what an image's own texts say, what is drawn, and nothing but that."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from medvlp.data.batch import ASPECTS
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.objectives.base import Outputs, Seen
from medvlp.objectives.clip import info_nce
from medvlp.objectives.context import Context
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.kad import ANSWERS, ASKS, KadObjective, KadPairObjective, pair_loss

B, Q, N, I, J = 3, 4, 5, 12, 10  # noqa: E741 (image places have width I, texts J)


class Batch(SimpleNamespace):
    def __len__(self):
        return len(self.group_B)


def unit(*shape):
    return normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def test_a_concept_drawn_often_weighs_its_share():
    """Label columns scaled to length one, as released, would weigh a concept drawn n times by the square root of n."""
    torch.manual_seed(0)
    a, b = unit(1, 6).expand(4, -1), unit(1, 6).expand(4, -1)
    same = pair_loss(a, b, torch.zeros(4, dtype=torch.long), 5.0)
    torch.testing.assert_close(same, torch.tensor(4.0, dtype=torch.float64).log())


def test_the_order_of_pairs_does_not_matter_nor_of_the_two_sides():
    torch.manual_seed(1)
    a, b, code, order = unit(6, 5), unit(6, 5), torch.tensor([0, 0, 1, 2, 2, 2]), torch.randperm(6)
    loss = pair_loss(a, b, code, 9.0)
    torch.testing.assert_close(pair_loss(a[order], b[order], code[order], 9.0), loss)
    torch.testing.assert_close(pair_loss(b, a, code, 9.0), loss)


def test_the_texts_of_a_pair_are_told_apart_by_kind_not_by_order():
    torch.manual_seed(2)
    text, code = unit(6, 5), torch.tensor([7, 7, 3])
    owner, second = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0, 1])
    kinds = torch.tensor([ASPECTS.index(ASKS), ASPECTS.index(ANSWERS)])
    expected = pair_loss(text[0::2], text[1::2], code, 9.0)
    for order in (torch.arange(6), torch.tensor([3, 5, 0, 1, 2, 4])):
        batch = Batch(text_owner_M=owner[order], text_aspect_M=kinds[second[order]], group_B=code)
        losses = KadPairObjective()(Outputs(None, text[order], 9.0), batch, LocalGather())
        torch.testing.assert_close(losses.terms["kad_pairs"], expected)


def context(**changes):
    torch.manual_seed(0)
    texts = SimpleNamespace(by_entity=(("x",),) * Q, flat=["x"] * Q, entity_E=torch.arange(Q))
    settings = {
        "texts": lambda count, aspects: texts,
        "positions": [],
        "above_PP": torch.zeros(0, 0),
        "tokenize": lambda texts: (torch.ones(len(texts), 2), torch.ones(len(texts), 2)),
        "encode": lambda texts: torch.randn(len(texts), J),
        "text_width": J,
        "place_width": I,
        "embed_dim": 6,
        "state_width": 8,
        "text_frozen": True,
    }
    return Context(**{**settings, **changes})


def seen_of(decoder, owner, valid=None, seed=5):
    torch.manual_seed(seed)
    tokens, text = torch.randn(B, N, I), torch.randn(len(owner), J)
    given = {"text_owner_M": owner, **({} if valid is None else {"text_valid_M": valid})}

    def decode(query, memory=None, mask=None):
        return decoder(query, tokens if memory is None else memory, mask)

    return Seen(torch.randn(B, I), tokens, text, None, None, given, decode, None)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return QueryDecoder(QueryDecoder.Config(width=8, layers=2, heads=2, dropout=0), J, I).eval()


def heads_of(**settings):
    objective = KadObjective(KadObjective.Config(**settings))
    objective.prepare(context())
    return objective.heads


def test_an_image_is_asked_by_its_own_texts_alone(decoder):
    heads, owner = heads_of(), torch.tensor([0, 2, 0, 2, 2])
    valid = torch.tensor([True, True, True, False, True])
    seen = seen_of(decoder, owner, valid)
    made = heads(seen)
    assert made["kad.has_text_B"].tolist() == [1, 0, 1]
    for row in (0, 2):
        own = seen.text_MI[(owner == row) & valid]
        alone = decoder(heads.queries(seen), heads.text_place(own)[None]).exists_BQ2[0]
        torch.testing.assert_close(made["kad.text_BQ2"][row], alone)
    torch.testing.assert_close(made["kad.image_BQ2"], decoder(heads.queries(seen), seen.tokens_BNI).exists_BQ2)


def outputs(made, texts=5):
    torch.manual_seed(9)
    return Outputs(unit(B, 6), unit(texts, 6), 4.0, extra=made)


def batch_of(owner, label, valid=None):
    texts = [f"t{number}" for number in range(len(owner))]
    return Batch(
        entity_label_BQ=label, text_owner_M=owner, text_valid_M=valid, group_B=torch.arange(B), texts=texts,
        concept_B=torch.full((B,), -1), concepts=[()] * B,
    )  # fmt: skip


def test_an_image_without_a_text_that_counts_says_nothing_of_texts(decoder):
    owner = torch.tensor([0, 2, 0, 2, 2])
    label = torch.full((B, Q), -100)
    label[1] = 1
    made = heads_of()(seen_of(decoder, owner))
    losses = KadObjective()(outputs(made), batch_of(owner, label), LocalGather())
    assert losses.terms["kad_text"] == 0
    assert losses.terms["kad_image"] > 0
    none = KadObjective()(outputs(made), batch_of(owner, label, torch.zeros(5, dtype=torch.bool)), LocalGather())
    assert torch.isfinite(none.total)
    assert none.terms["kad_contrast"] == 0


def test_what_is_not_mentioned_is_absent_as_published(decoder):
    owner, label = torch.tensor([0, 1, 2]), torch.full((B, Q), -100)
    made = heads_of()(seen_of(decoder, owner))
    ignored = KadObjective()(outputs(made, 3), batch_of(owner, label), LocalGather())
    assert ignored.terms["kad_image"] == 0
    config = KadObjective.Config(unmentioned="absent")
    absent = KadObjective(config)(outputs(made, 3), batch_of(owner, label), LocalGather())
    zeros = KadObjective()(outputs(made, 3), batch_of(owner, torch.zeros_like(label)), LocalGather())
    assert absent.terms["kad_image"] == zeros.terms["kad_image"] > 0


def test_the_contrast_is_clips_of_the_texts_that_count():
    torch.manual_seed(4)
    owner, valid = torch.tensor([0, 2, 0, 1, 2]), torch.tensor([True, True, True, False, True])
    out = outputs({})
    losses = KadObjective(KadObjective.Config(positives="own"))(
        out, batch_of(owner, torch.zeros(B, Q, dtype=torch.long), valid), LocalGather()
    )
    expected = info_nce(out.image_BD, out.text_MD[valid], 4.0, owner_M=owner[valid])
    torch.testing.assert_close(losses.terms["kad_contrast"], expected)


def test_random_memory_is_one_of_the_two_by_the_seed_of_the_step(decoder):
    heads, owner, drawn = heads_of(memory="random"), torch.tensor([0, 1, 2]), []
    seen = seen_of(decoder, owner)
    for seed in range(40):
        torch.manual_seed(seed)
        made = heads(seen)
        torch.manual_seed(seed)
        assert heads(seen).keys() == made.keys()
        drawn.append("kad.text_BQ2" in made)
        assert ("kad.image_BQ2" in made) != drawn[-1]
        losses = KadObjective(KadObjective.Config(memory="random"))(
            outputs(made, 3), batch_of(owner, torch.ones(B, Q, dtype=torch.long)), LocalGather()
        )
        assert set(losses.terms) == {"kad_query", "kad_contrast"}
    assert 10 < sum(drawn) < 30


def test_without_text_memory_nothing_learns_for_it():
    assert heads_of(text_memory=0.0, memory="random").text_place is None
    assert [name for name, _ in heads_of(text_memory=0.0).named_parameters()] == []

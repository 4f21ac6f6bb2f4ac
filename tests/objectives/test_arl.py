"""ARL's losses and what they read: mentions, whole-entity masks, the entity graph under each kind of knowledge."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medvlp.errors import ConfigError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.vectors import EntityVectors
from medvlp.objectives.arl import ArlObjective, align_loss, masked_patch_loss, masked_token_loss, matching_loss
from medvlp.objectives.arl_heads import _false_images
from medvlp.objectives.base import Outputs
from medvlp.objectives.context import KnownEntity
from medvlp.objectives.entity_graph import entity_graph, mention_names
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.mentions import MentionFinder, mask_whole

WORDS = [
    "[pad]",
    "[cls]",
    "[sep]",
    "[mask]",
    "the",
    "lung",
    "nodule",
    "nodules",
    "pleural",
    "effusion",
    "no",
    "seen",
    "[unk]",
]
CODE = {word: code for code, word in enumerate(WORDS)}
GRAPH = DiseaseGraph.from_dict(
    {
        "X:0": {"name": "finding"},
        "X:1": {"name": "lung finding", "parents": ["X:0"]},
        "X:2": {"name": "lung nodule", "parents": ["X:1"], "synonyms": ["nodule", "n"]},
        "X:3": {"name": "pleural effusion", "parents": ["X:1"], "synonyms": ["effusion"]},
        "X:4": {"name": "cardiomegaly", "parents": ["X:0"]},
    }
)
ENTITIES = [KnownEntity("lung nodule", ("X:2",)), KnownEntity("effusion", ("none", "X:3")), KnownEntity("other")]


def tokenize(texts, fixed=False):
    rows = [[1, *(CODE.get(word.lower(), CODE["[unk]"]) for word in text.split()), 2] for text in texts]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])


def finder():
    return MentionFinder([mention_names(entity, GRAPH) for entity in ENTITIES], tokenize, CODE["[unk]"])


def test_mentions_are_found_with_the_longest_name_and_their_plural():
    ids, _ = tokenize(["no lung nodule seen", "nodules and pleural effusion effusion", "the lung seen", ""])
    found = finder()(ids)
    assert found.entity_ML.tolist() == [
        [-1, -1, 0, 0, -1, -1, -1],
        [-1, 0, -1, 1, 1, 1, -1],
        [-1] * 7,
        [-1] * 7,
    ]
    assert found.first_ML.tolist()[1] == [0, 1, 2, 3, 3, 5, 6]


def test_names_follow_the_graph_and_a_bare_name_stays_without_it():
    assert mention_names(ENTITIES[0], GRAPH) == ["lung nodule", "nodule"]  # a name of one letter is none
    assert mention_names(ENTITIES[0], GRAPH.permuted(3)) == ["lung nodule", "nodule"]
    assert mention_names(ENTITIES[0], None) == ["lung nodule"]
    assert MentionFinder([[]], tokenize)(tokenize(["the lung"])[0]).entity_ML.tolist() == [[-1] * 4]


def masked(texts, seed, share=0.3):
    ids, mask = tokenize(texts)
    find = finder()
    mentions = find(ids)
    torch.manual_seed(seed)
    may = mask.bool() & ~find.special(ids)
    return ids, mask, mentions, mask_whole(ids, may, mentions, len(ENTITIES), CODE["[mask]"], len(WORDS), share)


def test_a_mention_is_masked_whole_and_its_entity_leaves_the_stream():
    seen = set()
    for seed in range(60):
        ids, _, _, made = masked(["the lung nodule seen no pleural effusion the nodule"], seed)
        chosen = (made.target_ML != -100)[0]
        assert chosen[2] == chosen[3]
        assert chosen[6] == chosen[7]
        first_hit, second_hit = bool(chosen[2] | chosen[9]), bool(chosen[6])
        assert made.entity_ML[0, [2, 3, 9]].tolist() == [-1 if first_hit else 0] * 3
        assert made.entity_ML[0, [6, 7]].tolist() == [-1 if second_hit else 1] * 2
        assert torch.equal(made.ids_ML[~chosen[None]], ids[~chosen[None]])
        assert torch.equal(made.target_ML[chosen[None]], ids[chosen[None]])
        seen.add((first_hit, second_hit))
    assert len(seen) == 4


def test_shares_of_masking_are_those_of_bert():
    """A published release masks 40, replaces 50 and keeps 10 of a hundred chosen tokens."""
    ids, mask, _, made = masked(["the no seen lung pleural the no seen lung the"] * 15000, 0, share=0.15)
    assert not (made.target_ML[:, [0, -1]] != -100).any()
    chosen = made.target_ML != -100
    count = int(mask[:, 1:-1].sum())
    assert count >= 1e5
    assert abs(chosen.sum() / count - 0.15) < 0.01
    now, was = made.ids_ML[chosen], ids[chosen]
    mask_rate, kept_rate = (now == CODE["[mask]"]).float().mean(), (now == was).float().mean()
    by_chance = 0.1 / len(WORDS)  # a random token may be the mask, or the same
    assert abs(mask_rate - 0.8 - by_chance) < 0.01
    assert abs(kept_rate - 0.1 - by_chance) < 0.01


def test_padding_is_never_masked():
    for seed in range(20):
        _, mask, _, made = masked(["the lung nodule", "the lung nodule seen no pleural effusion"], seed, share=0.9)
        assert not ((made.target_ML != -100) & (mask == 0)).any()


def nodes(knowledge="real", graph=GRAPH, vectors=None, hops=2, seed=0):
    return entity_graph(ENTITIES, graph, vectors, knowledge=knowledge, hops=hops, width=4, seed=seed)


def some_vectors():
    vectors = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    return EntityVectors(("X:0", "X:1", "X:2", "X:3"), ("is_a",), vectors, np.ones((1, 6), np.float32), {})


def test_nodes_are_the_entities_and_what_is_above_them():
    found = nodes()
    assert found.start_NX.shape == (5, 4)  # three entities, lung finding, finding
    edges = {tuple(edge) for edge in found.edge_2E.T.tolist()}
    assert edges == {(3, 0), (0, 3), (3, 1), (1, 3), (4, 3), (3, 4)}
    assert nodes(hops=0).start_NX.shape == (3, 4)
    assert nodes(hops=0).edge_2E.shape == (2, 0)
    torch.testing.assert_close(found.start_NX.norm(dim=1), torch.ones(5))


def test_knowledge_decides_vectors_and_edges():
    vectors = some_vectors()
    real, none = nodes(vectors=vectors), nodes("none", None, vectors)
    rewired = GRAPH.permuted(1)
    permuted = nodes("permuted", rewired, vectors)
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors.entity_NX), dim=1)
    torch.testing.assert_close(real.start_NX[:2], unit[2:])
    assert real.share == pytest.approx(2 / 3)
    assert none.share == 0
    assert none.edge_2E.shape == (2, 0)
    assert not any(torch.allclose(row, one) for row in none.start_NX for one in unit)
    names = ["X:2", "X:3"]
    for row, name in enumerate(names):  # some concept's vector, not its own
        own = vectors.ids.index(name)
        same = [torch.allclose(permuted.start_NX[row], one) for one in unit]
        assert sum(same) == 1
        assert not same[own]
    assert torch.equal(permuted.start_NX, nodes("permuted", rewired, vectors).start_NX)


def test_one_vector_cannot_be_exchanged():
    one = EntityVectors(("X:2",), ("is_a",), np.ones((1, 4), np.float32), np.ones((1, 4), np.float32), {})
    with pytest.raises(ConfigError, match=r"^objective.vectors: knowledge permuted needs two concepts"):
        nodes("permuted", GRAPH, one)


def test_a_false_image_shows_other_entities():
    label = torch.tensor([[1, 0], [1, 0], [0, 1], [1, -100]])
    owner, valid = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([True, True, True, False, True])
    given = {"text_owner_M": owner, "entity_label_BQ": label, "text_valid_M": valid}
    drawn = [_false_images(SimpleNamespace(batch=given)) for _ in range(40)]
    for wrong, counts in drawn:
        assert counts.tolist() == valid.tolist()
        assert all(not torch.equal(label[own], label[other]) for own, other in zip(owner, wrong, strict=True))
    assert {int(wrong[0]) for wrong, _ in drawn} == {2, 3}
    given["entity_label_BQ"] = label[:1].expand(4, -1)
    assert not _false_images(SimpleNamespace(batch=given))[1].any()


B, M, Q, G, N, C, K, V = 3, 4, 3, 5, 4, 6, 5, 7


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    extra = {
        "arl.entity_QG": normal(Q, G), "arl.image_BG": normal(B, G), "arl.text_MG": normal(M, G),
        "arl.token_KV": normal(K, V), "arl.token_K": torch.randint(V, (K,), generator=generator),
        "arl.place_BNC": normal(B, N, C), "arl.held_BNC": normal(B, N, C).detach(),
        "arl.hidden_BN": torch.randint(2, (B, N), generator=generator),
        "arl.match_R2": normal(2 * M, 2), "arl.match_R": torch.tensor([1, 1, 1, -100, 0, 0, 0, -100]),
        "arl.mention_share": torch.tensor(0.5), "arl.vectors_share": torch.tensor(0.0),
    }  # fmt: skip
    state = torch.tensor([1, 0, 2, -100])[torch.randint(0, 4, (B, Q), generator=generator)]
    batch = SimpleNamespace(
        entity_label_BQ=state, text_owner_M=torch.tensor([2, 0, 1, 1]), text_valid_M=torch.tensor([True] * 3 + [False])
    )
    unit = torch.nn.functional.normalize
    return Outputs(unit(normal(B, G), dim=1), unit(normal(M, G), dim=1), 3.0, extra=extra), batch


def terms_of(out, batch, **settings):
    return ArlObjective(ArlObjective.Config(**settings))(out, batch, LocalGather()).terms


def test_the_objective_adds_up_the_pure_losses_with_the_published_factors():
    out, batch = draw()
    made, owner = out.extra, batch.text_owner_M[:3]
    terms = terms_of(out, batch, projection="own")
    image, text = made["arl.image_BG"], made["arl.text_MG"][:3]
    label = batch.entity_label_BQ
    align = (
        align_loss(image, image, made["arl.entity_QG"], label)
        + align_loss(text, text, made["arl.entity_QG"], label[owner])
    ) / 2
    torch.testing.assert_close(terms["arl_align"], align)
    torch.testing.assert_close(
        terms["arl_tokens"], masked_token_loss(made["arl.token_KV"][None], made["arl.token_K"][None])
    )
    torch.testing.assert_close(
        terms["arl_places"],
        masked_patch_loss(made["arl.place_BNC"], made["arl.held_BNC"], made["arl.hidden_BN"].bool()),
    )
    torch.testing.assert_close(
        terms["arl_matching"],
        0.1 * matching_loss(made["arl.match_R2"][[0, 1, 2, 4, 5, 6]], torch.tensor([1] * 3 + [0] * 3)),
    )


def test_with_the_model_s_own_projection_entities_are_compared_with_its_embeddings():
    out, batch = draw()
    batch.text_valid_M = torch.ones(M, dtype=torch.bool)
    batch.text_owner_M = torch.arange(M) % B
    unit = torch.nn.functional.normalize(out.extra["arl.entity_QG"], dim=1)
    label = batch.entity_label_BQ
    expected = (
        align_loss(3 * out.image_BD, 3 * out.image_BD, unit, label)
        + align_loss(3 * out.text_MD, 3 * out.text_MD, unit, label[batch.text_owner_M])
    ) / 2
    torch.testing.assert_close(terms_of(out, batch)["arl_align"], expected)


def test_a_factor_of_nothing_takes_its_loss_away_and_all_of_them_are_refused():
    out, batch = draw()
    assert set(terms_of(out, batch, tokens=0, matching=0)) == {"arl_align", "arl_places"}
    assert set(terms_of(out, batch, align=0, places=0)) == {"arl_tokens", "arl_matching"}
    with pytest.raises(ValueError, match="all four factors are 0"):
        ArlObjective.Config(align=0, tokens=0, places=0, matching=0)
    assert ArlObjective(ArlObjective.Config(reconstruct="places")).needs == {
        "entity_label_BQ", "text_owner_M", "token_ids_ML",
    }  # fmt: skip
    assert "image_BCHW" in ArlObjective().needs


def test_nothing_masked_nothing_mentioned_nothing_matched_gives_a_zero_with_gradient():
    out, batch = draw()
    extra = out.extra
    batch.entity_label_BQ = torch.full((B, Q), 2)
    extra["arl.token_KV"], extra["arl.token_K"] = extra["arl.token_KV"][:0], extra["arl.token_K"][:0]
    extra["arl.hidden_BN"] = torch.zeros(B, N)
    extra["arl.match_R"] = torch.full((2 * M,), -100)
    losses = ArlObjective(ArlObjective.Config(projection="own"))(out, batch, LocalGather())
    losses.total.backward()
    assert losses.total == 0
    leaves = [extra[name] for name in ("arl.image_BG", "arl.text_MG", "arl.entity_QG", "arl.place_BNC", "arl.match_R2")]
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves)


def test_texts_that_do_not_count_change_nothing():
    out, batch = draw()
    before = terms_of(out, batch, projection="own")["arl_align"]
    out.extra["arl.text_MG"] = torch.cat([out.extra["arl.text_MG"][:3], torch.full((1, G), 9.0, dtype=torch.float64)])
    assert terms_of(out, batch, projection="own")["arl_align"] == before


def test_the_order_of_images_and_texts_does_not_matter():
    """A published release takes captions in another order than images."""
    out, batch = draw()
    before = terms_of(out, batch, projection="own")["arl_align"]
    images, texts = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    moved = torch.argsort(images)
    out.extra["arl.image_BG"], out.extra["arl.text_MG"] = (
        out.extra["arl.image_BG"][images],
        out.extra["arl.text_MG"][texts],
    )
    batch.entity_label_BQ = batch.entity_label_BQ[images]
    batch.text_owner_M, batch.text_valid_M = moved[batch.text_owner_M[texts]], batch.text_valid_M[texts]
    torch.testing.assert_close(terms_of(out, batch, projection="own")["arl_align"], before)

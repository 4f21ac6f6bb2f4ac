"""What the grid's losses on triples, swapped captions and hidden words are told in each arm, and what they teach."""

import pytest
import torch
from controlled_cases import TOKEN_METHODS, tiny_grid

from benchmarks.common.graphs import build_graph
from benchmarks.controlled.captions import says
from benchmarks.controlled.features import Towers
from benchmarks.controlled.grid import Job, Worker
from benchmarks.controlled.said import IS_A, Said
from benchmarks.controlled.text_space import hierarchy_of
from benchmarks.controlled.train import train
from benchmarks.controlled.words import FewTokens, WordTable
from medvlp.data.batch import NO_SWAP
from medvlp.data.nodes import ATTRIBUTE, OBJECT, nodes_of

pytestmark = pytest.mark.extras  # reads OBO files

ERNIE = TOKEN_METHODS["ernie_vil"]["objective"]
NOTHING = {**ERNIE, "objects": 0.0, "attributes": 0.0, "contrast": 0.0, "matching": 0.0}
WORDS = {
    "words": {"title": "hidden words alone", "objective": {**NOTHING, "objects": 1.0, "attributes": 1.0}},
    "nothing": {"title": "not even these", "objective": NOTHING},
}
ARMS = ("real", "permuted", "none")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    # The same text space in all arms: what differs is what stage 2 was told.
    stages = {"metric": {"steps": 0, "groups_per_batch": 8, "instances": 2, "draws": 2}}
    config = tiny_grid(root, methods={**TOKEN_METHODS, **WORDS}, levels={}, axes={}, seeds=[0], stages_1=stages)
    build_graph(config.world.graph, root / "out")
    return config, Worker(config, root / "out")


@pytest.fixture(scope="module")
def scene(grid):
    return grid[1].scene("base", 0)


def reader(scene, knowledge):
    hierarchy = hierarchy_of(scene.sub, knowledge, 0)
    return hierarchy, Said(scene.world, scene.sub, hierarchy)


def captions(scene):
    return sorted({(c, t) for c, own in zip(scene.pairs.said_N, scene.pairs.captions_N, strict=True) for t in own})


@pytest.mark.parametrize("method", list(TOKEN_METHODS))
def test_arms_differ_by_what_stage_2_is_told_alone(grid, method):
    _, worker = grid
    records = [worker.do(Job(0, "base", method, knowledge)) for knowledge in ARMS]
    assert len({record["loss"]["stage_2"] for record in records}) == 3
    assert all(record["cost"] == records[0]["cost"] for record in records)


def test_hidden_words_teach_the_image_head(grid, scene):
    config, worker = grid
    weights = []
    for name in WORDS:  # the same first weights, and weight decay in both
        trained = train(
            config.methods[name], config.stage_2, scene.pairs, worker.places("base", 0)["train"], scene.world,
            scene.sub, scene.sub, "real", worker.space(scene.sub, "metric", "real", 0), worker.towers,
        )  # fmt: skip
        weights.append(trained.model.image_head.first.weight)
    assert (weights[0] - weights[1]).abs().max() > 1e-4


@pytest.mark.parametrize("knowledge", ["real", "permuted"])
def test_a_caption_is_told_the_parents_of_the_arms_graph(scene, knowledge):
    hierarchy, said = reader(scene, knowledge)
    for concept, text in captions(scene):
        told = said.told(concept, text)
        assert [one.tail for one in told] == [scene.sub.name(parent) for parent in hierarchy.parents(concept)]
        for one in told:
            assert one.head in text
            assert one.relation == IS_A
            assert not says(one.tail, scene.world.unseen_names)


def test_without_a_graph_nothing_is_told(scene):
    _, said = reader(scene, "none")
    assert not any(said.told(*one) for one in captions(scene))


@pytest.mark.parametrize("knowledge", ARMS)
def test_a_swapped_caption_names_a_leaf_that_is_not_related_and_is_no_unseen_one(scene, knowledge):
    hierarchy, said = reader(scene, knowledge)
    preferred = {scene.sub.name(leaf): leaf for leaf in said.known}
    for concept, text in captions(scene):
        options = said.swapped(concept, text)
        assert bool(options) == (concept != scene.world.config.root)
        for option in options:
            assert not says(option, scene.world.unseen_names)
            other = next(leaf for name, leaf in preferred.items() if name in option)
            assert other != concept
            if hierarchy is not None:
                assert not set(hierarchy.parents(other)) & set(hierarchy.parents(concept))
        if hierarchy is None and options:
            assert len(options) == len(said.known) - (concept in said.known)
        drawn = said.swap(concept, text, 3, 1)
        assert drawn == said.swap(concept, text, 3, 1)
        assert drawn.text in options if options else drawn == NO_SWAP


def test_nodes_are_the_name_and_the_words_it_shares_with_parents_and_do_not_follow_the_arm(scene):
    found = {knowledge: reader(scene, knowledge)[1] for knowledge in ARMS}
    concept, text = next(
        (concept, text)
        for concept, own in zip(scene.pairs.said_N, scene.pairs.captions_N, strict=True)
        for text in own
        if concept != scene.world.config.root
    )
    said = [found[knowledge].nodes(concept, text) for knowledge in ARMS]
    assert said[0] == said[1] == said[2]
    name = said[0][0].head
    site = name.split()[0]  # "lung b carcinoma" is a "lung tissue"
    assert [one.tail for one in said[0]] == [site]
    _, kind_C = nodes_of(text, said[0])
    start = text.index(name)
    assert set(kind_C[start : start + len(site)]) == {ATTRIBUTE}
    assert kind_C[start + len(name) - 1] == OBJECT
    assert set(kind_C[:start]) <= {-1}


def test_few_tokens_are_the_towers_own_renumbered(grid):
    config, worker = grid
    tower = Towers(config.image, config.text, worker.out).text_tower
    texts = ["lung b carcinoma", "skin"]
    few = FewTokens(tower, texts)
    own_ids, own_mask = tower.tokenize(texts)
    ids, mask = few(texts)
    assert torch.equal(mask, own_mask)
    assert torch.equal(few.tower_id_V[ids], own_ids)
    assert torch.equal(few.table_VI, tower.table_VI[few.tower_id_V])
    assert few.tower_id_V[few.mask_id] == tower.tokenizer.mask_id
    assert few(["liver"])[0][0, 1] == few.unknown_id
    assert few.bare(["skin"], 5) == [[int(ids[1, 1])]]
    assert len(few) < len(tower.table_VI)


def test_texts_are_found_by_their_tokens_and_hidden_words_leave_no_trace_in_others(grid):
    config, worker = grid
    towers = Towers(config.image, config.text, worker.out)
    texts = ["lung b carcinoma", "skin"]
    plain, few = towers.texts(texts), FewTokens(towers.text_tower, texts)
    table = WordTable(list(plain.row), plain.features_UI, towers.text_tower, few)
    ids, mask = table.tokenize(["skin", "lung b carcinoma"])
    assert torch.equal(table.pooled(ids, mask), plain[["skin", "lung b carcinoma"]])
    hidden = ids.clone()
    hidden[1, 2] = few.mask_id
    assert table.pooled(hidden, mask)[1].isnan().all()
    before, after = table.words(ids), table.words(hidden)
    assert before.shape == (*ids.shape, table.word_width)
    changed = (before != after).any(-1)
    assert changed.nonzero().tolist() == [[1, 2]]


def test_principal_components_of_words_keep_what_tells_them_apart(grid):
    config, worker = grid
    towers = Towers(config.image, config.text, worker.out)
    texts = ["lung b carcinoma", "skin"]
    plain, few = towers.texts(texts), FewTokens(towers.text_tower, texts)
    whole, cut = (WordTable(list(plain.row), plain.features_UI, towers.text_tower, few, width) for width in (None, 6))
    ids, mask = whole.tokenize(texts)
    words = [table.words(ids)[mask.bool()].double() for table in (whole, cut)]
    assert cut.word_width == 6
    # Seven different tokens with their places: six directions hold all that differs among them.
    assert len(words[0].unique(dim=0)) == 7
    torch.testing.assert_close(torch.cdist(*[words[1]] * 2), torch.cdist(*[words[0]] * 2), atol=1e-4, rtol=1e-4)

"""The made world: leaves of a hierarchy, inherited looks, their twin, captions that keep a name unsaid."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from benchmarks.controlled import captions, tissue
from benchmarks.controlled.appearance import draw_factors, exchange
from benchmarks.controlled.taxonomy import (
    RARE,
    SEEN,
    UNSEEN,
    choose_leaves,
    draw_groups,
    is_opaque,
    shared_ancestors,
    subgraph,
)
from benchmarks.controlled.world import make_world, write_store
from benchmarks.controlled.world_config import WorldConfig
from medvlp.config import load
from medvlp.data.pairs import PairsStore
from medvlp.errors import ConfigError, DataError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise

ORGANS = ("stomach", "bladder", "thyroid", "pancreas", "cornea", "trachea")
TISSUES = ("sarcoma", "lymphoma")
OPAQUE = [
    f"{start}{end}oma" for start in ("zyx", "quor", "blast", "novil") for end in ("ef", "ung", "ip", "az", "oth", "ild")
]


def _graph():
    """Six organs of six diseases each; two have a cell type above them too, four have names of their own."""
    concepts = {
        "R": {"name": "cancer", "synonyms": ["malignant tumour"]},
        "R:organ": {"name": "organ system cancer", "parents": ["R"]},
        "R:cell": {"name": "cell type cancer", "parents": ["R"]},
    }
    for tissue_name in TISSUES:
        concepts[f"C:{tissue_name}"] = {"name": tissue_name, "parents": ["R:cell"]}
    fresh = iter(OPAQUE)
    for organ in ORGANS:
        concepts[f"O:{organ}"] = {"name": f"{organ} cancer", "parents": ["R:organ"]}
        for tissue_name in TISSUES:
            parents = [f"O:{organ}", f"C:{tissue_name}"]
            names = {"name": f"{organ} {tissue_name}", "synonyms": [f"{tissue_name} of the {organ}"]}
            concepts[f"L:{organ}-{tissue_name}"] = {**names, "parents": parents}
        for number in range(4):
            name = next(fresh)
            concepts[f"L:{organ}-{number}"] = {"name": name, "synonyms": [f"{name} proper"], "parents": [f"O:{organ}"]}
    return DiseaseGraph.from_dict(concepts)


SMALL = WorldConfig(
    root="R",
    num_leaves=24,
    image_size=32,
    images_per_leaf=6,
    rare_images=2,
    dev_images=1,
    test_images=2,
    share_unseen=0.25,
    share_rare=0.17,
)


@pytest.fixture(scope="module")
def graph():
    return _graph()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(scope="module")
def world(graph, cache):
    return make_world(SMALL, graph, 0, cache)


@pytest.fixture(scope="module")
def twin(graph, cache):
    return make_world(SMALL.model_copy(update={"twin": True}), graph, 0, cache)


def _sorted_images(world, rows):
    return sorted(world.images_N[row].tobytes() for row in rows)


def test_leaves_are_whole_branches_of_an_antichain(graph):
    leaves = choose_leaves(graph, "R", 24)
    assert len(set(leaves.ids)) == 24
    assert np.bincount(leaves.branch_L).tolist() == [4] * 6
    for concept in leaves.ids:
        assert not graph.ancestors(concept) & set(leaves.ids)
    for leaf, branch in zip(leaves.ids, leaves.branch_L, strict=True):
        assert leaves.branches[branch] in graph.parents(leaf)
    assert choose_leaves(graph, "R", 8).ids == leaves.ids[:8]


def test_too_few_leaves_is_one_line(graph):
    with pytest.raises(ConfigError, match="only 32 fitting diseases below R"):
        choose_leaves(graph, "R", 36)


def test_a_leaf_whose_name_lies_in_another_is_left_out():
    concepts = {
        "R": {"name": "cancer"},
        "T": {"name": "top cancer", "parents": ["R"]},
        "P": {"name": "skin cancer", "parents": ["T"]},
    }
    for number, name in enumerate(["melanoma", "skin melanoma", "vitroma", "keldroma", "nasporoma"]):
        concepts[f"L:{number}"] = {"name": name, "synonyms": [f"{name} entity"], "parents": ["P"]}
    chosen = choose_leaves(DiseaseGraph.from_dict(concepts), "R", 4).ids
    assert set(chosen) in ({"L:0", "L:2", "L:3", "L:4"}, {"L:1", "L:2", "L:3", "L:4"})


def test_opaque_names_share_no_content_word(graph):
    assert is_opaque(graph, "R", "L:stomach-0")
    assert not is_opaque(graph, "R", "L:stomach-sarcoma")
    assert not is_opaque(graph, "R", "L:stomach-0", seen=["L:stomach-0"])


def test_a_word_within_a_word_is_a_hint():
    concepts = {
        "R": {"name": "cancer"},
        "P": {"name": "sarcoma", "parents": ["R"]},
        "L": {"name": "liposarcoma", "parents": ["P"]},
        "Q": {"name": "carcinoma", "parents": ["R"]},
        "M": {"name": "Krukenberg carcinoma", "parents": ["Q"]},
    }
    small = DiseaseGraph.from_dict(concepts)
    assert not is_opaque(small, "R", "L")
    assert is_opaque(small, "R", "M")


def test_shared_ancestors_part_the_leaves_and_count_once(graph):
    leaves = choose_leaves(graph, "R", 24)
    above_LA = shared_ancestors(graph, "R", leaves.ids)
    columns = {tuple(column) for column in above_LA.T.tolist()}
    assert len(columns) == above_LA.shape[1]
    for concept in ("R:cell", "C:sarcoma", "C:lymphoma"):
        assert tuple(concept in graph.ancestors(leaf) for leaf in leaves.ids) in columns
    assert above_LA.sum(0).min() >= 2
    assert above_LA.sum(0).max() < 24


def test_subgraph_keeps_ancestry(graph):
    leaves = choose_leaves(graph, "R", 8).ids
    small = subgraph(graph, "R", leaves)
    assert small.roots() == ["R"]
    for leaf in leaves:
        assert small.ancestors(leaf) == graph.ancestors(leaf)


def test_groups_leave_every_branch_a_seen_leaf():
    branch_L = np.repeat(np.arange(6), 4)
    for seed in range(20):
        group_L = draw_groups(branch_L, 6, 4, np.random.default_rng(seed))
        assert (group_L == UNSEEN).sum() == 6
        assert (group_L == RARE).sum() == 4
        for branch in range(6):
            assert (group_L[branch_L == branch] == UNSEEN).sum() == 1
            assert SEEN in group_L[branch_L == branch]
    with pytest.raises(ConfigError, match="no branch can spare"):
        draw_groups(branch_L, 19, 0, np.random.default_rng(0))


def test_more_unseen_leaves_hold_the_fewer():
    branch_L = np.repeat(np.arange(6), 4)
    few, many = (draw_groups(branch_L, count, 0, np.random.default_rng(3)) for count in (3, 9))
    assert set(np.flatnonzero(few == UNSEEN)) < set(np.flatnonzero(many == UNSEEN))


def test_inheritance_is_the_share_of_ancestors(graph):
    above_LA = shared_ancestors(graph, "R", choose_leaves(graph, "R", 24).ids)
    kin_LL = (above_LA.astype(int) @ above_LA.T.astype(int)) > 0
    pairs = np.triu_indices(24, 1)

    def likeness(inheritance):
        factors = draw_factors(above_LA, 400, inheritance, np.random.default_rng(0))
        assert np.allclose(factors.mean(0), 0)
        assert np.allclose(factors.std(0), 1)
        kin = kin_LL[pairs]
        like = np.corrcoef(factors)[pairs]
        return like[kin].mean() - like[~kin].mean()

    none, half, whole = (likeness(value) for value in (0.0, 0.5, 1.0))
    assert abs(none) < 0.02
    assert 0.45 * whole < half < 0.6 * whole
    assert whole > 0.3


def test_siblings_look_alike_in_the_world_and_not_in_the_twin(graph, cache):
    def gap(twin):
        gaps = []
        for seed in range(60):
            leaves = choose_leaves(graph, "R", 24)
            above_LA = shared_ancestors(graph, "R", leaves.ids)
            rng = np.random.default_rng(seed)
            factors = draw_factors(above_LA, 8, 0.8, rng)
            group_L = draw_groups(leaves.branch_L, 6, 4, rng)
            shown = factors[exchange(group_L, rng)] if twin else factors
            apart = np.linalg.norm(shown[:, None] - shown[None], axis=-1)
            same = leaves.branch_L[:, None] == leaves.branch_L[None]
            across = np.ix_(group_L == UNSEEN, group_L == SEEN)
            gaps.append(apart[across][~same[across]].mean() - apart[across][same[across]].mean())
        return np.mean(gaps), np.std(gaps) / np.sqrt(len(gaps))

    real, _ = gap(False)
    none, error = gap(True)
    assert real > 0.5
    assert abs(none) < 3 * error


def test_same_seed_same_world(graph, world):
    again = make_world(SMALL, graph, 0)  # drawn anew, the other was kept on disk
    for field in dataclasses.fields(world):
        first, second = getattr(world, field.name), getattr(again, field.name)
        assert np.array_equal(first, second) if isinstance(first, np.ndarray) else first == second, field.name


def test_another_seed_is_another_world(graph, world):
    other = make_world(SMALL, graph, 1)
    assert other.leaves == world.leaves
    assert not np.array_equal(other.group_L, world.group_L)
    assert not np.array_equal(other.factors_LF, world.factors_LF)
    assert other.captions_N != world.captions_N
    assert other.images_N.shape == world.images_N.shape
    assert not np.array_equal(other.images_N, world.images_N)


def test_images_of_each_group(world):
    wanted = {SEEN: (6, 1, 2), RARE: (2, 1, 2), UNSEEN: (0, 0, 2)}
    for leaf, group in enumerate(world.group_L):
        counts = [int((world.split_N[world.leaf_N == leaf] == name).sum()) for name in ("train", "dev", "test")]
        assert tuple(counts) == wanted[group]
    assert len(set(world.case_N)) == len(world.case_N)
    assert len(world.rows("train", UNSEEN)) == 0
    assert len(world.rows("test", UNSEEN)) == 2 * (world.group_L == UNSEEN).sum()


def test_twin_has_the_same_images_under_other_leaves(world, twin):
    assert np.array_equal(world.group_L, twin.group_L)
    assert sorted(map(tuple, world.factors_LF)) == sorted(map(tuple, twin.factors_LF))
    assert not np.array_equal(world.factors_LF, twin.factors_LF)
    for split in ("train", "dev", "test"):
        for group in (SEEN, RARE, UNSEEN):
            rows, twins = world.rows(split, group), twin.rows(split, group)
            assert _sorted_images(world, rows) == _sorted_images(twin, twins)
    for row in twin.rows("train"):  # what an image shows is what its leaf looks like
        assert np.abs(twin.image_factors_NF[row] - twin.factors_LF[twin.leaf_N[row]]).max() < 2
    assert [captions_of and True for captions_of in twin.captions_N] == [c and True for c in world.captions_N]


def test_a_twin_names_what_it_shows(graph, twin):
    for row in twin.rows("train"):
        names = [normalise(name) for name in graph.texts(twin.leaves[twin.leaf_N[row]])]
        for text in twin.captions_N[row]:
            assert any(name in normalise(text) for name in names)


def test_no_caption_says_an_unseen_name(graph, world):
    unseen = [
        normalise(t) for c, g in zip(world.leaves, world.group_L, strict=True) if g == UNSEEN for t in graph.texts(c)
    ]
    assert world.unseen_names == set(unseen)
    for split, texts in zip(world.split_N, world.captions_N, strict=True):
        assert bool(texts) == (split != "test")
        assert not any(name in normalise(text) for text in texts for name in unseen)


def test_a_caption_that_says_an_unseen_name_is_refused():
    with pytest.raises(DataError, match="melanoma: a training caption says this name|training caption says this name"):
        captions.check_unsaid([["a slide of skin melanomas"]], {"melanoma"})
    assert captions.says("Skin-MELANOMA", {"skin melanoma"})
    assert not captions.says("naevus", {"melanoma"})


def test_noise_and_missing_labels_come_at_their_rates():
    leaf_N = np.repeat(np.arange(20), 100)
    training_N = np.arange(2000) % 4 != 0
    number = training_N.sum()
    named_N = captions.draw_named(leaf_N, training_N, 0.2, 0.1, np.random.default_rng(0))
    assert np.array_equal(named_N[~training_N], leaf_N[~training_N])
    wrong = (named_N != leaf_N) & (named_N != captions.ROOT)
    for share, found in ((0.2, wrong.sum() / number), (0.1, (named_N == captions.ROOT).sum() / number)):
        assert abs(found - share) < 3.3 * np.sqrt(share * (1 - share) / number)
    more = captions.draw_named(leaf_N, training_N, 0.4, 0.1, np.random.default_rng(0))
    assert np.array_equal(more[wrong], named_N[wrong])
    assert set(np.unique(named_N[wrong])) <= set(leaf_N[training_N])


def test_captions_of_a_noisy_world(graph):
    config = SMALL.model_copy(update={"caption_noise": 0.4, "missing_labels": 0.3, "images_per_leaf": 20})
    noisy = make_world(config, graph, 0)
    training = noisy.rows("train")
    assert 0.3 < noisy.noisy_N[training].mean() < 0.5
    assert 0.2 < (noisy.named_N[training] == -1).mean() < 0.4
    assert not noisy.noisy_N[noisy.split_N != "train"].any()
    root = [normalise(name) for name in graph.texts("R")]
    for row in training:
        named = noisy.named_N[row]
        names = root if named == -1 else [normalise(name) for name in graph.texts(noisy.leaves[named])]
        assert noisy.noisy_N[row] == (named not in (-1, noisy.leaf_N[row]))
        assert named == -1 or noisy.group_L[named] != UNSEEN
        assert all(any(name in normalise(text) for name in names) for text in noisy.captions_N[row])


def test_a_store_reads_back(graph, world, tmp_path):
    write_store(world, graph, tmp_path / "pairs")
    store = PairsStore.load(tmp_path / "pairs")
    assert store.class_concepts == {graph.name(concept): [concept] for concept in sorted(world.leaves, key=graph.name)}
    train = store.split("train")
    rows = world.rows("train")
    assert train.keys == world.case_N[rows].tolist()
    assert train.column("concepts") == [[world.leaves[leaf]] for leaf in world.named_N[rows]]
    assert [[text.text for text in texts] for texts in train.column("texts")] == [world.captions_N[row] for row in rows]
    assert np.array_equal(np.asarray(train[0].image), world.images_N[rows[0]])
    with pytest.raises(DataError, match="not the graph"):
        write_store(world, graph.permuted(0), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_images_without_a_label_have_none(graph, tmp_path):
    world = make_world(SMALL.model_copy(update={"missing_labels": 1.0}), graph, 0)
    store = write_store(world, graph, tmp_path / "pairs")
    assert set(store.split("train").column("label")) == {None}
    assert store.split("train").column("concepts")[0] == ["R"]
    assert None not in store.split("test").column("label")


def test_a_damaged_cache_is_named(graph, tmp_path):
    make_world(SMALL, graph, 0, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="remove the file"):
        make_world(SMALL, graph, 0, tmp_path)


def _measured(picture):
    grey = picture.astype(float).mean(-1)
    down, across = np.gradient(grey)
    edges = np.hypot(down, across).mean()
    one_way = np.hypot((down**2 - across**2).mean(), 2 * (down * across).mean()) / (down**2 + across**2).mean()
    return [*picture.reshape(-1, 3).mean(0), grey.std(), edges, one_way, (grey > 215).mean(), (grey < 110).mean()]


@pytest.mark.parametrize("factor", range(8), ids=[name.replace(" ", "_") for name in tissue.FACTORS])
def test_every_factor_of_tissue_shows(factor):
    low, high = np.full(8, 0.5), np.full(8, 0.5)
    low[factor], high[factor] = 0.1, 0.9
    first, second = (
        np.array([_measured(tissue.render(f, np.random.default_rng([seed, 7]), 64, 0.3)) for seed in range(24)])
        for f in (low, high)
    )
    apart = np.abs(first.mean(0) - second.mean(0)) / np.sqrt((first.var(0) + second.var(0)) / 24 + 1e-9)
    assert apart.max() > 4


def test_tissue_is_drawn_the_same_at_any_nuisance():
    picture = tissue.render(np.full(8, 0.5), np.random.default_rng(0), 48, 1.0)
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, tissue.render(np.full(8, 0.5), np.random.default_rng(0), 48, 1.0))
    assert len(np.unique(np.asarray(Image.fromarray(picture).convert("L")))) > 30


@pytest.mark.parametrize(
    "values", [{"caption_noise": 0.6, "missing_labels": 0.5}, {"share_unseen": 0.7, "share_rare": 0.1}]
)
def test_impossible_shares_are_refused(values):
    with pytest.raises(ValidationError, match="together"):
        WorldConfig(**values)


def test_shipped_worlds_differ_in_the_renderer_alone():
    tissue_world, chest = (load(name).world for name in ("controlled/world", "controlled/world_radiograph"))
    assert chest == tissue_world.model_copy(update={"renderer": "radiograph"})

"""The losses that read places, tokens and entities in the grid: equal arms, right labels, answers by decoder."""

import numpy as np
import pytest
import torch
from controlled_cases import TOKEN_METHODS, tiny_grid

from benchmarks.controlled.captions import says
from benchmarks.controlled.config import ControlledConfig
from benchmarks.controlled.features import Towers
from benchmarks.controlled.grid import Job, Worker, run
from benchmarks.controlled.model import Answers
from benchmarks.controlled.table import build, markdown
from benchmarks.controlled.text_space import hierarchy_of
from benchmarks.controlled.told import Texts, entities_of
from medvlp.config import load
from medvlp.data.batch import ABSENT, FILLER, NOT_MENTIONED, PRESENT

pytestmark = pytest.mark.extras  # reads OBO files

DECODER = {"width": 16, "layers": 1, "heads": 2, "between_queries": False}
METHODS = {
    "medklip": {"title": "MedKLIP", "objective": {"name": "medklip", "location": 0.0}, "decoder": DECODER},
    "kad": {"title": "KAD", "objective": {"name": "kad", "aspects": ["name"]}, "decoder": DECODER},
    "devide": {"title": "DeViDe", "objective": {"name": "devide", "descriptions": 3, "threshold": 0.0}},
    "make": {"title": "MAKE", "objective": {"name": "make", "threshold": 0.0}, "aspect_texts": {"num_sub": 2}},
    "local": {"title": "local", "objective": [{"name": "clip", "positives": "text"}, {"name": "local"}]},
    **TOKEN_METHODS,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("objectives")
    config = tiny_grid(root, methods=METHODS, levels={}, axes={}, seeds=[0])
    records = run(config, root / "out")
    return config, root / "out", {(r["method"], r["knowledge"]): r for r in records if "scores" in r}


@pytest.fixture(scope="module")
def scene(whole):
    config, out, _ = whole
    return Worker(config, out).scene("base", 0)


def test_every_method_runs_in_every_arm_and_is_scored_alike(whole):
    config, _, records = whole
    assert records.keys() == {(method, graph) for method in METHODS for graph in ("real", "permuted", "none")}
    keys = {tuple(record["scores"]) for record in records.values()}
    assert len(keys) == 1
    for record in records.values():
        assert 0 <= record["scores"]["unseen_alone"]["auroc"] <= 1
        assert np.isfinite(record["loss"]["stage_2"])
    text = markdown(build(config, list(records.values())))
    assert all(method["title"] in text for method in METHODS.values())


def test_arms_of_a_method_cost_the_same_and_all_methods_take_equal_steps_and_rows(whole):
    _, _, records = whole
    for method in METHODS:
        costs = [records[method, graph]["cost"] for graph in ("real", "permuted", "none")]
        assert costs[0] == costs[1] == costs[2]
    common = {(record["cost"]["steps_2"], record["cost"]["rows_2"]) for record in records.values()}
    assert common == {(4, 32)}
    texts = {method: records[method, "real"]["cost"]["texts_2"] for method in METHODS}
    own = dict.fromkeys(("medklip", "kad", "devide", "local", "arl", "ernie_vil"), 32)
    assert texts == own | {"make": 32 * 5, "structure_clip": 32 * 2}  # with a swapped caption for each
    asked = {method: records[method, "real"]["cost"]["asked_2"] for method in METHODS}
    assert asked["medklip"] == asked["kad"] > 0
    assert asked["devide"] == 3 * asked["kad"]
    assert not any(asked[method] for method in ("make", "local", "arl", "structure_clip", "ernie_vil"))


def test_a_head_that_does_not_learn_has_no_ceiling(whole):
    _, _, records = whole
    known = {method: records[method, "real"]["steps"]["ceiling"] for method in METHODS}
    assert known["medklip"] is None
    assert all(known[method] is not None for method in METHODS if method != "medklip")


def test_a_run_made_again_is_the_same(whole):
    config, out, records = whole
    for method in ("kad", "make", "local", "arl", "structure_clip", "ernie_vil"):
        again = Worker(config, out)._run(Job(0, "base", method, "real"))
        assert again["loss"]["stage_2"] == records[method, "real"]["loss"]["stage_2"]
        assert again["scores"]["seen"] == {
            key: pytest.approx(value, nan_ok=True) if value is not None else pytest.approx(np.nan, nan_ok=True)
            for key, value in records[method, "real"]["scores"]["seen"].items()
        }


def entities(scene, knowledge):
    hierarchy = hierarchy_of(scene.sub, knowledge, 0)
    return hierarchy, entities_of(scene.pairs.said_N, scene.world, scene.sub, hierarchy)


def test_entities_are_all_concepts_but_unseen_leaves_in_every_arm(scene):
    unseen = {leaf for leaf, group in zip(scene.world.leaves, scene.world.group_L, strict=True) if group == "unseen"}
    for knowledge in ("real", "permuted", "none"):
        _, found = entities(scene, knowledge)
        assert [one.concepts[0] for one in found.entities] == [c for c in scene.sub.ids if c not in unseen]


@pytest.mark.parametrize("knowledge", ["real", "permuted"])
def test_what_is_above_is_present_what_is_below_unmentioned_and_the_rest_absent(scene, knowledge):
    hierarchy, found = entities(scene, knowledge)
    for said in sorted(set(scene.pairs.said_N)):
        states = found.of(said).label_Q.tolist()
        for entity, state in zip(found.entities, states, strict=True):
            concept = entity.concepts[0]
            if concept == said or concept in hierarchy.ancestors(said):
                assert state == PRESENT
            elif said in hierarchy.ancestors(concept):
                assert state == NOT_MENTIONED
            else:
                assert state == ABSENT


def test_without_a_graph_only_what_captions_name_is_known_of(scene):
    _, found = entities(scene, "none")
    named = set(scene.pairs.said_N)
    for said in named:
        for entity, state in zip(found.entities, found.of(said).label_Q.tolist(), strict=True):
            concept = entity.concepts[0]
            assert state == (PRESENT if concept == said else ABSENT if concept in named else NOT_MENTIONED)
    assert all(entity.descriptions == (("name", entity.name),) for entity in found.entities)


def test_descriptions_follow_the_graph_of_the_arm_and_never_say_an_unseen_name(scene):
    paths = {}
    for knowledge in ("real", "permuted"):
        _, found = entities(scene, knowledge)
        told = [text for one in found.entities for _, text in one.descriptions]
        assert not any(says(text, scene.world.unseen_names) for text in told)
        paths[knowledge] = {one.name: dict(one.descriptions).get("ontology-path") for one in found.entities}
        names = {one.name: [text for aspect, text in one.descriptions if aspect == "name"] for one in found.entities}
        assert any(len(own) > 1 for own in names.values())  # synonyms, right in both arms
    assert paths["real"] != paths["permuted"]
    known = [path for path in paths["real"].values() if path]
    assert any(path.endswith(", a kind of lung tissue") for path in known)


def test_aspect_texts_are_equally_many_in_every_arm(whole, scene):
    config, _, _ = whole
    told = {}
    for knowledge in ("real", "permuted", "none"):
        hierarchy = hierarchy_of(scene.sub, knowledge, 0)
        texts = Texts(config.methods["make"], config.stage_2, scene.world, hierarchy, scene.sub)
        told[knowledge] = texts.of(scene.pairs, 0)
        assert {len(one.texts) for one in told[knowledge]} == {5}
        assert {one.aspects[0] for one in told[knowledge]} == {"caption"}
        assert not any(says(text, scene.world.unseen_names) for one in told[knowledge] for text in one.texts)
        for one in told[knowledge]:
            assert [text == FILLER for text in one.texts] == [kind == FILLER for kind in one.aspects]
    assert [one.texts[0] for one in told["real"]] == [one.texts[0] for one in told["none"]]


def test_a_decoder_answers_with_the_mean_over_prompts_of_present_minus_absent(whole):
    config, out, _ = whole
    worker = Worker(config, out)
    scene = worker.scene("base", 0)
    torch.manual_seed(0)
    from benchmarks.controlled.model import HeadPair

    taught = worker.space(scene.sub, "metric", "real", 0)
    method = config.methods["kad"]
    model = HeadPair.of(method, config.stage_2, scene.test_NI.shape[1], taught).eval().requires_grad_(False)
    places = worker.places("base", 0)["test"]
    answers = Answers(model, scene.test_NI, places, worker.towers)
    assert answers.scorer == "decoder"
    texts = [["lung tissue", "a lung"], ["skin tissue"]]
    found = answers(texts, np.array([3, 1]))
    table = worker.towers.texts(["lung tissue", "a lung", "skin tissue"])
    for place, row in enumerate((3, 1)):
        query = taught.head(table[["lung tissue", "a lung", "skin tissue"]])
        exists = model.decode(query, places[row : row + 1].float()).exists_BQ2[0]
        logit = (exists[:, 1] - exists[:, 0]).double().numpy()
        np.testing.assert_allclose(found[place], [logit[:2].mean(), logit[2]], atol=1e-5)


def test_features_by_token_are_the_towers_own_up_to_half_precision(whole, tmp_path):
    config, _, _ = whole
    towers = Towers(config.image, config.text, tmp_path)
    texts = ["lung b carcinoma", "skin", "a longer text about a liver"]
    table = towers.texts(texts, words=True)
    ids_ML, mask_ML = table.tokenize(texts)
    tower = towers._text_tower()[0]
    own_ids, own_mask = tower.tokenize(texts)
    assert torch.equal(mask_ML.sum(1), own_mask.sum(1))
    states = tower.with_tokens(own_ids, own_mask)[1]
    kept = table.words(ids_ML)
    assert kept.shape == states.shape
    real = own_mask.bool()
    torch.testing.assert_close(kept[real], states[real], atol=2e-3, rtol=2e-3)
    again = Towers(config.image, config.text, tmp_path).texts(texts, words=True)
    assert torch.equal(again.words(ids_ML), kept)


def test_the_shipped_grid_of_objectives_differs_from_kinship_in_its_methods_alone():
    ours, other = (load(f"controlled/{name}", kind="controlled") for name in ("objectives", "kinship"))
    assert isinstance(ours, ControlledConfig)
    assert isinstance(other, ControlledConfig)
    for field in ("world", "seeds", "graphs", "templates", "stage_2", "image", "text"):
        assert getattr(ours, field) == getattr(other, field)
    assert ours.stages_1["kinship"] == other.stages_1["kinship"]
    assert ours.levels["twin"] == other.levels["twin"]
    assert METHODS.keys() <= ours.methods.keys()
    assert {method.stage_1 for method in ours.methods.values()} == {"kinship"}
    assert {method.prompts for method in ours.methods.values()} == {"names"}

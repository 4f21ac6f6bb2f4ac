"""What is drawn and said: held-out rules, determinism, names, triplets, refusals."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from data_prep.simulation import wording
from data_prep.simulation.findings import LOBAR, SIDED
from data_prep.simulation.scene import draw_scene, num_scenes
from medvlp.config import config_class, load
from medvlp.errors import ConfigError, GraphError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise

MANY = {"train": 400, "dev": 50, "test": 200, "combination": 60, "side": 60, "finding": 60}


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(scenes=MANY)


@pytest.fixture(scope="module")
def scenes(config):
    return [draw_scene(config, number) for number in range(num_scenes(config))]


@pytest.fixture(scope="module")
def words(config, graph_folder):
    return wording.vocabulary(config, DiseaseGraph.load(graph_folder))


def test_what_is_held_out_is_in_its_own_part_alone_and_always(scenes):
    for scene in scenes:
        assert ({"effusion", "nodule"} <= set(scene.kinds)) == (scene.part == "combination")
        assert ("mass" in scene.kinds) == (scene.part == "finding")
        right = any(finding.kind == "pneumothorax" and finding.side == "right" for finding in scene.findings)
        assert right == (scene.part == "side")
    assert {scene.split for scene in scenes if scene.part in ("combination", "side", "finding")} == {"test"}


def test_a_scene_depends_on_seed_and_number_alone(config, scenes, make_config):
    assert [draw_scene(config, number) for number in (700, 3, 460)] == [scenes[700], scenes[3], scenes[460]]
    assert draw_scene(make_config(scenes=MANY, seed=1), 3).findings != scenes[3].findings or (
        draw_scene(make_config(scenes=MANY, seed=1), 3).pose != scenes[3].pose
    )


def test_findings_never_hide_one_another(scenes):
    for scene in scenes:
        pleural = [finding.side for finding in scene.findings if finding.kind in SIDED]
        lobar = [finding for finding in scene.findings if finding.kind in LOBAR]
        assert len(set(pleural)) == len(pleural)
        assert len({finding.lobe for finding in lobar}) == len(lobar)
        assert not {finding.side for finding in lobar} & set(pleural)


def test_shares_of_findings_are_those_asked_for(scenes):
    counts = np.bincount([len(scene.findings) for scene in scenes if scene.part == "train"], minlength=4) / 400
    assert counts[0] == pytest.approx(0.2, abs=0.06)
    assert counts[1] == pytest.approx(0.4, abs=0.1)
    kinds = [kind for scene in scenes if scene.part == "train" for kind in scene.kinds]
    assert all(kinds.count(kind) > 40 for kind in ("effusion", "pneumothorax", "consolidation", "nodule"))


def test_no_text_of_any_scene_holds_an_unseen_name_and_no_training_text_the_held_out_finding(config, scenes, words):
    unseen = [normalise(name) for names in words.unseen.values() for name in names]
    mass = [normalise(name) for name in words.seen["mass"]]
    for scene in scenes:
        said = [f" {normalise(text.text)} " for text in wording.texts(scene, config, words)]
        assert not [name for name in unseen for text in said if f" {name} " in text]
        if scene.part != "finding":
            assert not [name for name in mass for text in said if f" {name} " in text]


def test_texts_say_what_is_there_and_on_which_side(config, scenes, words):
    for scene in scenes[:200]:
        texts = wording.texts(scene, config, words)
        assert texts[0].aspect == "report"
        present = [text.text for text in texts if text.aspect == "finding"]
        assert len(present) == max(1, len(scene.findings))
        for finding, sentence in zip(scene.findings, present, strict=False):
            assert any(name in sentence.lower() for name in (n.lower() for n in words.seen[finding.kind]))
            sides = set(re.findall(r"\b(left|right)\b", sentence))
            assert sides == ({finding.side} if finding.side else set())
        absent = [text.text for text in texts if text.aspect == "absent finding"]
        named = {kind for kind in config.findings for text in absent for name in words.seen[kind] if name in text}
        assert not named & set(scene.kinds)
        assert all(sentence in texts[0].text for sentence in [*present, *absent])


def test_triplets_are_complete_and_exact(config, scenes):
    for scene in scenes[:100]:
        found = wording.triplets(scene, config)
        assert {row["entity"] for row in found} == {names.label for names in config.findings.values()}
        present = {row["entity"]: row["position"] for row in found if row["existence"] == "present"}
        assert set(present) == {config.findings[kind].label for kind in scene.kinds}
        for finding in scene.findings:
            assert present[config.findings[finding.kind].label] == wording.position(finding)
            assert finding.side is None or finding.side in wording.position(finding)


def test_names_come_from_the_graph_without_the_unseen_ones(words):
    assert words.seen["cardiomegaly"] == ("cardiomegaly", "enlarged heart")
    assert words.seen["pneumothorax"] == ("pneumothorax",), "names with brackets are no report language"
    assert words.concepts["mass"] == "HP:5"


def test_an_unknown_concept_is_refused_by_name(make_config, graph_folder):
    findings = {"effusion": {"concept": "HP:77", "label": "pleural effusion", "unseen": ["x"]}}
    config = make_config(findings=findings, held_out={}, scenes={"combination": 0, "side": 0, "finding": 0})
    with pytest.raises(GraphError, match="HP:77"):
        wording.vocabulary(config, DiseaseGraph.load(graph_folder))


def test_an_unseen_name_inside_a_used_one_is_refused(make_config, graph_folder):
    findings = {"nodule": {"concept": "HP:4", "label": "pulmonary nodule", "unseen": ["nodule"]}}
    config = make_config(findings=findings, held_out={}, scenes={"combination": 0, "side": 0, "finding": 0})
    with pytest.raises(ConfigError, match=r"findings.nodule.unseen: the unseen name 'nodule' is part of the name"):
        wording.vocabulary(config, DiseaseGraph.load(graph_folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"held_out": {"combination": ["effusion", "effusion"]}}, "names a finding twice"),
        ({"held_out": {"side": {"finding": "nodule", "side": "left"}}}, "nodule has no side of its own"),
        ({"held_out": {"finding": "mass", "combination": ["mass", "nodule"]}}, "alone and in a combination"),
        ({"held_out": {"finding": "mass"}}, "held_out.combination is not set; set it or write 0"),
        ({"num_findings": [0.5, 0.6]}, "must be shares that add up to 1"),
        ({"vary": {"turn": [3.0, -3.0]}}, "turn: 3.0 is above -3.0"),
        ({"vary": {"low": [1.0, 6.0]}}, "low reaches into high"),
        ({"findings": {"effusion": {"concept": "HP:1", "label": "x", "unseen": ["y"]}}}, "not among findings"),
        ({"image_size": 8}, "greater than or equal to 64"),
    ],
)
def test_a_wrong_configuration_is_told(make_config, changes, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        make_config(**changes)


def test_rules_that_leave_nothing_to_draw_are_told(make_config):
    config = make_config(num_findings=[0.0, 0.0, 0.0, 1.0], held_out={}, findings={
        kind: {"concept": f"HP:{row}", "label": kind, "unseen": ["x"]}
        for row, kind in ((1, "effusion"), (2, "pneumothorax"), (4, "nodule"))
    }, scenes={"combination": 0, "side": 0, "finding": 0})  # fmt: skip
    with pytest.raises(ConfigError, match="no scene of the part train keeps the rules"):
        draw_scene(config, 0)


def test_the_shipped_configuration_holds_out_a_combination_a_side_a_finding_and_names():
    config = load("simulation/chest", kind="simulation")
    assert isinstance(config, config_class("simulation"))
    held = config.held_out
    assert held.combination
    assert held.side
    assert held.finding
    assert all(names.unseen for names in config.findings.values())

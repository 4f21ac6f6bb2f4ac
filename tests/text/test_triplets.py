"""Vocabularies, the matrix, and RadGraph files: counts, hierarchy, round trips, and one line per mistake."""

import json

import numpy as np
import pytest

from data_prep.text.assertion import Assertion
from data_prep.text.mentions import annotate
from data_prep.text.triplets import (
    ABSENT,
    NOT_MENTIONED,
    PRESENT,
    UNCERTAIN,
    Triplet,
    load_vocabulary,
    matrix,
    read_radgraph,
    triplets,
    write_radgraph,
)
from data_prep.text.triplets.matrix import negatives
from data_prep.text.triplets.radgraph import V1, XL, Kind, Label, radgraph_triplets
from data_prep.text.triplets.vocabulary import shipped_vocabularies
from medvlp.errors import ConfigError, DataError
from medvlp.ledger import Ledger

WORDS = load_vocabulary("radiology")


def cell(matrix_PE, position, entity):
    return int(matrix_PE[WORDS.positions.index(position), WORDS.entities.index(entity)])


def test_medklip_s_rows_and_columns():
    assert (len(WORDS.positions), len(WORDS.entities)) == (51, 75)
    assert WORDS.entities[:8] == ("normal", "clear", "sharp", "sharply", "unremarkable", "intact", "stable", "free")
    assert WORDS.entities[-2:] == ("tail_abnorm_obs", "excluded_obs")
    assert WORDS.positions[0] == "trachea"
    assert WORDS.positions[-2:] == ("unspecified", "other")
    assert (WORDS.entities[8], WORDS.entities[72]) == ("effusion", "aspiration")


@pytest.mark.parametrize("name", shipped_vocabularies())
def test_every_vocabulary_is_reachable(name):
    words = load_vocabulary(name)
    used = set(words.entity_of.values())
    assert used >= set(words.entities) - {"tail_abnorm_obs"}, set(words.entities) - used
    reached = {p for entry in words.regions.values() for p in (entry.none, entry.left, entry.right)}
    assert {"other"} >= set(words.positions) - reached - {"unspecified", "head", "upper_limb", "lower_limb", "tissue"}


def test_ancestors_equal_a_walk_up_the_parents():
    import yaml

    from data_prep.text.triplets.vocabulary import FOLDER

    parents = yaml.safe_load((FOLDER / "radiology.yaml").read_text(encoding="utf-8"))["positions"]

    def above(name):
        return {up for parent in parents[name] for up in {parent, *above(parent)}}

    for i, name in enumerate(WORDS.positions):
        assert {WORDS.positions[j] for j in np.flatnonzero(WORDS.ancestor_PP[i])} == above(name)


def test_no_parent_is_a_negative_of_its_child():
    text = "Opacity in the left lower lobe. Possible opacity in the trachea."
    column = WORDS.entities.index("opacity")
    allowed = negatives(matrix(triplets(annotate(text, None), WORDS), WORDS), column, WORDS)
    names = {name for name, free in zip(WORDS.positions, allowed, strict=True) if free}
    assert not names & {"lower_left_lobe", "left_lung_unspec", "lung_bases", "pulmonary", "unspecified", "trachea"}
    assert names >= {"right_lower_lung", "aorta", "left_pleural", "left_upper_lung"}


def test_the_four_values():
    text = (
        "FINDINGS: Left pleural effusion. No pneumothorax. Possible pneumonia. Prior granulomatous disease."
        " No edema. Possible edema. Possible nodule. Lung nodule.\nINDICATION: rule out fracture."
    )
    matrix_PE = matrix(triplets(annotate(text, None), WORDS), WORDS)
    assert matrix_PE.dtype == np.int8
    assert cell(matrix_PE, "left_pleural", "effusion") == PRESENT == 1
    assert cell(matrix_PE, "pleural_unspec", "pneumothorax") == ABSENT == 0
    assert cell(matrix_PE, "pulmonary", "pneumonia") == UNCERTAIN == 2
    assert cell(matrix_PE, "unspecified", "edema") == UNCERTAIN  # outweighs absent
    assert cell(matrix_PE, "pulmonary", "nodule") == PRESENT  # outweighs uncertain
    assert (matrix_PE[:, WORDS.entities.index("disease")] == NOT_MENTIONED).all()  # history is not in the picture
    assert (matrix_PE[:, WORDS.entities.index("fracture")] == NOT_MENTIONED).all()  # nor is the question
    assert (matrix_PE != NOT_MENTIONED).sum() == 5


def test_lemmas_are_merged_as_in_medklip():
    for text, entity in (("Infection.", "pneumonia"), ("Opacification.", "opacity"), ("Dilatation.", "dilation")):
        (triplet,) = triplets(annotate(text, None), WORDS)
        assert triplet.entity == entity


RADGRAPH = {
    "s1": {
        "text": "Small left pleural effusion . No pneumothorax .",
        "entities": {
            "1": {"tokens": "Small", "label": "OBS-DP", "start_ix": 0, "end_ix": 0, "relations": [["modify", "4"]]},
            "2": {"tokens": "left", "label": "ANAT-DP", "start_ix": 1, "end_ix": 1, "relations": [["modify", "3"]]},
            "3": {"tokens": "pleural", "label": "ANAT-DP", "start_ix": 2, "end_ix": 2, "relations": []},
            "4": {
                "tokens": "effusion",
                "label": "OBS-DP",
                "start_ix": 3,
                "end_ix": 3,
                "relations": [["located_at", "3"]],
            },
            "5": {"tokens": "pneumothorax", "label": "OBS-DA", "start_ix": 6, "end_ix": 6, "relations": []},
        },
        "data_source": "made up",
        "data_split": "train",
    }
}
XL_FILE = {
    "0": {
        "text": "Tube tip 2 cm above the carina . Possible opacity .",
        "entities": {
            "1": {
                "tokens": "Tube tip",
                "label": "Observation::definitely present",
                "start_ix": 0,
                "end_ix": 1,
                "relations": [["located_at", "3"]],
            },
            "2": {
                "tokens": "2 cm above",
                "label": "Observation::measurement::definitely present",
                "start_ix": 2,
                "end_ix": 4,
                "relations": [["modify", "1"]],
            },
            "3": {
                "tokens": "carina",
                "label": "Anatomy::definitely present",
                "start_ix": 6,
                "end_ix": 6,
                "relations": [],
            },
            "4": {"tokens": "opacity", "label": "Observation::uncertain", "start_ix": 9, "end_ix": 9, "relations": []},
        },
        "data_source": None,
        "data_split": "inference",
    }
}
DOUBLE = {"s2": {"text": "Clear .", "data_split": "test", "labeler_1": {"entities": {}}, "labeler_2": {"entities": {}}}}


@pytest.mark.parametrize("content", [RADGRAPH, XL_FILE, DOUBLE])
def test_radgraph_round_trips(tmp_path, content):
    (tmp_path / "in.json").write_text(json.dumps(content), encoding="utf-8")
    write_radgraph(tmp_path / "out.json", read_radgraph(tmp_path / "in.json"))
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == content


def test_both_vocabularies_are_one_enum():
    assert V1["OBS-DA"] == XL["Observation::definitely absent"] == Label(Kind.observation, Assertion.absent)
    assert V1["ANAT-DP"] == XL["Anatomy::definitely present"]
    assert XL["Observation::measurement::uncertain"] == Label(Kind.observation, Assertion.uncertain, measurement=True)
    assert len(set(XL.values())) == len(XL) == 12


def test_radgraph_triplets(tmp_path):
    (tmp_path / "in.json").write_text(json.dumps({**RADGRAPH, **XL_FILE}), encoding="utf-8")
    v1, xl = read_radgraph(tmp_path / "in.json")
    found, unknown = radgraph_triplets(v1, WORDS)
    assert [(t.entity, t.position, t.existence.value) for t in found] == [
        ("effusion", "left_pleural", "present"),
        ("pneumothorax", "pleural_unspec", "absent"),
    ]
    assert unknown == 0
    assert v1.text[found[1].start : found[1].end] == "pneumothorax"
    found, _ = radgraph_triplets(xl, WORDS)
    assert [(t.entity, t.position, t.existence.value) for t in found] == [
        ("tube", "trachea", "present"),
        ("opacity", "unspecified", "uncertain"),
    ]


def changed(**change):
    content = json.loads(json.dumps(RADGRAPH))
    content["s1"]["entities"]["5"].update(change)
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "is not RadGraph JSON"),
        ({"s1": 3}, "s1: is not an object"),
        ({"s1": {"entities": {}}}, "s1: has no text"),
        ({"s1": {"text": "a"}}, "s1: has no entities"),
        ({"s1": {"text": "a", "labeler_2": {}}}, "choose a labeler"),
        (changed(label="OBS-XX"), "s1: .*"),
        (changed(label=None), "s1: .*"),
        (changed(end_ix=8), "s1: entity 5: tokens 6 to 8 are not in a text of 8"),
        (changed(start_ix=7), "entity 5: tokens 7 to 6"),
        (changed(start_ix="6"), "entity 5: tokens"),
        (changed(tokens="effusion"), "entity 5: its tokens are not those of the text"),
        (changed(end_ix=7), "entity 5: its tokens are not those of the text"),  # the end counts
        (changed(relations=[["located_at", "9"]]), "entity 5: a relation leads to entity 9"),
        (changed(relations=[["near", "3"]]), 'entity 5: unknown relation "near"'),
        (changed(relations=["modify"]), "entity 5: a relation is not a pair"),
        (changed(relations=None), "entity 5: a relation is not a pair"),
    ],
)
def test_malformed_radgraph_is_one_line(tmp_path, content, said):
    (tmp_path / "in.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=said) as caught:
        list(read_radgraph(tmp_path / "in.json"))
    assert "\n" not in str(caught.value)
    assert "No pneumothorax" not in str(caught.value)


def test_malformed_records_can_be_counted_instead(tmp_path):
    content = {**RADGRAPH, "bad": {"text": "secret", "entities": {"1": {}}}}
    (tmp_path / "in.json").write_text(json.dumps(content), encoding="utf-8")
    ledger = Ledger()
    assert [report.key for report in read_radgraph(tmp_path / "in.json", ledger=ledger)] == ["s1"]
    assert ledger.to_json()["examples"] == {"malformed RadGraph record": ["bad"]}


VOCABULARY = """
name: small
title: A small one
positions: {lung: [unspecified], unspecified: [], left: [lung], right: [lung]}
abnormal: [scar]
findings: {scar: {names: [scar*], region: lung}}
regions: {lung: {names: [lung], none: lung, left: left, right: right}}
"""


def test_a_vocabulary_of_one_s_own(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(VOCABULARY, encoding="utf-8")
    words = load_vocabulary(str(path))
    found = triplets(annotate("Scarring of the left lung.", None, vocabulary=words), words)
    assert found == [Triplet("scar", "left", Assertion.present, "scar", anatomy="lung", start=0, end=8)]
    assert matrix(found, words).tolist() == [[-1, -1, -1], [-1, -1, -1], [1, -1, -1], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lung: [unspecified]", "lung: [chest]", "positions.lung: no such parent: chest"),
        ("lung: [unspecified]", "lung: [left]", "contain each other in a circle: lung, left"),
        (" unspecified: [],", "", "positions: unspecified is missing"),
        ("none: lung", "none: chest", "regions.lung: no such position: chest"),
        (", right: right}", "}", "regions.lung: a side is missing"),
        ("region: lung", "region: chest", "findings.scar: no such region: chest"),
        ("region: lung", "entity: wound", "findings.scar: no such entity: wound"),
        ("abnormal: [scar]", "abnormal: [scar, scar]", "entity scar is listed twice"),
        ("names: [scar*]", "names: [..2 scar]", 'phrase "..2 scar"'),
        ("title:", "titel:", "titel"),
    ],
)
def test_mistakes_in_a_vocabulary_are_named(tmp_path, old, new, said):
    path = tmp_path / "small.yaml"
    assert old in VOCABULARY
    path.write_text(VOCABULARY.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_vocabulary(str(path))
    assert said in str(caught.value)


def test_an_unknown_vocabulary_names_those_there_are():
    with pytest.raises(ConfigError, match="dermatology, pathology, radiology"):
        load_vocabulary("radiologie")

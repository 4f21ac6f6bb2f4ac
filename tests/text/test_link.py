"""Exact linking: longest name, word boundaries, offsets into the original text."""

import pytest

from data_prep.text import link
from medvlp.knowledge.graph import DiseaseGraph


@pytest.fixture(scope="module")
def graph():
    return DiseaseGraph.from_dict(
        {
            "X:1": {"name": "carcinoma", "parents": [], "synonyms": ["ca", "cancer"]},
            "X:2": {"name": "lung squamous cell carcinoma", "parents": ["X:1"], "synonyms": ["SCC of the lung"]},
            "X:3": {"name": "type 2 diabetes mellitus", "parents": [], "synonyms": ["type-2 diabetes"]},
            "X:4": {"name": "squamous cell", "parents": [], "synonyms": ["cold"]},
            "X:5": {"name": "cold", "parents": [], "synonyms": []},
            "X:6": {"name": "Sjögren syndrome", "parents": [], "synonyms": ["shared"]},
            "X:7": {"name": "other", "parents": [], "synonyms": ["shared"]},
        }
    )


def found(text, graph):
    return [(hit.concept, hit.text) for hit in link(text, graph)]


def test_longest_match_wins(graph):
    text = "Lung  squamous-cell carcinoma, not squamous cell changes."
    assert found(text, graph) == [("X:2", "Lung  squamous-cell carcinoma"), ("X:4", "squamous cell")]
    assert all(text[hit.start : hit.end] == hit.text and hit.score == 1.0 for hit in link(text, graph))


def test_word_boundaries_and_case(graph):
    assert found("carcinomatous adenocarcinoma", graph) == []
    assert found("CARCINOMA.", graph) == [("X:1", "CARCINOMA")]
    assert found("type 2 diabetes", graph) == [("X:3", "type 2 diabetes")]
    assert found("Known Sjogren Syndrome; Sjögren's", graph)[0] == ("X:6", "Sjogren Syndrome")


def test_names_do_not_cross_sentences(graph):
    assert found("Seen in the lung. Squamous cell carcinoma", graph) == [("X:4", "Squamous cell"), ("X:1", "carcinoma")]
    assert found("lung squamous cell. Carcinoma", graph) == [("X:4", "squamous cell"), ("X:1", "Carcinoma")]


def test_short_and_ambiguous_names(graph):
    assert found("ca", graph) == []
    assert found("a cold", graph) == [("X:5", "cold")]
    assert sorted(found("shared", graph)) == [("X:6", "shared"), ("X:7", "shared")]


def test_empty_and_long(graph):
    assert link("", graph) == []
    assert link(" . ,\n", graph) == []
    assert len(link("cancer " * 5000, graph)) == 5000

"""The linker: each tier alone and together, what must not be linked, and the same answer in every process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from linking_examples import ANATOMY, DISEASE, example_graph

from data_prep.text.linking import Linker, LinkerConfig
from data_prep.text.linking.candidates import agreement
from data_prep.text.linking.exact import ExactIndex
from data_prep.text.linking.lexicon import build
from data_prep.text.linking.links import Link, resolve
from data_prep.text.linking.lists import parts
from data_prep.text.linking.rerank import Reranker
from data_prep.text.linking.words import read, unordered
from medvlp.errors import ConfigError, GraphError

PLAIN = {"exclude": ["X:1"], "exclude_below": []}


@pytest.fixture(scope="module")
def graph():
    return example_graph()


def linker(graph, **settings):
    reranker = settings.pop("reranker", None)
    return Linker(graph, LinkerConfig(**{**PLAIN, **settings}), reranker=reranker)


def found(linker, text):
    return [(link.text, link.concept) for link in linker.link(text)]


class TestExact:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("A mammary tumor.", [("mammary tumor", "X:2")]),
            ("cancers of the breast", [("cancers of the breast", "X:2")]),
            ("ovarian carcinoma", [("ovarian carcinoma", "X:3")]),
            ("Type-II Diabetes  Mellitus", [("Type-II Diabetes  Mellitus", "X:5")]),
            ("diabetes mellitus, type 1", [("diabetes mellitus, type 1", "X:4")]),
            ("cancer, breast", []),  # other word order across a comma
            ("diabetes mellitus type 1", [("diabetes mellitus type 1", "X:4")]),
            ("β thalassemias", [("β thalassemias", "X:11")]),
            ("cervical metastases", [("cervical metastases", "X:13")]),
            ("cervical. Metastases", [("Metastases", "X:12")]),
            ("nonsmall cell lung\ncarcinoma", [("nonsmall cell lung\ncarcinoma", "X:16")]),
            ("a disease", []),
            ("", []),
            (" \n\t", []),
        ],
    )
    def test_spellings(self, graph, text, expected):
        assert found(linker(graph), text) == expected

    def test_word_order_can_be_kept(self, graph):
        assert found(linker(graph, word_order=False), "cancer of the breast, breast cancer") == [
            ("breast cancer", "X:2")
        ]

    def test_scores_tell_spelling(self, graph):
        (same, other) = linker(graph).link("breast cancer. Cancer of the breast")
        assert (same.score, other.score) == (1.0, 0.95)
        assert same.semantic_types == (DISEASE,)
        assert (same.tier, other.tier) == ("exact", "exact")

    def test_acronyms_are_compared_as_written(self, graph):
        assert found(linker(graph), "ALL of the patients had ALL; all gave blood") == [("ALL", "X:7"), ("ALL", "X:7")]
        assert found(linker(graph), "GAVE") == [("GAVE", "X:8")]
        assert found(linker(graph), "vhl and VHLs") == [("vhl", "X:6"), ("VHLs", "X:6")]
        assert found(linker(graph), "NO FINDINGS. ALL CLEAR. NO BREAST CANCER.") == [("BREAST CANCER", "X:2")]

    def test_names_compete_over_the_whole_graph(self, graph):
        assert found(linker(graph), "skin") == [("skin", "X:9")]
        assert found(linker(graph, semantic_types=[DISEASE]), "skin, skin neoplasm") == [("skin neoplasm", "X:10")]
        assert found(linker(graph, semantic_types=[ANATOMY]), "skin of the lung") == [("skin", "X:9"), ("lung", "X:14")]

    def test_ties(self, graph):
        assert found(linker(graph), "fever") == [("fever", "Y:1")]
        assert found(linker(graph, max_concepts=5), "fever") == [("fever", "Y:1"), ("fever", "Z:1")]

    def test_excluded_below(self, graph):
        assert found(linker(graph, exclude_below=["X:12", "no such id"]), "cervical metastasis") == []

    def test_a_megabyte(self, graph):
        text = "The patient was seen again after some time, and a large pleural effusion was there. " * 12_500
        links = linker(graph).link(text)
        assert len(text) > 1_000_000
        assert len(links) == 12_500
        assert text[links[-1].start : links[-1].end] == "pleural effusion"


def test_matches_are_all_stretches_that_are_names(graph):
    """Against every stretch of words, looked up one by one."""
    index = ExactIndex(build(graph))
    names = index.lexicon.names
    vocabulary = [*sorted({word for name in names for word in name.split(" ")}), "qqq", ".", ",", "of"]
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(200):
        text = " ".join(rng.choice(vocabulary, size=30))
        words = read(text)
        expected = set()
        for first in range(len(words)):
            for last in range(first, len(words)):
                keys = words.keys[first : last + 1]
                same = words.clause[first] == words.clause[last] and unordered(keys) in index.lexicon.reordered
                if words.sentence[first] == words.sentence[last] and (" ".join(keys) in names or same):
                    expected.add((first, last))
        assert {(match.first, match.last) for match in index.matches(words, text)} == expected
        seen += sum(last > first for first, last in expected)
    assert seen > 10


class TestAbbreviationsAndLists:
    def test_defined_abbreviation_means_its_long_form(self, graph):
        text = "Breast cancer (BC) is common. BC and ALL (Alpha Lipid Level), ALL."
        assert found(linker(graph), text) == [("Breast cancer", "X:2"), ("BC", "X:2"), ("BC", "X:2")]
        assert ("BC", "X:2") not in found(linker(graph, abbreviations=False), text)

    def test_long_form_completed_and_bracket_passed_over(self, graph):
        text = "In von Hippel-Lindau (VHL) disease. VHL was seen."
        assert found(linker(graph), text) == [("von Hippel-Lindau (VHL) disease", "X:6"), ("VHL", "X:6")]

    def test_abbreviation_inside_a_name(self, graph):
        text = "Cervical (C) spine. Diabetes mellitus (DM) was type 2 DM, not DM type 1."
        assert found(linker(graph), text) == [("type 2 DM", "X:5"), ("DM type 1", "X:4")]

    @pytest.mark.parametrize(
        "text", ["breast and ovarian cancer", "breast/ovarian cancer", "breast or ovarian cancers"]
    )
    def test_lists_give_both(self, graph, text):
        assert found(linker(graph), f"Has {text}.") == [(text, "X:2"), (text, "X:3")]
        assert [link.concept for link in linker(graph).link_spans(text, [(0, len(text))])[0]] == ["X:2", "X:3"]
        assert [concept for _, concept in found(linker(graph, lists=False), text)] == ["X:3"]

    def test_separate_mentions_stay_apart(self, graph):
        assert found(linker(graph), "fever and ovarian cancer") == [("fever", "Y:1"), ("ovarian cancer", "X:3")]

    def test_parts(self):
        known = {"cleft lip", "cleft palate", "a b", "c b", "fever"}.__contains__
        assert parts("cleft lip and palate", known) == ["cleft lip", "cleft palate"]
        assert parts("a, c b", known) == ["a b", "c b"]
        assert parts("fever and cleft lip", known) == ["fever", "cleft lip"]
        assert parts("fever and cleft lip", known, shared=True) == ["fever and cleft lip"]
        assert parts("fever and rash", known) == ["fever and rash"]


class TestFurtherTiers:
    def test_fuzzy_alone_and_with_nil(self, graph):
        fuzzy = linker(graph, tiers=["fuzzy"], nil_threshold=0.6, propose=False)
        text = "brest cancer, qqq zzz"
        near, far = fuzzy.link_spans(text, [(0, 12), (14, 21)])
        assert [link.concept for link in near] == ["X:2"]
        assert near[0].tier == "fuzzy"
        assert 0.6 <= near[0].score < 1
        assert far == []
        assert linker(graph).link_spans(text, [(0, 12)]) == [[]]

    def test_numbers_decide(self, graph):
        fuzzy = linker(graph, tiers=["fuzzy"], nil_threshold=0.0)
        for number, concept in (("1", "X:4"), ("2", "X:5")):
            mention = f"diabetes melitus of type {number}"
            assert fuzzy.link_spans(mention, [(0, len(mention))])[0][0].concept == concept
        assert agreement("type 2 diabetes", "type 2 diabetes mellitus") == 1
        assert agreement("type 2 diabetes", "type 1 diabetes") < agreement("diabetes", "type 1 diabetes") < 1

    def test_exact_names_are_not_put_in_doubt(self, graph):
        (links,) = linker(graph, tiers=["exact", "fuzzy"], nil_threshold=1.0).link_spans("breast cancer", [(0, 13)])
        assert [(link.concept, link.tier) for link in links] == [("X:2", "exact")]

    def test_proposals(self, graph):
        settings = {"tiers": ["exact", "fuzzy"], "proposal_threshold": 0.8}
        text = "The nonsmal cell lung carcinoma and breast cancer"
        links = [(link.text, link.concept, link.tier) for link in linker(graph, **settings).link(text)]
        assert ("breast cancer", "X:2", "exact") in links
        assert found(linker(graph, **settings, propose=False), text) == [("lung", "X:14"), ("breast cancer", "X:2")]

    def test_the_encoder_chooses(self, graph):
        """A stand-in encoder that puts "brest cancer" and every name of X:3 in one direction."""
        wanted = {"brest cancer", "ovarian cancer", "carcinoma ovarian"}

        def embed(texts):
            return np.array([[1.0, 0.0] if text in wanted else [0.0, 1.0] for text in texts], dtype=np.float32)

        ask = ("brest cancer", [(0, 12)])
        mixed = {"nil_threshold": 0.0, "reranker": Reranker(embed)}
        (first,) = linker(graph, tiers=["fuzzy", "rerank"], encoder_weight=0.9, **mixed).link_spans(*ask)[0]
        assert (first.concept, first.tier) == ("X:3", "rerank")
        assert linker(graph, tiers=["rerank"], **mixed).link_spans(*ask)[0][0].concept == "X:3"
        # without a share for the encoder resemblance decides
        assert (
            linker(graph, tiers=["fuzzy", "rerank"], encoder_weight=0.0, **mixed).link_spans(*ask)[0][0].concept
            == "X:2"
        )


class TestMistakes:
    def test_they_are_told(self, graph):
        with pytest.raises(ConfigError, match="encoder: the rerank tier needs a text encoder; name a stage-1 run"):
            linker(graph, tiers=["rerank"])
        with pytest.raises(GraphError, match="Disese: no concept has this semantic type; use .*Disease or Syndrome"):
            linker(graph, semantic_types=["Disese"])
        with pytest.raises(ValueError, match=r"span \(3, 99\) does not lie in a text of 5 characters"):
            linker(graph).link_spans("fever", [(3, 99)])

    def test_graph_is_let_go(self):
        """`link(text, graph)` keeps an index as long as the graph lives, not longer."""
        import gc
        import weakref

        from data_prep.text import link

        mine = example_graph()
        assert [hit.concept for hit in link("VHL of a disease", mine)] == ["X:6", "X:1"]
        watched = weakref.ref(mine)
        del mine
        gc.collect()
        assert watched() is None


def test_longest_then_best_then_first():
    links = [Link(0, 5, "a", "", 0.9), Link(3, 9, "b", "", 0.5), Link(5, 10, "c", "", 0.8), Link(5, 10, "d", "", 0.9)]
    assert [link.concept for link in resolve(links)] == ["b"]
    assert [link.concept for link in resolve(links[:1] + links[2:])] == ["a", "d", "c"]
    assert [link.concept for link in resolve([Link(0, 4, "x", "", 0.5), Link(2, 6, "y", "", 0.6)])] == ["y"]
    assert [link.concept for link in resolve([Link(0, 4, "x", "", 0.5), Link(2, 6, "y", "", 0.5)])] == ["x"]


def test_same_links_whatever_the_hash_seed():
    code = (
        "import json; from linking_examples import example_graph;"
        "from data_prep.text.linking import Linker, LinkerConfig;"
        "settings = LinkerConfig(tiers=['exact', 'fuzzy'], proposal_threshold=0.5, max_concepts=3);"
        "linker = Linker(example_graph(), settings);"
        "text = 'Brest canser, fever, cancer of breast and ovarian cancer; diabetes of types 1 or 2, type 3 diabetes.';"
        "print(json.dumps([[x.start, x.end, x.concept, x.score, x.tier] for x in linker.link(text)]))"
    )
    root = Path(__file__).parents[2]
    answers = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{root / 'tests' / 'text'}"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    assert answers[0] == answers[1]
    assert len(answers[0]) >= 4

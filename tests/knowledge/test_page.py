"""The page about a concept: what it holds, what it links, and what it refuses."""

import html
import re
from html.parser import HTMLParser

import pytest
from knowledge_examples import SMALL

from medvlp.cli import run
from medvlp.errors import GraphError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.page import render, resolve, write_page


class _Balanced(HTMLParser):
    """Fails at a tag that is not closed, and collects ids and links."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links = [], set(), set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        if "href" in values:
            self.links.add(values["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def words_of(page):
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S)).split())


@pytest.fixture
def graph():
    return DiseaseGraph.from_dict(
        {
            "X:1": {"name": "disease"},
            "X:2": {"name": "lung disease", "parents": ["X:1"],
            "definitions": ["A disease that is located_in the lung."]},
            "X:3": {"name": "cancer", "parents": ["X:1"]},
            "X:4": {
                "name": "lung cancer", "parents": ["X:2", "X:3"], "synonyms": ["cancer <of> the lung", "shared"],
                "definitions": ["A cancer of the lung."], "xrefs": ["UMLS:C0242379", "MESH:D008175", "MESH:D002289"],
            },
            "X:5": {"name": "small cell lung cancer", "parents": ["X:4"], "synonyms": ["shared"]},
        }
    )  # fmt: skip


def test_what_the_page_holds(graph):
    page = render(graph, "X:4", {"sources": [{"id": "SRC", "version": "2024", "licence": "CC0"}]})
    found, words = _Balanced(page), words_of(page)
    assert "A kind of lung disease and cancer . 1 narrower concepts lie below it." in words
    assert "A cancer of the lung. dict" in words
    assert "A disease that is located in the lung." in words
    assert "cancer <of> the lung same meaning" in words  # and not as a tag
    assert "<of>" not in page
    assert page.count("<mark>lung cancer</mark>") == 2  # one way down through each parent
    assert {"#X_2", "#X_3"} == found.links
    assert {"X_2", "X_3", "X_5"} <= found.ids
    assert "UMLS C0242379" in words
    assert "MESH D008175, D002289" in words
    assert "SRC 2024, licence CC0" in words
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


def test_a_root_and_a_leaf(graph):
    assert "the graph starts here" in words_of(render(graph, "X:1"))
    leaf = words_of(render(graph, "X:5"))
    assert "Nothing narrower lies below it." in leaf
    assert "No source gives a definition." in leaf


def test_ids_and_names_lead_to_a_concept(graph):
    assert resolve(graph, "X:4") == resolve(graph, " Lung  Cancer ") == resolve(graph, "cancer of the lung") == "X:4"
    with pytest.raises(
        GraphError, match=r"^shared: the name of 2 concepts; choose an id: X:4 \(lung cancer\), X:5 \(small cell"
    ):
        resolve(graph, "shared")
    with pytest.raises(GraphError, match=r"^lung cancr: no concept has this id or name; nearest: X:4 \(lung cancer\)"):
        resolve(graph, "lung cancr")
    with pytest.raises(GraphError, match="check the spelling"):
        resolve(graph, "qqqqqqqq")


def test_every_concept_of_the_small_graph_has_a_page():
    graph = DiseaseGraph.from_dict(SMALL)
    for concept in graph.ids:
        _Balanced(render(graph, concept))


def test_typed_relations_old_ids_and_many_children():
    import pyarrow as pa

    from medvlp.knowledge import store
    from medvlp.knowledge.page import MAX_CHILDREN

    many = {f"Y:{i}": {"name": f"kind {i}", "parents": ["Y:r"]} for i in range(MAX_CHILDREN + 5)}
    plain = DiseaseGraph.from_dict({"Y:r": {"name": "root"}, **many}).tables
    edge = store.table("edges", {"head": ["Y:1"], "relation": ["has_finding_site"], "tail": ["Y:r"], "source": ["S"]})
    alias = store.table("aliases", {"alias": ["OLD:1"], "concept": ["Y:1"], "reason": ["merged"]})
    graph = DiseaseGraph.from_tables(
        plain.concepts, plain.names, plain.definitions, pa.concat_tables([plain.edges, edge]), alias
    )
    child, root = words_of(render(graph, "Y:1")), words_of(render(graph, "Y:r"))
    assert "has finding site root Y:r S" in child
    assert "Former ids OLD:1" in child
    assert "is has finding site of kind 1 Y:1 S" in root
    assert "And 5 more." in root
    assert resolve(graph, "OLD:1") == "Y:1"


def test_command_line(graph, tmp_path, capfd):
    graph.save(tmp_path / "graph", {"sources": [{"id": "SRC", "licence": "CC0"}]})
    words = ["--graph", str(tmp_path / "graph"), "--out", str(tmp_path / "page.html")]
    assert run(["graph", "show", "lung cancer", *words]) == 0
    assert "page of X:4" in capfd.readouterr().out
    assert "SRC" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert run(["graph", "show", "nothing", *words]) == 2
    assert "error: nothing: no concept has this id or name" in capfd.readouterr().err
    with pytest.raises(GraphError, match="graph store not found"):
        write_page(tmp_path / "none", "X:4", tmp_path / "p.html")

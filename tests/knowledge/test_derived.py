"""Graphs made from graphs: the rewired control and the part of a graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from knowledge_examples import random_dag

from medvlp.knowledge.graph import DiseaseGraph


def edges(graph: DiseaseGraph) -> set[tuple[str, str]]:
    return {(child, parent) for child in graph.ids for parent in graph.parents(child)}


def degrees(graph: DiseaseGraph) -> list[tuple[int, int]]:
    return [(len(graph.parents(concept)), len(graph.children(concept))) for concept in graph.ids]


@settings(max_examples=25, deadline=None)
@given(num_concepts=st.integers(2, 40), seed=st.integers(0, 1000))
def test_permuting_keeps_degrees_and_acyclicity(num_concepts, seed):
    graph = DiseaseGraph.from_dict(random_dag(num_concepts, seed))
    control = graph.permuted(seed)  # building it fails on a cycle
    assert degrees(control) == degrees(graph)
    assert control.roots() == graph.roots()
    assert len(edges(control)) == len(edges(graph))


def test_permuting_is_reproducible_and_keeps_names(small):
    graph = DiseaseGraph.from_dict(random_dag(200, 0))
    one, two = graph.permuted(1), graph.permuted(2)
    assert edges(one) == edges(graph.permuted(1))
    assert edges(one) != edges(two)
    assert one.tables.names == graph.tables.names
    assert one.digest != graph.digest


@pytest.mark.data
def test_the_control_differs_from_the_real_disease_ontology(doid):
    control = doid.permuted(0)
    changed = 1 - len(edges(doid) & edges(control)) / len(edges(doid))
    assert changed > 0.8
    assert degrees(control) == degrees(doid)
    assert control.roots() == ["DOID:4"]
    assert 0.7 < control.closure.nnz / doid.closure.nnz < 1.3
    cancers = doid.indices(doid.descendants("DOID:162"))
    assert control.related(cancers, doid.indices(["DOID:162"])).mean() < 0.5


@settings(max_examples=25, deadline=None)
@given(num_concepts=st.integers(1, 40), seed=st.integers(0, 1000), share=st.floats(0.1, 1))
def test_a_subset_keeps_who_is_above_whom(num_concepts, seed, share):
    graph = DiseaseGraph.from_dict(random_dag(num_concepts, seed))
    rng = np.random.default_rng(seed)
    kept = [concept for concept in graph.ids if rng.random() < share] or graph.ids[:1]
    part = graph.subset(kept)
    assert part.ids == kept
    for concept in kept:
        assert part.ancestors(concept) == graph.ancestors(concept) & set(kept)
    rows = graph.indices(kept)
    np.testing.assert_array_equal(part.related(np.arange(len(kept))), graph.related(rows))


def test_a_subset_keeps_names_definitions_and_marks_new_edges(small):
    part = small.subset(["X:1", "X:3", "X:5"])
    assert part.definitions("X:3") == small.definitions("X:3")
    assert part.parents("X:5") == ["X:3"]
    assert {e["head"]: e["source"] for e in part.tables.edges.to_pylist()} == {"X:3": "dict", "X:5": "subset"}

"""Cutting cycles, against networkx and against what "weakest" means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.ontologies.acyclic import cut_cycles

nx = pytest.importorskip("networkx", reason="the oracle of these tests")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40, unique=True))
def test_an_edge_goes_exactly_when_it_closes_a_cycle_of_earlier_ones(edges):
    head_E, tail_E = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    kept, dropped, component_N = cut_cycles(head_E, tail_E, 10)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(10))
    expected = []
    for place, (head, tail) in enumerate(edges):
        if head == tail or nx.has_path(graph, tail, head):
            expected.append(place)
        else:
            graph.add_edge(head, tail)
    assert dropped.tolist() == expected
    assert sorted([*kept.tolist(), *dropped.tolist()]) == list(range(len(edges)))
    for place in expected:
        assert component_N[edges[place][0]] == component_N[edges[place][1]]


def test_a_large_tangle_is_quick():
    rng = np.random.default_rng(0)
    head_E, tail_E = rng.integers(0, 3_000, size=(2, 12_000))  # one strong component holds most of it
    kept, dropped, _ = cut_cycles(head_E, tail_E, 3_000)
    graph = nx.DiGraph(zip(head_E[kept].tolist(), tail_E[kept].tolist(), strict=True))
    assert nx.is_directed_acyclic_graph(graph)
    assert len(dropped) > 1_000

"""All the graph answers about its hierarchy equals a walk over the parent lists, on random multi-parent graphs."""

import math
from itertools import pairwise

import brute_force_metrics as ref
import numpy as np
import pytest
from brute_force_metric_checks import random_dag

from medvlp.knowledge.graph import DiseaseGraph


def build(parents: ref.Parents) -> DiseaseGraph:
    return DiseaseGraph.from_dict({node: {"name": f"disease {node}", "parents": up} for node, up in parents.items()})


@pytest.fixture(params=range(30))
def pair(request) -> tuple[DiseaseGraph, ref.Parents]:
    parents = random_dag(request.param)
    return build(parents), parents


def test_ancestors_descendants_depth_roots(pair) -> None:
    graph, parents = pair
    assert sorted(graph.ids) == sorted(parents)
    assert set(graph.roots()) == {node for node in parents if not parents[node]}
    for node in parents:
        assert graph.ancestors(node) == ref.ancestors(parents, node)
        assert graph.descendants(node) == {other for other in parents if node in ref.ancestors(parents, other)}
        assert set(graph.parents(node)) == set(parents[node])
        assert graph.depth()[graph.index(node)] == ref.depth(parents, node)


def test_closure_and_related(pair) -> None:
    graph, parents = pair
    closure = np.asarray(graph.closure.todense())
    assert closure.tolist() == [[b in ref.steps_up(parents, a) for b in graph.ids] for a in graph.ids]
    rows = np.array([-1, *range(len(graph))])
    expected = [[bool(a and b and ref.related(parents, a, b)) for b in (None, *graph.ids)] for a in (None, *graph.ids)]
    assert graph.related(rows).tolist() == expected
    assert graph.related(rows[:3], rows).tolist() == expected[:3]


def test_distance_and_lowest_common_ancestors(pair) -> None:
    graph, parents = pair
    for a in parents:
        for b in parents:
            assert graph.distance(a, b) == ref.tree_distance(parents, a, b), (a, b)
            assert set(graph.lowest_common_ancestors(a, b)) == ref.lowest_common_ancestors(parents, a, b), (a, b)


def test_information_content_and_lin(pair) -> None:
    graph, parents = pair
    expected = [ref.information_content(parents, node) for node in graph.ids]
    np.testing.assert_allclose(graph.information_content(), expected, atol=1e-12)
    rows = np.arange(len(graph))
    found = graph.lin(rows, rows)
    for i, a in enumerate(graph.ids):
        for j, b in enumerate(graph.ids):
            value = ref.lin(parents, a, b)
            assert value is None or math.isclose(found[i, j], value, abs_tol=1e-9), (a, b)


def test_hypernym_paths_are_walks_from_a_root(pair) -> None:
    graph, parents = pair
    for number, node in enumerate(parents):
        path = graph.hypernym_path(node, np.random.default_rng([number]))
        assert path[-1] == node
        assert not parents[path[0]]
        assert all(up in parents[down] for up, down in pairwise(path))


def test_permuted_keeps_degrees_and_stays_acyclic(pair) -> None:
    graph, parents = pair
    shuffled = graph.permuted(0)
    after = {node: list(shuffled.parents(node)) for node in parents}
    assert {node: len(up) for node, up in after.items()} == {node: len(set(up)) for node, up in parents.items()}
    children = {node: sum(node in up for up in parents.values()) for node in parents}
    assert {node: sum(node in up for up in after.values()) for node in parents} == children
    assert all(len(set(up)) == len(up) for up in after.values())
    assert all(up != node and node not in ref.ancestors(after, up) for node in parents for up in after[node])


def test_permuted_moves_most_graphs_and_repeats_by_seed() -> None:
    moved = 0
    for seed in range(30):
        graph = build(random_dag(seed))
        first, again = (
            {node: set(g.parents(node)) for node in graph.ids} for g in (graph.permuted(3), graph.permuted(3))
        )
        assert first == again
        moved += first != {node: set(graph.parents(node)) for node in graph.ids}
    assert moved >= 15

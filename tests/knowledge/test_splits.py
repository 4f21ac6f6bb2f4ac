"""Splits leak nothing: no held-out name, in any spelling, is seen in training."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.errors import GraphError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise


def tangled(num_concepts: int, seed: int) -> DiseaseGraph:
    """Concepts that share synonyms in different spellings."""
    rng = np.random.default_rng(seed)
    concepts = {}
    for row in range(num_concepts):
        shared = [f"Shared-{rng.integers(num_concepts)}", f"shared {rng.integers(num_concepts)}"]
        concepts[f"T:{row}"] = {
            "name": f"disease {row}",
            "synonyms": [*shared, f"own {row}", f"OWN-{row}", f"alias {row}"],
        }
    return DiseaseGraph.from_dict(concepts)


def keys(pairs) -> set[str]:
    return {normalise(text) for _, text in pairs}


@pytest.mark.parametrize("which", ["tangled", "doid"])
def test_no_name_is_in_two_lists(which, request):
    graph = tangled(200, 0) if which == "tangled" else request.getfixturevalue("doid")
    held = graph.split_names(0.2, seed=0)
    assert held.heldout
    assert held.ambiguous
    assert not keys(held.train) & keys(held.heldout)
    assert not keys(held.train) & keys(held.ambiguous)
    assert not keys(held.heldout) & keys(held.ambiguous)
    assert all(graph.find(text) == [concept] for concept, text in held.heldout)
    assert all(len(graph.find(text)) > 1 for _, text in held.ambiguous)
    assert {(concept, graph.name(concept)) for concept in graph.ids} <= set(held.train)
    assert len(keys(held.heldout)) == len(held.heldout)
    candidates = {normalise(t) for c in graph.ids for t in graph.texts(c)} - {
        normalise(graph.name(c)) for c in graph.ids
    }
    assert len(keys(held.heldout) | keys(held.ambiguous)) == round(0.2 * len(candidates))


def test_split_names_follows_seed_and_fraction():
    graph = tangled(100, 1)
    assert graph.split_names(0.3, seed=5) == graph.split_names(0.3, seed=5)
    assert graph.split_names(0.3, seed=5).heldout != graph.split_names(0.3, seed=6).heldout
    none = graph.split_names(0.0, seed=0)
    assert none.heldout == []
    assert len(none.train) == sum(len(graph.texts(c)) for c in graph.ids)
    with pytest.raises(GraphError, match=r"held-out names: fraction 1.5 is outside \[0, 1\]"):
        graph.split_names(1.5, seed=0)
    with pytest.raises(GraphError, match="nickname: unknown kind of name; use some of preferred"):
        graph.split_names(0.5, seed=0, kinds=["nickname"])


def test_kinds_left_out_of_a_split_are_in_no_list():
    graph = tangled(50, 2)
    held = graph.split_names(0.5, seed=0, kinds=["preferred"])
    assert held.heldout == []
    assert keys(held.train) == {normalise(graph.name(c)) for c in graph.ids}


@pytest.mark.parametrize("which", ["tangled", "doid"])
def test_no_name_crosses_a_split_by_concept(which, request):
    graph = tangled(300, 3) if which == "tangled" else request.getfixturevalue("doid")
    parts = graph.split_concepts({"train": 0.8, "dev": 0.1, "test": 0.1}, seed=0)
    assert sorted(c for part in parts.values() for c in part) == sorted(graph.ids)
    names = {part: {normalise(t) for c in concepts for t in graph.texts(c)} for part, concepts in parts.items()}
    assert not names["train"] & names["test"]
    assert not names["train"] & names["dev"]
    assert not names["dev"] & names["test"]
    if which == "doid":
        assert abs(len(parts["train"]) / len(graph) - 0.8) < 0.01
    assert parts == graph.split_concepts({"train": 0.8, "dev": 0.1, "test": 0.1}, seed=0)


def test_fractions_must_sum_to_one(small):
    with pytest.raises(GraphError, match="train, test: the fractions of the parts do not sum to 1"):
        small.split_concepts({"train": 0.8, "test": 0.1}, seed=0)
    with pytest.raises(GraphError, match=r"train: fraction -0.5 is outside"):
        small.split_concepts({"train": -0.5, "test": 1.5}, seed=0)
    assert small.split_concepts({"train": 1.0, "test": 0.0}, seed=0)["test"] == []

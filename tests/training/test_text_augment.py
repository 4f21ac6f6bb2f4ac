"""Caption augmentation: rates, what a knowledge caption may say, and what it never says."""

import numpy as np
import pytest
from training_cases import CONCEPTS

from medvlp.knowledge.graph import DiseaseGraph
from medvlp.training.text_augment import TextAugment, concept_names, drop_words, general_concepts
from medvlp.zeroshot.templates import PATHOLOGY

NAMES = [{data["name"], *data.get("synonyms", [])} for data in CONCEPTS.values()]


@pytest.fixture(scope="module")
def graph():
    return DiseaseGraph.from_dict(CONCEPTS)


def make(graph, hierarchy="same", **settings):
    hierarchy = graph if hierarchy == "same" else hierarchy
    names = {} if hierarchy is None else concept_names(graph)
    config = TextAugment.Config(**{"templates": "plain", "general_depth": 0, **settings})
    return TextAugment(config, names, hierarchy, {"wbc": "white blood cell"})


def rng(seed=0):
    return np.random.default_rng(seed)


def test_words_are_drawn_with_replacement_so_fewer_than_the_share_go():
    text = " ".join(map(str, range(50)))
    left = [len(drop_words(text, 0.4, rng(seed)).split()) for seed in range(300)]
    assert np.mean(left) == pytest.approx(50 * (1 - 1 / 50) ** 20, rel=0.02)
    kept = drop_words(text, 0.4, rng()).split()
    assert kept == sorted(kept, key=int)


def test_a_caption_never_becomes_empty():
    assert all(drop_words("word", 1.0, rng(seed)) == "word" for seed in range(5))
    assert drop_words("", 0.5, rng()) == ""


def test_rates_are_those_of_the_config(graph):
    augment = make(graph, drop=0.3, knowledge=0.6)
    results = [augment("a b c d e f g h i j", [2], "lung", rng(seed)) for seed in range(2000)]
    known = [knowledge for _, knowledge in results]
    dropped = [text for text, knowledge in results if not knowledge and text != "a b c d e f g h i j"]
    assert np.mean(known) == pytest.approx(0.6, abs=0.03)
    assert len(dropped) / known.count(False) == pytest.approx(0.3, abs=0.05)


def test_a_path_runs_from_general_to_special_below_the_general_concepts(graph):
    augment = make(graph, drop=0, knowledge=1, path=1, synonyms=False)
    assert augment("x", [2], None, rng())[0] == "carcinoma lung carcinoma"
    deeper = make(graph, drop=0, knowledge=1, path=1, synonyms=False, stop=["T:1"])
    assert deeper("x", [2], None, rng())[0] == "lung carcinoma"
    assert general_concepts(graph, 1) == {"T:0", "T:1", "T:4", "T:5"}
    assert general_concepts(graph, -1, ["T:6"]) == {"T:6"}


def test_every_level_draws_its_own_synonym(graph):
    augment = make(graph, drop=0, knowledge=1, path=1)
    seen = {augment("x", [2], None, rng(seed))[0] for seed in range(200)}
    assert seen == {f"{upper} {lower}" for upper in NAMES[1] for lower in NAMES[2]}


def test_a_permuted_hierarchy_changes_paths_but_not_names(graph):
    real = make(graph, drop=0, knowledge=1, path=1, synonyms=False)
    leaf = make(graph, drop=0, knowledge=1, path=0, synonyms=False)
    other = make(graph, graph.permuted(1), drop=0, knowledge=1, path=1, synonyms=False)
    paths = [(real("x", [row], None, rng())[0], other("x", [row], None, rng())[0]) for row in range(1, 7)]
    assert any(mine != theirs for mine, theirs in paths)
    assert all(theirs.endswith(leaf("x", [row], None, rng())[0]) for row, (_, theirs) in enumerate(paths, 1))


def test_without_knowledge_a_caption_names_the_class_alone(graph):
    augment = make(graph, None, drop=0, knowledge=1)
    assert {augment("x", (), "lung", rng(seed))[0] for seed in range(50)} == {"lung"}
    assert augment("x", (), "wbc", rng())[0] == "white blood cell"


def test_a_class_without_concept_is_named_and_an_unlabelled_caption_stays(graph):
    augment = make(graph, drop=0, knowledge=1)
    assert augment("x", (), "normal_tissue", rng())[0] == "normal tissue"
    assert augment("a caption", (), None, rng()) == ("a caption", False)


def test_all_22_wordings_come_up(graph):
    augment = make(graph, drop=0, knowledge=1, path=0, synonyms=False, templates="pathology")
    seen = {augment("x", [2], None, rng(seed))[0] for seed in range(600)}
    assert seen == {wording.replace("{name}", "lung carcinoma") for wording in PATHOLOGY}
    assert len(PATHOLOGY) == 22


def test_one_seed_gives_one_caption(graph):
    augment = make(graph)
    text = "one two three four five"
    assert [augment(text, [3], None, rng(seed)) for seed in range(30)] == [
        augment(text, [3], None, rng(seed)) for seed in range(30)
    ]

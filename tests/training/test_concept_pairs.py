"""KAD's first stage: pairs from edges and definitions, what the controls change, a scale that learns."""

import shutil

import numpy as np
import pytest
import torch
from training_cases import CONCEPTS, knowledge_config

from medvlp.data.batch import Triple
from medvlp.errors import ConfigError, GraphError, TrainingError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.splits import HeldOut
from medvlp.objectives.kad import KadPairObjective
from medvlp.training.checkpoint import Retention
from medvlp.training.concept_pairs import ConceptPairs
from medvlp.training.concept_texts import ConceptTexts, Views
from medvlp.training.entity_strings import entity_string
from medvlp.training.knowledge import KnowledgeRecipe, train
from medvlp.training.log import read_log

DEFINED = {
    **CONCEPTS,
    "T:4": {**CONCEPTS["T:4"], "definitions": ["a dark spot of the skin", "a mole"]},
    "T:2": {**CONCEPTS["T:2"], "definitions": ["a growth in the lung"]},
}


@pytest.fixture(scope="module")
def graph():
    return DiseaseGraph.from_dict(DEFINED)


def pairs_of(graph, knowledge="real", hidden=(), **options):
    train = [(concept, text) for concept in graph.ids for text in graph.texts(concept) if text not in hidden]
    held = [(concept, text) for concept in graph.ids for text in graph.texts(concept) if text in hidden]
    views = Views(hypernyms=False)
    return ConceptPairs(graph, ConceptTexts(graph, HeldOut(train, held, []), views, None), knowledge, 0, **options)


def all_draws(pairs):
    return [pairs.draw(n, np.random.default_rng(seed)) for n in range(len(pairs)) for seed in range(12)]


def test_each_edge_and_definition_is_a_pair_and_each_end_answers_half_the_time(graph):
    pairs = pairs_of(graph)
    assert (len(pairs.edges), len(pairs.definitions), len(pairs)) == (6, 4, 10)
    seen = {(pair.first, pair.second, graph.ids[pair.row]) for pair in all_draws(pairs)}
    assert ("nevus [SEP] is a", "disease", "T:0") in seen
    assert ("is a [SEP] disease", "nevus", "T:4") in seen
    assert ("nevus", "a mole", "T:4") in seen
    assert len(seen) == 2 * 6 + 4
    edge = next(n for n, (head, _, _) in enumerate(pairs.edges) if graph.ids[head] == "T:4")
    tails = sum(pairs.draw(edge, np.random.default_rng(seed)).row == graph.index("T:0") for seed in range(400))
    assert 160 < tails < 240


def test_held_out_names_are_in_no_pair(graph):
    hidden = "nevus of the skin", "syndrome of the liver"
    texts = {text for pair in all_draws(pairs_of(graph, hidden=hidden)) for text in pair[:2]}
    assert not any(name in text for text in texts for name in hidden)
    assert len(pairs_of(graph, hidden=hidden)) == 9  # the definition that spells one out is gone


def test_controls_have_as_many_pairs_with_other_facts_or_none(graph):
    real, permuted, none = (pairs_of(graph, kind) for kind in ("real", "permuted", "none"))
    assert len(real) == len(permuted) == len(none)
    owner = {text: row for row, text in real.definitions}
    assert {text for _, text in permuted.definitions} == set(owner)
    assert all(row != owner[text] for row, text in permuted.definitions)
    assert set(permuted.edges) != set(real.edges)
    names = {name for row in none.names for name in row}
    for pair in all_draws(none):
        assert {pair.first, pair.second} <= set(none.names[pair.row]) <= names


def test_one_kind_alone_and_none_at_all(graph):
    assert len(pairs_of(graph, triples=False)) == 4
    assert len(pairs_of(graph, definitions=False)) == 6
    with pytest.raises(GraphError, match="has neither an edge nor a definition"):
        pairs_of(graph, triples=False, definitions=False)


def config_of(place, bert, **changes):
    settings = {"objective": KadPairObjective.Config(), "learn_scale": True, "scale": 1 / 0.07, "groups_per_batch": 4}
    return knowledge_config(place, bert, **{**settings, **changes})


def test_a_batch_is_of_pairs_and_the_scale_is_learned_as_its_exponent(place, bert):
    recipe = KnowledgeRecipe(config_of(place, bert))
    batch = next(recipe.batches(0, 0, 1))
    assert len(batch) == 4
    assert batch.text_owner_M.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    halves = [next(recipe.batches(0, rank, 2)) for rank in (0, 1)]
    assert [text for half in halves for text in half.texts] == batch.texts
    (log_scale,) = recipe.parts()["scale"]
    assert any(parameter is log_scale for parameter in recipe.module.parameters())
    out = recipe.module(*recipe.inputs(batch))
    torch.testing.assert_close(out[2], torch.tensor(1 / 0.07))


def test_a_cut_run_goes_on_with_the_scale_it_had(place, bert, tmp_path):
    train(config_of(place, bert), tmp_path / "whole")
    cut = config_of(place, bert, checkpoint=Retention(every=2, last=9))
    train(cut, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-00000006")
    train(cut, tmp_path / "cut")
    whole, again = (
        [(r["step"], r["loss"], r["scale"]) for r in read_log(tmp_path / name) if r["kind"] == "train"]
        for name in ("whole", "cut")
    )
    assert again[-2:] == whole[-2:]
    assert len({scale for _, _, scale in whole}) > 3


def test_what_does_not_fit_is_refused(place, bert):
    with pytest.raises(ConfigError, match=r"^siblings: pairs have none; set it to 0"):
        KnowledgeRecipe(config_of(place, bert, siblings=0.5))
    with pytest.raises(TrainingError, match="99 pairs per batch, but only"):
        KnowledgeRecipe(config_of(place, bert, groups_per_batch=99))


def test_an_entity_string_says_what_a_text_says_of_its_findings():
    triples = [
        Triple("effusion", "is", "present"),
        Triple("effusion", "located at", "left lung"),
        Triple("edema", "is", "absent"),
    ]
    assert entity_string("Left effusion, no edema.", triples) == "effusion [SEP] present [SEP] edema [SEP] absent"
    assert entity_string("Nothing to say.", triples[1:2]) == "Nothing to say."

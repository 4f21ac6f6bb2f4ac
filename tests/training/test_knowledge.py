"""Stage 1: what it reads, what it never reads, what it scores, and that it learns."""

import numpy as np
import pytest
import torch
from training_cases import CONCEPTS, knowledge_config

from medvlp.errors import ConfigError, GraphError, TrainingError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise
from medvlp.knowledge.splits import HeldOut
from medvlp.training.concept_texts import ConceptTexts, Siblings, Views
from medvlp.training.knowledge import KnowledgeRecipe, train
from medvlp.training.log import read_log
from medvlp.training.name_retrieval import embed_texts, score_names


@pytest.fixture(scope="module")
def graph():
    return DiseaseGraph.from_dict(CONCEPTS)


def split(graph, *hidden):
    pairs = [(concept, text) for concept in graph.ids for text in graph.texts(concept)]
    return HeldOut([pair for pair in pairs if pair[1] not in hidden], [p for p in pairs if p[1] in hidden], [])


def drawn(texts, row, count=4, tries=80):
    return {text for seed in range(tries) for text in texts.draw(row, count, np.random.default_rng(seed))}


def test_held_out_names_are_never_drawn_not_even_inside_definitions_or_paths(graph):
    hidden = {"carcinoma of tissue", "syndrome of the liver"}
    texts = ConceptTexts(graph, split(graph, *hidden), Views(general_depth=0), graph)
    seen = {text for row in range(len(graph)) for text in drawn(texts, row)}
    assert not any(normalise(name) in normalise(text) for text in seen for name in hidden)
    assert texts.num_leaking == 1
    assert any("a kind of" in text for text in seen)


def test_views_can_be_switched_off_one_by_one(graph):
    heldout = split(graph)
    only = ConceptTexts(graph, heldout, Views(synonyms=False, definitions=False, hypernyms=False), graph)
    assert drawn(only, 6) == {"liver syndrome"}
    names = ConceptTexts(graph, heldout, Views(definitions=False, hypernyms=False), graph)
    assert drawn(names, 6) == {"liver syndrome", "syndrome of the liver", "liver x"}
    definitions = ConceptTexts(graph, heldout, Views(hypernyms=False), None)
    assert drawn(definitions, 6) == drawn(names, 6) | {"a syndrome of the liver with effusion"}
    full = ConceptTexts(graph, heldout, Views(general_depth=0), graph)
    assert "liver x, a kind of pleural effusion" in drawn(full, 6)
    assert "effusion liver syndrome" in drawn(full, 6)


def test_the_preferred_name_is_always_there_and_few_texts_repeat(graph):
    texts = ConceptTexts(graph, split(graph), Views(definitions=False, hypernyms=False), None)
    assert all(texts.draw(2, 3, np.random.default_rng(seed))[0] == "lung carcinoma" for seed in range(5))
    assert texts.draw(0, 3, np.random.default_rng(0)) == ["disease"] * 3
    assert sorted(texts.draw(2, 5, np.random.default_rng(0))[1:]) == sorted(graph.texts("T:2")[1:] * 2)


def test_siblings_share_a_parent_and_a_batch_stays_distinct(graph):
    siblings = Siblings(graph, range(len(graph)))
    for seed in range(20):
        assert siblings.fill([2], 2, np.random.default_rng(seed)) == [2, 3]
        assert len(set(siblings.fill([1, 6], 5, np.random.default_rng(seed)))) == 5


def table(*pairs):
    vectors = {text: np.asarray(vector, dtype=np.float32) for text, vector in pairs}
    return lambda texts: np.stack([vectors[text] for text in texts])


def test_a_concept_scores_as_its_best_name_and_ambiguous_names_count_apart():
    graph = DiseaseGraph.from_dict({"A": {"name": "a"}, "B": {"name": "b"}, "C": {"name": "c"}})
    heldout = HeldOut(
        [("A", "a"), ("A", "a2"), ("B", "b"), ("C", "c")], [("A", "q"), ("B", "r")], [("B", "s"), ("C", "s")]
    )
    embed = table(
        ("a", (1, 0)), ("a2", (0, 1)), ("b", (0.8, 0.6)), ("c", (-1, 0)), ("q", (0, 1)), ("r", (1, 0)), ("s", (-1, 0))
    )  # fmt: skip
    scores = score_names(embed, graph, heldout)
    assert scores == {
        "r@1": 0.5,
        "r@5": 1.0,
        "mrr": 0.75,
        "num_queries": 2.0,
        "num_concepts": 3.0,
        "num_ambiguous": 1.0,
        "ambiguous_r@1": 1.0,
    }


def test_a_constant_encoder_finds_nothing(graph):
    scores = score_names(lambda texts: np.ones((len(texts), 2), dtype=np.float32), graph, split(graph, "liver x"))
    assert scores["r@1"] == 0.0


def test_a_sampled_search_holds_every_right_answer(graph):
    heldout = split(graph, "liver x", "lung squamous x")
    scores = score_names(lambda texts: np.eye(64, dtype=np.float32)[: len(texts)], graph, heldout, None, 3)
    assert scores["num_concepts"] == 3
    assert scores["num_queries"] == 2


def test_scoring_needs_held_out_names(graph):
    with pytest.raises(GraphError, match=r"held-out names: no name is held out; raise holdout\.fraction"):
        score_names(None, graph, split(graph))


def test_embeddings_do_not_depend_on_their_company(place, bert):
    from training_cases import text_config

    from medvlp.encoders.text import TextEncoder

    encoder = TextEncoder(text_config(bert))
    texts = ["carcinoma", "a an image of the lung carcinoma with x and s", "nevus"]
    together = embed_texts(encoder, texts)
    alone = np.concatenate([embed_texts(encoder, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("objective", ["knowledge_metric", "clip"])
def test_training_lowers_the_loss(place, bert, tmp_path, objective):
    from medvlp.objectives.clip import ClipObjective
    from medvlp.objectives.knowledge_metric import KnowledgeMetricObjective

    chosen = ClipObjective.Config(positives="group") if objective == "clip" else KnowledgeMetricObjective.Config()
    config = knowledge_config(place, bert, objective=chosen, steps=40, log_every=5)
    train(config, tmp_path / "run")
    losses = [record["loss"] for record in read_log(tmp_path / "run") if record["kind"] == "train"]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_the_run_folder_serves_as_text_weights_of_stage_2(place, bert, tmp_path):
    from training_cases import text_config

    from medvlp.encoders.text import TextEncoder

    checkpoint = train(knowledge_config(place, bert, steps=2), tmp_path / "run")
    taken = TextEncoder(text_config(bert, weights=str(tmp_path / "run")))
    saved = TextEncoder.load(checkpoint)
    before = TextEncoder(text_config(bert))
    ids, mask = taken.tokenize(["lung carcinoma"])
    assert torch.equal(taken.eval()(ids, mask), saved(ids, mask))
    assert not torch.equal(taken(ids, mask), before.eval()(ids, mask))


def test_batches_come_whole_and_equal_for_every_number_of_processes(place, bert):
    recipe = KnowledgeRecipe(knowledge_config(place, bert, siblings=0.5))
    whole = next(recipe.batches(3, 0, 1))
    parts = [next(recipe.batches(3, rank, 2)) for rank in range(2)]
    assert whole.keys == [key for part in parts for key in part.keys]
    assert whole.texts == [text for part in parts for text in part.texts]
    assert len(set(whole.keys)) == 4
    with pytest.raises(TrainingError, match="groups_per_batch: 4 does not divide over 3 processes"):
        next(recipe.batches(0, 0, 3))


def test_the_control_has_other_paths_and_the_same_names(place, bert):
    recipes = [KnowledgeRecipe(knowledge_config(place, bert, knowledge=kind)) for kind in ("real", "permuted")]
    real, control = (recipe.texts for recipe in recipes)
    assert real.names == control.names
    assert real.hierarchy.digest != control.hierarchy.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"knowledge": "none"}, "views.hypernyms: needs a hierarchy, but knowledge is none; set it to false"),
        (
            {"knowledge": "none", "views": Views(hypernyms=False), "siblings": 0.5},
            "siblings: needs a hierarchy, but knowledge is none; set it to 0",
        ),
    ],
)
def test_contradictions_are_refused(place, bert, changes, message):
    with pytest.raises(ConfigError) as caught:
        KnowledgeRecipe(knowledge_config(place, bert, **changes))
    assert str(caught.value) == message


def test_more_concepts_per_batch_than_there_are_is_refused(place, bert):
    with pytest.raises(TrainingError, match="groups_per_batch: 50 concepts per batch, but only 6 have enough texts"):
        KnowledgeRecipe(knowledge_config(place, bert, groups_per_batch=50))

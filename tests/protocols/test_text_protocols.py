"""Text protocols: the benchmarks' own numbers again, exact floors, draws that pair, and what is refused."""

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from linking_cases import write_linking

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocol import Context
from benchmarks.harness.protocols import concept_retrieval, linking, ner
from benchmarks.harness.subjects import Subject
from benchmarks.harness.task import TaskConfig
from benchmarks.names.floors import tfidf_ranks
from medvlp.errors import ConfigError, DataError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.metrics import bootstrap
from medvlp.training.name_retrieval import score_names

ABOUT = {"kind": "task", "title": "Texts", "citation": "None", "licence": "CC0"}


class Letters:
    """Texts as counts of letter pairs, turned by a seed."""

    def __init__(self, seed=0):
        self.seed = seed

    def encode_text(self, texts):
        rows = np.zeros((len(texts), 64))
        for row, text in zip(rows, texts, strict=True):
            for pair in pairwise(text):
                digest = hashlib.sha256(f"{self.seed}{''.join(pair)}".encode()).digest()
                row[digest[0] % 64] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def graph():
    organs = ["lung", "colon", "skin", "liver", "breast", "kidney", "brain", "bone"]
    kinds = ["carcinoma", "adenoma", "abscess", "infarct", "cyst"]
    concepts = {
        f"X:{len(kinds) * i + j}": {
            "name": f"{organ} {kind}", "synonyms": [f"{kind} of the {organ}", f"{organ} {kind}s"],
        }
        for i, organ in enumerate(organs)
        for j, kind in enumerate(kinds)
    }  # fmt: skip
    return DiseaseGraph.from_dict(concepts)


def names_task(**settings):
    plain = {**ABOUT, "data": {"form": "files"}, "protocols": [{"name": "concept_retrieval", **settings}]}
    return TaskConfig.model_validate(plain)


def opened(graph, tmp_path, **settings):
    task = names_task(fraction=0.4, **settings)
    return concept_retrieval.open(task, task.protocols[0], Context(tmp_path, graph, 200, 0.95))


def values(outcome):
    return {metric.name: metric.value for metric in outcome.metrics}


def test_whole_graph_scores_as_the_names_benchmark(graph, tmp_path):
    question = opened(graph, tmp_path)
    heldout = graph.split_names(0.4, 0, None)
    assert not heldout.ambiguous
    model = Letters()
    expected = score_names(lambda texts: model.encode_text(texts).astype(np.float32), graph, heldout)
    found = values(question.score(Subject.of(model), 0))
    assert found["r@1"] == pytest.approx(expected["r@1"])
    assert found["mrr"] == pytest.approx(expected["mrr"])
    assert 0 < found["r@1"] <= found["r@10"] <= 1
    rank_Q = tfidf_ranks(graph, heldout).rank_Q
    floor = values(question.floor("tfidf", None, 0))
    assert floor["r@10"] == np.mean(rank_Q <= 10)
    assert floor["mrr"] == pytest.approx(np.mean(1 / rank_Q))


def test_a_sample_ranks_by_brute_force_and_keeps_right_concepts(graph, tmp_path):
    question = opened(graph, tmp_path, num_queries=6, num_concepts=15)
    assert (question.num, question.num_concepts) == (6, 15)
    gallery = question.names.train
    assert {concept for concept, _ in question.names.heldout} <= {concept for concept, _ in gallery}
    model, ranks = Letters(), []
    for concept, text in question.names.heldout:
        score = model.encode_text([text]) @ model.encode_text([name for _, name in gallery]).T
        best = {}
        for (owner, _), value in zip(gallery, score[0], strict=True):
            best[owner] = max(best.get(owner, -1), value)
        better = sum(v > best[concept] + 1e-6 for v in best.values())
        as_good = sum(v > best[concept] - 1e-6 for v in best.values())
        ranks.append((1 + better + as_good) / 2)
    outcome = question.score(Subject.of(model), 0)
    np.testing.assert_allclose(outcome.predictions["rank"], ranks)
    assert opened(graph, tmp_path, num_queries=6, num_concepts=15).digest == question.digest
    assert opened(graph, tmp_path, num_queries=7, num_concepts=15).digest != question.digest


def test_the_random_floor_is_exact(graph, tmp_path):
    question = opened(graph, tmp_path, num_concepts=30)
    found = values(question.floor("random", None, 0))
    count = question.num_concepts
    assert found["r@1"] == pytest.approx(1 / count)
    assert found["r@10"] == pytest.approx(10 / count)
    assert found["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, count + 1)) / count)
    chance = {metric.name: metric.chance for metric in question.floor("tfidf", None, 0).metrics}
    assert chance["r@1"] == pytest.approx(found["r@1"])


def test_all_systems_of_a_question_share_their_draws(graph, tmp_path):
    question = opened(graph, tmp_path)
    outcomes = [question.score(Subject.of(Letters(seed)), 0) for seed in (0, 1)]
    cases = [concept for concept, _ in question.names.heldout]
    seed = concept_retrieval.draw_seed(question.digest)
    first, second = (outcome.predictions["rank"] <= 1 for outcome in outcomes)
    expected = bootstrap.paired_difference(
        lambda w: first.mean() if w is None else w @ first / w.sum(1),
        lambda w: second.mean() if w is None else w @ second / w.sum(1),
        cases, 200, seed,
    )  # fmt: skip
    difference = outcomes[0].metrics[0].draw_S - outcomes[1].metrics[0].draw_S
    low, high = np.percentile(difference, [2.5, 97.5])
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert isinstance(question.floor("untrained", Subject.of(Letters()), 0), Skipped)


def test_what_concept_retrieval_refuses(graph, tmp_path):
    task = names_task()
    with pytest.raises(ConfigError, match="needs a graph"):
        concept_retrieval.open(task, task.protocols[0], Context(tmp_path, None, 10, 0.95))
    bare = DiseaseGraph.from_dict({"X:1": {"name": "cyst"}, "X:2": {"name": "abscess"}})
    with pytest.raises(DataError, match="no name is held out"):
        opened(bare, tmp_path)
    wrong = task.model_copy(update={"expect": task.expect.model_copy(update={"num": {"test": 3}})})
    with pytest.raises(DataError, match="held-out names, expected 3"):
        concept_retrieval.open(wrong, task.protocols[0], Context(tmp_path, graph, 10, 0.95))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_linking(folder)
    return folder


def texts_task(folder, name, **more):
    files = {"train": str(folder / "train.txt"), "dev": str(folder / "development.txt")}
    plain = {
        **ABOUT, "data": {"form": "files", "files": files}, "split": "dev", "fit_split": "train",
        "protocols": [{"name": name, "linker": str(folder / "linker.yaml")}], **more,
    }  # fmt: skip
    return TaskConfig.model_validate(plain)


def asked(module, folder, name, **more):
    task = texts_task(folder, name, **more)
    context = Context(folder / "cache", DiseaseGraph.load(folder / "graph"), 100, 0.95)
    return module.open(task, task.protocols[0], context)


def test_linking_scores_as_its_benchmark(corpus):
    """The same corpus and the same numbers as in the test of ``benchmarks.linking``."""
    question = asked(linking, corpus, "linking")
    assert (question.num, question.num_cases) == (4, 2)
    found = {name: values(question.system(name, 0)) for name in linking.SYSTEMS}
    assert {name: one["accuracy"] for name, one in found.items()} == {"exact": 0.25, "fuzzy": 0.5, "all": 0.75}
    floors = {name: question.floor(name, None, 0) for name in ("equal-name", "by-heart")}
    assert values(floors["equal-name"])["accuracy"] == 0.25
    assert values(floors["by-heart"])["accuracy"] == 0.5
    assert "set `scispacy: true`" in question.floor("scispacy", None, 0).reason
    assert question.system("all", 0).details["ceiling"] == 0.75
    assert len(list((corpus / "cache" / "linking").glob("fit-*.json"))) == 2


def test_mentions_score_as_their_benchmark(corpus):
    question = asked(ner, corpus, "ner")
    exact, everything = (question.system(name, 0) for name in ("exact", "all"))
    assert values(exact)["precision_strict"] == pytest.approx(1 / 2)
    assert values(everything)["recall_strict"] == 0.75
    counts = everything.predictions["counts_strict"]
    hit, found, wanted = counts.sum(0)
    assert values(everything)["f1_strict"] == pytest.approx(2 * hit / (found + wanted))
    assert values(question.floor("every-name", None, 0))["f1_overlap"] > 0
    assert isinstance(question.score(Subject.of(Letters()), 0), Skipped)


def test_nothing_is_learnt_from_scored_texts(corpus, tmp_path):
    """Other answers in the scored part leave the fit as it is."""
    question = asked(linking, corpus, "linking")
    other = replace(question.corpus, scored=question.corpus.scored[:1], folder=tmp_path)
    assert other.fitted("all") == question.corpus.fitted("all")
    with pytest.raises(DataError, match="test"):
        asked(linking, corpus, "linking", split="dev", fit_split="test")
    with pytest.raises(ConfigError, match="would be fitted on what is scored"):
        asked(linking, corpus, "linking", split="dev", fit_split="dev")


def test_a_text_in_both_parts_and_a_wrong_n_are_named(corpus):
    same = {"form": "files", "files": {part: str(corpus / "train.txt") for part in ("train", "dev")}}
    with pytest.raises(DataError, match="1: the text is in both parts"):
        asked(linking, corpus, "linking", data=same)
    with pytest.raises(DataError, match="4 mentions, expected 5"):
        asked(ner, corpus, "ner", expect={"num": {"dev": 5}})
    with pytest.raises(ConfigError, match="needs the files train and dev"):
        asked(ner, corpus, "ner", data={"form": "files", "files": {"dev": "x"}})

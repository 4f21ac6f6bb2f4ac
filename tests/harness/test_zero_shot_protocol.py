"""Zero-shot in the harness: the numbers of ``medvlp evaluate``, its floors, and what stands beside the scores."""

import json

import numpy as np
import pytest
from tiny_models import tiny_model

from benchmarks.harness.outcome import Outcome, Skipped
from benchmarks.harness.protocol import Context
from benchmarks.harness.protocols import zero_shot
from benchmarks.harness.subjects import ModelEntry, Subject, open_subject
from benchmarks.harness.task import TaskConfig
from medvlp.data.pairs import PairsStore
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.metrics import classification, hierarchy
from medvlp.zeroshot.evaluate import EvaluateConfig, evaluate
from medvlp.zeroshot.existence import ExistenceQueries, presence
from medvlp.zeroshot.prompts import PromptConfig


@pytest.fixture(scope="module")
def subject(world):
    return open_subject("a", ModelEntry(source=f"{world}/a"))


def ask(world, tmp_path, graph=True, settings=None, **changes):
    task = {
        "title": "Squares",
        "citation": "nobody",
        "licence": "none",
        "data": {"form": "pairs", "store": f"{world}/pairs"},
        "prompts": {"num_paths": 1},
        "protocols": [{"name": "zero_shot", "prompt_draws": 4, **(settings or {})}],
        **changes,
    }
    config = TaskConfig.model_validate_json(json.dumps(task))
    context = Context(
        folder=tmp_path / "cache",
        graph=DiseaseGraph.load(world / "graph") if graph else None,
        num_draws=50,
        level=0.9,
        store=PairsStore.load(world / "pairs"),
    )
    return zero_shot.open(config, config.protocols[0], context)


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_equals_medvlp_evaluate(world, subject, tmp_path, mode):
    question = ask(world, tmp_path, mode=mode)
    found = question.score(subject, 0)
    config = EvaluateConfig(
        checkpoint=f"{world}/a",
        data=f"{world}/pairs",
        graph=f"{world}/graph",
        mode=mode,
        prompts=PromptConfig(num_paths=1),
        bootstrap_draws=50,
        level=0.9,
        seed=question.draw_seed,
        num_examples=0,
    )
    results = json.loads((evaluate(config, tmp_path / "out") / "results.json").read_text())
    assert found.prompts["digest"] == results["prompts"]["digest"] == question.prompts_digest
    ours = {metric.name: metric for metric in found.metrics}
    theirs = {entry["name"]: entry for entry in results["metrics"]}
    assert set(theirs) <= set(ours)
    for name, entry in theirs.items():
        metric = ours[name]
        value = float("nan") if entry["value"] is None else entry["value"]
        assert metric.value == pytest.approx(value, abs=1e-6, nan_ok=True), name
        assert (metric.n, metric.num_cases) == (entry["n"], entry["num_cases"])
        assert (metric.reason is None) == (entry["value"] is not None)
        if entry["low"] is not None:  # draws from one seed
            assert np.nanpercentile(metric.draw_S, 5) == pytest.approx(entry["low"], abs=1e-6), name
    floors = {floor["name"]: floor for floor in results["floors"]}
    for name in ("prior", "colour-histogram"):
        floor = question.floor(name, None, question.draw_seed)
        for metric in floor.metrics:
            if metric.name in theirs:
                (entry,) = [one for one in floors[name]["metrics"] if one["name"] == metric.name]
                value = float("nan") if entry["value"] is None else entry["value"]
                assert metric.value == pytest.approx(value, abs=1e-6, nan_ok=True), (name, metric.name)


def test_what_only_the_harness_scores(world, subject, tmp_path):
    question = ask(world, tmp_path)
    found = question.score(subject, 0)
    task, probability = question.asked.task, found.predictions["probability"]
    value = {metric.name: metric.value for metric in found.metrics}
    assert found.metrics[0].name == "balanced_accuracy"
    answer = probability.argmax(1)
    assert value["balanced_accuracy"] == pytest.approx(
        float(classification.balanced_accuracy(task.target_N, answer, 3))
    )
    graph = question.context.graph
    nodes = [graph.index(c) for c in ("T:4", "T:5", "T:6")]
    up = [{int(n) for n in np.flatnonzero(graph.closure[node].toarray()[0])} - {graph.index("T:1")} for node in nodes]
    both = sum(len(up[t] & up[a]) for t, a in zip(task.target_N, answer, strict=True))
    assert value["hierarchical_precision"] == pytest.approx(both / sum(len(up[a]) for a in answer))
    assert value["hierarchical_recall"] == pytest.approx(both / sum(len(up[t]) for t in task.target_N))
    true_NK = np.eye(3)[task.target_N]
    assert value["brier"] == pytest.approx(((probability - true_NK) ** 2).sum(1).mean())
    order = np.argsort(-probability.max(1), kind="stable")
    risk = np.cumsum((answer != task.target_N)[order]) / np.arange(1, len(order) + 1)
    if len(set(probability.max(1))) == len(order):
        assert value["aurc"] == pytest.approx(risk.mean())
    wrong = answer != task.target_N
    up_by_one = hierarchy.climbs(graph.parents, ["T:4", "T:5", "T:6"])[task.target_N[wrong], answer[wrong]]
    assert value["climb_of_mistakes"] == pytest.approx(up_by_one.mean(), nan_ok=True)
    trust = found.details["trust"]
    assert trust["fitted_on"] == {"split": "dev", "num": 12}
    assert {"ece_before", "ece_after", "conformal_coverage", "conformal_size"} <= set(trust["values"])
    assert len(trust["answer_at_parent"]["accuracy"]) == len(trust["answer_at_parent"]["thresholds"])
    assert found.details["prompt_sensitivity"]["num_draws"] == 4
    assert found.details["prompt_sensitivity"]["low"] <= found.details["prompt_sensitivity"]["high"]


def test_draws_pair_and_digests_say_what_is_comparable(world, subject, tmp_path):
    question, again = ask(world, tmp_path), ask(world, tmp_path)
    assert question.digest == again.digest
    others = (
        {"mode": "multi"},
        {"positive": "skin nevus"},
        {"prompts": {"num_paths": 0}},
        {"settings": {"specificity": 0.9}},
    )
    for changes in others:
        assert ask(world, tmp_path, **changes).digest != question.digest
    first, second = question.score(subject, 0), again.score(subject, 7)
    for one, other in zip(first.metrics, second.metrics, strict=True):
        assert np.array_equal(one.draw_S, other.draw_S, equal_nan=True)


def test_floors_of_a_model(world, subject, tmp_path):
    question = ask(world, tmp_path)
    model = question.score(subject, 0)
    text_only = question.floor("text-only", subject, 0)
    assert len(np.unique(text_only.predictions["probability"], axis=0)) == 1
    assert {m.name: m.value for m in text_only.metrics}["auroc"] == pytest.approx(0.5)
    fresh, other = (question.floor("untrained", subject, seed) for seed in (0, 1))
    assert not np.allclose(fresh.predictions["probability"], model.predictions["probability"])
    assert not np.allclose(fresh.predictions["probability"], other.predictions["probability"])
    again = question.floor("untrained", subject, 0)
    assert np.array_equal(fresh.predictions["probability"], again.predictions["probability"])
    permuted = question.floor("permuted-graph", subject, 0)
    assert permuted.prompts["digest"] != model.prompts["digest"]  # paths are in the prompts
    assert isinstance(ask(world, tmp_path, graph=False).floor("permuted-graph", subject, 0), Skipped)
    plain = ask(world, tmp_path, prompts={"num_paths": 0})
    places_only = plain.floor("permuted-graph", subject, 0)
    assert places_only.prompts["digest"] == plain.prompts_digest
    assert "Prompts hold no path" in places_only.limits[0]
    assert np.array_equal(places_only.predictions["probability"], plain.score(subject, 0).predictions["probability"])
    unplaced = ask(world, tmp_path, prompts={"num_paths": 0}, class_concepts={c: [] for c in question.asked.classes})
    assert isinstance(unplaced.floor("permuted-graph", subject, 0), Skipped)
    findings = ask(world, tmp_path, mode="multi", prompts={"num_paths": 0})  # no hierarchy score in this mode
    assert isinstance(findings.floor("permuted-graph", subject, 0), Skipped)


def test_nothing_is_fitted_where_there_is_no_development_part(world, subject, tmp_path):
    found = ask(world, tmp_path, split="dev").score(subject, 0)
    assert "temperature" not in found.details["trust"]
    assert "thresholds" not in found.details
    assert any("nothing was fitted" in limit for limit in found.limits)


def test_subgroups_and_shifts(world, subject, tmp_path):
    groups = {"table": f"{world}/ages.csv", "key": "file", "columns": {"sex": "category", "age": [40, 60]}}
    question = ask(world, tmp_path, subgroups=groups, settings={"shifts": True, "shift_images": 10})
    found = question.score(subject, 0)
    assert isinstance(found, Outcome)
    tables = found.details["subgroups"]["columns"]
    assert {row["group"] for row in tables["sex"]["rows"]} == {"F", "M", "unknown"}
    assert {row["group"] for row in tables["age"]["rows"]} <= {"<40", "40-59", "60-79", ">=60", "unknown"}
    for table in tables.values():
        assert sum(row["num"] for row in table["rows"]) == 24
    task, answer = question.asked.task, found.predictions["probability"].argmax(1)
    women = next(row for row in tables["sex"]["rows"] if row["group"] == "F")
    said = dict(line.split(",")[:2] for line in (world / "ages.csv").read_text().splitlines())
    mine = np.array([said.get(key) == "F" for key in task.keys])
    by_class = [(answer == k)[mine & (task.target_N == k)].mean() for k in range(3)]
    assert women["value"] == pytest.approx(np.mean(by_class))
    shifts = found.details["shifts"]
    assert shifts["num"] == 10
    assert set(shifts["shifts"]) == {"stain", "jpeg", "blur", "contrast", "noise"}
    assert list(shifts["shifts"]["blur"]["score"]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_a_model_with_a_decoder_is_asked_through_it(world, tmp_path, mode):
    model = tiny_model(world / "bert", decoder=QueryDecoder.Config(width=16, layers=1, heads=2, between_queries=False))
    decoder = Subject.of(model.eval(), "decoder")
    question = ask(world, tmp_path, mode=mode)
    found = question.score(decoder, 0)
    split, texts_K = question.asked.store.split("test"), question.asked.prompts.texts
    images = [split[int(row)].image for row in question.asked.task.rows_N]
    logits = ExistenceQueries(model, texts_K)(images)[1]
    logit_NK = np.stack([logit_NP.mean(1) for logit_NP in logits], 1)
    power_NK = np.exp(logit_NK)
    expected = power_NK / power_NK.sum(1, keepdims=True) if mode == "single" else 1 / (1 + np.exp(-logit_NK))
    assert np.allclose(found.predictions["probability"], expected, atol=1e-5)
    assert found.details["prompt_sensitivity"]["num_draws"] == 4
    blind = question.floor("text-only", decoder, 0).predictions["probability"]
    assert np.allclose(blind, blind[0])
    development = question.asked.development
    mean = ExistenceQueries(model, texts_K).of_mean_image(
        question.asked.store.split("dev"), development.rows_N.tolist(), batch_size=5
    )
    assert np.allclose(blind[0], presence(mean, mode)[0], atol=1e-6)
    assert np.isfinite(question.floor("untrained", decoder, 0).predictions["probability"]).all()

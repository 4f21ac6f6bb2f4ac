"""Retrieval in the harness: ranks, gains and chance equal brute force, with ties counted three ways."""

import json
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocol import Context
from benchmarks.harness.protocols import retrieval
from benchmarks.harness.subjects import ModelEntry, Subject, open_subject
from benchmarks.harness.task import TaskConfig
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError
from medvlp.io import read_json
from medvlp.metrics import ranking
from medvlp.zeroshot.retrieval import RetrievalConfig, evaluate_retrieval

NOTES = {
    "a": (["one", "two"], "p1"),
    "b": (["one"], "p2"),  # shares a text with a
    "c": (["three"], "p3"),
    "d": (["four", "five"], "p3"),
    "e": (["six"], "p4"),
    "f": (["seven"], "p5"),
    "g": (["seven"], "p6"),
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    entries = [
        Row(key, Image.new("RGB", (20, 20), (number, 0, 0)), [Text(t, "report") for t in texts], "test", case, number)
        for number, (key, (texts, case)) in enumerate(NOTES.items())
    ]
    return PairsStore.write(tmp_path_factory.mktemp("notes") / "pairs", entries)


class Drawn:
    """A model of few distinct vectors, so that many cosines are equal."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.known = {}

    def of(self, item):
        if item not in self.known:
            self.known[item] = self.rng.integers(-1, 2, 3) + np.array([0.0, 0.0, 0.5])
        return self.known[item]

    def encode_image(self, images):
        return np.stack([self.of(image.getpixel((0, 0))) for image in images])

    def encode_text(self, texts):
        return np.stack([self.of(text) for text in texts])

    def scale(self):
        return 1.0


def ask(store, tmp_path, **settings):
    task = {
        "title": "Notes",
        "citation": "nobody",
        "licence": "none",
        "data": {"form": "pairs", "store": str(store.folder)},
        "protocols": [{"name": "retrieval", **settings}],
    }
    config = TaskConfig.model_validate_json(json.dumps(task))
    context = Context(folder=tmp_path / "cache", graph=None, num_draws=40, level=0.95, store=store)
    return retrieval.open(config, config.protocols[0], context)


def by_hand(score_QG, right_QG, ties, k):
    """Rank of the best right item, and the gain at k, by trying orders or counting."""
    ranks, gains = [], []
    for score, right in zip(score_QG, right_QG, strict=True):
        best = max(s for s, r in zip(score, right, strict=True) if r)
        better = sum(s > best + 1e-6 for s, r in zip(score, right, strict=True) if not r)
        equal = sum(abs(s - best) <= 1e-6 for s, r in zip(score, right, strict=True) if not r)
        ranks.append(1 + better + {"optimistic": 0, "pessimistic": equal, "realistic": equal / 2}[ties])
        places = [1 / np.log2(2 + place) if place < k else 0 for place in range(len(score))]
        ideal = sum(sorted(places, reverse=True)[: int(sum(right))])
        # Rounded to the tolerance, equal scores are equal; every order of them is tried.
        level = [round(float(s), 5) for s in score]
        found, begin = 0.0, 0
        for value in sorted(set(level), reverse=True):
            tied = [bool(r) for s, r in zip(level, right, strict=True) if s == value]
            orders = [
                sum(p for p, r in zip(places[begin : begin + len(tied)], order, strict=True) if r)
                for order in set(permutations(tied))
            ]
            found += {"optimistic": max, "pessimistic": min, "realistic": np.mean}[ties](orders)
            begin += len(tied)
        gains.append(found / ideal)
    return np.array(ranks), np.array(gains)


@pytest.mark.parametrize("ties", ["optimistic", "pessimistic", "realistic"])
@pytest.mark.parametrize("seed", range(4))
def test_against_brute_force(notes, tmp_path, ties, seed):
    model = Drawn(seed)
    question = ask(notes, tmp_path, ties=ties, recall_at=[1, 2, 5], gain_at=3)
    found = {metric.name: metric for metric in question.score(Subject.of(model, "drawn"), 0).metrics}
    unit = {key: model.of(key) / np.linalg.norm(model.of(key)) for key in model.known}
    images = np.stack([unit[notes.split("test")[i].image.getpixel((0, 0))] for i in range(len(NOTES))])
    texts = list(dict.fromkeys(text for owned, _ in NOTES.values() for text in owned))
    cosine_IT = images @ np.stack([unit[text] for text in texts]).T
    right_IT = np.array([[text in owned for text in texts] for owned, _ in NOTES.values()])
    for way, score, right in (("image_to_text", cosine_IT, right_IT), ("text_to_image", cosine_IT.T, right_IT.T)):
        rank, gain = by_hand(score, right, ties, 3)
        for k in (1, 2, 5):
            assert found[f"{way}.recall_at_{k}"].value == pytest.approx((rank <= k).mean())
        assert found[f"{way}.mean_reciprocal_rank"].value == pytest.approx((1 / rank).mean())
        assert found[f"{way}.median_rank"].value == sorted(rank)[(len(rank) - 1) // 2]
        assert found[f"{way}.ndcg_at_3"].value == pytest.approx(gain.mean())
        assert found[f"{way}.recall_at_1"].n == len(rank)
        assert found[f"{way}.recall_at_1"].num_cases == 4  # p1 with p2, p3, p4, p5 with p6


def test_equals_medvlp_evaluate(world, tmp_path):
    subject = open_subject("a", ModelEntry(source=f"{world}/a"))
    question = ask(PairsStore.load(world / "pairs"), tmp_path)
    found = {metric.name: metric for metric in question.score(subject, 0).metrics}
    config = RetrievalConfig(checkpoint=f"{world}/a", data=f"{world}/pairs", num_examples=0, bootstrap_draws=20)
    results = read_json(evaluate_retrieval(config, tmp_path / "out") / "results.json")
    for way, part in results["directions"].items():
        for entry in part["metrics"]:
            assert found[f"{way}.{entry['name']}"].value == pytest.approx(entry["value"]), (way, entry["name"])


def test_chance_is_what_a_random_order_gives(notes, tmp_path):
    question = ask(notes, tmp_path, recall_at=[1, 3], gain_at=4)
    found = {metric.name: metric.value for metric in question.floor("random", None, 0).metrics}
    rng = np.random.default_rng(0)
    right_Q, num = retrieval._side(question.task, "image_to_text")
    flags = np.concatenate(list(retrieval._flags(right_Q, num)))
    recalls, gains, ranks = [], [], []
    for _ in range(3000):
        score = rng.random(flags.shape)
        rank = ranking.similarity_ranks(score, flags).realistic_Q
        recalls.append((rank <= 3).mean())
        ranks.append((1 / rank).mean())
        gains.append(ranking.ndcg(score, flags, 4).mean())
    assert found["image_to_text.recall_at_3"] == pytest.approx(np.mean(recalls), abs=0.01)
    assert found["image_to_text.mean_reciprocal_rank"] == pytest.approx(np.mean(ranks), abs=0.01)
    assert found["image_to_text.ndcg_at_4"] == pytest.approx(np.mean(gains), abs=0.01)
    chance = {metric.name: metric.chance for metric in question.floor("random", None, 0).metrics}
    assert chance == pytest.approx(found)


def test_floors_and_what_cannot_be_asked(notes, world, tmp_path):
    question = ask(notes, tmp_path)
    assert isinstance(question.floor("untrained", Subject.of(Drawn(0), "drawn"), 0), Skipped)
    subject = open_subject("a", ModelEntry(source=f"{world}/a"))
    real = ask(PairsStore.load(world / "pairs"), tmp_path)
    model, fresh = real.score(subject, 0), real.floor("untrained", subject, 0)
    assert not np.array_equal(model.predictions["image_to_text.rank"], fresh.predictions["image_to_text.rank"])
    assert question.prompts_digest is None
    with pytest.raises(DataError, match="needs images with texts"):
        retrieval.open(SimpleNamespace(split="test"), question.settings, Context(tmp_path, None, 10, 0.95))
    assert ask(notes, tmp_path, ties="optimistic").digest != question.digest

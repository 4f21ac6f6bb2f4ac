"""Retrieval both ways: ranks equal brute force, intervals by joined cases, honest floors, no text unasked."""

import json
import re

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from medvlp.cli import run as command
from medvlp.config import load
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError
from medvlp.io import verify_manifest
from medvlp.zeroshot import results as results_module
from medvlp.zeroshot import retrieval, retrieval_report
from medvlp.zeroshot.retrieval import RetrievalConfig, evaluate_retrieval
from medvlp.zeroshot.retrieval_task import build_retrieval_task

NOTES = {  # image: its texts, case
    "a": (["secret adeno one", "secret adeno two"], "p1"),
    "b": (["secret adeno one"], "p2"),  # shares a text with a: one unit with p1
    "c": (["secret squamous"], "p3"),
    "d": (["secret wart", "secret  wart"], "p3"),  # the same text but for a blank
    "e": (["secret nothing"], "p4"),
    "f": (["secret wart f"], "p5"),
}
COLOUR = {
    "a": (200, 40, 40),
    "b": (190, 60, 30),
    "c": (40, 160, 60),
    "d": (50, 60, 190),
    "e": (99, 99, 99),
    "f": (60, 50, 180),
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    rows = []
    for number, (key, (texts, case)) in enumerate(NOTES.items()):
        texts = [Text(text, "report") for text in texts] + [Text("an image of x.", "class-template")]
        rows.append(Row(key, Image.new("RGB", (20, 20), COLOUR[key]), texts, "test", case, number))
    rows.append(Row("g", Image.new("RGB", (20, 20)), [Text("an image of x.", "class-template")], "test", "p6", 9))
    rows.append(Row("t", Image.new("RGB", (20, 20)), [Text("secret squamous", "report")], "train", "p7", 9))
    return PairsStore.write(tmp_path_factory.mktemp("notes") / "pairs", rows)


def config(store, **changes):
    return RetrievalConfig(checkpoint="none", data=str(store.folder), **{"bootstrap_draws": 200, **changes})


@pytest.fixture(scope="module")
def done(notes, make_encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("retrieval") / "out"
    encoder = make_encoder(noise=0.0)
    evaluate_retrieval(config(notes, num_examples=3), out, model=encoder)
    return out, json.loads((out / "results.json").read_text()), encoder


def entry(results, direction, name):
    return next(found for found in results["directions"][direction]["metrics"] if found["name"] == name)


def test_task_knows_who_owns_what(notes):
    task = build_retrieval_task(notes.split("test"))
    assert task.aspects == ("report",)
    assert len(task.texts_T) == 6
    assert [texts.tolist() for texts in task.texts_of_I] == [[0, 1], [0], [2], [3], [4], [5]]
    assert [images.tolist() for images in task.images_of_T] == [[0, 1], [0], [2], [3], [4], [5]]
    assert task.num_shared == 1
    assert task.case_I[0] == task.case_I[1]  # p1 and p2 share a text
    assert task.case_I[2] == task.case_I[3]  # the same case
    assert task.num_cases == 4
    assert task.case_T == tuple(task.case_I[i] for i in (0, 0, 2, 3, 4, 5))
    assert task.ledger.to_json()["dropped"] == {"no text of these aspects": 1}


def test_ranks_equal_brute_force(notes, make_encoder):
    task = build_retrieval_task(notes.split("test"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        image_ID, text_TD = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
        found = retrieval.rank_both(image_ID, text_TD, task)
        for name, query, gallery, right in (
            ("image_to_text", image_ID, text_TD, task.texts_of_I),
            ("text_to_image", text_TD, image_ID, task.images_of_T),
        ):
            for q, own in enumerate(right):
                scores = [float(query[q] @ row) for row in gallery]
                best = max(scores[i] for i in own)
                wrong = [score for i, score in enumerate(scores) if i not in own]
                assert found[name][q] == 1 + sum(score > best for score in wrong)
        flipped = retrieval.rank_both(-image_ID, text_TD, task)  # a wrong sign cannot pass for right
        assert not np.array_equal(flipped["image_to_text"], found["image_to_text"])


def test_files_numbers_and_schema(done):
    out, results, _ = done
    verify_manifest(out)
    results_module.validate(results, path=retrieval.SCHEMA)
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "ranks.parquet",
        "report.html",
        "results.json",
    ]
    table = pyarrow.parquet.read_table(out / "ranks.parquet").to_pandas()
    for direction in retrieval.DIRECTIONS:
        rank = table.loc[table["direction"] == direction, "rank"].to_numpy()
        assert len(rank) == results["directions"][direction]["num_queries"] == 6
        for k in (1, 5, 10):
            assert entry(results, direction, f"recall_at_{k}")["value"] == pytest.approx((rank <= k).mean())
        assert entry(results, direction, "mean_reciprocal_rank")["value"] == pytest.approx((1 / rank).mean())
        assert entry(results, direction, "median_rank")["value"] == np.percentile(rank, 50, method="inverted_cdf")
        assert results["directions"][direction]["curve"]["model"] == pytest.approx(
            [(rank <= k).mean() for k in range(1, 7)]
        )
    assert results["task"] | {"rows": None} == {
        "split": "test", "aspects": ["report"], "num_images": 6, "num_texts": 6, "num_shared_texts": 1, "num_cases": 4,
        "rows": None,
    }  # fmt: skip


def test_floors_and_leads(done):
    _, results, _ = done
    part = results["directions"]["text_to_image"]
    floors = {floor["name"]: {found["name"]: found for found in floor["metrics"]} for floor in part["floors"]}
    assert list(floors) == ["random", "untrained"]
    # six texts among six images, one of them with two right images
    assert floors["random"]["recall_at_1"]["value"] == pytest.approx((5 * 1 / 6 + 2 / 6) / 6)
    assert floors["random"]["recall_at_10"]["value"] == 1
    for found in part["metrics"]:
        lead = floors["random"][found["name"]]["lead"]
        sign = -1 if found["name"] == "median_rank" else 1
        assert lead["value"] == pytest.approx(sign * (found["value"] - floors["random"][found["name"]]["value"]))
        assert lead["low"] <= lead["value"] <= lead["high"]


def test_page_shows_no_text_unasked(done, notes, make_encoder, tmp_path):
    out, results, encoder = done
    page = (out / "report.html").read_text()
    assert "secret" not in page + json.dumps(results)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "<script" not in page
    assert page.count("data:image/jpeg") == 15
    assert page.count("data:image/svg+xml") == 2
    assert "1 of the 6 texts also stand in the training split, word for word." in page
    assert "4 independent cases only" in page
    assert "1 images have no text of these aspects" in page
    evaluate_retrieval(config(notes, show_texts=True, bootstrap_draws=0, floors=[]), tmp_path / "o", model=encoder)
    page = (tmp_path / "o" / "report.html").read_text()
    assert page.count("secret") >= 6
    assert "nothing can be said about this score" in page


def test_a_random_model_does_not_beat_chance_and_a_perfect_one_does(tmp_path, make_encoder):
    rng = np.random.default_rng(3)
    rows = [
        Row(
            f"{i}",
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)),
            [Text(f"note {i}")],
            "test",
            f"c{i}",
            i,
        )
        for i in range(60)
    ]
    store = PairsStore.write(tmp_path / "s", rows)

    class Model:
        def __init__(self, same):
            self.same = same

        def encode_image(self, images):
            self.image_ND = rng.normal(size=(len(images), 16))
            return self.image_ND / np.linalg.norm(self.image_ND, axis=1, keepdims=True)

        def encode_text(self, texts):
            value = self.image_ND if self.same else rng.normal(size=(len(texts), 16))
            return value / np.linalg.norm(value, axis=1, keepdims=True)

    states = {}
    for same in (False, True):
        out = evaluate_retrieval(config(store, num_examples=0), tmp_path / str(same), model=Model(same))
        results = json.loads((out / "results.json").read_text())
        states[same] = retrieval_report.verdict(results)["state"]
        assert results["directions"]["image_to_text"]["floors"][1]["skipped"] == "the model is not a torch module"
    assert entry(results, "image_to_text", "recall_at_1")["value"] == 1
    assert states == {False: "unclear", True: "better"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "dev"}, "split dev: no image has a text of its own; retrieval needs notes or captions"),
        ({"split": "train"}, "split train: all images have one and the same text"),
        ({"aspects": ["finding"]}, "split test: no text has the aspect 'finding'; use some of class-template, report"),
    ],
)
def test_bad_input(notes, encoder, tmp_path, changes, said):
    with pytest.raises(DataError) as caught:
        evaluate_retrieval(config(notes, **changes), tmp_path / "out", model=encoder)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_command_line(notes, make_encoder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("medvlp.zeroshot.retrieval.open_model", lambda path, device: make_encoder())
    words = ["evaluate", "retrieval", "--out", str(tmp_path / "o"), "--set", f"data={notes.folder}"]
    words += ["--set", f"checkpoint={tmp_path / 'absent'}"]  # the shipped name may be a run in progress
    assert command([*words, "--set", "bootstrap_draws=20"]) == 0
    assert command(words) == 2
    assert "already exists" in capfd.readouterr().err
    assert command(["evaluate", "pairs/nuclei", "--out", str(tmp_path / "p")]) == 2
    assert 'a configuration of kind "evaluate" or "retrieval" is needed here' in capfd.readouterr().err
    assert isinstance(load("eval/retrieval", kind="retrieval"), RetrievalConfig)

"""``medvlp predict``: images found, tables written, one line and exit code 2 for what cannot be read."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.cli import run
from medvlp.cli_predict import find_classes, find_images
from medvlp.errors import DataError
from medvlp.knowledge.graph import DiseaseGraph

sys.path.insert(0, str(Path(__file__).resolve().parent))
CONCEPTS = {
    "T:0": {"name": "disease"},
    "T:1": {"name": "carcinoma", "parents": ["T:0"]},
    "T:2": {"name": "lung carcinoma", "parents": ["T:1"], "synonyms": ["carcinoma of the lung"]},
    "T:3": {"name": "colon adenoma", "parents": ["T:1"]},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, a graph, and a folder with two images and what is none."""
    from tiny_models import tiny_model, write_bert

    from medvlp.model import save_model

    folder = tmp_path_factory.mktemp("predict")
    save_model(tiny_model(write_bert(folder / "bert")), folder / "model")
    DiseaseGraph.from_dict(CONCEPTS).save(folder / "graph")
    (folder / "images" / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "deep/b.jpg"):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / "images" / name)
    (folder / "images" / "notes.txt").write_text("no image")
    (folder / "images" / ".hidden.png").write_bytes(b"x")
    return folder


def words(place, *more):
    classes = ["--classes", "T:2,colon adenoma,normal"]
    return [
        "predict",
        str(place / "images"),
        "--model",
        str(place / "model"),
        "--graph",
        str(place / "graph"),
        *classes,
        *more,
    ]


def test_a_folder_gives_a_line_per_image(place, capfd):
    assert run(words(place)) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(place / "images" / name) for name in ("a.png", "deep/b.jpg")]
    assert all(name in lines[0] for name in ("lung carcinoma 0.", "colon adenoma 0.", "normal 0."))
    assert "not in the graph, asked for in their own words: normal" in err


def test_json_csv_and_explanations_agree(place, capfd, tmp_path):
    table = tmp_path / "out.csv"
    assert run(words(place, "--json", "--explain", "--csv", str(table), "--batch-size", "1")) == 0
    value = json.loads(capfd.readouterr().out)
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [image["image"] for image in value["images"]]
    for row, image in zip(rows, value["images"], strict=True):
        assert row["answer"] == image["label"]
        for label, probability in image["probabilities"].items():
            assert float(row[f"p({label})"]) == pytest.approx(probability, abs=1e-6)
    assert value["unmatched"] == ["normal"]
    assert len(value["explanations"]) == 6
    for item in value["explanations"]:
        assert sum(group["value"] for group in item["kinds"]) == pytest.approx(item["score"], abs=1e-6)


def test_an_explanation_names_prompts_and_paths(place, capfd):
    assert run(words(place, "--explain", "--top", "2")) == 0
    out = capfd.readouterr().out
    assert "T:2 (lung carcinoma)  probability 0." in out
    assert "by kind: preferred" in out or "by kind: exact" in out or "hypernym-path" in out
    assert "paths through: T:1 carcinoma" in out


def test_several_labels_per_image(place, capfd, tmp_path):
    assert run(words(place, "--mode", "multi", "--csv", str(tmp_path / "m.csv"))) == 0
    assert (tmp_path / "m.csv").read_text().startswith("image,answer,p(T:2),p(colon adenoma),p(normal)\n")


def test_a_bad_image_stops_or_is_counted(place, capfd, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    extra = words(place)
    extra.insert(1, str(tmp_path / "bad.png"))
    assert run(extra) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'bad.png'}: not an image")
    assert len(error.strip().splitlines()) == 1
    assert run([*extra, "--skip-unreadable"]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert "images: kept 2, dropped 1 not an image, or its header is damaged" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "nowhere"}, "nowhere: no such image or folder; check the path"),
        ({"images": "nowhere/*.png"}, "nowhere/*.png: holds no image"),
        ({"--model": "nowhere"}, "nowhere: no such folder; name a run"),
        ({"--classes": "T:2"}, "classes: at least 2 classes are needed, got only 'T:2'"),
        ({"--classes": "T:2,T:22"}, "T:22: unknown concept; nearest: T:2 (lung carcinoma)"),
        ({"--templates": "none"}, "none: neither a template set nor a file"),
    ],
)
def test_mistakes_are_one_line(place, capfd, change, message):
    line = words(place, "--templates", "general")
    for key, value in change.items():
        line[1 if key == "images" else line.index(key) + 1] = value
    assert run(line) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_images_come_once_in_order_from_files_folders_and_globs(place):
    inside, deep = place / "images" / "a.png", place / "images" / "deep" / "b.jpg"
    assert find_images([str(deep), str(place / "images"), str(inside)]) == [deep, inside]
    assert find_images([str(place / "images" / "**" / "*.jpg")]) == [deep]
    assert find_images([str(place / "images" / "*")]) == [inside]
    with pytest.raises(DataError, match="graph: holds no image"):
        find_images([str(place / "graph")])


def test_classes_come_from_words_and_files(tmp_path):
    (tmp_path / "classes.txt").write_text("carcinoma, ductal\n\nnormal\n")
    assert find_classes(["T:1, wart ,", str(tmp_path / "classes.txt")]) == [
        "T:1",
        "wart",
        "carcinoma, ductal",
        "normal",
    ]


def test_maps_are_written_beside_the_answer_and_never_over_a_folder(place, capfd, tmp_path):
    folder = tmp_path / "maps"
    assert run(words(place, "--maps", str(folder))) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert f"maps: {folder}" in err
    with (folder / "index.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["text"] for row in rows] == ["lung carcinoma", "colon adenoma", "normal"] * 2
    assert {row["image"] for row in rows} == {str(place / "images" / name) for name in ("a.png", "deep/b.jpg")}
    for row in rows:
        with Image.open(folder / row["picture"]) as picture:
            assert picture.width > 50
            assert picture.height >= 40
    assert run(words(place, "--maps", str(folder))) == 2
    assert f"error: {folder}: already exists; remove it" in capfd.readouterr().err
    assert run(words(place, "--maps", str(folder), "--overwrite")) == 0

"""The leak lines of records: what splits share, what a model is known to have seen."""

import json

import pytest
from grid_cases import CONCEPTS, rows

from benchmarks.harness import leaks
from benchmarks.harness.task import TaskConfig
from medvlp.data.pairs import PairsStore, Row


def task(**changes):
    parts = {"title": "t", "citation": "c", "licence": "l", "data": {"form": "pairs", "store": "x"}}
    return TaskConfig.model_validate_json(json.dumps({**parts, "protocols": [{"name": "zero_shot"}], **changes}))


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """A store in which a training image comes again as a test image of another case."""
    entries = rows()
    again = Row(**{**vars(entries[0]), "key": "again.png", "split": "test", "case": "other", "group": 99})
    return PairsStore.write(tmp_path_factory.mktemp("leak") / "pairs", [*entries, again], classes=CONCEPTS)


def test_a_repeated_image_is_a_leak_and_is_measured_once(repeated, tmp_path):
    found = leaks.of_store(repeated, "test", tmp_path)
    assert found["state"] == "leak"
    assert "same image test/train 1 of 25" in found["lines"][0]
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace("same image", "read back"))
    assert "read back" in leaks.of_store(repeated, "test", tmp_path)["lines"][0]
    assert "again.png" not in json.dumps(found), "no key in a record"


@pytest.mark.parametrize(
    ("source", "dataset", "state", "said"),
    [
        ("keep:weights/keep.pt", "openpath", "leak", "keep and openpath: trained on it"),
        ("hf-hub:MahmoodLab/UNI", "tcga", "clean", "UNI and tcga: not listed"),
        ("hf-hub:MahmoodLab/UNI", "unheard", "unknown", "the data set is not in the table"),
        ("open_clip:ViT-B-32", "tcga", "unknown", "the encoder is not in the table"),
        ("somewhere/model.pt", "tcga", "unknown", "is not known"),
    ],
)
def test_stated_sources(source, dataset, state, said):
    clean = {"state": "clean", "lines": ["leaks: ok"]}
    found = leaks.of_model(clean, "squares", task(dataset=dataset), None, source)
    assert found["state"] == state
    assert said in found["lines"][-1]
    violated = leaks.of_model({"state": "leak", "lines": []}, "squares", task(dataset=dataset), None, source)
    assert violated["state"] == "leak", "a model's record never hides what the data has"
    assert clean == {"state": "clean", "lines": ["leaks: ok"]}


def test_a_run_that_learned_from_this_very_store(repeated, tmp_path):
    clean = {"state": "clean", "lines": []}
    assert leaks.of_model(clean, "squares", task(), repeated, str(tmp_path))["state"] == "unknown"  # nothing there yet
    (tmp_path / "state").mkdir()
    for digest, state, said in ((repeated.digest, "clean", "this very store"), ("0" * 64, "unknown", "another store")):
        (tmp_path / "manifest.json").write_text(json.dumps({"data_digest": digest}))
        found = leaks.of_model(clean, "squares", task(), repeated, str(tmp_path))
        assert (found["state"], said in found["lines"][-1]) == (state, True)

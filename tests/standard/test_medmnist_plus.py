"""Tasks of the MedMNIST sets say what the package says; a file that is not the published one is refused."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.pairs.sources import list_items
from medvlp.config import load
from medvlp.config_yaml import read_yaml
from medvlp.errors import DataError

pytestmark = [pytest.mark.extras]
medmnist = pytest.importorskip("medmnist", reason="the extra medmnist is not installed")

TASKS = Path(__file__).parents[2] / "benchmarks" / "tasks"
FLAT = [name for name in medmnist.INFO if not name.endswith("3d")]


@pytest.mark.parametrize("name", FLAT)
def test_a_task_expects_the_published_counts(name):
    task, info = read_yaml(TASKS / f"{name}.yaml").plain(), medmnist.INFO[name]
    assert task["expect"]["num"] == {
        "train": info["n_samples"]["train"],
        "dev": info["n_samples"]["val"],
        "test": info["n_samples"]["test"],
    }
    assert task["licence"] == info["license"]
    labels = list(info["label"].values())
    several = "multi-label" in info["task"]
    assert task.get("mode", "single") == ("multi" if several else "single")
    assert task.get("classes") == (labels if several else None)
    assert task.get("positive") in {None, *labels}
    config = load(task["data"]["config"], task["data"]["set"], kind="pairs")
    assert (config.source.dataset, config.source.size, config.source.strict) == (name, 224, True)


def test_there_is_a_task_of_every_set():
    assert {path.stem for path in TASKS.glob("*mnist.yaml")} == set(FLAT)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path):
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.zeros((2, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.zeros((2, 1), dtype=np.uint8)
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    settings = ["source.dataset=breastmnist", f"source.root={tmp_path}"]
    assert len(list_items(load("pairs/medmnist", settings, kind="pairs")).items) == 6
    published = medmnist.INFO["breastmnist"]["MD5"]
    with pytest.raises(DataError, match=f"MD5 is .*, the published one {published}"):
        list_items(load("pairs/medmnist", [*settings, "source.strict=true"], kind="pairs"))


def test_what_is_missing_is_named_with_address_and_digest(tmp_path):
    task = read_yaml(TASKS / "bloodmnist.yaml").plain()
    config = load("pairs/medmnist", [*task["data"]["set"], f"source.root={tmp_path}"], kind="pairs")
    with pytest.raises(DataError, match="not there, and source.download is off") as caught:
        list_items(config)
    info = medmnist.INFO["bloodmnist"]
    assert info["url_224"] in str(caught.value)
    assert info["MD5_224"] in str(caught.value)

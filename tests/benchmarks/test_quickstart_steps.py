"""The quickstart's memory: what is skipped, what starts afresh, and how it fits itself to a store."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.quickstart import run as quickstart
from medvlp.config import load
from medvlp.data.image import encode_image
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError


def _run(out, calls, versions, fail=None):
    """Run three steps whose configs are told apart by their command words."""
    steps = quickstart.Steps(out)
    for name in ("graph", "train", "report"):

        def work(target, name=name):
            calls.append((name, target.exists()))
            target.mkdir(exist_ok=True)
            if fail == name:
                raise RuntimeError("killed")
            (target / "done").write_text(versions[name])

        steps.run(name, ["medvlp", name, versions[name]], None, work, resumes=name == "train")


def test_finished_steps_are_skipped_and_a_change_redoes_all_that_follow(tmp_path):
    calls, versions = [], {"graph": "1", "train": "1", "report": "1"}
    _run(tmp_path, calls, versions)
    _run(tmp_path, calls, versions)
    assert [name for name, _ in calls] == ["graph", "train", "report"]
    _run(tmp_path, calls, {**versions, "train": "2"})
    assert [name for name, _ in calls[3:]] == ["train", "report"]
    assert not any(there for _, there in calls), "an outdated folder must be gone before its step runs again"


@pytest.mark.parametrize(("killed", "goes_on"), [("train", True), ("report", False)])
def test_only_an_interrupted_training_goes_on(tmp_path, killed, goes_on):
    calls, versions = [], {"graph": "1", "train": "1", "report": "1"}
    with pytest.raises(RuntimeError):
        _run(tmp_path, calls, versions, fail=killed)
    _run(tmp_path, calls, versions)
    assert [call for call in calls if call[0] == killed][1] == (killed, goes_on)
    assert json.loads((tmp_path / "steps.json").read_text()).keys() >= {"graph", "train", "report"}


def test_a_removed_output_is_made_again(tmp_path):
    calls, versions = [], {"graph": "1", "train": "1", "report": "1"}
    _run(tmp_path, calls, versions)
    (tmp_path / "report" / "done").unlink()
    (tmp_path / "report").rmdir()
    _run(tmp_path, calls, versions)
    assert [name for name, _ in calls[3:]] == ["report"]


def _store(folder, num_groups):
    image = encode_image(Image.fromarray(np.full((8, 8, 3), 90, np.uint8)), "png")
    rows = [
        Row(
            key=str(number), image=image, texts=[Text("a nevus", "class")], concepts=[], label=str(number % num_groups),
            group=number % num_groups, case=str(number), split="train",
        )
        for number in range(12)
    ]  # fmt: skip
    PairsStore.write(folder, rows, {})
    return folder


def test_batches_fit_the_groups_of_a_store(tmp_path):
    overrides = quickstart.fit_to_store(_store(tmp_path / "pairs", 4))
    config = load("quickstart/align", [f"data={tmp_path}/pairs", *overrides], kind="align")
    assert config.batches.groups_per_batch == 4
    assert config.batches.groups_per_batch * config.batches.instances == quickstart.ROWS_PER_STEP
    assert config.text_augment.templates == "general"


def test_one_group_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"1 semantic group; use data of at least two classes"):
        quickstart.fit_to_store(_store(tmp_path / "pairs", 1))

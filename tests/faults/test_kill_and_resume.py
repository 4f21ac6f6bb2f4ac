"""A run killed again and again ends with the very weights of a run that was left alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_cases import align_config, knowledge_config

from medvlp.io import sha256_file
from medvlp.training import align, knowledge
from medvlp.training.log import read_log


def interrupted(place, out, stage, steps, kills, seed):
    driver = Path(__file__).with_name("kill_and_resume.py")
    arguments = [str(place), str(out), stage, str(steps), str(kills), str(seed)]
    done = subprocess.run([sys.executable, "-W", "ignore", str(driver), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["finished"], report
    return report


def assert_same(left, right):
    for name in (left, right):
        assert not [path for path in (name / "checkpoints").iterdir() if path.name.startswith(".partial-")]
    ends = [max((run / "checkpoints").iterdir()) for run in (left, right)]
    assert ends[0].name == ends[1].name
    weights = sorted(path.relative_to(ends[0]) for path in ends[0].rglob("*.safetensors"))
    assert weights
    assert [sha256_file(ends[0] / path) for path in weights] == [sha256_file(ends[1] / path) for path in weights]
    first, second = (torch.load(end / "state" / "tensors.pt", weights_only=True)["optimizer"]["state"] for end in ends)
    for row, moments in first.items():
        assert all(
            torch.equal(torch.as_tensor(value), torch.as_tensor(second[row][key])) for key, value in moments.items()
        )
    timed = {"seconds", "samples_per_second"}
    logs = [
        [{key: value for key, value in record.items() if key not in timed} for record in read_log(run)]
        for run in (left, right)
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(("stage", "steps", "kills"), [("align", 40, 6), ("knowledge", 40, 4)])
def test_resumed_weights_are_bit_identical(place, bert, tmp_path, stage, steps, kills):
    check(place, bert, tmp_path, stage, steps, kills, least_inside=2)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["align", "knowledge"])
def test_twenty_kills_five_of_them_inside_a_save(place, bert, tmp_path, stage):
    check(place, bert, tmp_path, stage, 160, 20, least_inside=5)


def check(place, bert, tmp_path, stage, steps, kills, least_inside):
    if stage == "align":
        align.train(align_config(place, bert, steps=steps), tmp_path / "alone")
    else:
        knowledge.train(knowledge_config(place, bert, steps=steps), tmp_path / "alone")
    report = interrupted(place, tmp_path / "killed", stage, steps, kills, seed=0)
    assert report["kills"] == kills, report
    assert report["inside"] >= least_inside, report
    assert_same(tmp_path / "alone", tmp_path / "killed")

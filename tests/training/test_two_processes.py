"""``torchrun`` with two processes follows the curve of one, and uneven ranks stop with the numbers."""

import json
import subprocess
import sys

import pytest
from training_cases import align_config, knowledge_config, text_config

from medvlp.config import dump
from medvlp.data.plan import GroupPlan
from medvlp.objectives.kep import KepObjective
from medvlp.training import align, knowledge
from medvlp.training.align import Freezing, GroupBatches, PairBatches
from medvlp.training.log import read_log


@pytest.fixture(scope="module")
def calm(place, tmp_path_factory):
    """The tiny text model without dropout, whose masks cannot be the same on one process and on two."""
    from tiny_models import write_bert

    folder = write_bert(tmp_path_factory.mktemp("calm") / "bert")
    settings = json.loads((folder / "config.json").read_text())
    settings.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def torchrun(config, out, folder):
    (folder / "config.yaml").write_text(dump(config))
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "medvlp.cli", "train", str(folder / "config.yaml"), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def curve(run):
    names = ("loss", "gradient_norm", "scale")
    return [[record[name] for name in names] for record in read_log(run) if record["kind"] == "train"]


def test_stage_2_with_freezing_and_accumulation(place, calm, tmp_path):
    config = align_config(place, calm, accumulate=2, freeze=Freezing(steps=2), steps=5)
    align.train(config, tmp_path / "one")
    done = torchrun(config, tmp_path / "two", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=2e-3)
    validations = [[r for r in read_log(tmp_path / run) if r["kind"] == "validation"] for run in ("one", "two")]
    assert len(validations[1]) == 1
    assert done.stdout.count("checkpoint: ") == 1


def test_stage_1(place, calm, tmp_path):
    config = knowledge_config(place, calm, text=text_config(calm), steps=5)
    knowledge.train(config, tmp_path / "one")
    done = torchrun(config, tmp_path / "two", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=2e-3)


def test_kep_with_its_frozen_encoder(place, calm, tmp_path):
    knowledge.train(knowledge_config(place, calm, text=text_config(calm), steps=2), tmp_path / "stage_1")
    config = align_config(
        place, calm, knowledge_encoder=str(tmp_path / "stage_1"), objective=KepObjective.Config(positives="text"),
        batches=PairBatches(batch_size=8), steps=3,
    )  # fmt: skip
    align.train(config, tmp_path / "one")
    done = torchrun(config, tmp_path / "two", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=2e-3)


def test_groups_that_do_not_divide_stop_every_process_with_the_numbers(place, calm, tmp_path):
    config = align_config(place, calm, batches=GroupBatches(groups_per_batch=3, instances=2))
    done = torchrun(config, tmp_path / "two", tmp_path)
    assert done.returncode != 0
    assert "groups_per_batch: 3 does not divide over 2 processes; choose a multiple of 2, for example 4" in done.stderr


def test_a_run_goes_on_with_another_number_of_processes(place, calm, tmp_path):
    config = align_config(place, calm, steps=4)
    align.train(config, tmp_path / "one")
    first_half = tmp_path / "one" / "checkpoints" / "step-00000002"
    (tmp_path / "config.yaml").write_text(dump(config))
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "medvlp.cli", "train", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "two")]
    done = subprocess.run([*command, "--resume", str(first_half)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    for one, two in zip(curve(tmp_path / "one")[2:], curve(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=2e-3)


def test_each_process_draws_its_own_part_of_one_order():
    plan = GroupPlan([0, 0, 1, 1, 2, 2, 3, 3], 4, 2, seed=0)
    assert plan.batch(0, 0, 2).tolist() + plan.batch(0, 1, 2).tolist() == plan.batch(0).tolist()

"""A run logs the factor of an objective's ramp, and a run that was cut goes on with it."""

import shutil

import pytest
from training_cases import align_config

from medvlp.objectives import ClipObjective
from medvlp.objectives.ramp import Ramp
from medvlp.training.align import train
from medvlp.training.checkpoint import Retention
from medvlp.training.log import read_log

pytestmark = pytest.mark.extras


def test_factors_of_a_run(place, bert, tmp_path):
    objective = ClipObjective.Config(weight=2.0, ramp=Ramp(stop=4, first=0.5))
    config = align_config(
        place, bert, objective=objective, steps=4, log_every=1, checkpoint=Retention(every=2), validate_every=0
    )
    train(config, tmp_path / "whole")
    whole = [line for line in read_log(tmp_path / "whole") if "clip/ramp" in line]
    assert [line["clip/ramp"] for line in whole] == [0.5, 0.625, 0.75, 0.875]
    assert all(line["loss"] == line["clip"] for line in whole)

    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-00000004")
    train(config, tmp_path / "cut")
    again = [line for line in read_log(tmp_path / "cut") if "clip/ramp" in line][-2:]
    assert [(line["step"], line["clip/ramp"], line["loss"]) for line in again] == [
        (line["step"], line["clip/ramp"], line["loss"]) for line in whole[-2:]
    ]

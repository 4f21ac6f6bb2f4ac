"""Schedule, parameter groups, log and length buckets."""

import json
import math

import pytest
import torch
from torch import nn

from medvlp.errors import ConfigError
from medvlp.training.buckets import cuts, encode_in_buckets
from medvlp.training.log import RunLog, read_log
from medvlp.training.optim import OptimizerConfig, build_optimizer, rate, set_rate


def test_the_rate_rises_linearly_then_falls_as_a_cosine():
    config = OptimizerConfig(warmup_steps=4, final_share=0.1)
    assert [rate(step, 12, config) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert rate(4, 12, config) == 1.0
    assert rate(8, 12, config) == pytest.approx(0.55)
    assert rate(11, 12, config) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 7 / 8)) / 2)
    assert {rate(step, 12, OptimizerConfig(schedule="constant")) for step in range(12)} == {1.0}


def test_only_matrices_decay_and_parts_have_their_own_rate():
    tower, head = nn.Linear(3, 2), nn.Linear(2, 2)
    scale = nn.Parameter(torch.tensor(1.0))
    parts = {"tower": list(tower.parameters()), "heads": list(head.parameters()), "scale": [scale]}
    optimizer = build_optimizer(parts, OptimizerConfig(lr=1e-3, part_lr={"heads": 1e-2}, weight_decay=0.3))
    found = {(group["part"], group["params"][0].ndim): group for group in optimizer.param_groups}
    assert {key: group["weight_decay"] for key, group in found.items()} == {
        ("tower", 2): 0.3,
        ("tower", 1): 0.0,
        ("heads", 2): 0.3,
        ("heads", 1): 0.0,
        ("scale", 0): 0.0,
    }
    set_rate(optimizer, 0.5)
    assert found["heads", 2]["lr"] == pytest.approx(5e-3)
    assert found["tower", 1]["lr"] == pytest.approx(5e-4)


def test_an_unknown_part_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer\.part_lr\.head: no such part of the model; use heads"):
        build_optimizer({"heads": []}, OptimizerConfig(part_lr={"head": 1e-3}))


def log_lines(folder, start, steps):
    with RunLog(folder, "test", start, 10, tensorboard=False, quiet=True) as log:
        for step in steps:
            log.advance(4)
            log.train(step, {"loss": float(step)})


def test_after_a_restart_no_step_stands_twice_in_the_log(tmp_path):
    log_lines(tmp_path, 0, [1, 2, 3, 4])
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 5, "lo')  # what a killed process leaves
    log_lines(tmp_path, 2, [3, 4, 5])
    records = read_log(tmp_path)
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5]
    assert all(record["samples_per_second"] > 0 for record in records)


def test_values_that_are_no_numbers_are_written_as_null(tmp_path):
    with RunLog(tmp_path, "test", 0, 1, tensorboard=False, quiet=True) as log:
        log.validation(1, {"auroc": float("nan")})
    assert json.loads((tmp_path / "log.jsonl").read_text())["auroc"] is None


def test_tensorboard_files_hold_the_same_values(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra track")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path, "test", 0, 10, quiet=True) as log:
        log.train(1, {"loss": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [0.5]


def test_buckets_save_padding_and_keep_the_order():
    lengths = [3, 9, 2, 9, 3, 30, 2]
    mask = torch.zeros(7, 30, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    ids = mask * torch.arange(1, 8)[:, None]
    sizes = []

    def encode(ids_ML, mask_ML):
        sizes.append(tuple(ids_ML.shape))
        return (ids_ML * mask_ML).sum(1, keepdim=True).float()

    out = encode_in_buckets(encode, ids, mask)
    assert out[:, 0].tolist() == [float((row + 1) * length) for row, length in enumerate(lengths)]
    assert sizes == [(4, 3), (2, 9), (1, 30)]


def test_equal_lengths_stay_in_one_bucket():
    assert cuts([5, 5, 5], 3) == [(0, 3)]
    assert cuts([5], 3) == [(0, 1)]

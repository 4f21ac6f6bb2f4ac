"""The attention benchmark compares ways that give equal answers, measures memory, and writes table, plot and record."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.speed import attention, attention_gpu
from benchmarks.speed.attention_ways import WAYS, inputs, log_uniform
from medvlp.errors import DataError
from medvlp.io import read_json


def test_all_ways_give_equal_outputs_and_gradients():
    lengths, found = [3, 9, 1, 9], {}
    for name, way in WAYS.items():
        q, k, v, upstream = inputs(lengths, 2, 8, "cpu", torch.float32)
        out = way(q, k, v, torch.tensor(lengths))
        out.backward(upstream)
        found[name] = torch.stack([out.detach(), q.grad, k.grad, v.grad])
    for name in ("padded", "plain"):
        torch.testing.assert_close(found[name], found["packed"], rtol=1e-4, atol=1e-5)


def test_lengths_are_log_uniform_between_the_limits():
    lengths = log_uniform(10_000, 2, 20_000)
    assert (min(lengths), max(lengths)) == (2, 20_000)
    assert lengths == log_uniform(10_000, 2, 20_000)
    assert np.quantile(lengths, (0.25, 0.5, 0.75)) == pytest.approx([20, 200, 2_000], rel=0.15)


def test_memory_is_what_a_thing_held_at_its_peak():
    code = (
        "import numpy as np\n"
        "from benchmarks.speed.attention_ways import cpu_cost\n"
        "works = (lambda: np.ones(40_000_000, dtype=np.uint8).sum()), (lambda: None)\n"
        "print(*(cpu_cost(work)['bytes'] for work in works))"
    )
    given_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}  # as in the benchmark's own processes
    done = subprocess.run([sys.executable, "-c", code], env=given_back, capture_output=True, text=True, check=True)
    held, nothing = map(float, done.stdout.split())
    assert 35e6 < held < 60e6
    assert 0 < nothing < 20e6


def test_equal_peaks_are_a_level_line(monkeypatch):
    monkeypatch.setattr(attention, "in_process", lambda kind, tiles: {"bytes": 4096})
    found = attention.perceiver_part([20, 40, 80])
    assert (found["r_squared"], round(found["bytes_per_tile"], 6)) == (1.0, 0.0)


def test_the_command_writes_record_plot_and_table(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- attention speed: begin -->\n<!-- attention speed: end -->\nafter\n")

    def in_process(kind, *words):
        return attention.child([kind, *words])

    monkeypatch.setattr(attention, "in_process", in_process)  # tests/benchmarks/test_umls_speed.py starts processes
    monkeypatch.setattr(attention_gpu.torch.cuda, "is_available", lambda: False)
    words = ["--slides", "3", "--largest", "40", "--tiles", "20,40,80", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["attention", *words, "--page", str(page), "--shared"])
    assert attention.main() == 0
    said = capsys.readouterr().out
    assert re.search(r"^\| packed \| [\d.]+ \| [\d.]+ \| \d+ \|$", said, re.M)
    assert "shared with other work" in said
    assert "no CUDA device here" in said
    record = read_json(tmp_path / "out" / "results.json")
    assert record["pack"]["largest_difference"]["output"] < 1e-5
    assert record["perceiver"]["tiles"] == [20, 40, 80]
    assert record["gpu"] == {}
    assert (tmp_path / "out" / "perceiver.png").read_bytes().startswith(b"\x89PNG")
    assert "| packed |" in page.read_text()
    assert page.read_text().endswith("<!-- attention speed: end -->\nafter\n")


def test_a_measurement_that_fails_is_told_in_one_line():
    with pytest.raises(DataError, match=r"pack sideways: failed \(exit code 1\): KeyError: 'sideways'"):
        attention.in_process("pack", "sideways", "1,2", "nowhere.npy")


def test_a_gpu_table_tells_failures_and_what_does_not_run():
    record = {
        "device": "a GPU",
        "lengths": [5, 7],
        "dtype": "bfloat16",
        "why_not": {"varlen": "no kernel"},
        "ways": {
            "xformers": {"seconds": 0.5, "bytes": 2e9, "largest_difference": 0.01},
            "plain softmax": {"failed": "out of memory"},
        },
    }
    table = attention_gpu.gpu_table(record)
    assert "| xformers | 0.500 | 2.00 | 1.0e-02 |" in table
    assert "| plain softmax | out of memory | | |" in table
    assert "| varlen | does not run: no kernel | | |" in table

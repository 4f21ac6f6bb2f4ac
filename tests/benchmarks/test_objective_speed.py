"""The speed comparison of losses compares equal numbers, refuses unequal ones, and prints its table."""

import sys

import pytest
import torch

from benchmarks.speed import objectives
from medvlp.errors import DataError
from medvlp.io import read_json

TINY = (5, 6, 4, 8)


def test_make_both_ways_agree_in_value_and_gradient_and_every_part_matters():
    case = objectives.make_case(*TINY, dtype=torch.float64)
    found = objectives.compare(case, 1)
    assert max(found["largest_difference"].values()) < 1e-10
    assert found["ratio_of_cpu_seconds"] > 0
    _, (value, *gradients) = objectives.timed(case.ours, case.leaves, 1)
    assert value > 0
    assert all(gradient.abs().sum() > 1e-6 for gradient in gradients)


def test_medklip_both_ways_agree_in_value_and_gradient():
    case = objectives.medklip_case(3, 5, 4, 6, dtype=torch.float64)
    if case is None:
        pytest.skip("medvlp.objectives.medklip is not part of this version")
    assert max(objectives.compare(case, 1)["largest_difference"].values()) < 1e-10


def test_ways_that_differ_are_refused():
    leaves = [torch.ones(3)]
    case = objectives.Case("sum", "3", leaves, lambda x: x.sum(), lambda x: (1.01 * x).sum())
    with pytest.raises(DataError, match=r"sum: the two ways differ by 9\.9e-03"):
        objectives.compare(case, 1)


def test_the_command_writes_record_and_table(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Speed\n\n<!-- objective speed: begin -->\n<!-- objective speed: end -->\n")
    words = ["--images", "4", "--texts", "5", "--places", "4", "--width", "8", "--medklip-images", "2"]
    monkeypatch.setattr(
        sys, "argv", ["x", "--out", str(tmp_path / "out"), "--repeats", "1", "--page", str(page), *words]
    )
    assert objectives.main() == 0
    printed = capsys.readouterr().out
    record = read_json(tmp_path / "out" / "results.json")
    assert record["losses"][0]["name"] == "MAKE"
    assert "| MAKE | 4 x 5 texts, 4 places, width 8 |" in printed
    assert printed.strip() in page.read_text()

"""The leaderboard: seeds joined, leads paired and corrected, everything told, nothing hidden, mixed records refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.record import FORMAT
from benchmarks.report.build import build
from benchmarks.report.leaderboard import leaderboard
from benchmarks.report.sections import sections
from medvlp.errors import DataError
from medvlp.metrics.paired import Measured, difference, holm

NUM_DRAWS = 400


def write(
    out: Path, task: str, name: str, value: float, *, kind: str = "model", of: str | None = None, seed: int = 0,
    better: bool = True, digest: str = "d" * 64, skipped: str | None = None, **more: Any,
) -> np.ndarray[Any, Any]:  # fmt: skip
    """Write one record; the draws of all systems of a task share their noise, as paired draws do."""
    rng = np.random.default_rng(sum(map(ord, task)))
    draws = (
        value + rng.normal(0, 0.05, NUM_DRAWS) + np.random.default_rng(sum(map(ord, name))).normal(0, 0.01, NUM_DRAWS)
    )
    low, high = np.percentile(draws, [2.5, 97.5])
    file = out / "records" / f"{task}.zero_shot" / f"{name}-{of}-{seed}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    metric = {
        "name": "auroc", "title": "AUROC", "value": value, "low": low, "high": high, "n": 70, "num_cases": 50,
        "higher_is_better": better, "unit": "fraction", "chance": 0.5, "reason": None,
    }  # fmt: skip
    undefined = {**metric, "name": "ece", "title": "ECE", "value": None, "low": None, "high": None, "reason": "no dev"}
    record = {
        "format": FORMAT, "digest": name, "seconds": 1.5, "peak_mb": 10, "variant": "task", "seed": seed,
        "task": {
            "name": task, "title": f"Set <{task}>", "protocol": "zero_shot", "label": "zero_shot", "split": "test",
            "mode": "single",
            "num": 70, "num_cases": 50, "digest": digest, "citation": "A 2020", "licence": "CC0",
            "homepage": "https://example.org", "defects": ["two images are one"],
        },
        "system": {"name": name, "kind": kind, "of": of, "title": None, "source": "runs/x", "weights_sha256": "w" * 64},
        "prompts": {"digest": "p" * 64, "source": "general", "num": 8},
        "metrics": [] if skipped else [metric, undefined],
        "details": {}, "limits": [], "leaks": {"state": "clean", "lines": ["nothing shared"]},
        "skipped": skipped, "failed": None, "title": "Demo",
        "command": f"medvlp benchmark x --only task={task},system={name},seed={seed}", "created": "now", "versions": {},
        **more,
    }  # fmt: skip
    file.write_text(json.dumps(record))
    np.savez(file.with_suffix(".npz"), **{"draws.auroc": draws, "draws.ece": np.full(NUM_DRAWS, np.nan)})
    return draws


def test_leads_are_paired_differences_to_the_best_floor_corrected_together(tmp_path: Path) -> None:
    draws = {}
    for task, value in (("a", 0.8), ("b", 0.52)):
        draws[task, "model"] = write(tmp_path, task, "model", value)
        draws[task, "prior"] = write(tmp_path, task, "prior", 0.5, kind="floor")
        draws[task, "untrained"] = write(tmp_path, task, "untrained", 0.51, kind="floor", of="model")
        write(
            tmp_path, task, "other-untrained", 0.99, kind="floor", of="other"
        )  # of another model: no floor of this one
    found = leaderboard(tmp_path)
    wanted = [
        difference(
            Measured(np.array([value]), draws[task, "model"], 50),
            Measured(np.array([0.51]), draws[task, "untrained"], 50),
        )
        for task, value in (("a", 0.8), ("b", 0.52))
    ]
    corrected = holm([one.p_value for one in wanted])
    for question, one, p in zip(found["questions"], wanted, corrected, strict=True):
        lead = next(row["lead"] for row in question["rows"] if row["name"] == "model")
        assert lead["floor"] == "untrained"
        assert [lead["value"], lead["low"], lead["high"]] == pytest.approx([one.value, one.low, one.high])
        assert lead["p_holm"] == pytest.approx(p)
    verdicts = [row["lead"]["verdict"] for question in found["questions"] for row in question["rows"] if row["lead"]]
    assert verdicts == ["better", "unclear"]


def test_where_lower_is_better_a_lower_score_leads(tmp_path: Path) -> None:
    write(tmp_path, "a", "model", 0.2, better=False)
    write(tmp_path, "a", "prior", 0.4, kind="floor", better=False)
    write(tmp_path, "a", "colour", 0.6, kind="floor", better=False)
    row = leaderboard(tmp_path)["questions"][0]["rows"][0]
    assert row["lead"]["floor"] == "prior"
    assert row["lead"]["value"] == pytest.approx(0.2)
    assert row["lead"]["verdict"] == "better"


def test_seeds_are_one_row_with_their_mean(tmp_path: Path) -> None:
    draws = [write(tmp_path, "a", "model", value, seed=seed) for seed, value in enumerate((0.7, 0.8, 0.9))]
    row = leaderboard(tmp_path)["questions"][0]["rows"][0]
    metric = row["metrics"][0]
    assert row["seeds"] == [0, 1, 2]
    assert metric["by_seed"] == [0.7, 0.8, 0.9]
    assert metric["value"] == pytest.approx(0.8)
    low, high = np.percentile(np.mean(draws, axis=0), [2.5, 97.5])
    assert [metric["low"], metric["high"]] == pytest.approx([low, high])


def test_a_pair_of_models_is_compared(tmp_path: Path) -> None:
    write(tmp_path, "a", "first", 0.9)
    write(tmp_path, "a", "second", 0.6)
    (pair,) = leaderboard(tmp_path)["questions"][0]["pairs"]
    assert (pair["first"], pair["second"], pair["verdict"]) == ("first", "second", "better")
    assert pair["value"] == pytest.approx(0.3)


def test_records_of_different_data_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", "model", 0.9)
    write(tmp_path, "a", "prior", 0.5, kind="floor", digest="e" * 64)
    with pytest.raises(DataError, match="2 different versions of a.zero_shot"):
        leaderboard(tmp_path)


def test_a_folder_without_records_or_with_a_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no records"):
        leaderboard(tmp_path)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "x.json").write_text("{}")
    with pytest.raises(DataError, match="is no record"):
        leaderboard(tmp_path)


def test_json_csv_and_page_tell_n_interval_floor_prompts_and_command_of_every_score(tmp_path: Path) -> None:
    write(tmp_path, "a", "model", 0.9, leaks={"state": "leak", "lines": ["3 test images are in train"]})
    write(tmp_path, "a", "prior", 0.5, kind="floor")
    write(tmp_path, "a", "images-only", 0.0, skipped="it encodes no text")
    write(tmp_path, "b", "model", 0.5, details={"trust": {"temperature": 1.5}}, limits=["Few cases."])
    page = build(tmp_path)
    html = page.read_text()
    scores = ("Set &lt;a&gt;", "0.900", "70 (50)", "p" * 12, "over prior", "--only task=a,system=model,seed=0")
    for told in (*scores, "it encodes no text", "Few cases.", "two images are one", "temperature"):
        assert told in html, told
    assert 'class="leak small">3 test images' in html
    assert "<script" not in html
    assert "http-equiv" in html
    lines = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    model = next(line for line in lines if line["system"] == "model" and line["task"] == "a")
    assert model["n"] == "70"
    assert model["best_floor"] == "prior"
    assert model["verdict"] == "better"
    assert {line["command"] for line in lines} >= {"medvlp benchmark x --only task=b,system=model,seed=0"}
    skipped = next(line for line in lines if line["system"] == "images-only")
    assert skipped["value"] == ""
    assert skipped["reason"] == "it encodes no text"
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["questions"][0]["rows"]
    assert [row["metrics"][0]["n"] for row in rows if row["name"] == "model"] == [70]


def test_records_of_cells_that_left_the_grid_are_not_shown(tmp_path: Path) -> None:
    write(tmp_path, "a", "model", 0.9)
    write(tmp_path, "b", "model", 0.9)
    cells = [{"record": "records/a.zero_shot/model-None-0.json"}, {"record": "records/a.zero_shot/not-yet.json"}]
    (tmp_path / "benchmark.json").write_text(json.dumps({"cells": cells}))
    assert [question["name"] for question in leaderboard(tmp_path)["questions"]] == ["a"]


def test_systems_of_a_protocol_without_models_lead_like_models_and_a_failed_cell_is_told(tmp_path: Path) -> None:
    write(tmp_path, "a", "linker", 0.9, kind="system")
    write(tmp_path, "a", "by-heart", 0.6, kind="floor")
    write(tmp_path, "a", "model", 0.9, failed="no such file")
    found = leaderboard(tmp_path)
    (linker, _) = found["questions"][0]["rows"]
    assert linker["lead"]["verdict"] == "better"
    assert found["failed"][0]["reason"] == "no such file"
    assert "no such file" in build(tmp_path).read_text()


def test_details_of_any_shape_become_facts_tables_and_plots() -> None:
    found = sections({
        "trust": {"temperature": 1.25, "calibrated": True, "risk": [[0.1, 0.0], [1.0, 0.3]]},
        "classes": [{"class": "naevus", "auroc": {"value": 0.5, "low": 0.4, "high": None}}, {"class": "wart", "n": 3}],
        "chosen": [1, 2],
    })  # fmt: skip
    by_title = {(section.title, section.plot is not None): section for section in found}
    assert by_title["trust", False].facts == (("temperature", "1.250"), ("calibrated", "yes"))
    assert (by_title["trust", True].plot or "").startswith("data:image/svg+xml")
    assert by_title["classes", False].columns == ("class", "auroc", "n")
    assert by_title["classes", False].rows[1] == ("wart", "n/a", "3")
    assert by_title["chosen", False].facts == (("values", "1, 2"),)

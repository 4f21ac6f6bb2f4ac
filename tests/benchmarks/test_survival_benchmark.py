"""The survival benchmark on made-up cases: it resumes, its rows pair with the floor, unknown names are refused."""

import json

import numpy as np
import pytest
from finetune.survival_cases import halves, made_up

from benchmarks.common import records
from benchmarks.survival.config import SurvivalBenchmarkConfig
from benchmarks.survival.run import run
from benchmarks.survival.table import build, markdown, verdict

MODEL = {"name": "hazard", "hidden": 0, "epochs": 30, "members": 1, "learning_rate": 0.05}


@pytest.fixture
def config(tmp_path):
    block, outcomes = made_up(120, effect=1.0)
    lines = ["case_id,survival_months,censorship,x,y"]
    for case, row, time, event in zip(outcomes.cases, block.values_ND, outcomes.time_C, outcomes.event_C, strict=True):
        lines.append(f"{case},{time},{int(not event)},{row[0]},{row[1]}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "folds").mkdir()
    for fold in halves(outcomes.cases):
        rows = [f"{a},{b}" for a, b in zip(fold.train, fold.test, strict=True)]
        (tmp_path / "folds" / f"splits_{fold.name}.csv").write_text("\n".join(["train,val", *rows]) + "\n")
    table = str(tmp_path / "t.csv")
    return {
        "kind": "survival_benchmark",
        "cohorts": {
            "made": {
                "title": "made up",
                "outcomes": table,
                "folds": str(tmp_path / "folds"),
                "sources": {
                    "useless": {"name": "clinical", "table": table, "numbers": ["y"]},
                    "useful": {"name": "clinical", "table": table, "numbers": ["x"]},
                    "noise": {"name": "noise", "width": 2},
                },
            }
        },
        "endpoints": ["os"],
        "arms": {
            "floor": {"title": "nothing", "features": ["useless"], "model": MODEL},
            "real": {"title": "something", "features": ["useful"], "model": MODEL},
            "noise": {"title": "noise", "features": ["noise"], "model": MODEL, "repeats": 2},
        },
        "floor": "floor",
        "num_draws": 100,
    }


def test_rows_pair_and_the_run_resumes(config, tmp_path, monkeypatch):
    loaded = SurvivalBenchmarkConfig.model_validate_json(json.dumps(config))
    (*_, table) = build(loaded, run(loaded, tmp_path / "out"))
    floor, real, noise = table["rows"]
    assert floor["to_floor"] is None
    assert real["to_floor"]["value"] == pytest.approx(real["concordance"]["value"] - floor["concordance"]["value"])
    assert verdict(real["to_floor"]) == "better"
    assert real["num_cases"] == 120
    assert len(real["folds"]) == 2
    assert noise["repeats"] == 2
    text = markdown(loaded, table)
    assert "| made up, OS (120, " in text
    assert "| noise, mean of 2 |" in text
    monkeypatch.setattr(records.console, "print", lambda name: pytest.fail(f"{name} was done again"))
    (*_, again) = build(loaded, run(loaded, tmp_path / "out"))
    assert again["rows"] == table["rows"]


def test_noise_is_drawn_anew_for_each_repetition(config, tmp_path):
    config["arms"] = {"floor": {**config["arms"]["noise"]}}
    loaded = SurvivalBenchmarkConfig.model_validate_json(json.dumps(config))
    (cell,) = run(loaded, tmp_path / "out")
    assert cell.runs[0][0].risk_N.tolist() != cell.runs[1][0].risk_N.tolist()


def test_other_vectors_are_another_arm(config, tmp_path, monkeypatch):
    """The arms that read vectors are fitted anew when the vectors change, and no others."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    rows = (tmp_path / "t.csv").read_text().splitlines()[1:]
    for row in rows:
        case, *_, x, y = row.split(",")
        np.save(folder / f"{case}.npy", np.array([float(y), 0.0]))
    config["cohorts"]["made"]["sources"]["vectors"] = {"name": "vectors", "folder": str(folder)}
    arms = config["arms"]
    config["arms"] = {"floor": arms["floor"], "vectors": {**arms["real"], "features": ["vectors"]}}
    loaded = SurvivalBenchmarkConfig.model_validate_json(json.dumps(config))
    (*_, before) = build(loaded, run(loaded, tmp_path / "out"))
    for row in rows:
        case, *_, x, y = row.split(",")
        np.save(folder / f"{case}.npy", np.array([float(x), 0.0]))
    done = []
    monkeypatch.setattr(records.console, "print", done.append)
    (*_, after) = build(loaded, run(loaded, tmp_path / "out"))
    assert done == ["[bold]made-os-vectors[/bold]"]
    assert after["rows"][1]["concordance"]["value"] > before["rows"][1]["concordance"]["value"] + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(floor="none"), 'floor "none" is no arm'),
        (lambda c: c["arms"]["real"].update(features=["genes"]), 'cohort "made" has no source "genes"'),
    ],
)
def test_unknown_names(config, change, message):
    change(config)
    with pytest.raises(ValueError, match=message):
        SurvivalBenchmarkConfig.model_validate_json(json.dumps(config))

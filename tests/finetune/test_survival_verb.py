"""`medvlp survival` from a configuration to its results; what was promised is in the files, mistakes are one line."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from finetune.survival_cases import made_up

from medvlp.cli import run
from medvlp.io import read_json, verify_manifest
from medvlp.metrics.survival import concordance

CONFIG = """
kind: survival
outcome:
  table: {root}/outcomes.csv
  columns: {{case: id, time: months, event: died}}
folds: {root}/folds
train: fit
test: held
features: [{{name: vectors, folder: "{root}/vectors"}}]
model: {{name: hazard, hidden: 0, epochs: 40, members: 1, learning_rate: 0.03}}
repeats: 2
num_draws: 100
"""


@pytest.fixture
def config(tmp_path):
    block, outcomes = made_up(120)
    (tmp_path / "vectors").mkdir()
    for case, row in zip(block.cases[:-1], block.values_ND, strict=False):  # the last case has no vector
        np.save(tmp_path / "vectors" / f"{case}.npy", row)
    rows = zip(outcomes.cases, outcomes.time_C, outcomes.event_C, strict=True)
    lines = [f"{case},{time},{int(event)},{60 + place % 9}" for place, (case, time, event) in enumerate(rows)]
    (tmp_path / "outcomes.csv").write_text("\n".join(["id,months,died,age", *lines, "late,0,1,50"]) + "\n")
    (tmp_path / "folds").mkdir()
    for number in range(2):
        fit, held = outcomes.cases[number::2], outcomes.cases[1 - number :: 2]
        pairs = "\n".join(f"{a},{b}" for a, b in zip(fit, held, strict=True))
        (tmp_path / "folds" / f"splits_{number}.csv").write_text(f"fit,held\n{pairs}\n")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(root=tmp_path))
    return path


def test_results_and_predictions_agree(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["survival", str(config), "--out", str(out)]) == 0
    assert "model: concordance 0." in capsys.readouterr().out
    verify_manifest(out)
    results = read_json(out / "results.json")
    assert [system["name"] for system in results["systems"]] == ["model", "noise", "permuted"]
    assert (results["num_cases"], results["num_scored"]) == (119, 119)
    assert results["ledger"]["outcomes"]["dropped"] == {"time not above zero": 1}
    assert set(results["ledger"]["folds"]["examples"]) == {
        "no outcome or features, test of splits_0",
        "no outcome or features, train of splits_1",
    }
    model = results["systems"][0]
    table = pq.read_table(out / "predictions.parquet").to_pandas()
    for fold in model["folds"]:
        own = table[(table.system == "model") & (table.fold == fold["fold"])]
        assert fold["num_cases"] == len(own)
        assert fold["concordance"]["value"] == pytest.approx(float(concordance(own.months, own.event, own.risk)))
    assert model["concordance"]["value"] > 0.6
    assert model["concordance"]["low"] < model["concordance"]["value"] < model["concordance"]["high"]
    assert sorted(table[table.system == "permuted"].repetition.unique()) == [0, 1]
    assert [row["second"] for row in results["differences"]] == ["noise", "permuted"]


def test_taken_folder_and_leak_are_told_before_work(config, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    assert run(["survival", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "already exists" in capsys.readouterr().err
    file = tmp_path / "folds" / "splits_0.csv"
    lines = file.read_text().splitlines()
    lines[1] = f"{lines[1].split(',')[0]},{lines[2].split(',')[0]}"
    file.write_text("\n".join(lines) + "\n")
    assert run(["survival", str(config), "--out", str(tmp_path / "new")]) == 2
    assert "cases are in train and test" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_outcome_needs_one_way_of_naming_columns(config, tmp_path, capsys):
    assert run(["survival", str(config), "--out", str(tmp_path / "o"), "--set", "outcome.endpoint=os"]) == 2
    assert "exactly one of endpoint and columns" in capsys.readouterr().err


@pytest.mark.extras
def test_clinical_floor(config, tmp_path):
    pytest.importorskip("lifelines", reason="extra survival is not installed")
    clinical = f"clinical=[{{name: clinical, table: {tmp_path}/outcomes.csv, case: id, numbers: [age]}}]"
    arguments = ["survival", str(config), "--out", str(tmp_path / "out"), "--set", clinical, "--set", "controls=[]"]
    assert run(arguments) == 0
    results = read_json(tmp_path / "out" / "results.json")
    assert [system["name"] for system in results["systems"]] == ["model", "clinical"]
    fits = results["systems"][1]["folds"][0]["fits"]
    assert list(fits[0]["hazard_ratio_per_deviation"]) == ["age"]
    assert results["clinical_missing"] == {"age": 0}

"""The fine-tuning table on a tiny set: leads are paired, finished cells stay, and a null result reads as one."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

from benchmarks.finetune import run as runs  # noqa: E402
from benchmarks.finetune.config import FinetuneTableConfig, Row, Set  # noqa: E402
from benchmarks.finetune.run import Cell  # noqa: E402
from benchmarks.finetune.table import build, markdown, summary, verdict  # noqa: E402
from medvlp.config import load  # noqa: E402
from medvlp.metrics.bootstrap import Interval  # noqa: E402


def table_config(place):
    start = ["start.model=timm:test_efficientnet", "start.weights=null", "method.grid_points=3", "bootstrap_draws=20"]
    few = [*start[:2], "bootstrap_draws=20", "method.shots=2", "method.seeds=[0, 1]", "method.method.C=1.0"]
    return FinetuneTableConfig(
        sets={"mine": Set(title="mine", pairs="pairs/nuclei", other="mine")},
        align="finetune_table/align",
        image_size=64,
        methods={
            "probe": Row(title="probe", config="finetune/probe", set=start),
            "few": Row(title="few", config="finetune/few_shot", set=few),
        },
        num_draws=100,
    )


def test_the_shipped_table_names_what_exists():
    config = load("finetune_table", kind="finetune_table")
    assert len(config.sets) >= 3
    assert {entry.other for entry in config.sets.values()} <= set(config.sets)
    assert all(entry.other != name for name, entry in config.sets.items())
    for row in config.methods.values():
        load(row.config, row.set, kind="finetune")
    load(config.align, config.align_set, kind="align")


def test_cells_are_scored_beside_their_start_and_stay(tmp_path, monkeypatch):
    from tiny_models import tiny_model, write_bert
    from training_cases import write_pairs

    from medvlp.export import export

    config = table_config(tmp_path)
    write_pairs(tmp_path / "pairs" / "mine")
    made = export(tiny_model(write_bert(tmp_path / "bert")), "safetensors", tmp_path / "exports" / "mine")
    *_, table = build(config, runs.run(config, tmp_path), tmp_path)
    assert [(row["method"], row["start"]) for row in table["rows"]] == [
        (method, start) for method in ("probe", "few") for start in ("start", "same", "other")
    ]
    assert [row["num_fits"] for row in table["rows"]] == [1, 1, 1, 2, 2, 2]
    rows = {(row["method"], row["start"]): row["balanced_accuracy"]["value"] for row in table["rows"]}
    for row in table["differences"]:
        assert row["value"] == pytest.approx(rows[row["method"], row["start"]] - rows[row["method"], "start"])
        assert row["low"] <= row["value"] <= row["high"]
    assert 0 < table["rows"][0]["trained_share"] < 0.05
    text = markdown(config, table)
    assert text.count("| mine (8) |") == 6
    assert made.is_dir()

    def again(*arguments):
        raise AssertionError("a finished cell was fitted again")

    monkeypatch.setattr(runs, "fine_tune", again)
    *_, second = build(config, runs.run(config, tmp_path), tmp_path)
    assert second == table


def test_verdicts_and_summary():
    assert verdict(Interval(0.1, 0.02, 0.2, 100)) == "better"
    assert verdict(Interval(-0.1, -0.2, -0.02, 100)) == "worse"
    assert verdict(Interval(0.1, -0.02, 0.2, 100)) == "no difference detected"
    found = [{"set": name, "start": "same", "verdict": word} for name, word in (("a", "better"), ("b", "worse"))]
    told = summary([*found, {"set": "b", "start": "other", "verdict": "no difference detected"}])
    assert "better than the start encoder with some method on 1 of 2 sets (a)" in told
    assert "worse than the start encoder with some method on 1 of 2 sets (b)" in told
    assert "better than the start encoder with some method on 0 of 1 sets and worse" in told


def test_predictions_of_other_images_are_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet
    from training_cases import write_pairs

    from benchmarks.finetune.table import probabilities
    from medvlp.data.pairs import PairsStore
    from medvlp.finetune.classify import build_tasks
    from medvlp.finetune.config import Classification

    write_pairs(tmp_path / "pairs")
    test = build_tasks(Classification(data=""), PairsStore.load(tmp_path / "pairs"))["test"]
    columns = {"key": list(test.keys)[::-1], **{f"probability: {label}": np.zeros(8) for label in test.classes}}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "other.parquet")
    with pytest.raises(AssertionError):
        probabilities(tmp_path / "other.parquet", test)
    assert Cell("a", "b", "start", ()).folders == ()

"""Survival as a protocol: the library's own folds and concordance, controls at chance, what is missing is said."""

import json

import numpy as np
import pytest
from finetune.survival_cases import halves, made_up
from protocols.protocol_cases import context_of
from pydantic import ValidationError

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocols import survival
from benchmarks.harness.task import FilesData, TaskConfig
from medvlp.config import load_as
from medvlp.errors import ConfigError, DataError
from medvlp.finetune.survival import cross_validate
from medvlp.finetune.survival_config import Hazard
from medvlp.metrics.survival import concordance

MODEL = {"name": "hazard", "hidden": 0, "epochs": 30, "members": 1, "learning_rate": 0.05}


@pytest.fixture
def tables(tmp_path):
    block, outcomes = made_up(120, effect=1.0)
    lines = ["case_id,survival_months,censorship,x,y"]
    for case, row, time, event in zip(outcomes.cases, block.values_ND, outcomes.time_C, outcomes.event_C, strict=True):
        lines.append(f"{case},{time},{int(not event)},{row[0]},{row[1]}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "folds").mkdir()
    for fold in halves(outcomes.cases):
        rows = [f"{a},{b}" for a, b in zip(fold.train, fold.test, strict=True)]
        (tmp_path / "folds" / f"splits_{fold.name}.csv").write_text("\n".join(["train,val", *rows]) + "\n")
    return tmp_path


def settings_of(tables, **systems):
    table = str(tables / "t.csv")
    made = {
        "name": "survival",
        "endpoint": "os",
        "sources": {
            "useless": {"name": "clinical", "table": table, "numbers": ["y"]},
            "useful": {"name": "clinical", "table": table, "numbers": ["x"]},
            "noise": {"name": "noise", "width": 2},
        },
        "systems": {
            "genes": {"title": "x", "features": ["useful"], "model": MODEL},
            "clinical": {"title": "y", "features": ["useless"], "model": MODEL},
            "noise": {"title": "noise", "features": ["noise"], "model": MODEL, "repeats": 2},
            "permuted-outcomes": {"title": "dealt out", "features": ["useful"], "model": MODEL, "permuted": True,
                                  "repeats": 12},
            **systems,
        },
    }  # fmt: skip
    return survival.Config.model_validate_json(json.dumps(made))


def ask(tables, settings=None, num_draws=80, **files):
    settings = settings or settings_of(tables)
    given = {"outcomes": str(tables / "t.csv"), "folds": str(tables / "folds"), **files}
    task = TaskConfig(
        title="made up", citation="none", licence="none", data=FilesData(files=given), protocols=[settings]
    )
    return survival.open(task, settings, context_of(tables, num_draws=num_draws))


def test_a_system_is_the_library_s_cross_validation(tables):
    question = ask(tables)
    found = question.system("genes", 2)
    answers = cross_validate(Hazard(**MODEL), [question.blocks["useful"]], question.outcomes, question.folds, seed=2)
    wanted = np.mean([float(concordance(fold.time_N, fold.event_N, fold.risk_N)) for fold in answers])
    assert found.metrics[0].value == pytest.approx(wanted)
    np.testing.assert_array_equal(found.predictions["risk"], np.concatenate([fold.risk_N for fold in answers]))
    assert (question.num, question.num_cases, found.metrics[0].draw_S.shape) == (120, 120, (80,))
    assert [fold["concordance"] for fold in found.details["folds"]] == pytest.approx(
        [float(concordance(fold.time_N, fold.event_N, fold.risk_N)) for fold in answers]
    )


def test_what_has_an_effect_beats_its_floors_on_paired_draws(tables):
    question = ask(tables)
    real, floor, noise, dealt = (question.system(n, 0) for n in ("genes", "clinical", "noise", "permuted-outcomes"))
    assert real.metrics[0].value > 0.65
    assert ((real.metrics[0].draw_S - floor.metrics[0].draw_S) > 0).mean() > 0.95
    for control in (noise, dealt):
        assert control.metrics[0].value == pytest.approx(0.5, abs=0.15)
    again = question.floor("noise", None, 0)
    assert again.metrics[0].value == noise.metrics[0].value
    assert question.floor("noise", None, 1).metrics[0].value != noise.metrics[0].value


def test_systems_and_floors_that_a_task_lacks_are_skipped(tables):
    question = ask(tables)
    assert question.system("vectors", 0) == Skipped("this task does not configure it")
    assert set(survival.SYSTEMS + survival.FLOORS) == set(survival.Name.__args__)


def test_the_digest_follows_data_and_settings(tables):
    first = ask(tables).digest
    assert ask(tables).digest == first
    assert ask(tables, num_draws=81).digest != first
    text = (tables / "t.csv").read_text().splitlines()
    text[1] = text[1].rsplit(",", 1)[0] + ",9.5"
    (tables / "t.csv").write_text("\n".join(text) + "\n")
    assert ask(tables).digest != first


def test_mistakes_are_told(tables):
    with pytest.raises(ValidationError, match='"genes" wants "nothing", which is no source'):
        settings_of(tables, genes={"title": "x", "features": ["nothing"], "model": MODEL})
    with pytest.raises(ValidationError, match="`permuted` belongs to permuted-outcomes"):
        settings_of(tables, genes={"title": "x", "features": ["useful"], "model": MODEL, "permuted": True})
    settings = settings_of(tables)
    task = TaskConfig(title="made up", citation="none", licence="none", data=FilesData(files={}), protocols=[settings])
    with pytest.raises(ConfigError, match="made up: names no `outcomes` and `folds`"):
        survival.open(task, settings, context_of(tables))
    with pytest.raises(DataError):
        ask(tables, outcomes=str(tables / "missing.csv"))


@pytest.mark.parametrize("cohort", ["blca", "stad"])
def test_the_shipped_tasks_read(cohort, monkeypatch):
    monkeypatch.setenv("MEDVLP_DATA", "data")
    task = load_as(TaskConfig, f"benchmarks/tasks/survival_{cohort}.yaml")
    settings = task.protocols[0]
    assert isinstance(settings, survival.Config)
    assert {"clinical", "permuted-outcomes", "noise", "genes", "pathways"} <= set(settings.systems)
    assert cohort in task.data.files["outcomes"]

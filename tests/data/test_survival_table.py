"""Outcomes and folds: censorship is not an event, bad rows are counted, leaks are refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from medvlp.data.survival_table import (
    Fold,
    SurvivalColumns,
    balanced_parts,
    read_folds,
    read_survival_table,
    tcga_endpoint,
    usable_folds,
)
from medvlp.errors import DataError

COLUMNS = SurvivalColumns(time="time", censorship="censored")
HEAD = "case_id,time,censored,event\n"


def read(tmp_path, rows, columns=COLUMNS):
    path = tmp_path / "t.csv"
    path.write_text(HEAD + rows)
    return read_survival_table(path, columns)


def test_censorship_is_one_minus_event(tmp_path):
    rows = "a,1.5,0,1\nb,2,1,0\n"
    table = read(tmp_path, rows)
    assert table.cases == ["a", "b"]
    assert table.time_C.tolist() == [1.5, 2.0]
    assert table.event_C.tolist() == [True, False]
    assert read(tmp_path, rows, SurvivalColumns(time="time", event="event")).event_C.tolist() == [True, False]
    for wrong in ({}, {"event": "event", "censorship": "censored"}):
        with pytest.raises(ValueError, match="exactly one of event and censorship"):
            SurvivalColumns(**wrong)


def test_units(tmp_path):
    table = read(tmp_path, "a,365.25,1,0\n", SurvivalColumns(time="time", event="event", unit="days"))
    assert table.time_C[0] == pytest.approx(12)


def test_bad_rows_are_counted_and_slides_of_a_case_joined(tmp_path):
    table = read(tmp_path, "a,1,0,1\na,1,0,1\nb,0,0,1\nc,-2,0,1\nd,,0,1\ne,3,,1\n,4,0,1\nf,inf,0,1\n")
    assert table.cases == ["a"]
    assert table.ledger.dropped == {
        "time not above zero": 2,
        "no time": 1,
        "no event": 1,
        "no case": 1,
        "time is infinite": 1,
    }
    assert table.ledger.kept == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1,0,1\na,2,0,1\n", r"t\.csv:3: rows of one case differ"),
        ("a,soon,0,1\n", r"t\.csv:2: the time is no number"),
        ("a,1,2,1\n", "neither 0 nor 1"),
        ("a,0,1,0\n", "no row has a case"),
    ],
)
def test_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, rows)


def test_missing_column_and_case(tmp_path):
    with pytest.raises(DataError, match='has no column "months"; it has: case_id, time, censored, event'):
        read(tmp_path, "a,1,0,1\n", SurvivalColumns(time="months", event="event"))
    with pytest.raises(DataError, match="z: has no outcome"):
        read(tmp_path, "a,1,0,1\n").take(["z"])


def write_folds(folder, *texts):
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"splits_{number}.csv").write_text(",train,val\n" + text)
    return folder


def test_folds(tmp_path):
    folds = read_folds(write_folds(tmp_path / "s", "0,a,c\n1,b,\n", "0,c,a\n1,,b\n"))
    assert [(fold.train, fold.test) for fold in folds] == [(["a", "b"], ["c"]), (["c"], ["a", "b"])]
    kept, ledger = usable_folds([Fold("one", ["a", "b"], ["c", "d"])], {"a", "b", "c"})
    assert kept == [Fold("one", ["a", "b"], ["c"])]
    assert ledger.dropped == {"no outcome or features, test of one": 1}
    with pytest.raises(DataError, match="one: the test part is empty"):
        usable_folds([Fold("one", ["a"], ["d"])], {"a"})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["0,a,a\n1,b,c\n"], r"1 cases are in train and test \(first: a\)"),
        (["0,a,c\n1,a,d\n"], "the train part holds a case twice"),
        (["0,a,b\n", "0,c,b\n"], "b is scored in splits_0 too"),
        (["0,a,\n"], "the test part is empty"),
    ],
)
def test_leaks_are_refused(tmp_path, texts, message):
    with pytest.raises(DataError, match=message):
        read_folds(write_folds(tmp_path / "s", *texts))


def test_no_folds(tmp_path):
    with pytest.raises(DataError, match=r"holds no splits_\*\.csv"):
        read_folds(tmp_path)
    with pytest.raises(DataError, match='has no column "test"'):
        read_folds(write_folds(tmp_path / "s", "0,a,b\n"), test="test")


def test_balanced_parts():
    event = np.arange(40) < 13
    part = balanced_parts(event, 4, 0)
    assert np.bincount(part).max() - np.bincount(part).min() <= 2
    assert sorted(np.bincount(part[event])) == [3, 3, 3, 4]
    assert np.array_equal(part, balanced_parts(event, 4, 0))
    assert not np.array_equal(part, balanced_parts(event, 4, 1))


@pytest.mark.data
@pytest.mark.skipif("MEDVLP_DATA" not in os.environ, reason="MEDVLP_DATA is not set")
def test_the_public_tables():
    root = Path(os.environ["MEDVLP_DATA"]) / "survival_tcga"
    table = read_survival_table(root / "metadata/tcga_blca.csv", tcga_endpoint("dss"))
    assert (len(table.cases), int(table.event_C.sum())) == (359, 113)
    folds = read_folds(root / "splits/5foldcv/tcga_blca")
    assert sorted(case for fold in folds for case in fold.test) == sorted(table.cases)

"""Which slides a job works on: patterns, tables, names."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_cases import job_config
from pydantic import ValidationError

from data_prep.slides.listing import list_slides
from medvlp.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def listed(**settings):
    return list_slides(job_config(**settings))


def test_patterns_are_in_order_and_without_repeats(tmp_path):
    touch(tmp_path, "b.svs", "a.svs", "deep/c.ome.tif")
    items = listed(slides=[f"{tmp_path}/*.svs", f"{tmp_path}/b.svs", f"{tmp_path}/**/*.tif"])
    assert [item.key for item in items] == ["a", "b", "c"]
    assert items[0].path == tmp_path / "a.svs"


def test_brackets_in_a_name_are_no_pattern(tmp_path):
    touch(tmp_path, "case [1].svs")
    assert [item.key for item in listed(slides=[f"{tmp_path}/case [1].svs"])] == ["case [1]"]


def test_nothing_found(tmp_path):
    with pytest.raises(DataError, match="no slide matches; check the folder"):
        listed(slides=[f"{tmp_path}/*.svs"])


@pytest.mark.parametrize("names", [("x/a.svs", "y/a.svs"), ("x/a.svs", "y/A.svs"), ("a.svs", "a.tif")])
def test_two_slides_of_one_name(names, tmp_path):
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=r"two slides of this name .*column key"):
        listed(slides=[f"{tmp_path}/**/*.*"])


def test_a_table(tmp_path):
    touch(tmp_path, "x/a.svs", "y/a.svs")
    (tmp_path / "list.csv").write_text(
        f"slide,key,mpp,case,split\nx/a.svs,first,0.25,P1,train\n{tmp_path}/y/a.svs,second,,,\n"
    )
    first, second = listed(table=str(tmp_path / "list.csv"))
    assert (first.key, first.mpp, first.case, first.split) == ("first", 0.25, "P1", "train")
    assert (second.key, second.mpp, second.case, second.split) == ("second", None, None, None)
    assert second.path == tmp_path / "y" / "a.svs"


def test_a_parquet_table(tmp_path):
    touch(tmp_path, "a.svs", "b.svs")
    pq.write_table(pa.table({"slide": ["a.svs", "b.svs"], "mpp": [0.5, None]}), tmp_path / "list.parquet")
    assert [(item.key, item.mpp) for item in listed(table=str(tmp_path / "list.parquet"))] == [("a", 0.5), ("b", None)]
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a Parquet table"):
        listed(table=str(tmp_path / "list.parquet"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file\na.svs\n", "no column slide; found file"),
        ("slide,mpp\na.svs,250\n", "row 1: mpp '250' is not micrometres per pixel"),
        ("slide,mpp\na.svs,fine\n", "row 1: mpp 'fine'"),
        ("slide\nnone.svs\n", "row 1: none.svs is not there"),
        ("slide,key\na.svs,../b\n", "cannot name files"),
        ("slide,key\na.svs,.b\n", "cannot name files"),
        ("slide\na.svs\na.svs\n", "a: is listed twice"),
        ("slide,mpp\n,1\n", "row 1 names no slide"),
    ],
)
def test_wrong_tables(text, match, tmp_path):
    touch(tmp_path, "a.svs")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=match):
        listed(table=str(tmp_path / "list.csv"))


def test_one_source(tmp_path):
    with pytest.raises(ValidationError, match="name slides or a table"):
        job_config()
    with pytest.raises(ValidationError, match="name slides or a table"):
        job_config(slides=["a"], table="b")

"""The pandas reader of the speed benchmark does the same job, and the benchmark measures and compares."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("polars", reason="needs the extra 'ontologies'")

from benchmarks.speed import umls
from benchmarks.speed.umls_pandas import build as straightforward
from data_prep.ontologies.umls.build import build
from data_prep.ontologies.umls.synthetic import write

pytestmark = pytest.mark.extras


def test_both_ways_write_equal_tables_and_a_difference_is_found(tmp_path):
    pytest.importorskip("pandas", reason="the reader to compare with")
    write(tmp_path / "META", 0.001, contexts=False)
    chosen = umls.settings(tmp_path / "META")
    build(chosen, tmp_path / "ours")
    (tmp_path / "pandas").mkdir()
    straightforward(chosen, tmp_path / "pandas")
    assert umls.differing(tmp_path / "ours", tmp_path / "pandas") == []
    path = tmp_path / "pandas" / "edges.parquet"
    edges = pq.read_table(path)
    assert len(edges) > 1_000
    pq.write_table(pa.concat_tables([edges[1:], edges[:1]]), path)
    assert umls.differing(tmp_path / "ours", tmp_path / "pandas") == ["edges"]


def test_the_command_measures_one_way_in_its_own_process(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["umls", "--fraction", "0.0003", "--only", "ours", "--out", str(out)])
    assert umls.main() == 0
    said = capsys.readouterr().out
    (row,) = re.findall(r"^\| ours \| ([\d.]+) \| ([\d,]+) \| ([\d.]+) \|$", said, re.M)
    assert 0 < float(row[2]) < 4
    assert (out / "umls-0.0003-ours.json").is_file()
    assert not (out / "release-0.0003").exists()


def test_a_failing_way_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "release-0.1").mkdir()
    (tmp_path / "release-0.1" / "MRFILES.RRF").write_text("MRCONSO.RRF|x|CUI|1|0|0|\n")
    monkeypatch.setattr("sys.argv", ["umls", "--only", "ours", "--out", str(tmp_path)])
    assert umls.main() == 2
    assert re.match(
        r"error: ours: failed \(exit code 2\): error: .*holds no MRSTY.RRF", capsys.readouterr().err.splitlines()[-1]
    )

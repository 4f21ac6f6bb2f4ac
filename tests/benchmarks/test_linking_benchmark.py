"""The linking benchmark: corpora read as they are written, scores against brute force, and a table that adds up."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from linking_cases import PUBTATOR, write_linking
from sklearn.metrics import f1_score

from benchmarks.linking import ncbi, roco, table
from benchmarks.linking.config import LinkingConfig
from benchmarks.linking.corpora import read_ncbi, read_roco
from benchmarks.linking.scores import f1_scores, mean_interval, span_counts
from data_prep.text.linking.fit import Document, Mention
from medvlp.errors import ConfigError, DataError
from medvlp.knowledge.graph import DiseaseGraph


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(PUBTATOR, encoding="utf-8")
    return path


def test_pubtator(corpus):
    one, two = read_ncbi(corpus)
    assert (one.key, two.key) == ("1", "2")
    assert [one.text[m.start : m.end] for m in one.mentions] == ["Breast cancer", "Breast and ovarian cancer", "DM"]
    assert [set(m.ids) for m in one.mentions] == [{"MESH:D1"}, {"MESH:D1", "MESH:D2"}, {"OMIM:7"}]
    assert two.text == "Brest cancers "
    assert len(two.mentions) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t0\t13\tBreast", "corpus.txt:11: neither a passage nor an annotation"),
        ("9\t0\t13\tBreast cancer\tModifier\tD1", "corpus.txt:11: neither a passage"),
        ("1\t50\t999\tBreast cancer\tModifier\tD1", "corpus.txt:11: the span lies outside its text"),
    ],
)
def test_a_damaged_corpus(corpus, line, message):
    corpus.write_text(PUBTATOR + f"{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_ncbi(corpus)


def test_roco_table(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("roco_id,caption,cuis\nR1,Lung.,C1 C2\n", encoding="utf-8")
    (caption,) = read_roco(path)
    assert (caption.key, caption.text, set(caption.ids)) == ("R1", "Lung.", {"UMLS:C1", "UMLS:C2"})
    path.write_text("roco_id,text\nR1,x\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"captions.csv: has no column caption; the columns needed are roco_id, caption"
    ):
        read_roco(path)


def test_span_scores():
    documents = [
        Document(
            "a", "x" * 60, (Mention(0, 5, frozenset()), Mention(10, 20, frozenset()), Mention(30, 40, frozenset()))
        ),
        Document("b", "x" * 60, ()),
    ]
    found = [{(0, 5), (12, 15), (16, 31)}, {(3, 9)}]
    strict, overlap = span_counts(documents, found, True), span_counts(documents, found, False)
    assert strict.tolist() == [[1, 3, 3], [0, 1, 0]]
    assert overlap.tolist() == [[3, 3, 3], [0, 1, 0]]
    scores = f1_scores(strict, ["a", "b"], 200)
    # as a classification of spans: one hit, three found alone, two wanted alone
    truth, answer = [1, 0, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0]
    assert scores["f1"]["value"] == pytest.approx(f1_score(truth, answer))
    assert scores["precision"]["value"] == pytest.approx(0.25)
    assert scores["recall"]["value"] == pytest.approx(1 / 3)


def test_intervals_resample_documents():
    """Mentions of a document come together: ten documents of a hundred equal mentions vary like ten, not a thousand."""
    value = np.repeat([1.0, 0.0] * 5, 100)
    found = mean_interval(value, [str(number // 100) for number in range(1000)], 500)
    assert found["value"] == 0.5
    assert found["high"] - found["low"] > 0.4


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A graph, a corpus in two parts and captions that a linker can get partly right."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    write_linking(tmp_path)
    return tmp_path


def config(made, **more):
    return LinkingConfig(linker=str(made / "linker.yaml"), num_draws=100, repeats=1, scispacy=False, **more)


def test_ncbi(made):
    settings = config(made, task="ncbi", train=str(made / "train.txt"), development=str(made / "development.txt"))
    (made / "out").mkdir()
    result = ncbi.run(settings, made / "out")
    assert result["ceiling"]["value"] == 0.75
    accuracy = {name: row["accuracy"]["value"] for name, row in result["links"].items()}
    assert accuracy == {"equal": 0.25, "training": 0.5, "exact": 0.25, "nearest": 0.5, "fuzzy": 0.5, "ours": 0.75}
    assert result["fitted"]["names"] == 2
    # "lump" misleads in the training part
    assert result["mentions"]["exact"]["strict"]["precision"]["value"] == pytest.approx(1 / 2)
    assert result["mentions"]["dropped"]["strict"]["precision"]["value"] == 1
    assert result["mentions"]["ours"]["strict"]["recall"]["value"] == 0.75
    assert set(result["speeds"]) == {"exact", "full"}
    assert all(row["documents_per_second"] > 0 and row["peak_mb"] > 10 for row in result["speeds"].values())
    text = table.markdown(result)
    assert "| ours: the three tiers and names learnt from the training part | 0.750" in text
    again = ncbi.run(settings, made / "out")
    assert again["links"] == result["links"]
    with pytest.raises(ConfigError, match="train, development: task ncbi needs both parts"):
        ncbi.run(config(made, task="ncbi"), made / "out")


def test_roco(made):
    result = roco.run(config(made, task="roco", captions=str(made / "captions.csv")), made)
    assert result["num_ids"] == 3
    assert result["ceiling"]["value"] == pytest.approx(2 / 3)
    assert result["recall"]["value"] == pytest.approx(1 / 3)
    assert result["recall_of_reachable"]["value"] == pytest.approx(1 / 2)
    assert "2 captions with 3 CUIs" in table.markdown(result)


@pytest.mark.extras
def test_scispacy_on_the_same_graph(made):
    pytest.importorskip("scispacy", reason="needs the nlp extra")
    from benchmarks.linking.peers import SciSpacy

    graph = DiseaseGraph.load(made / "graph")
    kept = str(made / "peer.index")
    peer = SciSpacy(graph, range(4), kept, min_df=1)
    assert peer.finds_itself == 1
    own = SciSpacy(graph, range(4), min_df=1, index="own")
    assert (own.finds_itself, own.built["names"]) == (1, peer.built["names"])
    assert SciSpacy(graph, range(4), kept, min_df=1).built == peer.built  # read back with the index
    text = "A brest cancer; myotonic dystrophy (MD). MD was seen."
    found = peer.best(text, [(2, 14), (text.rindex("MD"), text.rindex("MD") + 2)])
    assert [concept for concept, _ in found] == ["X:1", "X:4"]
    assert peer.link(text, [(2, 14), (16, 34)]) == 2
    # an index read back is over the same names in the same order, in a process with another hash seed too
    code = (
        "import sys; from medvlp.knowledge.graph import DiseaseGraph; from benchmarks.linking.peers import SciSpacy;"
        "print(SciSpacy(DiseaseGraph.load(sys.argv[1]), range(4), sys.argv[2], min_df=1).finds_itself)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(made / "graph"), kept],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split()[-1] == "1.0"

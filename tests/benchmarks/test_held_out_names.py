"""The held-out-name benchmark: ranks against brute force, resuming, and a table whose numbers add up."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from tiny_models import write_bert

from benchmarks.names.config import NamesConfig
from benchmarks.names.floors import tfidf_ranks
from benchmarks.names.run import run
from benchmarks.names.table import build, markdown
from medvlp.config import load
from medvlp.knowledge.graph import DiseaseGraph

SITES = ("lung", "colon", "skin", "liver")


@pytest.fixture(scope="module")
def graph():
    kinds = {"carcinoma": ["cancer", "malignant tumour"], "adenoma": ["benign tumour", "adenomatous tumour"]}
    terms = {"X:0": {"name": "disease"}}
    for number, site in enumerate(SITES):
        terms[f"X:{number + 1}"] = {"name": f"{site} disease", "parents": ["X:0"]}
        for offset, (kind, others) in enumerate(kinds.items()):
            terms[f"X:{10 * (number + 1) + offset}"] = {
                "name": f"{site} {kind}",
                "parents": [f"X:{number + 1}"],
                "synonyms": [f"{other} of the {site}" for other in others] + [f"{site} {other}" for other in others],
                "definitions": [f"A {kind} that grows in the {site}."],
            }
    return DiseaseGraph.from_dict(terms)


@pytest.fixture(scope="module")
def benchmark(graph, tmp_path_factory):
    root = tmp_path_factory.mktemp("names")
    graph.save(root / "graph")
    write_bert(root / "bert")
    common = [
        f"graph={root / 'graph'}", f"text.model={root / 'bert'}", "steps=2", "groups_per_batch=4", "precision=32-true",
        "holdout.fraction=0.4", "holdout.num_queries=null", "holdout.num_concepts=null", "optimizer.warmup_steps=0",
    ]  # fmt: skip
    config = load("names", [f"set={common}", "seeds=[0, 1]", "num_draws=100"], kind="names")
    assert isinstance(config, NamesConfig)
    return config, root / "out", run(config, root / "out")


def test_every_arm_is_ranked_on_every_seed_over_the_same_names(benchmark):
    config, _, records = benchmark
    assert list(records) == ["tfidf", "start", *config.arms]
    assert all(len(records[arm]) == len(config.seeds) for arm in config.arms)
    asked = records["tfidf"][0]["concept_Q"]
    assert len(asked) > 3
    assert all(record["concept_Q"] == asked for done in records.values() for record in done)


def test_it_resumes_and_notices_a_change(benchmark, capsys):
    config, out, records = benchmark
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert run(config, out) == records
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.json")} == before
    (out / "permuted-seed-1.json").unlink()
    assert run(config, out)["permuted"][1]["rank_Q"] == records["permuted"][1]["rank_Q"]


def test_tfidf_ranks_equal_brute_force(graph):
    heldout = graph.split_names(0.4, 0, ["preferred", "exact"])
    found = tfidf_ranks(graph, heldout, chunk=3)
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3)).fit([text for _, text in heldout.train])
    for (concept, text), rank in zip(heldout.heldout, found.rank_Q, strict=True):
        best = {name: -1.0 for name, _ in heldout.train}
        for name, other in heldout.train:
            cosine = float((vectors.transform([text]) @ vectors.transform([other]).T).toarray()[0, 0])
            best[name] = max(best[name], cosine)
        better = sum(score > best[concept] + 1e-9 for score in best.values())
        tied = sum(abs(score - best[concept]) <= 1e-9 for score in best.values()) - 1
        assert rank == 1 + better + tied / 2


def test_the_table_holds_means_over_seeds_and_paired_differences(benchmark):
    config, _, records = benchmark
    table = build(config, records)
    hits = {arm: np.mean([np.array(r["rank_Q"]) <= 1 for r in done]) for arm, done in records.items()}
    for row in table["rows"]:
        assert row["R@1"]["value"] == pytest.approx(hits[row["arm"]])
        assert row["R@1"]["low"] <= row["R@1"]["value"] <= row["R@1"]["high"]
    control = next(row for row in table["differences"] if "permuted" in row["second"])
    assert control["R@1"]["value"] == pytest.approx(hits[config.full] - hits[config.control])
    page = markdown(table)
    assert page.count("\n| ") >= len(table["rows"]) + len(table["differences"])
    assert "nan" not in page

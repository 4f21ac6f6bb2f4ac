"""Vectors of a graph's concepts: the split that leaks nothing, TransE, filtered ranks, the folder, what is refused."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from data_prep.vectors.build import build
from data_prep.vectors.config import VectorsConfig
from data_prep.vectors.scores import answers, chance, filtered_ranks, frequencies, summary
from data_prep.vectors.transe import corrupt, distance, head_chances, margin_loss, train_transe
from data_prep.vectors.triples import find_triples, split_rows
from medvlp.errors import ConfigError, DataError, GraphError, MissingExtraError
from medvlp.io import read_json
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.store import table
from medvlp.knowledge.vectors import EntityVectors
from medvlp.ledger import Ledger

SIZE = 60
SMALL = {"dim": 8, "epochs": 3, "batches": 4, "negatives": 4}


def make_graph():
    """A tree, and for most edges the same seen from the other end, as UMLS stores it."""
    plain = DiseaseGraph.from_dict(
        {
            f"V:{row}": {"name": f"concept {row}", "parents": [f"V:{(row - 1) // 2}"] if row else []}
            for row in range(SIZE)
        }
    )
    edges = [(f"V:{row}", "is_a", f"V:{(row - 1) // 2}") for row in range(1, SIZE)]
    edges += [(tail, "inverse_is_a", head) for head, _, tail in edges if int(head[2:]) % 4]
    edges += [(f"V:{row}", "near", f"V:{(row * 7 + 3) % SIZE}") for row in range(SIZE)]
    edges += [("V:1", "near", "V:10"), ("V:5", "near", "V:5")]  # 1 is near 10 already; 5 is no neighbour of itself
    columns = dict(zip(("head", "relation", "tail"), map(list, zip(*edges, strict=True)), strict=True))
    tables = plain.tables
    more = table("edges", {**columns, "source": ["one" if row % 2 else "two" for row in range(len(edges))]})
    return DiseaseGraph.from_tables(tables.concepts, tables.names, tables.definitions, more)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors") / "graph"
    make_graph().save(folder)
    return folder


def triples_of(**settings):
    settings = {"dev": 0.1, "test": 0.2, "seed": 0, **settings}
    ledger = Ledger()
    return find_triples(make_graph(), settings.pop("relations", None), ledger=ledger, **settings), ledger


def test_no_held_out_triple_is_in_training_the_other_way_round():
    """A random split of a store that holds both directions leaks most of its test."""
    triples, _ = triples_of()
    train = {(head, tail) for head, _, tail in triples.of("train").tolist()}
    for split in ("dev", "test"):
        asked = triples.of(split).tolist()
        assert asked
        assert not any((tail, head) in train or (head, tail) in train for head, _, tail in asked)
    rows = np.concatenate(list(triples.parts.values()))
    assert sorted(rows.tolist()) == list(range(len(triples.all_T3)))
    random = np.random.default_rng(0).permutation(len(triples.all_T3))
    asked, rest = triples.all_T3[random[:30]], triples.all_T3[random[30:]]
    there = {(head, tail) for head, _, tail in rest.tolist()}
    assert any((tail, head) in there for head, _, tail in asked.tolist())


@pytest.mark.parametrize("seed", range(4))
def test_every_concept_and_relation_is_learned(seed):
    triples, _ = triples_of(seed=seed, test=0.4)
    train = triples.of("train")
    assert set(train[:, [0, 2]].ravel().tolist()) == set(range(len(triples.ids)))
    assert set(train[:, 1].tolist()) == set(range(len(triples.relations)))
    assert len(triples.of("test")) >= 0.1 * len(triples.all_T3)


def test_what_is_left_out_is_counted_and_the_split_is_a_matter_of_the_seed():
    triples, ledger = triples_of()
    assert ledger.dropped == {"concept related to itself": 1, "the same triple from another source": 1}
    assert ledger.kept == len(triples.all_T3)
    only, _ = triples_of(relations=["near"])
    assert only.relations == ("near",)
    first, second, other = (triples_of(seed=seed)[0].parts["test"].tolist() for seed in (0, 0, 1))
    assert first == second != other
    with pytest.raises(GraphError, match=r"^far: no such relation in the graph; use inverse_is_a, is_a, near"):
        triples_of(relations=["far"])
    assert split_rows(triples.all_T3, {"dev": 0.0, "test": 0.0}, 0)["train"].tolist() == list(
        range(len(triples.all_T3))
    )


def test_distance_and_margin_are_the_documented_formulas():
    head, relation, tail = (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[-1.0, 0.0]]))
    assert distance(head, relation, tail).item() == pytest.approx(abs(0.6 + 0 + 1) + abs(0.8 + 1 - 0))
    true, false = torch.tensor([1.0, 4.0]), torch.tensor([[3.0, 9.0], [0.0, 4.5]])
    assert margin_loss(true, false, 5.0).item() == pytest.approx((3 + 0 + 9 + 4.5) / 4)


def test_corruption_follows_bernoulli():
    """One head has four tails under relation 0: its head is exchanged four times of five."""
    triples = torch.tensor([[0, 0, tail] for tail in (1, 2, 3, 4)] + [[head, 1, 9] for head in (5, 6, 7)])
    chances = head_chances(triples, 3)
    torch.testing.assert_close(chances, torch.tensor([4 / 5, 1 / 4, 1 / 2]))
    heads, tails = corrupt(triples, chances, 1000, 4000, torch.Generator().manual_seed(0))
    by_head = (heads != triples[:, :1]).float().mean(1)
    assert (by_head - chances[triples[:, 1]]).abs().max() < 0.03
    assert not ((heads != triples[:, :1]) & (tails != triples[:, 2:])).any()


def test_transe_learns_and_a_seed_repeats_it():
    triples = torch.from_numpy(triples_of()[0].of("train"))
    settings = {"dim": 16, "epochs": 40, "batches": 5, "negatives": 5, "margin": 5.0, "lr": 1.0}
    entity, relation, losses = train_transe(triples, SIZE, 3, **settings, seed=0)
    again, _, _ = train_transe(triples, SIZE, 3, **settings, seed=0)
    other, _, _ = train_transe(triples, SIZE, 3, **settings, seed=1)
    assert torch.equal(entity, again)
    assert not torch.equal(entity, other)
    assert losses[-1] < 0.8 * losses[0]
    torch.testing.assert_close(entity.norm(dim=1), torch.ones(SIZE))
    torch.testing.assert_close(relation.norm(dim=1), torch.ones(3))


def test_transe_answers_held_out_triples_where_relations_are_steps():
    """Concepts on a line; relations lead one, two, four and eight on: what is held out follows from the rest."""
    count = 40
    triples = np.array(
        [(start, code, start + step) for code, step in enumerate((1, 2, 4, 8)) for start in range(count - step)]
    )
    parts = split_rows(triples, {"dev": 0.0, "test": 0.15}, 0)
    train, test = triples[parts["train"]], triples[parts["test"]]
    settings = {"dim": 16, "epochs": 60, "batches": 4, "negatives": 10, "margin": 5.0, "lr": 5.0, "seed": 0}
    entity, relation, _ = train_transe(torch.from_numpy(train), count, 4, **settings)
    learned = summary(filtered_ranks(answers("transe", entity.numpy(), relation.numpy()), test, triples))
    often = summary(filtered_ranks(frequencies(train, count, 4), test, triples))
    assert learned["mrr"] > 2.5 * max(often["mrr"], chance(count))
    assert learned["hits@10"] > 0.85


def by_hand(model, entity, relation, head, said, tail):
    numbers = np.asarray(entity), np.asarray(relation)
    if model in ("complex", "rotate"):
        numbers = [one[:, : one.shape[1] // 2] + 1j * one[:, one.shape[1] // 2 :] for one in numbers]
    h, r, t = numbers[0][head], numbers[1][said], numbers[0][tail]
    if model == "transe":
        return -np.abs(h + r - t).sum()
    if model == "rotate":
        return -math.sqrt((np.abs(h * r - t) ** 2).sum())
    return (h * r * np.conj(t)).sum().real


@pytest.mark.parametrize("model", ["transe", "distmult", "complex", "rotate"])
def test_scores_are_the_documented_formulas(model):
    rng = np.random.default_rng(0)
    entity, relation = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    if model == "rotate":
        length = np.hypot(relation[:, :2], relation[:, 2:])
        relation /= np.concatenate([length, length], 1)
    asked = np.array([[0, 1, 2], [5, 0, 3]])
    answer = answers(model, entity, relation)
    for side, column in (("head", 0), ("tail", 2)):
        found = answer(asked, side).numpy()
        for row, triple in enumerate(asked.tolist()):
            for other in range(6):
                parts = list(triple)
                parts[column] = other
                assert found[row, other] == pytest.approx(by_hand(model, entity, relation, *parts), abs=1e-4)


def test_filtered_ranks_leave_out_what_is_true_and_share_ties():
    score = torch.tensor([0.9, 0.8, 0.7, 0.7, 0.1])
    known = np.array([[0, 0, 2], [0, 0, 1], [0, 1, 0]])
    ranks = filtered_ranks(lambda asked, side: score.expand(len(asked), -1), known[:1], known)
    assert ranks["tail"].tolist() == [2.5]  # behind 0; 1 is true as well; tied with 3
    assert ranks["head"].tolist() == [1.0]
    said = summary(ranks)
    assert said["mrr"] == pytest.approx((1 / 2.5 + 1) / 2)
    assert said["hits@1"] == 0.5
    assert said["hits@3"] == 1
    assert said["questions"] == 2
    assert summary({"head": np.zeros(0), "tail": np.zeros(0)}) == {"questions": 0}
    assert chance(4) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    often = frequencies(known, 5, 2)
    assert often(known[:1], "tail").tolist() == [[0, 1, 1, 0, 0]]


def test_the_job_writes_what_a_run_reads(graph, tmp_path):
    out = build(VectorsConfig(graph=str(graph), **SMALL), tmp_path / "vectors")
    vectors = EntityVectors.load(out)
    assert len(vectors.ids) == SIZE
    assert vectors.entity_NX.shape == (SIZE, 8)
    assert vectors.rows(["V:0", "gone"]).tolist() == [vectors.ids.index("V:0"), -1]
    scores, manifest = read_json(out / "scores.json"), read_json(out / "manifest.json")
    assert 0 < scores["test"]["mrr"] <= 1
    assert scores["test"]["hits@1"] <= scores["test"]["hits@3"] <= scores["test"]["hits@10"]
    assert scores["floors"]["test"]["questions"] == scores["test"]["questions"] == 2 * manifest["num_triples"]["test"]
    assert manifest["config"]["margin"] == 5.0
    with pytest.raises(DataError, match="already exists"):
        build(VectorsConfig(graph=str(graph), **SMALL), out)
    (out / "ids.json").write_text("{}")
    with pytest.raises(DataError, match=r"ids.json"):
        EntityVectors.load(out)


def test_a_rehearsal_writes_nothing_and_the_verb_does(graph, tmp_path):
    from medvlp.cli import app

    words = ["vectors", "vectors/transe", "--out", str(tmp_path / "v"), "--set", f"graph={graph}"]
    shorter = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    said = CliRunner().invoke(app, [*words, "--dry-run"])
    assert said.exit_code == 0, said.output
    assert not (tmp_path / "v").exists()
    assert CliRunner().invoke(app, [*words, *shorter]).exit_code == 0
    assert EntityVectors.load(tmp_path / "v").header["config"]["dim"] == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "rotate"}, r"^model: plain torch has no rotate; set backend: pykeen"),
        ({"optimizer": "adam"}, r"^optimizer: plain torch has margin and sgd alone"),
        ({"adversarial": 1.0}, r"^adversarial: plain torch has margin and sgd alone"),
        ({"backend": "pykeen"}, r"^python: PyKEEN runs in an environment of its own"),
        ({"backend": "pykeen", "python": "gone/python"}, r"^gone/python: no such interpreter"),
    ],
)
def test_what_the_backend_has_not_is_refused(graph, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        build(VectorsConfig(graph=str(graph), **{**SMALL, **changes}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_environment_without_pykeen_is_told_what_it_lacks(graph, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'pykeen'\" >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(MissingExtraError, match=r"lacks a package .*pip install pykeen safetensors"):
        build(VectorsConfig(graph=str(graph), backend="pykeen", python=str(python), **SMALL), tmp_path / "out")
    assert not (tmp_path / "out").exists()


PYKEEN = os.environ.get("MEDVLP_PYKEEN", "")


@pytest.mark.slow
@pytest.mark.skipif(not Path(PYKEEN).is_file(), reason="MEDVLP_PYKEEN names no interpreter")
@pytest.mark.parametrize("model", ["transe", "distmult", "complex", "rotate"])
def test_pykeen_s_own_scores_are_ours(graph, tmp_path, model):
    config = VectorsConfig(
        graph=str(graph), backend="pykeen", python=PYKEEN, model=model, optimizer="adam", lr=0.05,
        adversarial=1.0 if model == "rotate" else None, **{**SMALL, "epochs": 20},
    )  # fmt: skip
    out = build(config, tmp_path / "out")
    theirs, ours = read_json(out / "manifest.json")["pykeen"]["test"], read_json(out / "scores.json")["test"]
    for name in ("mrr", "hits@1", "hits@3", "hits@10"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-3), name
    assert EntityVectors.load(out).entity_NX.shape == (SIZE, 8 * (2 if model in ("complex", "rotate") else 1))
    assert json.dumps(theirs)

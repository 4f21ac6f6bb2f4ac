"""Reports without images in the table of objectives: cells that resume, equal arms, numbers checked by hand."""

import os

import numpy as np
import pytest
import yaml
from objective_table_cases import tiny_table
from report_cases import source, write_table
from scipy import sparse

from benchmarks.objectives.config import Codes, ObjectiveTableConfig
from benchmarks.objectives.measure import scores_of
from benchmarks.objectives.run import Worker, cells_of, run
from benchmarks.objectives.table import build, markdown
from benchmarks.objectives.texts import START, TFIDF
from benchmarks.objectives.texts_ask import Asked, answer, asked_of, plain_name, read_codes
from medvlp.errors import ConfigError, DataError
from medvlp.io import read_json
from medvlp.training.report_pairs import Reports, Sentence
from medvlp.zeroshot.consistency import SwappedCaption

ARMS = ("real", "permuted", "none")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="module")
def config(root):
    table = write_table(root / "reports.csv", 60)
    (root / "reports.yaml").write_text(yaml.safe_dump(source(table)), encoding="utf-8")
    method = {
        "title": "KAD's pairs",
        "knowledge": "report_pairs_cpu",
        "set": [f"text.model={root}/bert", "text.context_length=24", "steps=3", "groups_per_batch=8", "accelerator=cpu",
                "optimizer.warmup_steps=0"],
    }  # fmt: skip
    notes = {
        "title": "Notes",
        "reports": f"{root}/reports.yaml",
        "already_deidentified": True,
        "holdout": {"fraction": 0.5},
        "codes": {"column": "codes", "fewest": 2, "left_out": ["Lung"]},
        "methods": {"report_pairs": method},
    }
    compare = ["auroc", "recall_at_5", "consistency"]
    return tiny_table(root, texts={"notes": notes}, arms=list(ARMS), compare=compare)


@pytest.fixture(scope="module")
def out(root):
    return root / "out"


@pytest.fixture(scope="module")
def done(config, out):
    first = run(config, out, only=["notes-report_pairs-real"])
    assert list(first) == ["notes"], "no set of images is made for it"
    before = os.stat(out / "cells" / "notes-report_pairs-real-seed-1.json").st_mtime_ns
    found = run(config, out, only=["notes"])
    assert os.stat(out / "cells" / "notes-report_pairs-real-seed-1.json").st_mtime_ns == before, "found done"
    return found


def test_text_cells_come_after_the_images_of_a_seed(config):
    names = [cell.name for cell in cells_of(config)]
    assert names[-3:] == [f"notes-report_pairs-{arm}-seed-1" for arm in ARMS]
    assert len(names) == 3 * 3


def test_arms_differ_and_cost_the_same(done):
    records = [done["notes"].records["report_pairs", arm, 1] for arm in ARMS]
    assert {tuple(record["cost"][key] for key in ("steps", "rows", "texts")) for record in records} == {(3, 24, 48)}
    assert all(record["cost"]["processor_seconds_per_step"] > 0 for record in records)
    scores = [np.array(record["scores"]["stated"]) for record in records]
    assert not any(np.allclose(scores[0], other) for other in scores[1:])


def test_records_hold_neither_words_nor_names_of_reports(done, out):
    for file in (out / "cells").iterdir():
        assert not any(word in str(read_json(file)) for word in ("patient-", "effusion", "nodule"))


def test_the_section_names_floors_arms_costs_and_differences(done, config, out):
    table = build(config, done)
    [one] = table["sets"]
    assert list(one["floors"]) == [TFIDF, START]
    assert [row["arm"] for row in one["rows"]] == list(ARMS)
    assert {row["score"] for row in one["differences"]} == {"auroc", "recall_at_5", "consistency"}
    assert [row["control"] for row in one["differences"] if row["score"] == "auroc"] == ["permuted", "none", START]
    assert table["num_differences"] == 9
    assert one["counts"]["reports_equal_to_another"] == 1
    page = markdown(table)
    for cell in (
        f"| {TFIDF} |",
        f"| {START} |",
        "| KAD's pairs | permuted |",
        "processor seconds per step",
        "peak MiB",
    ):
        assert cell in page
    assert "also stand in training reports" in page
    partial = build(config, run(config, out, 0, ["notes-report_pairs-real"]))
    assert [row["arm"] for row in partial["sets"][0]["rows"]] == ["real"]
    assert [row["control"] for row in partial["sets"][0]["differences"]] == [START] * 3, "no other arm to compare with"


def test_what_is_asked_or_trained_otherwise_voids_a_record_and_what_is_counted_does_not(done, config, out):
    cell = cells_of(config, ["notes"])[0]

    def found(**changes):
        plain = config.model_dump(mode="json")
        plain["texts"]["notes"].update(changes)
        return Worker(ObjectiveTableConfig.model_validate(plain), out).found(cell)

    assert found() is not None
    assert found(title="Renamed") is not None
    assert found(holdout={"fraction": 0.5, "seed": 1}) is None
    assert found(codes={"column": "codes", "fewest": 1}) is None
    longer = {**config.texts["notes"].methods["report_pairs"].model_dump()}
    longer["set"] = [*longer["set"], "steps=4"]
    assert found(methods={"report_pairs": longer}) is None


def test_training_never_meets_what_is_asked(done):
    prepared = done["notes"].prepared
    trained = {one.text.lower() for report in prepared.reports.training for one in report}
    assert not trained & {one.text.lower() for one in prepared.asked.queries}
    held = {report[0].report for report in prepared.reports.held_out}
    assert set(prepared.asked.coded) <= held
    assert {case for score in scores_of(prepared) for case in score.cases} <= held


def sentence(report, section, text, statement):
    return Sentence(report, section, text, statement)


def test_headings_are_those_of_people_and_frequent_enough():
    held = tuple((sentence(str(n), "findings", f"text {n}", f"said {n % 2}"),) for n in range(6))
    codes_of = {"0": ["Fractures, Bone/left"], "1": ["Fractures, Bone", "Lung/clear"], "2": ["normal"], "3": ["Lung"],
                "4": ["No Indexing"], "5": ["Rare"]}  # fmt: skip
    asked = asked_of(Reports((), held, "", {}), codes_of, Codes(fewest=2, left_out=["Lung"]))
    assert asked.headings == ("bone fractures",)
    assert asked.coded == ("0", "1", "2", "3", "5"), "one that nobody coded is neither with nor without a finding"
    assert asked.truth_NK[:, 0].tolist() == [True, True, False, False, False]
    assert asked.sections == (), "none has findings and an impression"
    assert plain_name("Catheters, Indwelling") == "indwelling catheters"
    with pytest.raises(DataError, match="too few held-out reports to ask about"):
        asked_of(Reports((), held, "", {}), codes_of, Codes(fewest=9))


def by_hand():
    """Two findings, three reports, three sentences that ask; vectors below decide everything."""
    queries = (sentence("a", "findings", "t1", "s1"), sentence("b", "findings", "t2", "s1"),
               sentence("c", "findings", "t3", "s3"))  # fmt: skip
    own = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    sections = (("a", ("t1",), ("i1",)), ("b", ("t2", "t3"), ("i2",)))
    swaps = (SwappedCaption(0, "t1", "w1", "side"), SwappedCaption(2, "t3", "t3", "presence"))
    truth = np.array([[1, 0], [0, 1], [0, 0]], dtype=bool)
    return Asked(("x", "y"), ("a", "b", "c"), (("t1", "t2"), ("t2",), ("t3",)), truth, queries, own, sections,
                 (("i1",), ("i2",)), swaps)  # fmt: skip


VECTORS = {
    "x": (1, 0), "y": (0, 1), "x [SEP] present": (0, 1), "y [SEP] present": (1, 0), "t1": (1, 0), "t2": (0, 1),
    "t3": (0.6, 0.8), "s1": (1, 0), "s3": (0, 1), "i1": (0, 1), "i2": (0.6, 0.8), "w1": (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_answers_computed_by_hand(form):
    found = answer(lambda texts: form([[float(v) for v in VECTORS[text]] for text in texts]), by_hand())
    assert found["scores"]["name"] == [[1.0, 1.0], [0.0, 1.0], [0.6, 0.8]]
    assert found["scores"]["stated"] == [[1.0, 1.0], [1.0, 0.0], [0.8, 0.6]]
    # s1 is at 1 from its t1; s3 is at .8 from its t3 and at 1 from the wrong t2
    assert found["ranks"]["sentence"] == [1.0, 1.0, 2.0]
    # t1 is nearer to i2 (.6) than to i1 (0); the mean of t2 and t3 is as near to both
    assert found["ranks"]["impression"] == [2.0, 1.5]
    assert found["swaps"]["below"] == [1.0, 0.5]


def test_mistakes_are_one_line(root, config, tmp_path):
    with pytest.raises(DataError, match="mesh: has no such column; name another in codes.column"):
        read_codes(root / "reports.csv", "uid", "mesh")
    plain = config.model_dump(mode="json")
    with pytest.raises(ValueError, match="cells names both a set and texts"):
        ObjectiveTableConfig.model_validate({**plain, "texts": {"cells": plain["texts"]["notes"]}})
    folder = {"kind": "reports", "source": {"name": "texts", "folder": str(tmp_path)}}
    (tmp_path / "folder.yaml").write_text(yaml.safe_dump(folder), encoding="utf-8")
    plain["texts"]["notes"]["reports"] = str(tmp_path / "folder.yaml")
    other = ObjectiveTableConfig.model_validate(plain)
    with pytest.raises(ConfigError, match=r"^texts\.notes\.reports: has no table with a key and codes; name another"):
        Worker(other, root / "out").set("notes")


def test_the_shipped_recipe_learns_from_reports_alone():
    from medvlp.config import load

    table = load("objective_table", kind="objective_table")
    assert isinstance(table, ObjectiveTableConfig)
    for one in table.texts.values():
        assert load(one.reports, one.set, kind="reports").source.name == "table"
        for method in one.methods.values():
            recipe = load(method.knowledge, method.set, kind="knowledge")
            assert recipe.objective.reports
            assert not recipe.objective.triples
            assert not recipe.objective.definitions

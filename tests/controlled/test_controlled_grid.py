"""The grid: arms differ in knowledge alone, everything resumes, and the numbers are what they say they are."""

import json
import math
import os

import numpy as np
import pytest
import torch
from controlled_cases import tiny_grid
from scipy import stats

from benchmarks.common.graphs import build_graph
from benchmarks.controlled import __main__ as command
from benchmarks.controlled.config import ControlledConfig
from benchmarks.controlled.grid import FLOOR, Job, Worker, done, jobs_of, run
from benchmarks.controlled.measure import score
from benchmarks.controlled.statistics import t_mean
from benchmarks.controlled.steps import ceiling, prompt_texts, text_agreement
from benchmarks.controlled.table import build, markdown, verdict
from benchmarks.controlled.text_space import hierarchy_of, new_head
from medvlp.config import load
from medvlp.data.batch import Item, collate
from medvlp.errors import ConfigError
from medvlp.knowledge.names import normalise
from medvlp.metrics.hierarchy import ancestor_credit
from medvlp.objectives.base import Outputs
from medvlp.objectives.clip import group_info_nce
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.kinship import KinshipObjective

pytestmark = pytest.mark.extras  # reads OBO files


ONLY = ["base-", "-keep-"]  # all methods in the base world, one in the others


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("controlled")
    config = tiny_grid(root)
    records = run(config, root / "out", only=ONLY)
    return config, root / "out", records


@pytest.fixture(scope="module")
def scene(whole):
    config, out, _ = whole
    return Worker(config, out).scene("base", 0)


def runs_of(records):
    return [record for record in records if "scores" in record]


def test_every_level_method_graph_and_seed_is_there_once(whole):
    config, _, records = whole
    arms = [(r["level"], r["method"], r["knowledge"], r["seed"]) for r in runs_of(records)]
    assert len(arms) == len(set(arms)) == (4 + 1 + 1) * 3 * 2
    assert len(records) - len(arms) == 2  # the colour floor of the base world, of each seed
    assert len(jobs_of(config)) == 3 * (4 * 3 + 1) * 2
    assert len(jobs_of(config, ["base-keep"])) == 3 * 2
    with pytest.raises(ConfigError, match="no run has this in its name"):
        jobs_of(config, ["nothing"])


def test_all_arms_have_equal_compute(whole):
    costs = {json.dumps(record["cost"], sort_keys=True) for record in runs_of(whole[2])}
    assert [json.loads(cost) for cost in costs] == [
        {"steps_1": 3, "texts_1": 3 * 8 * 2, "steps_2": 4, "rows_2": 4 * 8, "texts_2": 4 * 8, "asked_2": 0}
    ]


def test_a_removed_record_alone_is_made_again_and_comes_out_the_same(whole):
    config, out, _ = whole
    files = sorted((out / "runs").glob("*.json"))
    stamps = {file: file.stat().st_mtime_ns for file in files}
    gone = out / "runs" / "base-keep-real-seed-1.json"
    old = json.loads(gone.read_text())
    gone.unlink()
    run(config, out, only=ONLY)
    assert [file for file in files if file.stat().st_mtime_ns != stamps[file]] == [gone]
    new = json.loads(gone.read_text())
    assert {**new, "seconds": 0} == {**old, "seconds": 0}


def test_a_changed_method_is_trained_again_and_its_text_space_is_not(whole):
    config, out, _ = whole
    spaces = {file: file.stat().st_mtime_ns for file in (out / "spaces").iterdir()}
    method = config.methods["clip"].model_copy(update={"logit_scale_init": 5.0})
    changed = config.model_copy(update={"methods": {**config.methods, "clip": method}})
    worker = Worker(changed, out)
    job = Job(0, "base", "clip", "real")
    assert worker.identity(job) != Worker(config, out).identity(job)
    assert worker.identity(Job(0, "base", "keep", "real")) == Worker(config, out).identity(
        Job(0, "base", "keep", "real")
    )
    worker._run(job)
    assert {file: file.stat().st_mtime_ns for file in (out / "spaces").iterdir()} == spaces


def test_the_permuted_arm_has_the_same_names_and_another_closure(scene):
    real, rewired = (hierarchy_of(scene.sub, kind, 0) for kind in ("real", "permuted"))
    assert real.ids == rewired.ids
    assert [real.texts(concept) for concept in real.ids] == [rewired.texts(concept) for concept in rewired.ids]
    assert (real.closure != rewired.closure).nnz > 0
    assert hierarchy_of(scene.sub, "none", 0) is None


def test_what_a_row_says_is_what_its_captions_say(scene):
    world = scene.world
    for captions, said in zip(scene.pairs.captions_N, scene.pairs.said_N, strict=True):
        names = {normalise(name) for name in scene.sub.texts(said)}
        assert captions
        assert all(any(name in normalise(text) for name in names) for text in captions)
    assert world.config.root in scene.pairs.said_N
    assert not {world.leaves[row] for row in np.flatnonzero(world.group_L == "unseen")} & set(scene.pairs.said_N)


def test_scores_equal_a_loop_written_by_hand(scene):
    world, rng = scene.world, np.random.default_rng(0)
    cosine_NL = rng.uniform(-1, 1, (len(scene.target_N), len(world.leaves)))
    found = score(cosine_NL, 7.0, scene.target_N, world, scene.sub)
    unseen = [k for k, group in enumerate(world.group_L) if group == "unseen"]

    def probability(row, columns):
        weight = {k: math.exp(7.0 * cosine_NL[row, k]) for k in columns}
        return {k: value / sum(weight.values()) for k, value in weight.items()}

    def area(k, rows, columns):
        share = {row: probability(row, columns)[k] for row in rows}
        right = [share[row] for row in rows if scene.target_N[row] == k]
        wrong = [share[row] for row in rows if scene.target_N[row] != k]
        return np.mean([(a > b) + 0.5 * (a == b) for a in right for b in wrong])

    everything = range(len(scene.target_N))
    alone = [row for row in everything if scene.target_N[row] in unseen]
    assert found["unseen_alone"]["auroc"] == pytest.approx(np.mean([area(k, alone, unseen) for k in unseen]))
    all_leaves = range(len(world.leaves))
    assert found["unseen"]["auroc"] == pytest.approx(np.mean([area(k, everything, all_leaves) for k in unseen]))
    answers = {row: max(unseen, key=lambda k, row=row: cosine_NL[row, k]) for row in alone}
    recalls = [np.mean([answers[row] == k for row in alone if scene.target_N[row] == k]) for k in unseen]
    assert found["unseen_alone"]["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    seen = [row for row in everything if world.group_L[scene.target_N[row]] == "seen"]
    right = [cosine_NL[row].argmax() == scene.target_N[row] for row in seen]
    assert found["seen"]["accuracy"] == pytest.approx(np.mean(right))


def test_perfect_answers_score_one_and_climb_nothing(scene):
    cosine_NL = np.eye(len(scene.world.leaves))[scene.target_N]
    found = score(cosine_NL, 20.0, scene.target_N, scene.world, scene.sub)
    for group in ("seen", "rare", "unseen"):
        assert found[group]["auroc"] == found[group]["hierarchical_accuracy"] == found[group]["accuracy"] == 1.0
        assert math.isnan(found[group]["climbs"])  # no mistake, no distance


def test_steps_know_a_text_space_that_follows_looks_and_a_perfect_alignment(scene):
    world = scene.world
    factors = world.factors_LF - world.factors_LF.mean(0)
    unit = np.concatenate(
        [factors, np.full((len(factors), 1), 50.0)], 1
    )  # far from the origin: cosine follows distance
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert text_agreement(unit, world) > 0.9
    image_ND = np.eye(len(world.leaves))[scene.target_N]
    assert ceiling(image_ND, 20.0, scene.target_N, world) == 1.0
    rng = np.random.default_rng(0)
    assert abs(ceiling(rng.normal(size=(len(scene.target_N), 64)), 20.0, scene.target_N, world) - 0.5) < 0.25


def test_prompts_of_each_kind(scene):
    sub, leaf = scene.sub, "X:lungb"
    assert prompt_texts("names", [leaf], sub, sub, ["{name}", "a {name}"]) == [
        ["lung b carcinoma", "a lung b carcinoma"]
    ]
    assert prompt_texts("synonyms", [leaf], sub, None, ["{name}"]) == [["lung b carcinoma", "lung b adenoma"]]
    assert prompt_texts("definitions", [leaf], sub, None, ["{name}"]) == [["lung b carcinoma"]]  # it has none
    assert prompt_texts("paths", [leaf], sub, sub, ["{name}"]) == [["lung tissue lung b carcinoma"]]
    assert prompt_texts("paths", [leaf], sub, None, ["{name}"]) is None


def test_the_text_head_starts_as_the_published_space():
    features_MI = torch.randn(3, 8)
    assert torch.equal(new_head(8)(features_MI), features_MI)


def test_no_training_text_of_any_arm_says_an_unseen_name(whole):
    assert all(record["captions"]["kept"] > 0 for record in runs_of(whole[2]) if record["method"] == "keep")
    for record in runs_of(whole[2]):
        if record["method"] != "keep":
            assert record["captions"] == {"kept": 0, "dropped": {}, "examples": {}}


def test_t_interval_equals_scipy():
    values = [0.1, 0.3, -0.05, 0.22, 0.18]
    found, reference = t_mean(values), stats.ttest_1samp(values, 0.0)
    ends = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.p_value == pytest.approx(reference.pvalue)
    assert t_mean([0.2, 0.2]).low == 0.2
    assert t_mean([0.2, 0.2]).p_value == 0.0
    assert t_mean([0.0, 0.0]).p_value == 1.0
    assert t_mean([0.4]).value == 0.4
    assert math.isnan(t_mean([0.4]).low)
    assert t_mean([0.1, math.nan, 0.3]).value == pytest.approx(0.2)
    assert math.isnan(t_mean([math.nan]).value)


def test_the_table_pairs_by_seed_and_corrects_over_all_primary_rows(whole):
    config, _, records = whole
    table = build(config, records)
    assert len(table["primary"]) == 4 * 2
    by_arm = {(r["level"], r["method"], r["knowledge"], r["seed"]): r for r in runs_of(records)}

    def area(knowledge, seed):
        return by_arm["base", "keep", knowledge, seed]["scores"]["unseen_alone"]["auroc"]

    row = next(r for r in table["primary"] if r["method"] == "keep" and r["contrast"] == "real − permuted")
    assert row["by_seed"] == [area("real", seed) - area("permuted", seed) for seed in config.seeds]
    assert all(r["p_holm"] is None or r["p_holm"] >= r["p_value"] for r in table["primary"])
    assert (verdict(0.1, 0.01), verdict(-0.1, 0.01), verdict(0.1, 0.2)) == ("gain", "loss", "no difference shown")
    text = markdown(table)
    assert "twin" in text
    assert "colour histogram" in text
    assert "n/a [" not in text


def test_what_is_done_can_be_shown_and_nothing_that_no_longer_holds(whole):
    config, out, records = whole
    before = sorted((out / "runs").iterdir())
    assert [record["digest"] for record in done(config, out)] == [record["digest"] for record in records]
    changed = config.methods["clip"].model_copy(update={"logit_scale_init": 5.0})
    other = config.model_copy(update={"methods": {**config.methods, "clip": changed}})
    assert {record.get("method") for record in records} - {r.get("method") for r in done(other, out)} == {"clip"}
    assert sorted((out / "runs").iterdir()) == before


def test_part_of_a_grid_gives_a_partial_table(whole):
    config, _, records = whole
    some = [record for record in records if record["seed"] == 0 and record["level"] == "base"]
    table = build(config, some)
    assert table["levels"] == ["base"]
    assert table["twin"] == []
    assert {row["verdict"] for row in table["primary"]} == {"cannot be told: fewer than two seeds"}
    assert "cannot be told" in markdown(table)
    assert "Primary" in markdown(build(config, []))


def test_the_command_prints_the_table_and_draws_the_curves(whole, monkeypatch, capsys):
    _config, out, _ = whole
    page = out / "page.md"
    page.write_text("# Page\n<!-- controlled: begin -->\n<!-- controlled: end -->\n")
    only = [f"--only={part}" for part in ONLY]
    argv = ["controlled", str(out.parent / "grid.yaml"), "--out", str(out), "--jobs", "1", *only]
    argv += ["--write-docs", str(page)]
    monkeypatch.setattr("sys.argv", argv)
    assert command.main() == 0
    assert "Primary: difference" in capsys.readouterr().out
    assert "Primary: difference" in page.read_text()
    for name in ("primary", "noise"):
        assert (out / f"{name}.svg").read_text().startswith("<?xml")
    assert json.loads((out / "table.json").read_text())["levels"] == ["base", "noise_0", "twin"]


def test_contradictions_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="a seed comes twice"):
        tiny_grid(tmp_path, seeds=[1, 1])
    clip = {"title": "x", "objective": {"name": "clip"}, "stage_1": "other"}
    with pytest.raises(ConfigError, match="which stages_1 does not have"):
        tiny_grid(tmp_path, methods={"clip": clip})


@pytest.mark.parametrize("name", ["small", "grid", "kinship"])
def test_shipped_grids_hold_what_the_page_says(name):
    config = load(f"controlled/{name}", kind="controlled")
    assert isinstance(config, ControlledConfig)
    assert config.seeds == ([10, 11, 12, 13, 14] if name == "kinship" else [0, 1, 2, 3, 4])
    assert config.graphs == ["real", "permuted", "none"]
    assert list(config.methods) == (["clip", "keep"] if name == "small" else ["clip", "keep", "siglip", "kep"])
    assert {method.prompts for method in config.methods.values()} == {"names"}
    assert {method.stage_1 for method in config.methods.values()} == {"kinship" if name == "kinship" else "metric"}
    assert name == "small" or {"twin", "radiograph"} <= config.levels.keys()
    assert config.world_of("base").caption_noise == 0.1


def kinship(graph, text_MD, rows, temperature=0.5):
    items = [Item(str(place), row, ["x"], (row,)) for place, row in enumerate(rows)]
    batch = collate(items, lambda texts: (torch.zeros(len(texts), 1), torch.ones(len(texts), 1)), labels=False)
    objective = KinshipObjective(KinshipObjective.Config(temperature=temperature), graph)
    return objective(Outputs(None, text_MD, 1.0), batch, LocalGather()).total


def test_the_contrast_by_kinship_equals_a_loop_written_by_hand(scene):
    sub, generator = scene.sub, torch.Generator().manual_seed(0)
    rows = [sub.index(concept) for concept in ("X:lungb", "X:lungc", "X:lungb", "X:skind", "X:lung")]
    text_MD = torch.nn.functional.normalize(torch.randn(5, 6, generator=generator), dim=1)
    credit = ancestor_credit(sub.closure, rows)
    losses = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        logit = {j: float(text_MD[i] @ text_MD[j]) / 0.5 for j in others}
        weight = {j: math.exp(credit[i, j] / 0.5) for j in others}
        log_sum = math.log(sum(map(math.exp, logit.values())))
        losses.append(sum(weight[j] / sum(weight.values()) * (log_sum - logit[j]) for j in others))
    assert float(kinship(sub, text_MD, rows)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_kinship_is_learned_where_there_is_a_hierarchy_and_means_equality_where_there_is_none(scene):
    sub = scene.sub
    rows = [row for row in range(len(sub)) for _ in range(2)]
    torch.manual_seed(0)
    free_MD = torch.randn(len(rows), 32, requires_grad=True)
    optimizer = torch.optim.Adam([free_MD], lr=0.05)
    for _ in range(150):
        loss = kinship(sub, torch.nn.functional.normalize(free_MD, dim=1), rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unit_MD = torch.nn.functional.normalize(free_MD.detach(), dim=1)
    first, second, third = (unit_MD[2 * sub.index(concept)] for concept in ("X:lungb", "X:lungc", "X:skinb"))
    assert first @ second > first @ third + 0.3  # a sibling is nearer than a stranger
    group_M = torch.tensor(rows)
    assert float(kinship(None, unit_MD, rows)) == pytest.approx(float(group_info_nce(unit_MD, group_M, 2.0)))


@pytest.mark.slow
def test_a_gain_shows_where_looks_are_inherited_and_none_in_the_twin(tmp_path):
    """Exaggerated worlds: looks wholly inherited, no noise; half an hour on a busy machine, minutes on an idle one."""
    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("needs MEDVLP_DATA, the folder with the Disease Ontology")
    world = "world={inheritance: 1.0, nuisance: 0.5, caption_noise: 0.0, missing_labels: 0.0}"
    config = load("controlled/kinship", [world], kind="controlled")
    assert isinstance(config, ControlledConfig)
    table = build(config, run(config, tmp_path, 2, ["base-keep", "twin-keep"]))
    gain = next(row for row in table["primary"] if row["contrast"] == "real − permuted")
    assert gain["low"] > 0.05
    twin = next(r for r in table["levels_differences"] if r["level"] == "twin" and r["contrast"] == "real − permuted")
    assert twin["low"] < 0 < twin["high"]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(whole, tmp_path):
    config, _out, records = whole
    build_graph(config.world.graph, tmp_path)
    only = ["base-clip-real", "base-floor"]
    two = run(config, tmp_path, num_processes=2, only=only)
    one = [r for r, job in zip(records, jobs_of(config, ONLY), strict=True) if any(part in job.name for part in only)]
    assert [r.get("method", FLOOR) for r in two] == [r.get("method", FLOOR) for r in one]
    for first, second in zip(two, one, strict=True):
        if "scores" in first:
            assert first["scores"]["unseen_alone"]["auroc"] == pytest.approx(second["scores"]["unseen_alone"]["auroc"])

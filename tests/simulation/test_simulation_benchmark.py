"""The benchmark: controls that are controls, questions with exact truth, a table that adds up, a page that says so."""

import json
import re

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tiny_models import write_bert

from benchmarks.simulation.config import SimulationBenchmarkConfig
from benchmarks.simulation.controls import derangement, write_control
from benchmarks.simulation.judge import judge
from benchmarks.simulation.page import pictures, render
from benchmarks.simulation.questions import prompt_set, questions
from benchmarks.simulation.run import prompt_sets
from benchmarks.simulation.table import build, headline, markdown, verdict
from data_prep.simulation.side_files import read_organs, read_scenes
from medvlp.config import load
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError


@pytest.fixture(scope="module")
def truth(store):
    scenes = {scene["scene"]: scene for scene in read_scenes(store.folder)}
    return [scenes[key] for key in store.split("test").keys]


@pytest.fixture(scope="module")
def config(store, graph_folder):
    settings = [f"scenes={store.folder}", f"graph={graph_folder}", "seeds=[0]", "num_draws=100", "num_examples=4"]
    found = load("simulation/benchmark", settings, kind="simulation_benchmark")
    assert isinstance(found, SimulationBenchmarkConfig)
    return found


def records(store, truth, arms):
    """Records as training would leave them: scores of the given quality per arm."""
    kinds = list(store.manifest["names"])
    present_NK = np.array([[any(f["kind"] == kind for f in scene["findings"]) for kind in kinds] for scene in truth])
    noise_NK = np.random.default_rng(0).random(present_NK.shape)
    made = {}
    for arm, quality in arms.items():
        score = (quality * present_NK + noise_NK).tolist()
        made[arm] = [{"scores": {"seen": score, "unseen": score}, "seconds": 1.0, "digest": ""}]
    return made


def test_organ_masks_replace_images_and_nothing_else(store, tmp_path):
    control = PairsStore.load(write_control(store, "organs", tmp_path / "organs", seed=0))
    organs = read_organs(store.folder)
    for name in ("train", "dev", "test"):
        own, theirs = store.split(name), control.split(name)
        assert theirs.keys == own.keys
        assert theirs.column("texts") == own.column("texts")
        assert theirs.column("concepts") == own.column("concepts")
        assert [theirs.image_bytes(row) for row in range(len(own))] == [organs[key] for key in own.keys]


def test_shuffled_texts_belong_to_other_scenes(store, tmp_path):
    control = PairsStore.load(write_control(store, "shuffled", tmp_path / "shuffled", seed=0))
    own, theirs = store.split("train"), control.split("train")
    assert [theirs.image_bytes(row) for row in range(len(own))] == [own.image_bytes(row) for row in range(len(own))]
    said = [tuple(text.text for text in texts) for texts in own.column("texts")]
    given = [tuple(text.text for text in texts) for texts in theirs.column("texts")]
    assert sorted(given) == sorted(said)
    donor_N = derangement(len(own), 0)
    assert given == [said[donor] for donor in donor_N]
    assert theirs.column("concepts") == [own.column("concepts")[donor] for donor in donor_N], "concepts go with texts"
    assert control.split("test").column("texts") == store.split("test").column("texts")


@pytest.mark.parametrize("count", [2, 3, 50])
def test_nobody_keeps_their_own_text(count):
    order = derangement(count, 1)
    assert sorted(order) == list(range(count))
    assert (order != np.arange(count)).all()


def test_a_finished_control_is_kept(store, tmp_path):
    folder = write_control(store, "organs", tmp_path / "c", seed=0)
    before = (folder / "manifest.json").stat().st_mtime_ns
    write_control(store, "organs", folder, seed=0)
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_questions_count_the_right_scenes(store, truth):
    asked = {q.name: q for q in questions(truth, store.manifest["held_out"], list(store.manifest["names"]))}
    assert list(asked) == ["scenes", "names", "combination", "side", "finding"]
    assert "mass" not in asked["scenes"].kinds
    assert asked["names"].unseen_names
    part = np.array([scene["part"] for scene in truth])
    healthy = np.array([not scene["findings"] for scene in truth])
    assert (asked["scenes"].counts_NK == (part == "test")[:, None]).all()
    for name, kind in (("combination", "effusion"), ("side", "pneumothorax"), ("finding", "mass")):
        question = asked[name]
        column = question.kinds.index(kind)
        counts, present = question.counts_NK[:, column], question.present_NK[:, column]
        assert set(np.flatnonzero(counts & present)) == set(np.flatnonzero(part == name))
        assert set(part[counts & ~present]) == {"test"}
        assert not (counts & healthy).any(), "a healthy scene is no negative of a held-out part"


def test_prompts_use_exactly_the_names_they_should(config, store):
    found = prompt_sets(config, store)
    seen, unseen = (" ".join(text for texts in found[n].texts for text in texts) for n in ("seen", "unseen"))
    for names in store.manifest["held_out"]["names"].values():
        for name in names:
            assert name not in seen
            assert name in unseen
    assert len(found["seen"].absent) == len(found["seen"].texts) == 6
    one = prompt_set({"a": ["wart"]}, {"a": "X:1"}, "plain", None, "test")
    assert one.texts == (("wart",),)
    assert "no wart" in one.absent[0]


def test_the_table_equals_scikit_learn_and_pairs_its_differences(config, store, truth):
    made = records(store, truth, {"real": 0.8, "organs": 0.2, "shuffled": 0.0})
    table = build(config, store, made)
    kinds = list(store.manifest["names"])
    rows = [row for row, scene in enumerate(truth) if scene["part"] == "test"]
    for found in table["conditions"][0]["findings"]:
        column = kinds.index(found["kind"])
        target = [any(f["kind"] == found["kind"] for f in truth[row]["findings"]) for row in rows]
        assert found["num_positive"] == sum(target)
        for arm in made:
            score = np.array(made[arm][0]["scores"]["seen"])[rows, column]
            expected = roc_auc_score(target, score) if 0 < sum(target) < len(target) else None
            value = found["arms"][arm]["value"]
            assert value is None if expected is None else value == pytest.approx(expected)
    for condition in table["conditions"]:
        for arm in ("organs", "shuffled"):
            lead = condition["arms"]["real"]["value"] - condition["arms"][arm]["value"]
            assert condition["leads"][arm]["value"] == pytest.approx(lead)
            assert condition["leads"][arm]["low"] <= lead <= condition["leads"][arm]["high"]
    json.dumps(table, allow_nan=False)
    page = markdown(table)
    assert "one patient, simulated findings; intervals are over rendered scenes" in page
    assert "nan" not in page
    assert len(headline(table)) == 4


def test_the_verdict_is_honest(config, store, truth):
    good = build(config, store, records(store, truth, {"real": 2.0, "organs": 0.0, "shuffled": 0.0}))
    assert good["conditions"][0]["arms"]["real"]["value"] == 1
    assert "beats both controls" in verdict(good)
    null = build(config, store, records(store, truth, {"real": 0.0, "organs": 0.0, "shuffled": 0.0}))
    assert "cannot be told apart from a control (organ masks only, shuffled texts)" in verdict(null)
    wrong = build(config, store, records(store, truth, {"real": -2.0, "organs": 0.0, "shuffled": 0.0}))
    assert wrong["conditions"][0]["arms"]["real"]["value"] == 0, "a sign error shows"
    assert "beats" not in verdict(wrong)


def test_the_page_stands_alone(config, store, truth):
    table = build(config, store, records(store, truth, {"real": 0.5, "organs": 0.1, "shuffled": 0.0}))
    shown = pictures(store, 4)
    assert len({picture.part for picture in shown}) == 4, "one of each part before a second of any"
    page = render(table, shown)
    assert "One patient, simulated findings; intervals are over rendered scenes" in page
    assert page.count("data:image/jpeg;base64,") == 12
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "organ masks only" in page
    assert "shuffled texts" in page


def test_other_stores_are_refused(config, tmp_path):
    from PIL import Image

    PairsStore.write(tmp_path / "p", [Row("a", Image.new("L", (8, 8)), [Text("t")], "train", "a", 0)])
    with pytest.raises(DataError, match=r"is no store of simulated scenes; make it with `medvlp simulate`"):
        judge(config.model_copy(update={"scenes": str(tmp_path / "p")}), tmp_path / "out")


def test_it_runs_from_scenes_to_page_and_resumes(config, tmp_path):
    bert = write_bert(tmp_path / "bert")
    small = [
        "steps=2", "batches.batch_size=8", "optimizer.warmup_steps=0", "model.image.model=test_efficientnet",
        "model.image.weights=none", "model.image.image_size=64", f"model.text.model={bert}", "model.embed_dim=32",
        "model.text.context_length=16", "precision=32-true",
    ]  # fmt: skip
    config = config.model_copy(update={"set": small})
    table = judge(config, tmp_path / "out")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} >= {"results.json", "table.md", "report.html", "real-seed-0.json"}
    assert set(table["prompts"]) == {"seen", "unseen"}
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-seed-0.json")}
    assert len(before) == 3
    again = judge(config, out)
    assert again["conditions"] == table["conditions"]
    assert {path: path.stat().st_mtime_ns for path in out.glob("*-seed-0.json")} == before

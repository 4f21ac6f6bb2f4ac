"""The knowledge table: nothing leaks, everything resumes, and the numbers are what they say they are."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
import torch
from knowledge_table_cases import CLASS_CONCEPTS, GRAPH, answered, store, tell, tiny_table
from tiny_models import write_bert

from benchmarks.knowledge import __main__ as command
from benchmarks.knowledge import answers, run, sets, table, train
from benchmarks.knowledge.hierarchies import Hierarchies
from benchmarks.knowledge.measure import questions
from benchmarks.knowledge.page import counts, render
from medvlp.config import load
from medvlp.data.pairs import PairsStore
from medvlp.encoders.text import TextEncoder
from medvlp.errors import ConfigError, DataError
from medvlp.knowledge.names import normalise
from medvlp.training import align
from medvlp.training.align import AlignConfig, AlignRecipe
from medvlp.training.draws import Draw
from medvlp.training.loop import make_fabric
from medvlp.training.text_augment import TextAugment, concept_names

pytestmark = pytest.mark.extras  # reads OBO files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("knowledge_table")
    config = tiny_table(root)
    found, graph = run.run(config, root / "out")
    return config, root, found, graph, table.build(config, found, graph)


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in sorted((root / "out" / "answers").rglob("*.*"))}


def test_every_set_arm_and_seed_has_its_row_with_counts_floors_and_what_was_seen(whole):
    config, _, _, _, built = whole
    told = [(question["set"], question["about"], question["seen"]) for question in built["questions"]]
    assert told == [
        ("cells", "all classes", "yes"),
        ("held", "all classes", "no for 2 of 4"),
        ("held", "held-out classes alone", "no"),
        ("noted", "all classes", "yes"),
        ("noted", "image → note", "yes"),
        ("noted", "note → image", "yes"),
    ]
    for question in built["questions"]:
        assert [row["arm"] for row in question["rows"]] == list(config.arms)
        assert question["rows"][0]["seen"] == "no (untrained)"
        for row in question["rows"]:
            score = row["metrics"][question["metrics"][0]]
            assert len(score["by_seed"]) == len(config.seeds)
            assert score["value"] == pytest.approx(np.mean(score["by_seed"]))
            assert score["low"] <= score["value"] <= score["high"]
    cells, held, alone, noted, forth, _ = built["questions"]
    assert cells["num"] == cells["num_cases"] == 16
    assert cells["unit"] == "near-duplicate cluster (optimistic)"
    assert held["num"] == 8 + 16  # half of the seen classes, all of the held-out ones
    assert (alone["num"], alone["classes"]) == (16, ["colon carcinoma", "skin nevus"])
    assert alone["floors"]["colour-histogram"] == {"reason": "no training image of these classes"}
    assert alone["floors"]["prior"]["metrics"]["balanced_accuracy"]["value"] == pytest.approx(0.5)
    assert (noted["unit"], noted["num_cases"]) == ("case", 8)
    assert (forth["num"], forth["metrics"]) == (16, ["recall_at_5", "mean_reciprocal_rank"])
    assert cells["floors"]["colour-histogram"]["metrics"]["balanced_accuracy"]["value"] > 0.9  # the classes are colours


def test_pages_are_whole_and_show_no_nan(whole):
    config, *_, built = whole
    text, page = table.markdown(built), render(built)
    assert text.count("\n| ") >= 6 * len(config.arms) + built["num_differences"]
    assert not re.search(r"\bnan\b", text.lower())
    assert "optimistic" in text
    assert "n/a: no training image of these classes" in text
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("data:image/svg+xml") == len(built["questions"]) + len(config.comparisons)
    assert sum(counts(built)[key] for key in ("found", "unsure", "none")) == counts(built)["all"]
    json.dumps(built, allow_nan=False)


def test_it_resumes_and_does_again_only_what_is_gone(whole):
    config, root, found, _, built = whole
    before, cut = stamps(root), (root / "out" / "graphs" / "cells-real.json").stat().st_mtime_ns
    again, graph = run.run(config, root / "out")
    assert stamps(root) == before
    assert (root / "out" / "graphs" / "cells-real.json").stat().st_mtime_ns == cut
    assert table.build(config, again, graph) == built
    gone = root / "out" / "answers" / "held" / "keep_real-seed-1.npz"
    gone.unlink()
    again, _ = run.run(config, root / "out")
    changed = {path for path, stamp in stamps(root).items() if before.get(path) != stamp}
    assert changed == {gone, gone.with_suffix(".json")}
    for name, array in again["held"].arms["keep_real"][1].items():
        np.testing.assert_allclose(array, found["held"].arms["keep_real"][1][name], atol=1e-5)


def test_an_altered_answer_is_refused_by_name(whole, tmp_path):
    path = tmp_path / "arm.npz"
    digest = answers.save(path, {"scale": np.array(1.0)})
    assert answers.read(path, digest)["scale"] == 1.0
    answers.save(path, {"scale": np.array(2.0)})
    with pytest.raises(DataError, match=r"arm\.npz: is missing or was changed; remove its \.json"):
        answers.read(path, digest)


def test_held_out_classes_never_reach_training(whole):
    prepared = whole[2]["held"].prepared
    hidden = {"colon carcinoma", "carcinoma of the colon", "skin nevus", "nevus of the skin"}
    assert prepared.hidden == hidden
    for name in ("train", "dev"):
        part = prepared.store.split(name)
        assert not {"colon carcinoma", "skin nevus"} & set(part.column("label"))
        texts = [normalise(text.text) for row in part.column("texts") for text in row]
        assert not any(word in text for word in hidden for text in texts)
    assert {"colon carcinoma", "skin nevus"} <= set(prepared.store.split("test").column("label"))
    assert not set(prepared.store.split("train").column("case")) & set(prepared.store.split("test").column("case"))


def test_no_caption_of_a_training_step_says_a_held_out_class_even_on_a_rewired_path(whole):
    """Mutation: the same captions without the guard do say it."""
    prepared = whole[2]["held"].prepared
    # a rewired hierarchy in which a held-out class stands above the classes that are trained
    wrong = {
        concept: {**dict(name=GRAPH.name(concept)), "parents": ["X:0"]} for concept in ("X:11", "X:12")
    } | {"X:0": {"name": "disease"}, "X:10": {"name": "lung carcinoma", "parents": ["X:11"]}}  # fmt: skip
    graph = type(GRAPH).from_dict(wrong)
    settings = TextAugment.Config(knowledge=1.0, path=1.0, drop=0.0, general_depth=0)
    augment = TextAugment(settings, concept_names(graph), graph, {})
    guarded = train.Silenced(augment, prepared.hidden)
    row, said, unguarded = graph.index("X:10"), [], []
    for draw in range(50):
        said.append(guarded("a picture", [row], None, np.random.default_rng(draw))[0])
        unguarded.append(augment("a picture", [row], None, np.random.default_rng(draw))[0])
    assert any("colon carcinoma" in text for text in unguarded)
    assert not any(sets.says(text, prepared.hidden) for text in said)
    assert guarded.num_silenced == 50


def test_a_caption_that_names_a_held_out_class_is_refused(tmp_path):
    prepared = store(tmp_path / "s", 2)
    with pytest.raises(DataError, match=r"sets\.cells: captions of 'skin nevus' in its train part name a held-out"):
        sets.check_parts("cells", prepared.store, ["liver adenoma"], frozenset({"skin nevus"}))
    with pytest.raises(ConfigError, match=r"held_out: wart: is not a class; use colon carcinoma"):
        sets.hold_out(prepared.store, ["wart", "skin nevus"], tmp_path / "t")


def test_holding_out_moves_whole_cases(tmp_path):
    from medvlp.data.pairs import Row, Text

    image = store(tmp_path / "s", 1).store.split("test").image_bytes(0)
    rows = [
        Row("a1", image, [Text("x")], "train", "a", 0, "lung"),
        Row("a2", image, [Text("x")], "train", "a", 1, "colon"),
        Row("b", image, [Text("x")], "train", "b", 1, "colon"),
        Row("c", image, [Text("x")], "dev", "c", 2, "skin"),
    ]
    held = sets.hold_out(PairsStore.write(tmp_path / "t", rows), ["lung", "skin"], tmp_path / "u")
    assert {name: held.split(name).keys for name in ("train", "dev", "test")} == {
        "train": ["b"], "dev": [], "test": ["a1", "a2", "c"],
    }  # fmt: skip


def test_all_arms_of_a_set_see_equally_many_rows_and_train_the_same_parts(whole):
    config, root, found, _, _ = whole
    folders = {"cache": root / "f", **{name: root / "out" / "stage_1" / f"{name}-seed-0" for name in config.stages_1}}
    for prepared in (answer.prepared for answer in found.values()):
        hierarchies = Hierarchies(GRAPH, root / "graphs")
        runs = [
            train.align_settings(config, arm, prepared, 0, folders, hierarchies)
            for arm in config.arms.values() if arm.trained
        ]  # fmt: skip
        batches = [settings.batches for settings in runs]
        sizes = {b.batch_size if b.name == "pairs" else b.groups_per_batch * b.instances for b in batches}
        assert len(sizes) == 1
        assert {settings.steps for settings in runs} == {3}
        assert {tuple(settings.freeze.always) for settings in runs} == {("image_tower", "text_tower")}
        assert {settings.model.text_head for settings in runs} == {"linear"}
        no_graph = [settings for settings in runs if settings.knowledge == "none"]
        assert [settings.graph for settings in no_graph] == [None] * 2  # InfoNCE and KEP


def test_the_cut_and_rewired_graph_writes_the_captions_of_the_whole_one(tmp_path):
    prepared = store(tmp_path / "s", 2)
    hierarchies = Hierarchies(GRAPH, tmp_path / "graphs")
    for knowledge, whole_graph in (("real", GRAPH), ("permuted", GRAPH.permuted(3))):
        cut = type(GRAPH).load(hierarchies.store(prepared, knowledge, 3))
        settings = TextAugment.Config(knowledge=1.0, path=0.5)
        one, other = (TextAugment(settings, concept_names(g), g, {}) for g in (cut, whole_graph))
        for concept, draw in itertools.product(CLASS_CONCEPTS.values(), range(20)):
            texts = [
                augment("x", [g.index(concept)], None, np.random.default_rng(draw))
                for augment, g in ((one, cut), (other, whole_graph))
            ]
            assert texts[0] == texts[1]
    assert hierarchies.store(prepared, "none", 3) is None


def test_a_run_here_learns_exactly_what_the_recipe_learns(whole):
    config, root, found, _, _ = whole
    prepared = found["cells"].prepared
    folders = {"cache": root / "f", **{name: root / "out" / "stage_1" / f"{name}-seed-0" for name in config.stages_1}}
    settings = train.align_settings(
        config, config.arms["keep_real"], prepared, 0, folders, Hierarchies(GRAPH, root / "g")
    )
    here = train.train_arm(settings, root / "run", frozenset(), {})
    assert not (root / "run" / "checkpoints").exists()
    assert (root / "run" / "log.jsonl").is_file()
    import medvlp

    there = medvlp.load(align.train(settings, root / "plain"))
    for name, weight in there.state_dict().items():
        torch.testing.assert_close(here.state_dict()[name], weight, atol=1e-5, rtol=1e-4, msg=name)
    start = train.start_model(settings, {})
    assert not torch.allclose(start.image_head.first.weight, there.image_head.first.weight, atol=1e-4)


def test_a_frozen_tower_meets_each_text_once(tmp_path):
    tower = TextEncoder(TextEncoder.Config(model=str(write_bert(tmp_path / "bert")), context_length=16)).eval()
    ids_ML, mask_ML = tower.tokenizer(["the lung", "a skin nevus of the colon", "the lung"], False)
    with torch.no_grad():
        wanted_MI = tower(ids_ML, mask_ML)
    calls, encode = [], tower.forward

    def counted(ids, mask):
        calls.append(len(ids))
        return encode(ids, mask)

    tower.forward = counted
    memories = {}
    train.remember(tower, memories)
    torch.testing.assert_close(tower(ids_ML, mask_ML), wanted_MI, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tower(ids_ML[:1, :4], mask_ML[:1, :4]), wanted_MI[:1], atol=1e-5, rtol=1e-4)
    assert sum(calls) <= 3
    assert len(calls) == 1
    with pytest.raises(AssertionError, match="frozen"):
        tower.train()(ids_ML, mask_ML)


def test_permuting_the_answers_drives_scores_to_chance(tmp_path):
    prepared = store(tmp_path / "s", 30)
    made = answered(prepared, {"right": [0.95, 0.95]})
    config = tell({"right": [0, 0]}, [])
    good = table.build(config, {"cells": made}, GRAPH)["questions"][0]["rows"][0]["metrics"]
    assert good["balanced_accuracy"]["value"] > 0.9
    rng = np.random.default_rng(0)
    shuffled = [
        {**arrays, "class_cosine_NK": arrays["class_cosine_NK"][rng.permutation(len(arrays["class_cosine_NK"]))]}
        for arrays in made.arms["right"] * 10
    ]
    (question,) = questions(run.Answered(prepared, {"right": shuffled}, made.floors, {"right": 1.0}), GRAPH, 100)
    assert question.arms["right"]["balanced_accuracy"].value == pytest.approx(0.25, abs=0.03)
    assert question.arms["right"]["auroc"].value == pytest.approx(0.5, abs=0.03)


def test_scores_equal_those_of_scikit_learn(tmp_path):
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    prepared = store(tmp_path / "s", 12)
    made = answered(prepared, {"arm": [0.6, 0.7]})
    (question,) = questions(made, GRAPH, 100)
    labels = prepared.store.split("test").column("label")
    target = [prepared.store.classes.index(label) for label in labels]
    for place, arrays in enumerate(made.arms["arm"]):
        logit = 10 * arrays["class_cosine_NK"].astype(float)
        probability = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
        found = question.arms["arm"]
        wanted = balanced_accuracy_score(target, probability.argmax(1))
        assert found["balanced_accuracy"].by_seed_R[place] == pytest.approx(wanted)
        wanted = roc_auc_score(target, probability, multi_class="ovr")
        assert found["auroc"].by_seed_R[place] == pytest.approx(wanted)


def test_a_null_result_is_printed_as_one_and_an_effect_as_one(tmp_path):
    prepared = store(tmp_path / "s", 40)
    shares = {"same": [0.6, 0.6], "alike": [0.6, 0.6], "better": [0.95, 0.95]}
    made = {"cells": answered(prepared, shares)}
    built = table.build(tell(shares, [("same", "alike"), ("better", "same"), ("same", "better")]), made, GRAPH)
    null, effect, mirrored = built["questions"][0]["differences"]
    assert re.fullmatch(r"no difference detected \(could have seen ≥ 0\.\d{3}\)", null["verdict"])
    assert null["smallest"] == pytest.approx(2.8016 * null["standard_error"], rel=1e-4)
    assert f"| same − alike | {null['value']:+.3f}" in table.markdown(built)
    assert null["verdict"] in table.markdown(built)
    assert (effect["verdict"], mirrored["verdict"]) == ("higher", "lower")
    assert effect["value"] == pytest.approx(-mirrored["value"])


def test_only_sets_of_one_kind_are_averaged(whole):
    *_, built = whole
    pools = {row["over"]: row["sets"] for row in built["pooled"]}
    assert pools == {"all sets whose class names were seen": ["cells", "noted"]}


def test_retrieval_counts_each_text_once_and_all_its_images_as_right(whole):
    _, _, found, graph, _ = whole
    made = found["noted"]
    split = made.prepared.store.split("test")
    notes = answers.free_texts(split)
    assert len(notes) == 8
    assert len(split) == 16
    cosine = np.random.default_rng(0).normal(size=(len(split), len(notes)))
    made = dataclasses.replace(made, arms={"clip": [{**made.arms["clip"][0], "text_cosine_NG": cosine}]})
    *_, forth, back = questions(made, graph, 100)
    own = [next(t.text for t in row if t.aspect == "caption") for row in split.column("texts")]
    ranks = [1 + sum(c > cosine[i, notes.index(own[i])] for c in cosine[i]) for i in range(16)]
    assert forth.arms["clip"]["mean_reciprocal_rank"].by_seed_R[0] == pytest.approx(np.mean([1 / r for r in ranks]))
    hits = []
    for note in notes:
        order = np.argsort(-cosine[:, notes.index(note)])
        hits.append(any(own[i] == note for i in order[:5]))
    assert back.arms["clip"]["recall_at_5"].by_seed_R[0] == pytest.approx(np.mean(hits))
    assert back.num == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("arms.clip.text=surreal", "names the stage 1 'surreal', which stages_1 does not have"),
        (
            "comparisons=[{first: keep_real, second: nobody, asks: x}]",
            "names the arm 'nobody', which arms does not have",
        ),
        ("comparisons=[{first: floor, second: clip, asks: x}]", "names the arm 'floor'"),
        ("seeds=[0, 0]", "a seed comes twice"),
        ("sets.oral.held_out=[Normal]", "hold out two classes or more"),
        ("sets.chest.held_out=[COVID-19, ARDS]", "held_out names a class that is not scored"),
        ("sets.Oral={title: x, pairs: y}", "sets.Oral"),
    ],
)
def test_a_wrong_configuration_is_refused(change, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load("knowledge_table", [change])


def test_a_class_the_set_does_not_have_is_refused(tmp_path):
    config = tiny_table(tmp_path)
    wrong = config.sets["cells"].model_copy(update={"positive": "wart"})
    config = config.model_copy(update={"sets": {"cells": wrong}})
    GRAPH.save(tmp_path / "graph")
    with pytest.raises(ConfigError, match=r"sets\.cells: wart: is not a class of the set; use colon carcinoma"):
        sets.prepare_set(config, "cells", GRAPH, tmp_path / "graph", tmp_path / "sets")


def test_one_group_cannot_be_contrasted(tmp_path):
    from medvlp.data.pairs import Row, Text

    prepared = store(tmp_path / "s", 1)
    image = prepared.store.split("test").image_bytes(0)
    rows = [Row(str(i), image, [Text("x")], "train", str(i), 0, "lung") for i in range(3)]
    alone = dataclasses.replace(prepared, store=PairsStore.write(tmp_path / "t", rows))
    with pytest.raises(DataError, match=r"sets\.cells: its training part has one semantic group; use two classes"):
        train.batch_shape(alone, 8, 4)


def test_the_command_prints_one_line_for_a_mistake(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["knowledge", "--out", str(tmp_path), "--set", "seeds=[0, 0]"])
    assert command.main() == 2
    assert "a seed comes twice" in capsys.readouterr().err


def test_the_command_writes_all_three_forms(whole, monkeypatch, capsys, tmp_path):
    _, root, *_ = whole
    page = tmp_path / "page.md"
    page.write_text(f"<!-- {table.MARK}: begin -->\n<!-- {table.MARK}: end -->\n", encoding="utf-8")
    words = ["knowledge", str(root / "table.yaml"), "--out", str(root / "out"), "--write-docs", str(page)]
    monkeypatch.setattr("sys.argv", words)
    assert command.main() == 0
    said = capsys.readouterr().out
    written = (root / "out" / "table.md").read_text(encoding="utf-8")
    assert written in said
    assert written.strip() in page.read_text(encoding="utf-8")
    assert json.loads((root / "out" / "table.json").read_text(encoding="utf-8"))["format"] == table.FORMAT
    assert (root / "out" / "table.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_captions_of_arms_without_knowledge_hold_display_names_alone(whole):
    """None of the graph's synonyms reaches an arm without knowledge; an arm with it does say them."""
    config, root, found, _, _ = whole
    prepared = found["cells"].prepared
    folders = {"cache": root / "f", **{name: root / "out" / "stage_1" / f"{name}-seed-0" for name in config.stages_1}}
    said = {}
    for name in ("clip", "keep_real"):
        settings = train.align_settings(config, config.arms[name], prepared, 0, folders, Hierarchies(GRAPH, root / "g"))
        assert isinstance(settings, AlignConfig)
        recipe = AlignRecipe(settings, make_fabric(settings), None, use_cache=True)
        texts = [text for step in range(20) for row in range(4) for text in recipe.data[Draw(step, row, row)].texts]
        said[name] = " ".join(texts)
    synonyms = ("of the lung", "of the colon", "of the skin", "of the liver", "cancer")
    assert not any(word in said["clip"] for word in synonyms)
    assert any(word in said["keep_real"] for word in synonyms)

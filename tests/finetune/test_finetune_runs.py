"""Whole runs: what they write, that they resume bit for bit, choose on dev alone, and refuse what is wrong by name."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from finetune_cases import class_config
from PIL import Image
from tiny_models import pictures, tiny_model, write_bert
from training_cases import CLASSES, write_pairs

from medvlp.data.augment import Augment
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.encoders.weights import read_state_dict
from medvlp.errors import CheckpointError, ConfigError, DataError, TrainingError
from medvlp.finetune import load, run
from medvlp.finetune.classify import build_tasks
from medvlp.finetune.config import Classification, FewShot, Full, Linear, Lora, Probe, Start
from medvlp.finetune.scoring import validate
from medvlp.io import read_json
from medvlp.training.checkpoint import Retention
from medvlp.training.ema import Ema
from medvlp.training.log import read_log
from medvlp.training.loop import Engine
from medvlp.training.optim import OptimizerConfig


def results(out):
    return read_json(out / "results" / "results.json")


def metric(value, name):
    (entry,) = [entry for entry in value["metrics"] if entry["name"] == name]
    return entry


def state_of(folder):
    return read_state_dict(Path(folder) / "model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_probe_learns_reopens_and_answers_as_it_was_scored(place, tmp_path):
    out = run(class_config(place, Probe()), tmp_path / "probe")
    value = results(out)
    validate(value)
    assert metric(value, "balanced_accuracy")["value"] == 1.0
    assert {entry["name"] for entry in value["metrics"]} >= {"accuracy", "auroc", "f1_macro", "ece"}
    assert [floor["name"] for floor in value["floors"]] == ["prior", "colour-histogram"]
    assert value["floors"][0]["metrics"][1]["value"] == 0.25
    assert value["fits"][0]["C"] in [pytest.approx(10**power) for power in np.linspace(-5, 5, 21)]
    network = load(out)
    split = PairsStore.load(place / "pairs").split("test")
    table = pyarrow.parquet.read_table(out / "results" / "predictions-seed-0.parquet")
    answered = network.predict([split[row].image for row in range(len(split))])
    told = np.stack([table.column(f"probability: {label}").to_numpy() for label in network.classes], 1)
    np.testing.assert_allclose(answered.numpy(), told, atol=1e-5)
    assert table.column("key").to_pylist() == split.keys
    assert answered.sum(1).tolist() == pytest.approx([1.0] * len(split))
    assert not (out / "training").exists()


@pytest.mark.parametrize("method", [Full(layer_decay=0.8), Linear()])
def test_steps_learn(place, tmp_path, method):
    rate = 3e-3 if isinstance(method, Full) else 0.3
    optimizer = OptimizerConfig(lr=rate, warmup_steps=2, weight_decay=0.01)
    config = class_config(place, method, steps=30, optimizer=optimizer, batch_size=16, class_weights="balanced")
    value = results(run(config, tmp_path / "run"))
    losses = [record["loss"] for record in read_log(tmp_path / "run" / "training") if record["kind"] == "train"]
    assert losses[0] == pytest.approx(np.log(4), abs=1e-4)  # every class starts equally likely
    assert losses[-1] < 0.6 * losses[0]
    assert metric(value, "balanced_accuracy")["value"] >= 0.75
    share = value["fits"][0]["trained_share"]
    assert share == 1.0 if isinstance(method, Full) else share < 0.05


def cut(monkeypatch, after):
    """Stop a run as if it was killed when so many steps were done."""
    whole = Engine.step

    def step(self, batches, out):
        if self.done == after:
            raise KeyboardInterrupt
        return whole(self, batches, out)

    monkeypatch.setattr(Engine, "step", step)


@pytest.mark.extras
@pytest.mark.parametrize("name", ["full", "lora"])
def test_an_interrupted_run_ends_with_the_same_bits(place, tmp_path, monkeypatch, name):
    pytest.importorskip("peft", reason="needs the extra finetune")
    pytest.importorskip("albumentations", reason="needs the extra aug")
    changes = {
        "image_augment": Augment.Config(size=64, horizontal_flip=0.5),
        "ema": Ema.Config(decay=0.9),
        "head_first": 2,
        "select": "best",
        "validate_every": 2,
    }
    method = Full() if name == "full" else Lora(rank=2)
    config = class_config(place, method, **changes)
    straight = run(config, tmp_path / "straight")
    with monkeypatch.context() as patch:
        cut(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "cut")
    assert not (tmp_path / "cut" / "results").exists()
    resumed = run(config, tmp_path / "cut")
    assert same(state_of(straight / "model"), state_of(resumed / "model"))
    assert results(straight)["metrics"] == results(resumed)["metrics"]
    last = "training/checkpoints/step-00000006"
    assert same(state_of(straight / last), state_of(resumed / last))


def test_the_moving_average_is_what_is_kept(place, tmp_path):
    out = run(class_config(place, Full(), ema=Ema.Config(decay=0.9, warmup=False)), tmp_path / "run")
    last = out / "training" / "checkpoints" / "step-00000006"
    kept = state_of(out / "model")
    assert same(kept, state_of(last / "ema"))
    assert not same(kept, state_of(last))


def test_the_best_on_dev_is_kept_and_test_is_never_asked(place, tmp_path, monkeypatch):
    from medvlp.finetune import classify

    asked = []
    whole = classify.answer

    def answer(job, network, task, *, frozen):
        asked.append(task.split)
        return whole(job, network, task, frozen=frozen)

    monkeypatch.setattr(classify, "answer", answer)
    optimizer = OptimizerConfig(lr=0.05, schedule="constant")
    config = class_config(
        place, Full(), select="best", validate_every=1, optimizer=optimizer, checkpoint=Retention(every=1, last=9)
    )
    out = run(config, tmp_path / "run")
    losses = [record["loss"] for record in read_log(out / "training") if record["kind"] == "validation"]
    step = int(np.argmin(losses)) + 1
    assert results(out)["fits"][0]["chosen_on_dev"]["loss"] == pytest.approx(min(losses))
    assert same(state_of(out / "model"), state_of(out / "training" / "checkpoints" / f"step-{step:08d}"))
    assert asked == ["dev"] * 6 + ["test", "dev"]


def test_frozen_parts_stand_still(place, tmp_path):
    out = run(class_config(place, Full(), head_first=6), tmp_path / "run")
    first, last = (state_of(out / "training" / "checkpoints" / f"step-0000000{step}") for step in (2, 6))
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved == {"head.weight", "head.bias"}


def test_few_shot_draws_each_seed_and_names_a_small_class(place, tmp_path):
    out = run(class_config(place, FewShot(shots=3, seeds=[0, 1])), tmp_path / "few")
    value = results(out)
    assert value["task"]["num_train"] == [12, 12]
    assert value["bootstrap"]["unit"] == "case and seed"
    seeds = [part["balanced_accuracy"] for part in value["by_seed"]]
    assert metric(value, "balanced_accuracy")["value"] == pytest.approx(np.mean(seeds))
    assert load(out / "seed-1").classes == tuple(sorted(CLASSES))
    with pytest.raises(CheckpointError, match=r"holds no fine-tuned network; name one of its seed-0, seed-1"):
        load(out)
    with pytest.raises(DataError, match=r"class colon: has 12 images in the train split, fewer than 13 shots"):
        run(class_config(place, FewShot(shots=13)), tmp_path / "many")
    inside = FewShot(shots=3, seeds=[4], method=Full())
    value = results(run(class_config(place, inside, batch_size=64, steps=2), tmp_path / "full"))
    assert value["fits"][0]["method"] == "full"  # the batch shrinks to the few images


def test_it_starts_from_any_model_the_library_opens(place, tmp_path):
    from medvlp.export import export

    model = tiny_model(write_bert(tmp_path / "bert"))
    folder = export(model, "safetensors", tmp_path / "export")
    start = Start(model=str(folder), image_size=48)
    out = run(class_config(place, Full(), start=start, steps=1), tmp_path / "run")
    network = load(out)
    assert network.preprocess.size == 48
    assert network.predict(pictures(3)).shape == (3, 4)
    with pytest.raises(ConfigError, match=r"start\.weights: .* brings its own weights; set it to null"):
        run(class_config(place, Probe(), start=Start(model=str(folder), weights="timm")), tmp_path / "no")
    with pytest.raises(CheckpointError, match="keeps no averaged weights"):
        run(class_config(place, Probe(), start=Start(model=str(folder), ema=True)), tmp_path / "no")


def write_multi(folder):
    """Two signs, any number of them per image, as concepts."""

    def rows():
        rng = np.random.default_rng(0)
        for number in range(48):
            signs = [number % 2 == 1, number // 2 % 2 == 1]
            values = rng.integers(0, 60, (24, 24, 3)) + 120 * np.array([*signs, False])
            concepts = [concept for concept, sign in zip(("T:2", "T:4"), signs, strict=True) if sign]
            split = ("train", "train", "train", "dev", "test", "test")[number // 4 % 6]
            image = Image.fromarray(values.astype(np.uint8))
            yield Row(f"{number}", image, [Text("an image")], split, f"case {number}", 0, None, concepts)

    PairsStore.write(folder, rows(), classes={"red": ["T:2"], "green": ["T:4"]})
    return folder


def test_several_classes_per_image(place, tmp_path):
    write_multi(tmp_path / "multi")
    task = {"data": str(tmp_path / "multi"), "mode": "multi"}
    value = results(run(class_config(place, Probe(), task), tmp_path / "probe"))
    assert metric(value, "auroc")["value"] == 1.0
    assert metric(value, "f1_macro")["value"] > 0.9
    steps = class_config(place, Full(), task, steps=3, class_weights="balanced")
    assert metric(results(run(steps, tmp_path / "full")), "ece")["value"] < 0.6
    answered = load(tmp_path / "probe").predict(pictures(2))
    assert answered.shape == (2, 2)
    assert answered.min() >= 0
    assert answered.max() <= 1


def test_rows_without_a_label_are_counted(place, tmp_path):
    store = PairsStore.load(place / "pairs")

    def rows():
        for split in ("train", "dev", "test"):
            part = store.split(split)
            for number, pair in enumerate(part):
                label = None if number == 0 else pair.label
                yield Row(pair.key, pair.image, pair.texts, split, pair.case, pair.group, label)

    PairsStore.write(tmp_path / "pairs", rows(), classes=CLASSES)
    value = results(run(class_config(place, Probe(), {"data": str(tmp_path / "pairs")}), tmp_path / "run"))
    assert value["task"]["rows"]["train"]["dropped"] == {"no label": 1}
    assert value["task"]["num_train"] == [47]


def test_choices_on_test_and_shared_splits_are_refused(place, tmp_path):
    for field in ("train", "dev"):
        other = {"train": "dev", "dev": "train"}[field]
        task = {field: "test", "test": field, other: other}
        with pytest.raises(DataError, match="test: nothing may be fitted on the test split"):
            run(class_config(place, Probe(), task), tmp_path / "run")
    with pytest.raises(DataError, match="a split is used twice"):
        run(class_config(place, Probe(), {"test": "dev"}), tmp_path / "run")
    assert not (tmp_path / "run" / "results").exists()


def test_a_missing_dev_split_is_named(place, tmp_path):
    write_no_dev = [
        Row(pair.key, pair.image, pair.texts, "train" if split == "dev" else split, pair.case, pair.group, pair.label)
        for split in ("train", "dev", "test")
        for pair in PairsStore.load(place / "pairs").split(split)
    ]
    PairsStore.write(tmp_path / "pairs", write_no_dev, classes=CLASSES)
    task = {"data": str(tmp_path / "pairs")}
    with pytest.raises(DataError, match=r"so C cannot be chosen; set method\.C"):
        run(class_config(place, Probe(), task), tmp_path / "probe", dry_run=True)
    with pytest.raises(ConfigError, match=r"select: best: needs a development split"):
        run(class_config(place, Full(), task, select="best"), tmp_path / "best")
    assert metric(results(run(class_config(place, Probe(C=1.0), task), tmp_path / "fixed")), "accuracy")["value"] == 1.0


def test_classes_are_checked(place):
    store = PairsStore.load(place / "pairs")
    with pytest.raises(DataError, match=r"kidney: is not a class of the data; its classes are colon, lung"):
        build_tasks(Classification(data="", classes=["lung", "kidney"]), store)
    with pytest.raises(DataError, match="1 distinct classes"):
        build_tasks(Classification(data="", classes=["lung"]), store)


def test_a_folder_belongs_to_one_run(place, tmp_path):
    config = class_config(place, Probe())
    run(config, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"already holds a run; use --resume auto"):
        run(config, tmp_path / "run", resume="never")
    with pytest.raises(TrainingError, match=r"cannot go on with other settings: seed was 0, now 1"):
        run(config.model_copy(update={"seed": 1}), tmp_path / "run")
    smaller = config.start.model_copy(update={"image_size": 48})
    with pytest.raises(TrainingError, match=r"cannot go on with other settings: start \(content\) was"):
        run(config.model_copy(update={"start": smaller}), tmp_path / "run")
    assert run(config.model_copy(update={"level": 0.9}), tmp_path / "run") == tmp_path / "run"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(TrainingError, match="is not empty and holds no run"):
        run(config, tmp_path / "mine")


@pytest.mark.parametrize("method", [Probe(), Full(), FewShot(shots=2, method=Linear())])
def test_a_dry_run_leaves_nothing(place, tmp_path, method):
    run(class_config(place, method, cache=str(tmp_path / "cache")), tmp_path / "run", dry_run=True)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_contradict_one_another(place, tmp_path):
    for config, message in [
        (class_config(place, Probe(), image_augment=Augment.Config()), "method probe embeds each image once"),
        (class_config(place, Probe(), label_smoothing=0.1), "is for methods that take steps"),
        (class_config(place, Full(), batch_size=500), "a batch of 500 rows is more than the 48 rows"),
    ]:
        with pytest.raises((ConfigError, TrainingError), match=message):
            run(config, tmp_path / "run", dry_run=True)


def test_a_loss_that_is_not_finite_stops_the_run(place, tmp_path):
    optimizer = OptimizerConfig(lr=1e30, schedule="constant", weight_decay=0)
    with pytest.raises(TrainingError, match="not finite"):
        run(class_config(place, Full(), optimizer=optimizer, clip_norm=None), tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_damaged_networks_are_refused(place, tmp_path):
    out = run(class_config(place, Probe(C=1.0)), tmp_path / "run")
    path = out / "model" / "finetuned.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": ["a"]}))
    with pytest.raises(CheckpointError, match="differs from its sha256"):
        load(out)
    with pytest.raises(CheckpointError, match="holds no fine-tuned network"):
        load(tmp_path)
    with pytest.raises(DataError, match="expected at least one image"):
        load(run(class_config(place, Probe(C=1.0)), tmp_path / "other")).predict([])


def test_write_pairs_has_the_counts_these_tests_speak_of(tmp_path):
    store = write_pairs(tmp_path / "pairs")
    assert [len(PairsStore.load(store).split(name)) for name in ("train", "dev", "test")] == [48, 8, 8]

"""Stage 2: the knowledge switch, freezing, caching, a user's own loss, dry run, and that it learns."""

import numpy as np
import pytest
import torch
from training_cases import align_config

import medvlp
from medvlp.config import dump, load
from medvlp.data.augment import Augment
from medvlp.errors import ConfigError, DataError, TrainingError
from medvlp.objectives.base import Losses
from medvlp.objectives.clip import ClipObjective
from medvlp.training.align import AlignRecipe, Freezing, GroupBatches, PairBatches, train
from medvlp.training.align_data import cut_groups
from medvlp.training.features import cached_features
from medvlp.training.log import read_log
from medvlp.training.loop import make_fabric
from medvlp.training.optim import OptimizerConfig
from medvlp.training.text_augment import TextAugment


def recipe_of(config, objective=None, use_cache=False):
    return AlignRecipe(config, make_fabric(config), objective, use_cache)


def weights(folder):
    return medvlp.load(folder).state_dict()


def same(left, right):
    return {name for name in left if torch.equal(left[name], right[name])}


def test_it_learns_and_the_last_checkpoint_opens(place, bert, tmp_path):
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=5, weight_decay=0.01)
    config = align_config(
        place, bert, "test_efficientnet", batch_norm="batch", optimizer=optimizer, steps=60, log_every=5,
        validate_every=30,
    )  # fmt: skip
    checkpoint = train(config, tmp_path / "run")
    records = read_log(tmp_path / "run")
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    scores = [record["zero_shot/accuracy"] for record in records if record["kind"] == "validation"]
    assert np.mean(losses[-3:]) < 0.75 * np.mean(losses[:3])
    assert len(scores) == 2
    assert scores[-1] >= 0.75
    assert checkpoint == tmp_path / "run" / "checkpoints" / "step-00000060"
    assert medvlp.load(tmp_path / "run").encode_text(["lung"]).shape == (1, 32)
    assert records[0].keys() >= {
        "loss",
        "semantic_groups",
        "scale",
        "lr/heads",
        "samples_per_second",
        "truncated_share",
    }


def batch_of(config, step=0):
    recipe = recipe_of(config)
    return recipe, next(recipe.batches(step, 0, 1))


def test_knowledge_none_uses_nothing_of_the_graph(place, bert):
    augment = TextAugment.Config(drop=0, knowledge=1, templates="plain")
    recipe, batch = batch_of(align_config(place, bert, knowledge="none", text_augment=augment))
    assert set(batch.texts) <= {"lung", "colon", "nevus", "normal"}
    assert batch.concept_B.tolist() == [-1] * 8
    assert batch.label_B is None
    assert recipe.objective.graph is None
    other, real = batch_of(align_config(place, bert, text_augment=augment))
    assert real.keys == batch.keys
    assert set(real.texts) - {"normal"} <= {name for row in range(7) for name in other.data.texts.names[row]} | {
        text for text in real.texts if " " in text
    }
    assert other.objective.graph is other.graph


def test_the_control_differs_in_the_hierarchy_alone(place, bert):
    real, control = (recipe_of(align_config(place, bert, knowledge=kind)) for kind in ("real", "permuted"))
    assert control.objective.graph.digest != real.objective.graph.digest
    assert control.data.texts.names == real.data.texts.names
    first, second = (next(recipe.batches(0, 0, 1)) for recipe in (real, control))
    assert first.keys == second.keys
    assert first.concepts == second.concepts


def test_groups_are_whole_and_workers_do_not_change_a_batch(place, bert):
    config = align_config(place, bert, image_augment=Augment.Config(size=160, horizontal_flip=0.5, brightness=0.2))
    pytest.importorskip("albumentations", reason="needs the extra aug")
    batches = []
    for workers in (0, 2):
        stream = recipe_of(config.model_copy(update={"num_workers": workers})).batches(2, 0, 1)
        batches.append([next(stream), next(stream)])
    for alone, together in zip(*batches, strict=True):
        assert alone.keys == together.keys
        assert alone.texts == together.texts
        assert torch.equal(alone.image_BCHW, together.image_BCHW)
    assert sorted(np.unique(batches[0][0].group_B, return_counts=True)[1].tolist()) == [2] * 4


def test_large_groups_are_cut_evenly_and_never_across(place, bert):
    groups = np.array([5] * 10 + [2] * 3)
    parts = cut_groups(groups, 4, seed=0)
    assert sorted(np.unique(parts, return_counts=True)[1].tolist()) == [3, 3, 3, 4]
    assert all(len(set(groups[parts == part].tolist())) == 1 for part in set(parts.tolist()))
    batches = GroupBatches(groups_per_batch=24, instances=2, max_size=2)
    recipe = recipe_of(align_config(place, bert, batches=batches))
    assert len(set(recipe.data.groups.tolist())) == 32
    assert sorted(np.unique(next(recipe.batches(0, 0, 1)).group_B, return_counts=True)[1].tolist()) == [2] * 24


def test_frozen_parts_stand_still_then_move(place, bert, tmp_path):
    config = align_config(place, bert, freeze=Freezing(steps=2), checkpoint={"every": 2, "last": 9}, steps=4)
    train(config, tmp_path / "run")
    start = recipe_of(config).model.state_dict()
    early, late = (weights(tmp_path / "run" / "checkpoints" / f"step-0000000{step}") for step in (2, 4))
    towers = {name for name in start if name.startswith(("image.", "text."))}
    assert towers <= same(start, early)
    assert set(start) - towers - same(start, early)
    assert len(towers & same(start, late)) < len(towers) / 2


def test_batch_statistics_stay_as_they_were_unless_asked_for(place, bert, tmp_path):
    moved = {}
    for kind in ("fixed", "batch"):
        config = align_config(place, bert, image="test_efficientnet", batch_norm=kind, steps=2)
        train(config, tmp_path / kind)
        start, end = recipe_of(config).model.state_dict(), weights(tmp_path / kind)
        moved[kind] = [name for name in start if "running_mean" in name and not torch.equal(start[name], end[name])]
    assert not moved["fixed"]
    assert moved["batch"]


def cached_config(place, bert, tmp_path, **changes):
    freeze = Freezing(always=["image_tower"])
    return align_config(place, bert, freeze=freeze, cached_features=True, cache=str(tmp_path / "cache"), **changes)


def test_cached_features_give_the_run_without_cache(place, bert, tmp_path):
    config = cached_config(place, bert, tmp_path)
    train(config, tmp_path / "cached")
    train(config.model_copy(update={"cached_features": False}), tmp_path / "plain")
    cached, plain = ([r["loss"] for r in read_log(tmp_path / run) if "loss" in r] for run in ("cached", "plain"))
    assert cached == pytest.approx(plain, rel=1e-3)
    assert same(weights(tmp_path / "cached"), weights(tmp_path / "plain")) >= {
        name for name in weights(tmp_path / "cached") if name.startswith("image.")
    }


def test_a_cache_is_read_again_only_for_the_same_tower(place, bert, tmp_path):
    config = cached_config(place, bert, tmp_path)
    recipe = recipe_of(config)
    cpu, folder = torch.device("cpu"), tmp_path / "cache"
    arguments = (recipe.split, recipe.store.digest, folder, cpu)
    first = cached_features(recipe.model, *arguments)
    stamp = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert np.array_equal(cached_features(recipe.model, *arguments), first)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")} == stamp
    with torch.no_grad():
        next(recipe.model.image.parameters()).add_(0.1)
    assert not np.array_equal(cached_features(recipe.model, *arguments), first)
    assert len(list(folder.iterdir())) == 2


def test_a_loss_of_ones_own_needs_no_fork(place, bert, tmp_path):
    seen = []

    def pull(out, batch, gather):
        seen.append(batch.keys)
        cosine = (gather(out.image_BD) * gather(out.text_MD)).sum(1)
        return Losses({"pull": (1 - cosine).mean()}, {"cosine": cosine.mean().detach()})

    medvlp.train(align_config(place, bert, steps=20), objective=pull, out=tmp_path / "run", resume="never")
    first, *_, last = (record for record in read_log(tmp_path / "run") if record["kind"] == "train")
    assert len(seen) == 20
    assert last["cosine"] > first["cosine"]
    assert last["loss"] == last["pull"]
    with pytest.raises(TrainingError, match=r"objective \(own\) was '.*pull', now None"):
        train(align_config(place, bert, steps=20), tmp_path / "run")


def test_objectives_add_up(place, bert, tmp_path):
    from medvlp.objectives.semantic_groups import GroupObjective

    objectives = [GroupObjective.Config(weight=0.5), ClipObjective.Config(positives="group")]
    train(align_config(place, bert, objective=objectives, steps=1), tmp_path / "run")
    record = read_log(tmp_path / "run")[0]
    assert record["loss"] == pytest.approx(record["semantic_groups"] + record["clip"])


def test_accumulation_takes_the_batches_of_several_steps(place, bert, tmp_path):
    seen = []

    def watch(out, batch, gather):
        seen.append((batch.keys, torch.is_grad_enabled()))
        return Losses({"cosine": (out.image_BD * out.text_MD).sum(1).mean()}, {})

    config = align_config(place, bert, accumulate=2, steps=2)
    train(config, tmp_path / "run", objective=watch)
    stream = recipe_of(config).batches(0, 0, 1)
    assert seen == [(next(stream).keys, True) for _ in range(4)]
    assert [record["step"] for record in read_log(tmp_path / "run") if "loss" in record] == [1, 2]


def test_pairs_and_sampling_need_what_they_need(place, bert, tmp_path):
    config = align_config(place, bert, batches=PairBatches(batch_size=8), sampling="balanced", steps=1)
    train(config, tmp_path / "run")
    with pytest.raises(TrainingError, match="batch_size: a batch of 500 rows is more than the 48 rows"):
        recipe_of(align_config(place, bert, batches=PairBatches(batch_size=500)))
    with pytest.raises(TrainingError, match="groups_per_batch: a batch of 99 groups is more than the 16 groups"):
        recipe_of(align_config(place, bert, batches=GroupBatches(groups_per_batch=99)))


def test_a_dry_run_reports_and_leaves_nothing(place, bert, tmp_path, capsys):
    config = cached_config(place, bert, tmp_path)
    train(config, tmp_path / "run", dry_run=True)
    shown = capsys.readouterr().err
    assert "dry run of align: one step on 8 items" in shown
    assert "memory: parameters" in shown
    assert not list(tmp_path.iterdir())


def test_a_config_file_says_the_same_as_the_object(place, bert, tmp_path):
    config = align_config(place, bert, objective=[ClipObjective.Config()], sampling="sqrt")
    (tmp_path / "own.yaml").write_text(dump(config))
    assert load(tmp_path / "own.yaml") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph": None}, "graph: knowledge real needs a graph; name its folder"),
        (
            {"cached_features": True},
            "cached_features: needs an image tower that never changes; add image_tower to freeze.always",
        ),
        (
            {
                "cached_features": True,
                "freeze": Freezing(always=["image_tower"]),
                "image_augment": Augment.Config(size=160),
            },
            "cached_features: cannot augment images that are embedded once; set image_augment: null",
        ),
        (
            {"freeze": Freezing(always=["image_tower", "text_tower", "heads", "scale"])},
            "freeze.always: every part is frozen, so nothing would learn",
        ),
    ],
)
def test_contradictions_are_refused(place, bert, tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        train(align_config(place, bert, **changes), tmp_path / "run")
    assert str(caught.value) == message
    assert not (tmp_path / "run").exists()


def test_a_store_without_training_rows_is_refused(place, bert, tmp_path):
    from PIL import Image

    from medvlp.data.pairs import PairsStore, Row, Text

    row = Row("a", Image.new("RGB", (4, 4)), [Text("x")], "test", "c", 0)
    PairsStore.write(tmp_path / "pairs", [row])
    with pytest.raises(DataError, match="holds no training row"):
        train(align_config(place, bert, data=str(tmp_path / "pairs")), tmp_path / "run")

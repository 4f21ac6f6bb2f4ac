"""Losses against brute force, depths by hand, low-rank additions, draws of few images, calibration."""

import math

import numpy as np
import pytest
import torch
from finetune_cases import class_config
from test_probe import task_of

from medvlp.encoders.image import TimmImage
from medvlp.errors import ConfigError, DataError
from medvlp.finetune.config import Full, Lora
from medvlp.finetune.depth import depths, layer_rates
from medvlp.finetune.few_shot import draw, mean_over_seeds, subset
from medvlp.finetune.lora import add_lora, merge_lora, target_layers, trained_share
from medvlp.finetune.losses import balanced_weights, class_loss
from medvlp.metrics.calibration import expected_calibration_error
from medvlp.zeroshot.scoring import System, score_systems


def brute_force_loss(logits, target, weight, smoothing, single):
    total = 0.0
    for row, truth in zip(logits, target, strict=True):
        for k, logit in enumerate(row):
            if single:
                share = truth[k] * (1 - smoothing) + smoothing / len(row)
                log_p = logit - math.log(sum(math.exp(other) for other in row))
                total -= sum(t * w for t, w in zip(truth, weight, strict=True)) * share * log_p
            else:
                share = truth[k] * (1 - smoothing) + smoothing / 2
                p = 1 / (1 + math.exp(-logit))
                total -= (weight[k] * share * math.log(p) + (1 - share) * math.log(1 - p)) / len(row)
    return total / len(logits)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_loss_equals_brute_force(single, smoothing):
    torch.manual_seed(0)
    logits_BK = torch.randn(5, 3, dtype=torch.float64)
    target_BK = torch.eye(3)[[0, 1, 2, 0, 1]].double()
    weight_K = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    wanted = brute_force_loss(logits_BK.tolist(), target_BK.tolist(), weight_K.tolist(), smoothing, single)
    assert float(class_loss(logits_BK, target_BK, weight_K, smoothing, single)) == pytest.approx(wanted)
    assert float(class_loss(-logits_BK, target_BK, weight_K, smoothing, single)) != pytest.approx(wanted, rel=0.01)


def test_class_loss_is_torchs_without_weights():
    torch.manual_seed(0)
    logits_BK, target_B = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    wanted = torch.nn.functional.cross_entropy(logits_BK, target_B, label_smoothing=0.1)
    assert torch.allclose(class_loss(logits_BK, torch.eye(4)[target_B], torch.ones(4), 0.1, True), wanted)


def test_balanced_weights_have_mean_one_over_images():
    task = task_of(np.eye(3, dtype=bool)[[0, 0, 0, 0, 1, 1, 2]])
    weight_K = balanced_weights(task)
    assert weight_K.tolist() == pytest.approx([7 / 12, 7 / 6, 7 / 3])
    assert float((torch.from_numpy(task.target_NK).float() @ weight_K).mean()) == pytest.approx(1.0)
    with pytest.raises(DataError, match=r"class class 1: has no training image to weigh"):
        balanced_weights(task_of(np.eye(2, dtype=bool)[[0, 0]]))


def test_depths_of_a_vit_by_hand():
    tower = TimmImage(TimmImage.Config(model="test_vit"))  # six blocks
    found = depths(tower)
    assert found["trunk.patch_embed.proj.weight"] == found["trunk.pos_embed"] == 0
    assert [found[f"trunk.blocks.{block}.mlp.fc1.weight"] for block in range(6)] == [1, 2, 3, 4, 5, 6]
    assert found["trunk.norm.weight"] == 6
    assert set(found) == {name for name, _ in tower.named_parameters()}
    rates = layer_rates(7, 0.5, 1.0)
    assert rates["tower/06"] == 0.5
    assert rates["tower/00"] == 0.5**7


def test_depths_agree_with_timms_own_groups():
    import timm
    from timm.optim import param_groups_layer_decay

    for name in ("test_efficientnet", "test_vit"):
        whole = timm.create_model(name, num_classes=3)  # with its classifier, as in timm's own recipe
        scale = {
            id(parameter): group["lr_scale"]
            for group in param_groups_layer_decay(whole, layer_decay=0.5)
            for parameter in group["params"]
        }
        tower = TimmImage(TimmImage.Config(model=name))
        found = depths(tower)
        rates = layer_rates(max(found.values()) + 1, 0.5, 1.0)
        wanted = {f"trunk.{n}": scale[id(p)] for n, p in whole.named_parameters() if f"trunk.{n}" in found}
        assert {n: rates[f"tower/{depth:02d}"] for n, depth in found.items()} == pytest.approx(wanted)


def test_depths_read_off_the_names_of_other_libraries():
    class Tower(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.embeddings = torch.nn.Linear(2, 2)
            setattr(self, name, torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3)))
            self.post = torch.nn.Linear(2, 2)

    found = depths(Tower("layers"))
    assert [found[f"{name}.weight"] for name in ("embeddings", "layers.0", "layers.2", "post")] == [0, 1, 3, 3]
    with pytest.raises(ConfigError, match=r"has no numbered layers; set method\.layer_decay to 1"):
        depths(Tower("things"))


@pytest.mark.extras
@pytest.mark.parametrize(("name", "rank"), [("vit_base_patch16_224", 8), ("tf_efficientnet_lite0", 4)])
def test_lora_trains_under_five_percent(name, rank):
    pytest.importorskip("peft", reason="needs the extra finetune")
    from medvlp.finetune.classifier import Classifier

    with torch.device("meta"):
        import timm

        class Bare(torch.nn.Module):
            width = 768

            def __init__(self):
                super().__init__()
                self.trunk = timm.create_model(name, num_classes=0)

        network = Classifier(Bare(), list("abcdefg"), "single")
        before = {parameter_name for parameter_name, _ in network.image.named_parameters()}
        add_lora(network.image, Lora(rank=rank))
    share = trained_share(network)
    assert 0.005 < share < 0.05
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or name.startswith("head.") for name in learning)
    assert len(before) == len([name for name in before if "lora_" not in name])


@pytest.mark.extras
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_merged_lora_answers_as_before_merging(name):
    pytest.importorskip("peft", reason="needs the extra finetune")
    torch.manual_seed(0)
    tower = TimmImage(TimmImage.Config(model=name)).eval()
    names = [name for name, _ in tower.named_parameters()]
    images = torch.randn(2, 3, tower.preprocess.size, tower.preprocess.size)
    plain = tower(images)
    add_lora(tower, Lora(rank=2))
    assert torch.allclose(tower(images), plain, atol=1e-6)  # B starts at zero
    for parameter_name, parameter in tower.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.05)
    changed = tower(images)
    assert not torch.allclose(changed, plain, atol=1e-3)
    merge_lora(tower)
    assert [name for name, _ in tower.named_parameters()] == names
    assert torch.allclose(tower(images), changed, atol=1e-4)


def test_lora_targets_are_checked():
    tower = TimmImage(TimmImage.Config(model="test_vit"))
    assert target_layers(tower, r".*\.attn\.qkv") == [f"trunk.blocks.{block}.attn.qkv" for block in range(6)]
    with pytest.raises(ConfigError, match=r"method\.targets: attention: no linear .* names are like trunk\."):
        target_layers(tower, "attention")
    with pytest.raises(ConfigError, match=r"not a regular expression"):
        target_layers(tower, "(")


def test_attention_projections_that_torch_reads_as_bare_weights_get_no_addition():
    tower = torch.nn.ModuleDict({"attention": torch.nn.MultiheadAttention(8, 2), "mlp": torch.nn.Linear(8, 8)})
    assert target_layers(tower, None) == ["mlp"]


def few_task(counts=(6, 9, 5), cases=None):
    target_N = np.repeat(np.arange(len(counts)), counts)
    task = task_of(np.eye(len(counts), dtype=bool)[target_N])
    if cases is not None:
        task = type(task)(**{**vars(task), "cases": tuple(cases(n) for n in range(len(target_N)))})
    return task


def test_draws_are_seeded_nested_and_of_the_right_size():
    task = few_task()
    for seed in range(5):
        places = draw(task, 3, seed, strict=True)
        assert len(set(places.tolist())) == 9
        assert subset(task, places).target_NK.sum(0).tolist() == [3, 3, 3]
        assert set(draw(task, 1, seed, strict=True)) <= set(places)
        np.testing.assert_array_equal(places, draw(task, 3, seed, strict=True))
    assert len({tuple(draw(task, 3, seed, strict=True)) for seed in range(5)}) > 1
    assert subset(task, places).keys == tuple(f"train-{place}" for place in places)


def test_draws_take_as_many_cases_as_there_are():
    task = few_task((8,), cases=lambda n: f"case {n // 2}")
    for seed in range(5):
        assert len({task.cases[place] for place in draw(task, 4, seed, strict=True)}) == 4


def test_more_shots_than_images_name_the_class():
    with pytest.raises(DataError, match=r"class class 2: has 5 images in the train split, fewer than 6 shots; lower"):
        draw(few_task(), 6, 0, strict=True)
    assert subset(few_task(), draw(few_task(), 6, 0, strict=False)).target_NK.sum(0).tolist() == [6, 6, 5]


def test_the_mean_over_seeds_and_its_wider_interval():
    rng = np.random.default_rng(0)
    task = few_task((20, 20))
    parts = []
    for shift in (0.0, 1.0, 3.0):
        logit_N = (task.target_N - 0.5) * shift + rng.normal(size=40)
        score_N = 1 / (1 + np.exp(-logit_N))
        system = System("model", "A system.", np.stack([1 - score_N, score_N], axis=1))
        parts += score_systems(task, None, [system], places=None, specificity=0.95, num_draws=400, seed=0)
    mean = mean_over_seeds(parts, 0)
    values = [float(part.value["accuracy"][0]) for part in parts]
    assert float(mean.value["accuracy"][0]) == pytest.approx(np.mean(values))
    found = mean.interval("accuracy", 40, 0.95)
    fixed = np.mean([part.draws["accuracy"] for part in parts], axis=0)
    assert found.high - found.low > np.subtract(*np.percentile(fixed, [97.5, 2.5]))
    assert mean_over_seeds(parts[:1], 0) is parts[0]


def test_calibration_error_equals_a_loop_and_torchmetrics():
    rng = np.random.default_rng(0)
    confidence_N = np.round(rng.uniform(size=60), 2)
    right_N = rng.uniform(size=60) < confidence_N**2
    total = 0.0
    for b in range(10):
        inside = (confidence_N > b / 10) & (confidence_N <= (b + 1) / 10) | ((b == 0) & (confidence_N == 0))
        if inside.any():
            total += inside.mean() * abs(confidence_N[inside].mean() - right_N[inside].mean())
    assert float(expected_calibration_error(right_N, confidence_N, num_bins=10)) == pytest.approx(total)
    doubled = expected_calibration_error(
        np.concatenate([right_N, right_N[:5]]), np.concatenate([confidence_N, confidence_N[:5]]), num_bins=10
    )
    weight = np.ones(60)
    weight[:5] = 2
    assert float(expected_calibration_error(right_N, confidence_N, weight, 10)) == pytest.approx(float(doubled))
    assert expected_calibration_error(right_N, confidence_N, np.stack([weight, weight])).shape == (2,)


def test_layer_rates_reach_the_optimiser(place):
    from pathlib import Path

    from medvlp.finetune.classifier import Classifier
    from medvlp.finetune.recipe import FinetuneRecipe, Learning
    from medvlp.training.optim import build_optimizer

    method = Full(layer_decay=0.5)
    config = class_config(place, method)
    optimizer = config.optimizer.model_copy(update={"part_lr": {"tower": 1e-2, "head": 3e-2, "tower/00": 7e-5}})
    config = config.model_copy(update={"optimizer": optimizer})
    network = Classifier(TimmImage(TimmImage.Config(model="test_vit")), ["a", "b"], "single")
    learning = Learning(network, None, None, None, dict)
    recipe = FinetuneRecipe(config, method, learning, {}, {}, Path("best"))
    groups = build_optimizer(recipe.parts(), recipe.config.optimizer).param_groups
    peak = {group["part"]: group["peak_lr"] for group in groups}
    assert peak["head"] == 3e-2
    assert peak["tower/06"] == pytest.approx(5e-3)
    assert peak["tower/01"] == pytest.approx(1e-2 * 0.5**6)
    assert peak["tower/00"] == 7e-5
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    assert all(group["weight_decay"] == 0 for group in groups if all(p.ndim <= 1 for p in group["params"]))

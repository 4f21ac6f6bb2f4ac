"""The moving average: equal to its recursion written out, exact on resume, alike on all ranks."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_cases import align_config

from medvlp.config import dump
from medvlp.errors import CheckpointError, TrainingError
from medvlp.export import export
from medvlp.loading import load
from medvlp.training import align
from medvlp.training.checkpoint import Retention
from medvlp.training.ema import Ema


def written_out(values, decay, warmup):
    """The recursion in float64, on plain numbers."""
    average = values[0]
    for n, value in enumerate(values[1:]):
        d = min(decay, (1 + n) / (10 + n)) if warmup else decay
        average = d * average + (1 - d) * value
    return average


@pytest.mark.parametrize("warmup", [True, False])
def test_it_is_the_recursion(warmup):
    values = [1.0, 3.0, -2.0, 5.0, 0.5]
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(values[0])
    ema = Ema(module, Ema.Config(decay=0.2, warmup=warmup))
    for value in values[1:]:
        module.weight.data.fill_(value)
        ema.update(module)
    found = ema.state_dict()["average"]["weight"].item()
    assert found == pytest.approx(written_out(values, 0.2, warmup), rel=1e-6)
    assert found != pytest.approx(written_out(values, 0.8, warmup), rel=1e-3)  # the two shares exchanged
    assert found != pytest.approx(written_out(values, 0.2, not warmup), rel=1e-3)


def test_frozen_weights_stay_counters_are_copied_and_halves_are_averaged_in_float32():
    module = nn.Sequential(nn.Linear(7, 7), nn.BatchNorm1d(7)).to(torch.bfloat16)
    before = module[0].weight.detach().clone()
    ema = Ema(module, Ema.Config(decay=0.9999, warmup=False))
    module[1].num_batches_tracked.fill_(41)
    module[1].running_mean.fill_(1.0)
    for _ in range(3):
        ema.update(module)
    average = ema.state_dict()["average"]
    assert average["0.weight"].dtype == torch.float32
    assert torch.equal(average["0.weight"], before.float())
    assert average["1.num_batches_tracked"].item() == 41
    assert average["1.running_mean"][0].item() == pytest.approx(1 - 0.9999**3, rel=1e-3)


def test_lending_gives_back_every_bit():
    module = nn.Linear(3, 2)
    ema = Ema(module, only=lambda name: name == "weight")
    average = module.weight.detach().clone()
    module.weight.data.add_(1.0)
    live = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with ema.swapped(module):
        assert torch.equal(module.weight, average)
        assert torch.equal(module.bias, live["bias"])
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in live.items())
    with pytest.raises(IndexError), ema.swapped(module):
        module.weight[9]
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in live.items())
    ema.copy_to(module)
    assert torch.equal(module.weight, average)


def test_another_module_is_refused():
    ema = Ema(nn.Linear(3, 2))
    with pytest.raises(TrainingError, match=r"weight: the moving average follows a tensor this module lacks"):
        ema.update(nn.Identity())
    with pytest.raises(CheckpointError, match=r"bias: the saved average is of another model"):
        Ema(nn.Linear(3, 2, bias=False)).load_state_dict(ema.state_dict())
    with pytest.raises(CheckpointError, match=r"weight: the saved average is of another model"):
        Ema(nn.Linear(4, 2)).load_state_dict(ema.state_dict())


def config_of(place, bert, **changes):
    return align_config(
        place, bert, ema=Ema.Config(decay=0.7), checkpoint=Retention(every=1, last=9), **{"steps": 4, **changes}
    )


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("ema") / "run"
    align.train(config_of(place, place / "bert"), out)
    return out


def weights(checkpoint, which="."):
    return load_file(checkpoint / which / "model.safetensors")


def test_a_run_keeps_the_average_of_its_steps(run):
    steps = sorted((run / "checkpoints").iterdir())
    assert len(steps) == 4
    average = weights(steps[0], "ema")
    for n, step in enumerate(steps[1:], start=1):
        d = min(0.7, (1 + n) / (10 + n))
        for name, value in weights(step).items():
            if value.is_floating_point():
                average[name] = d * average[name] + (1 - d) * value
        for name, value in weights(step, "ema").items():
            torch.testing.assert_close(value, average[name], rtol=1e-4, atol=1e-6)
    changed = [not torch.equal(value, weights(steps[-1])[name]) for name, value in weights(steps[-1], "ema").items()]
    assert any(changed)


def test_going_on_gives_the_same_average_bit_for_bit(run, place, bert, tmp_path):
    half = run / "checkpoints" / "step-00000002"
    last = align.train(config_of(place, bert), tmp_path / "again", resume=str(half))
    for which in (".", "ema"):
        whole = weights(run / "checkpoints" / "step-00000004", which)
        assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(last, which).items())
    with pytest.raises(TrainingError, match=r"ema.decay was 0.7, now 0.8"):
        align.train(config_of(place, bert).model_copy(update={"ema": Ema.Config(decay=0.8)}), tmp_path / "x", str(half))


def test_either_set_of_weights_is_opened(run, place, bert, tmp_path):
    texts = ["lung carcinoma", "nevus"]
    last, average = load(run), load(run, ema=True)
    assert not torch.equal(last.encode_text(texts), average.encode_text(texts))
    assert torch.equal(average.logit_scale, weights(run / "checkpoints" / "step-00000004", "ema")["logit_scale"])
    out = export(run, "safetensors", tmp_path / "out", ema=True)
    assert torch.equal(load(out).encode_text(texts), average.encode_text(texts))
    assert "- moving average of the weights over the run, decay 0.7" in (out / "README.md").read_text()
    align.train(align_config(place, bert, steps=1), tmp_path / "plain")
    with pytest.raises(CheckpointError, match=r"plain: keeps no averaged weights; train with `ema: \{decay: 0.999\}`"):
        load(tmp_path / "plain", ema=True)
    with pytest.raises(CheckpointError, match=r"published models come with one set of weights"):
        load("open_clip:ViT-B-32", ema=True)


@pytest.mark.parametrize("averaged", [True, False])
def test_validation_sees_the_weights_it_is_told_to(place, bert, tmp_path, monkeypatch, averaged):
    seen = {}

    def validate(self):
        seen["scale"] = self.model.logit_scale.item()
        return {}

    monkeypatch.setattr(align.AlignRecipe, "validate", validate)
    chosen = Ema.Config(decay=0.7, validation=averaged)
    last = align.train(config_of(place, bert, steps=2).model_copy(update={"ema": chosen}), tmp_path / "run")
    assert seen["scale"] == weights(last, "ema" if averaged else ".")["logit_scale"].item()
    assert weights(last, "ema")["logit_scale"] != weights(last)["logit_scale"]


def test_two_processes_keep_the_average_of_one(place, tmp_path):
    import json

    from tiny_models import write_bert

    calm = write_bert(tmp_path / "bert")
    settings = json.loads((calm / "config.json").read_text())
    settings.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (calm / "config.json").write_text(json.dumps(settings))
    config = config_of(place, calm, steps=2)
    one = align.train(config, tmp_path / "one")
    (tmp_path / "config.yaml").write_text(dump(config))
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "medvlp.cli", "train", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    two = weights(tmp_path / "two" / "checkpoints" / one.name, "ema")
    for name, tensor in weights(one, "ema").items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=2e-4)

"""What stops a run says why in one line, names the item, and leaves what was saved intact."""

import errno
import json

import pytest
import torch
from training_cases import align_config, knowledge_config, write_pairs

from medvlp.data.transform import Preprocess
from medvlp.errors import CheckpointError, TrainingError
from medvlp.io import verify_manifest
from medvlp.objectives.base import Losses
from medvlp.training import align, knowledge
from medvlp.training.checkpoint import Checkpoints


def steps_of(run):
    for folder in (run / "checkpoints").iterdir():
        verify_manifest(folder)
    return sorted(int(folder.name.removeprefix("step-")) for folder in (run / "checkpoints").iterdir())


def bad_from(step, value):
    calls = []

    def loss(out, batch, gather):
        calls.append(batch.keys)
        cosine = (out.image_BD * out.text_MD).sum()
        return Losses({"own": cosine * value if len(calls) > step else cosine}, {})

    return loss, calls


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_batch(place, bert, tmp_path, value):
    loss, calls = bad_from(4, value)
    with pytest.raises(TrainingError) as caught:
        align.train(align_config(place, bert), tmp_path / "run", objective=loss)
    message = str(caught.value)
    assert message.startswith("step 4: the loss is not finite (own ")
    assert "\n" not in message
    assert calls[-1][0] in message
    saved = json.loads((tmp_path / "run" / "not-finite-step-00000004-rank-0.json").read_text())
    assert saved["keys"] == calls[-1]
    assert steps_of(tmp_path / "run") == [2, 4]


def test_a_gradient_that_is_no_number_stops_the_run_before_it_reaches_a_weight(place, bert, tmp_path):
    def loss(out, batch, gather):
        cosine = (out.image_BD * out.text_MD).sum()
        return Losses({"own": (cosine - cosine.detach()).abs().sqrt()}, {})  # value 0, slope infinite

    with pytest.raises(TrainingError, match="step 0: the gradient is not finite"):
        align.train(align_config(place, bert), tmp_path / "run", objective=loss)


def full_disk(monkeypatch, after):
    real, calls = torch.save, []

    def save(value, path, **options):
        calls.append(path)
        if len(calls) > after:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(value, path, **options)

    monkeypatch.setattr(torch, "save", save)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_half_one(place, bert, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        full_disk(patch, after=1)
        with pytest.raises(CheckpointError) as caught:
            knowledge.train(knowledge_config(place, bert), tmp_path / "run")
    assert "step-00000004: the checkpoint could not be written (no space left on the disk); free some space" in str(
        caught.value
    )
    assert steps_of(tmp_path / "run") == [2]
    knowledge.train(knowledge_config(place, bert), tmp_path / "run")
    knowledge.train(knowledge_config(place, bert), tmp_path / "alone")
    last = "checkpoints/step-00000006/text_encoder/model.safetensors"
    assert (tmp_path / "run" / last).read_bytes() == (tmp_path / "alone" / last).read_bytes()


def test_a_full_disk_under_the_weights_is_told_too(place, bert, tmp_path, monkeypatch):
    import medvlp.encoders.weights as weights

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no space left on the disk"):
        align.train(align_config(place, bert), tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.fixture
def finished(place, bert, tmp_path):
    align.train(align_config(place, bert, steps=2), tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_is_not_run_again(place, bert, finished):
    before = (finished / "log.jsonl").read_text()
    assert align.train(align_config(place, bert, steps=2), finished).name == "step-00000002"
    assert (finished / "log.jsonl").read_text() == before


@pytest.mark.parametrize("name", ["model.safetensors", "state/tensors.pt", "config.yaml"])
def test_resuming_from_a_flipped_byte_names_the_file(place, bert, finished, name):
    path = finished / "checkpoints" / "step-00000002" / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: differs from its sha256 in manifest\.json"):
        align.train(align_config(place, bert, steps=2), finished)


def change_architecture(config):
    return config.model_copy(update={"model": config.model.model_copy(update={"image_head": "mlp"})})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_architecture, "model.image_head was 'linear', now 'mlp'"),
        (lambda config: config.model_copy(update={"seed": 1}), "seed was 0, now 1"),
        (lambda config: config.model_copy(update={"steps": 4}), "steps was 2, now 4; the schedule depends on it"),
        (lambda config: config.model_copy(update={"knowledge": "permuted"}), "knowledge was 'real', now 'permuted'"),
    ],
)
def test_resuming_with_other_settings_names_them(place, bert, finished, change, message):
    with pytest.raises(TrainingError) as caught:
        align.train(change(align_config(place, bert, steps=2)), finished)
    assert "step-00000002: cannot go on with other settings: " + message in str(caught.value)


def test_resuming_with_other_data_is_refused_and_a_moved_store_is_not(place, bert, finished, tmp_path):
    (tmp_path / "moved").symlink_to(place / "pairs")
    align.train(align_config(place, bert, steps=2, data=str(tmp_path / "moved"), num_workers=1), finished)
    write_pairs(tmp_path / "other", seed=1)
    with pytest.raises(TrainingError, match=r"data \(content\) was '.*; the pairs store is another one"):
        align.train(align_config(place, bert, steps=2, data=str(tmp_path / "other")), finished)


def test_never_refuses_a_used_folder_and_a_path_must_not_fork_history(place, bert, tmp_path):
    run = tmp_path / "run"
    align.train(align_config(place, bert, steps=4), run)
    with pytest.raises(TrainingError, match="already holds a run; use --resume auto or another --out"):
        align.train(align_config(place, bert, steps=4), run, resume="never")
    earlier = run / "checkpoints" / "step-00000002"
    with pytest.raises(TrainingError, match="already holds the later checkpoint step-00000004"):
        align.train(align_config(place, bert, steps=4), run, resume=str(earlier))
    again = align.train(align_config(place, bert, steps=4), tmp_path / "again", resume=str(earlier))
    expected = run / "checkpoints" / "step-00000004" / "model.safetensors"
    assert (again / "model.safetensors").read_bytes() == expected.read_bytes()


def test_an_image_that_cannot_be_used_stops_the_run_with_its_message(place, bert, tmp_path, monkeypatch):
    from medvlp.errors import DataError

    def broken(self, image):
        raise DataError("truncated image", item="lung-3")

    monkeypatch.setattr(Preprocess, "__call__", broken)
    with pytest.raises(DataError, match="lung-3: truncated image"):
        align.train(align_config(place, bert), tmp_path / "run")


def test_leftovers_of_a_killed_save_are_gone_after_the_next_start(place, bert, tmp_path):
    leftover = tmp_path / "run" / "checkpoints" / ".partial-0123-step-00000002"
    leftover.mkdir(parents=True)
    align.train(align_config(place, bert, steps=2), tmp_path / "run")
    assert not leftover.exists()
    assert Checkpoints(tmp_path / "run").steps() == [2]

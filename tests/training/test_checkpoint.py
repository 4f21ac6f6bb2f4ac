"""Checkpoints: retention, what counts as finished, and what resuming refuses."""

import pytest
import torch
from pydantic import Field

from medvlp.config import Config
from medvlp.errors import CheckpointError, TrainingError
from medvlp.training.checkpoint import Checkpoints, Retention, State, keep, latest_checkpoint
from medvlp.training.resume import flatten, identity, refuse_changes


def state(step, **changes):
    return State(
        **{"step": step, "identity": {"seed": 0}, "tensors": {"a": torch.arange(3.0)}, "details": {}, **changes}
    )


def write(folder):
    (folder / "model.bin").write_bytes(bytes(range(200)))


def save(run, *steps, policy=None):
    checkpoints = Checkpoints(run, policy)
    for step in steps:
        checkpoints.save(state(step), write)
    return checkpoints


@pytest.mark.parametrize(
    ("steps", "policy", "kept"),
    [
        ([], {}, set()),
        ([10, 20, 30], {"last": 1}, {30}),
        ([30, 10, 20], {"last": 2}, {20, 30}),
        ([10, 20, 30, 40, 50], {"last": 1, "keep_every": 20}, {20, 40, 50}),
        ([10], {"last": 5}, {10}),
    ],
)
def test_what_stays(steps, policy, kept):
    assert keep(steps, Retention(**policy)) == kept


def test_the_newest_always_stays_and_nothing_new_appears():
    for last in (1, 2, 3):
        for every in (0, 3, 7):
            for count in range(1, 12):
                kept = keep(range(count), Retention(last=last, keep_every=every))
                assert count - 1 in kept
                assert kept <= set(range(count))


def test_old_checkpoints_go_after_the_new_one_is_verified(tmp_path):
    checkpoints = save(tmp_path, 1, 2, 3, policy=Retention(last=2))
    assert checkpoints.steps() == [2, 3]
    assert not list((tmp_path / "checkpoints").glob(".partial*"))


def test_state_comes_back_as_it_was(tmp_path):
    checkpoints = save(tmp_path, 7)
    found = checkpoints.load(checkpoints.latest())
    assert found.step == 7
    assert found.identity == {"seed": 0}
    assert torch.equal(found.tensors["a"], torch.arange(3.0))


def test_unfinished_folders_are_skipped_with_a_warning(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "step-00000002").mkdir()
    with pytest.warns(UserWarning, match=r"step-00000002: skipped, it has no manifest\.json"):
        assert latest_checkpoint(tmp_path).name == "step-00000001"


def test_an_unfinished_folder_gives_way_to_the_checkpoint_of_its_step(tmp_path):
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000002" / "half").write_text("x")
    assert save(tmp_path, 2).steps() == [2]


def test_a_short_write_of_torch_is_told_as_a_full_disk(tmp_path, monkeypatch):
    def short(value, path):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 522816 vs 522704")

    monkeypatch.setattr(torch, "save", short)
    with pytest.raises(CheckpointError, match=r"step-00000002: .* \(no space left on the disk\); free some space"):
        save(tmp_path, 2)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_leftovers_of_interrupted_saves_are_removed(tmp_path):
    checkpoints = save(tmp_path, 1)
    (tmp_path / "checkpoints" / ".partial-abc-step-00000002").mkdir()
    assert checkpoints.clean() == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_checkpoint_stands_for_itself_and_an_empty_run_is_refused(tmp_path):
    folder = save(tmp_path, 4).latest()
    assert latest_checkpoint(folder) == folder
    with pytest.raises(CheckpointError, match="holds no finished checkpoint"):
        latest_checkpoint(tmp_path / "empty")


@pytest.mark.parametrize("name", ["model.bin", "state/tensors.pt", "state/run.json"])
def test_one_flipped_byte_names_the_file(tmp_path, name):
    checkpoints = save(tmp_path, 1)
    path = checkpoints.latest() / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: differs from its sha256 in manifest\.json"):
        checkpoints.load(checkpoints.latest())


class Settings(Config):
    seed: int = 0
    lr: dict[str, float] = Field({"heads": 0.1, "tower": 0.01})
    num_workers: int = 0
    data: str = "data/pairs"


def facts(digest="abc", **changes):
    return identity(Settings(**changes), {"num_workers"}, {"data": digest})


def test_identity_is_flat_and_holds_digests_instead_of_paths():
    assert facts() == {"seed": 0, "lr.heads": 0.1, "lr.tower": 0.01, "data (content)": "abc"}
    assert flatten({"a": {"b": [1]}, "c": {}}) == {"a.b": [1], "c": {}}


def test_harmless_differences_pass():
    refuse_changes(facts(num_workers=4, data="elsewhere/pairs"), facts(), "run")


def test_other_differences_are_named_with_both_values():
    with pytest.raises(TrainingError) as caught:
        refuse_changes(facts(), facts(seed=1, lr={"heads": 0.2, "tower": 0.01}), "step-1")
    assert str(caught.value) == (
        "step-1: cannot go on with other settings: lr.heads was 0.1, now 0.2; seed was 0, now 1; "
        "restore it, or start a new run with another --out"
    )
    with pytest.raises(TrainingError, match=r"data \(content\) was 'abc', now 'xyz'; the pairs store is another one"):
        refuse_changes(facts(), facts("xyz"), "step-1")


def test_a_checkpoint_of_another_recipe_is_told_by_its_kind_alone():
    with pytest.raises(TrainingError) as caught:
        refuse_changes({"kind": "align", "seed": 0, "model.image": "x"}, {"kind": "knowledge", "seed": 1}, "step-1")
    assert str(caught.value) == (
        "step-1: cannot go on with other settings: kind was 'align', now 'knowledge'; "
        "name a checkpoint of the same recipe, or start a new run with another --out"
    )

"""The grid: every cell once, resumed to the byte, the same over processes, failures kept apart, commands that hold."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grid_cases import written

from benchmarks.harness import record
from benchmarks.harness.cells import Invocation
from benchmarks.harness.grid import INDEX, dry_run, run
from medvlp.cli import run as command
from medvlp.config import load
from medvlp.errors import ConfigError

MOVING = ("seconds", "peak_mb", "created", "command")
ONLY_ZERO_SHOT = "protocols: [{name: zero_shot, prompt_draws: 0}]"


def score(path, out, **options):
    config = load(path, kind="benchmark")
    return run(config, out, invocation=Invocation(str(path), (), str(out)), **options)


def snapshot(out):
    """Bytes and times of all records."""
    files = sorted((out / "records").glob("*/*"))
    return {file.relative_to(out): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def settled(out):
    """Records without what differs from run to run, and their arrays."""
    found = {}
    for file, value in record.read_all(out):
        arrays = {name: array.tobytes() for name, array in record.read_arrays(file).items()}
        found[file.relative_to(out)] = ({k: v for k, v in value.items() if k not in MOVING}, arrays)
    return found


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    path = written(world, folder)
    found = score(path, folder / "out")
    return path, folder / "out", found


def test_every_cell_has_a_record(done):
    path, out, found = done
    index = json.loads((out / INDEX).read_text())
    # zero-shot: prior, colours, 2 x (model, untrained, text-only, permuted); retrieval: random, 2 x (model, untrained)
    assert len(index["cells"]) == 10 + 5 == found.scored
    assert found.failed == ()
    for cell in index["cells"]:
        value = json.loads((out / cell["record"]).read_text())
        assert value["failed"] is None
        assert value["skipped"] is None, value
        assert value["system"]["id"] == cell["system"]
        arrays = record.read_arrays(out / cell["record"])
        for metric in value["metrics"]:
            assert metric["n"] in (12, 24)  # 24 images, 12 notes
            assert metric["num_cases"] == 12
            assert len(arrays[f"draws.{metric['name']}"]) == 60
            assert (metric["value"] is None) == (metric["reason"] is not None), metric
        assert value["leaks"]["state"] in ("clean", "leak", "unknown")
        assert value["command"].startswith(f"medvlp benchmark {path} --out {out} --only task=squares.")
    kinds = {(c["system"], c["label"]) for c in index["cells"]}
    assert {("prior", "zero_shot"), ("colour-histogram", "zero_shot"), ("random", "retrieval")} <= kinds
    assert {(f"{m}.{f}", "zero_shot") for m in "ab" for f in ("untrained", "text-only", "permuted-graph")} <= kinds


def test_a_second_run_touches_nothing(done):
    path, out, _ = done
    before = snapshot(out)
    found = score(path, out)
    assert (found.scored, found.found) == (0, 15)
    assert snapshot(out) == before


def test_a_setting_redoes_its_cells_alone(done, tmp_path):
    path, out, _ = done
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    before = snapshot(copy)
    config = load(path, ["models.b.scale=30.0"], kind="benchmark")
    found = run(config, copy, invocation=Invocation(str(path), ("models.b.scale=30.0",), str(copy)))
    changed = {name for name, value in snapshot(copy).items() if before[name] != value}
    assert found.scored == 6  # b and its floors, in both protocols
    assert {name.name.split(".")[0] for name in changed} == {"b"}
    assert len(changed) == 2 * 6


def test_other_weights_redo_their_cells_alone(done, world, tmp_path, write_grid):
    out = tmp_path / "out"
    shutil.copytree(world / "b", tmp_path / "model")
    grid = write_grid(ONLY_ZERO_SHOT)
    own = [f"models.b.source={tmp_path}/model"]

    def go():
        return run(load(grid, own, kind="benchmark"), out, only=["system=a", "system=b", "system=prior"])

    assert go().scored == 3
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(world / "a", tmp_path / "model")
    found = go()
    assert (found.scored, found.found) == (1, 2)


def test_the_command_of_a_record_makes_that_record(done):
    _, out, _ = done
    before = settled(out)
    name = "records/squares.zero_shot/a.permuted-graph.task.0.json"
    words = shlex.split(json.loads((out / name).read_text())["command"])
    assert words[0] == "medvlp"
    (out / name).unlink()
    others = {key: value for key, value in snapshot(out).items() if str(key) != name.replace(".json", ".npz")}
    assert command(words[1:]) == 0
    assert settled(out) == before
    after = snapshot(out)
    assert all(after[key] == value for key, value in others.items())


def test_a_model_that_fails_does_not_stop_the_others(world, tmp_path, write_grid, capsys):
    grid = write_grid(ONLY_ZERO_SHOT)
    broken = ["--set", f"models.a.source={tmp_path}/absent", "--set", "floors=[prior]"]
    out = tmp_path / "out"
    assert command(["benchmark", str(grid), "--out", str(out), *broken]) == 1
    said = capsys.readouterr()
    assert "absent" in said.err
    assert "failed 1" in said.out
    states = {value["system"]["id"]: value["failed"] for _, value in record.read_all(out)}
    assert states["b"] is None
    assert states["prior"] is None
    assert "absent" in states["a"]
    assert "\n" not in states["a"]
    (tmp_path / "absent").mkdir()  # a run that has not saved anything yet
    assert command(["benchmark", str(grid), "--out", str(out), *broken]) == 1
    assert "failed 1" in capsys.readouterr().out
    (tmp_path / "absent").rmdir()
    shutil.copytree(world / "a", tmp_path / "absent")
    assert command(["benchmark", str(grid), "--out", str(out), *broken]) == 0
    assert "scored 1, found done 2" in capsys.readouterr().out


def test_dry_run_lists_and_writes_nothing(done, tmp_path, write_grid):
    path, out, _ = done
    lines = dry_run(load(path, kind="benchmark"), out)
    assert sum(line.startswith("done") for line in lines) == 15
    assert lines[-1] == "15 cells, 0 to do"
    fresh = dry_run(load(path, kind="benchmark"), tmp_path / "none", ["system=a"])
    assert [line.split("  ")[0] for line in fresh[:-1]] == ["to do", "to do"]
    assert not (tmp_path / "none").exists()
    more = dry_run(load(path, ["num_draws=61"], kind="benchmark"), out)
    assert "15 to do; about" in more[-1]


@pytest.mark.parametrize("text", ["system=none", "task=squares.none", "system", "colour=red", "seed=7"])
def test_only_names_what_is_wrong(done, text):
    path, out, _ = done
    with pytest.raises(ConfigError, match=f"--only {text}"):
        run(load(path, kind="benchmark"), out, only=[text])


def test_names_that_cannot_be_files_are_refused(write_grid, tmp_path):
    grid = write_grid()
    for override in ("models={'../a': {source: x}}", "models={prior: {source: x}}", "floors=[none]"):
        with pytest.raises(ConfigError, match=r"models: |floors: "):
            run(load(grid, [override], kind="benchmark"), tmp_path / "out")
    assert not (tmp_path / "out" / "records").exists()


def test_killed_in_the_middle_and_run_again(done, write_grid, tmp_path):
    _, whole, _ = done
    grid, out = write_grid(), tmp_path / "out"
    words = [sys.executable, "-m", "medvlp.cli", "benchmark", str(grid), "--out", str(out)]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    limit = time.monotonic() + 300
    while len(list((out / "records").glob("*/[!.]*.json"))) < 3 and time.monotonic() < limit and child.poll() is None:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    before = {key: value for key, value in snapshot(out).items() if not key.name.startswith(".partial")}
    finished = {key for key in before if key.suffix == ".json"}
    assert 3 <= len(finished) < 15
    found = score(grid, out)
    after = snapshot(out)
    assert (found.scored, found.found) == (15 - len(finished), len(finished))
    assert all(after[key] == before[key] for key in finished)
    assert len(after) == 30
    assert {k: v[0]["metrics"] for k, v in settled(out).items()} == {
        k: v[0]["metrics"] for k, v in settled(whole).items()
    }


def workers_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def works(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.slow
def test_a_killed_grid_leaves_no_worker_behind(write_grid, tmp_path):
    grid, out = write_grid(), tmp_path / "out"
    words = [sys.executable, "-m", "medvlp.cli", "benchmark", str(grid), "--out", str(out), "--jobs", "2"]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list((out / "records").glob("*/*.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    workers = workers_of(child.pid)
    assert len(workers) == 2
    child.kill()
    child.wait()
    limit = time.monotonic() + 30
    while any(works(pid) for pid in workers) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not any(works(pid) for pid in workers)
    assert score(grid, out).failed == ()


@pytest.mark.slow
def test_two_processes_equal_one_and_outlive_a_killed_worker(done, write_grid, tmp_path):
    _, whole, _ = done
    grid, out = write_grid(), tmp_path / "out"
    words = [sys.executable, "-m", "medvlp.cli", "benchmark", str(grid), "--out", str(out), "--jobs", "2"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    limit = time.monotonic() + 120
    while not list((out / "records").glob("*/*.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(workers_of(child.pid)[0], signal.SIGKILL)
    said, _ = child.communicate(timeout=240)
    assert child.returncode in (0, 1), said
    if child.returncode == 1:  # the cell it was at is named, and done by the next run
        assert "was killed" in said
        assert score(grid, out).failed == ()
    mine, theirs = settled(out), settled(whole)
    assert mine.keys() == theirs.keys()
    for key, (value, arrays) in mine.items():
        assert value["metrics"] == theirs[key][0]["metrics"], key
        assert value["details"] == theirs[key][0]["details"], key
        assert arrays == theirs[key][1], key

"""One writer per slide: who holds a lock, when it is dead, who takes it over; two jobs on one folder at once."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading

import pytest
from job_cases import contents, job_config, write_slides

from data_prep.slides.locks import Locks


def held(locks, key, **changes):
    """Take a lock, then rewrite it as if another had."""
    assert locks.take(key)
    path = locks.folder / f"{key}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_lock_is_held_until_it_is_freed(tmp_path):
    first, second = Locks(tmp_path / "locks"), Locks(tmp_path / "locks")
    assert first.take("a")
    assert not second.take("a")
    assert second.take("b")
    assert second.holder("a") == f"process {os.getpid()} on {first._me['host']}"
    first.free("a")
    assert second.take("a")
    first.free("never taken")


def test_a_dead_process_is_recognised_by_number_and_start(tmp_path):
    locks = Locks(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    held(locks, "gone", pid=child.pid)
    assert locks.take("gone")
    held(locks, "number used again", started=1)
    assert locks.take("number used again")
    held(locks, "before the last start of the machine", boot="another")
    assert locks.take("before the last start of the machine")
    held(locks, "no number", pid=None)
    assert locks.take("no number")


def test_what_cannot_be_judged_is_left_alone(tmp_path):
    locks = Locks(tmp_path)
    held(locks, "a", host="elsewhere", pid=1)
    held(locks, "b", space=0, pid=1)
    assert not locks.take("a")
    assert not locks.take("b")
    with locks.guard():
        locks.remove_dead()
    assert {path.name for path in tmp_path.glob("*.json")} == {"a.json", "b.json"}


def test_half_a_lock_is_no_lock(tmp_path):
    locks = Locks(tmp_path)
    held(locks, "a")
    (tmp_path / "a.json").write_text('{"pid": ')
    assert locks.holder("a") == "another process"
    assert locks.take("a")


def test_a_dead_lock_is_taken_over_by_one(tmp_path):
    held(Locks(tmp_path), "a", started=1)
    won = []
    threads = [threading.Thread(target=lambda: won.append(Locks(tmp_path).take("a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def embed(slides, out):
    from data_prep.slides.prepare import prepare

    prepare(job_config(slides), out)


@pytest.mark.extras
def test_two_writers_share_a_folder(tmp_path):
    pytest.importorskip("h5py")
    pytest.importorskip("openslide")
    slides = write_slides(tmp_path / "slides")
    embed(slides, tmp_path / "alone")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=embed, args=(slides, tmp_path / "shared")) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    times = [json.loads(line) for line in (tmp_path / "shared" / "timings.jsonl").read_text().splitlines()]
    assert sorted(time["slide"] for time in times if "slide" in time) == ["empty", "slide0", "slide1", "slide2"]


@pytest.mark.extras
def test_a_slide_in_other_hands_is_left_to_them(tmp_path, capfd):
    pytest.importorskip("h5py")
    pytest.importorskip("openslide")
    slides, out = write_slides(tmp_path / "slides", 1), tmp_path / "out"
    held(Locks(out / "locks"), "slide0", host="elsewhere")
    embed(slides, out)
    assert "slide0: left to process" in capfd.readouterr().err
    assert json.loads((out / "ledger.json").read_text())["slides"]["dropped"] == {"not finished": 1, "no tissue": 1}
    (out / "locks" / "slide0.json").unlink()
    embed(slides, out)
    assert json.loads((out / "ledger.json").read_text())["slides"]["kept"] == 1

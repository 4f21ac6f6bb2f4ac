"""Trains in child processes, kills them at random moments, half of them inside a save, and starts them again.

Saves are slowed down in this process only, so that there is an inside to hit. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "training")]

from training_cases import align_config, knowledge_config  # noqa: E402

import medvlp.io  # noqa: E402
from medvlp.training import align, knowledge  # noqa: E402

_fsync = medvlp.io._fsync


def slow_fsync(path: Path) -> None:
    time.sleep(0.01)
    _fsync(path)


def start(place: Path, out: Path, stage: str, steps: int, workers: int) -> int:
    """Fork a child that trains; return its process id."""
    child = os.fork()
    if child > 0:
        return child
    status = 1
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        if stage == "align":
            align.train(align_config(place, place / "bert", steps=steps, num_workers=workers), out)
        else:
            knowledge.train(knowledge_config(place, place / "bert", steps=steps), out)
        status = 0
    finally:
        os._exit(status)


def main(place: Path, out: Path, stage: str, steps: int, kills: int, seed: int) -> None:
    medvlp.io._fsync = slow_fsync
    rng = np.random.default_rng(seed)
    folder = out / "checkpoints"
    report = {"kills": 0, "inside": 0, "finished": False, "failed": 0, "starts": 0}
    while report["starts"] < 4 * kills + 4:
        child = start(place, out, stage, steps, workers=2 * (report["starts"] % 2) if stage == "align" else 0)
        report["starts"] += 1
        hit_save = report["kills"] % 2 == 0
        limit = time.monotonic() + (rng.uniform(0.2, 1.5) if report["kills"] < kills else 120)
        if report["kills"] >= kills:
            hit_save = False
        done = 0
        while done == 0 and (time.monotonic() < limit or (hit_save and not list(folder.glob(".partial-*")))):
            time.sleep(0.002)
            done, status = os.waitpid(child, os.WNOHANG)
        if done == 0:
            time.sleep(rng.uniform(0, 0.05) if hit_save else 0)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            report["kills"] += 1
            report["inside"] += bool(list(folder.glob(".partial-*")))
        elif os.waitstatus_to_exitcode(status) == 0:
            report["finished"] = True
            break
        else:
            report["failed"] += 1
            break
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))

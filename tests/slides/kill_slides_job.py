"""Embeds slides in child processes that end in the middle of their writes, until one gets through.

Child number n dies by SIGKILL at its n-th (times a stride) write, flush, rename or removal; writes are cut in half.
With ``random`` children are killed at random times instead. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from job_cases import job_config  # noqa: E402

import medvlp.io  # noqa: E402
from data_prep.slides.encoder import open_encoder  # noqa: E402
from data_prep.slides.listing import list_slides  # noqa: E402
from data_prep.slides.plan import plan  # noqa: E402
from data_prep.slides.prepare import prepare  # noqa: E402


class Fuse:
    """Kills this process at its n-th operation on files."""

    def __init__(self, at: int) -> None:
        self.left = at

    def burn(self) -> bool:
        self.left -= 1
        return self.left == 0

    def install(self) -> None:
        write, replace, unlink, fsync = Path.write_bytes, Path.replace, Path.unlink, medvlp.io._fsync

        def half(path, data):
            if self.burn():
                write(path, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return write(path, data)

        def before(function):
            def dying(*arguments, **options):
                if self.burn():
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return dying

        Path.write_bytes, Path.replace, Path.unlink = half, before(replace), before(unlink)
        medvlp.io._fsync = before(fsync)


def child(slides: Path, out: Path, fuse: int) -> int:
    """Fork a child that runs the job; return its process id."""
    pid = os.fork()
    if pid > 0:
        return pid
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if fuse:
            Fuse(fuse).install()
        prepare(job_config(slides), out)
        status = 0
    finally:
        os._exit(status)


def main(slides: Path, out: Path, mode: str, kills: int, stride: int) -> None:
    torch.set_num_threads(1)
    config = job_config(slides)
    open_encoder(config.encoder, device="cpu", precision="float32", seed=0)  # all imports, once, before any fork
    plan(list_slides(config)[0], config, picture=True)
    rng = np.random.default_rng(0)
    start = time.monotonic()
    if mode == "random":  # how long a job takes tells when to kill
        os.waitpid(child(slides, out.with_name("whole"), 0), 0)
    seconds = time.monotonic() - start
    report = {"killed": 0, "finished": False}
    while not report["finished"]:
        more = report["killed"] < kills
        pid = child(slides, out, 1 + stride * report["killed"] if mode == "fuse" and more else 0)
        if mode == "random" and more:
            time.sleep(rng.uniform(0.0, seconds))
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == -signal.SIGKILL:
            report["killed"] += 1
        elif code == 0 and mode == "random" and more:
            shutil.rmtree(out)  # it was quicker than the kill: once more from the start
        elif code == 0:
            report["finished"] = True
        else:
            break
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

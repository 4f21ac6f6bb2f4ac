"""Cells over several processes. Results travel on disk alone, as records, so nothing is lost with a process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.harness.cells import Cell
from benchmarks.harness.session import Plan, Session
from medvlp.io import read_json

_LOOK_EVERY = 0.3  # seconds
_KILLED = "the process that scored it was killed; out of memory, perhaps: try --jobs 1 or a smaller batch_size"
_session: Session | None = None


def do_in_processes(plan: Plan, todo: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield each cell with its record as it appears.

    The cells of one task and model are done one after the other by one process, which opens both once. Where a process
    dies, what is left goes on in one process at a time, so that the cell that killed it can be named.
    """
    seen = _Seen(plan.out, todo)
    groups = [list(part) for _, part in groupby(todo, lambda cell: (cell.task, cell.model))]
    try:
        with _pool(plan, jobs) as pool:
            waiting = {pool.submit(_do_group, cells) for cells in groups}
            while waiting:
                finished, waiting = wait(waiting, timeout=_LOOK_EVERY)
                yield from seen.new()
                for future in finished:
                    future.result()
        yield from seen.new()
    except BrokenProcessPool:
        yield from seen.new()
        yield from _one_at_a_time(plan, seen)


def _one_at_a_time(plan: Plan, seen: _Seen) -> Iterator[tuple[Cell, dict[str, Any]]]:
    parent = Session(plan)
    while seen.left:
        cells = list(seen.left)
        try:
            with _pool(plan, 1) as pool:
                for cell in cells:
                    pool.submit(_do_group, [cell]).result()
                    yield from seen.new()
        except BrokenProcessPool:
            parent.fail(next(iter(seen.left)), _KILLED)
            yield from seen.new()


class _Seen:
    """Notices records that were written since it was made."""

    def __init__(self, out: Path, cells: Sequence[Cell]) -> None:
        self.out = out
        self.left = {cell: _written(cell.file(out)) for cell in cells}

    def new(self) -> Iterator[tuple[Cell, dict[str, Any]]]:
        for cell, before in list(self.left.items()):
            file = cell.file(self.out)
            if (now := _written(file)) is not None and now != before:
                del self.left[cell]
                yield cell, read_json(file)


def _written(file: Path) -> tuple[int, int] | None:
    """Identity of a file as written (a rename gives it another inode), None without one."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def _pool(plan: Plan, jobs: int) -> ProcessPoolExecutor:
    num_threads = max(1, len(os.sched_getaffinity(0)) // jobs) if hasattr(os, "sched_getaffinity") else 1
    spawn = get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_start, initargs=(plan, num_threads))


def _start(plan: Plan, num_threads: int) -> None:
    global _session
    import torch

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(min(num_threads, torch.get_num_threads()))
    _session = Session(plan)


def _end_with(parent: int) -> None:
    """End this process once its parent is gone: a killed grid would leave it waiting for work for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)  # records are written whole or not at all


def _do_group(cells: Sequence[Cell]) -> None:
    assert _session is not None
    for cell in cells:
        _session.do(cell)

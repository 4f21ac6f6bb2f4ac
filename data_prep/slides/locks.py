"""One writer per slide: a lock file that says which process of which machine holds it, and when that one is dead.

All changes of locks happen under one kernel lock (``flock`` on ``locks/.guard``), which no crash can leave behind; so a
dead writer's lock is taken over by exactly one other.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medvlp.errors import DataError
from medvlp.io import read_json, remove_partials, write_json

_GUARD = ".guard"


class Locks:
    """The locks of a job folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._me = {"host": socket.gethostname(), "boot": _boot(), "space": _space(), **_process(os.getpid())}

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Hold the job folder for a moment: nobody else takes or frees locks or writes its common files meanwhile."""
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _GUARD).open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def take(self, key: str) -> bool:
        """Lock a slide; False if a living process (or one of another machine) holds it."""
        path = self._path(key)
        with self.guard():
            remove_partials(self.folder)
            if path.exists() and not self._is_dead(path):
                return False
            write_json(path, self._me)
            return True

    def free(self, key: str) -> None:
        """Give a slide back."""
        with self.guard():
            self._path(key).unlink(missing_ok=True)

    def holder(self, key: str) -> str:
        """Name who holds a slide, for messages."""
        try:
            held = read_json(self._path(key))
            return f"process {held['pid']} on {held['host']}"
        except (DataError, KeyError, TypeError):
            return "another process"

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _is_dead(self, path: Path) -> bool:
        """Say whether the holder is surely gone: this machine was started again since, or the process is no more."""
        try:
            held = read_json(path)
        except DataError:
            return True  # locks are written whole, so this is no lock
        if not isinstance(held, dict) or held.get("host") != self._me["host"]:
            return False
        if held.get("boot") != self._me["boot"]:
            return True
        if held.get("space") != self._me["space"]:  # a container's process numbers mean nothing here
            return False
        pid = held.get("pid")
        return not isinstance(pid, int) or _process(pid) != {"pid": pid, "started": held.get("started")}


def _process(pid: int) -> dict[str, int | None]:
    """Return a process number with its start time: numbers are used again, pairs are not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"pid": pid, "started": _alive_without_proc(pid)}
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold blanks
    return {"pid": pid, "started": None if fields[0] in ("Z", "X") else int(fields[19])}


def _alive_without_proc(pid: int) -> int | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def _space() -> int:
    path = Path("/proc/self/ns/pid")
    return path.stat().st_ino if path.exists() else 0

"""One command that says which parts of an installation work, by using each of them once."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["PASS", "WARN", "FAIL", "SKIP"]


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was tried.
        status: ``PASS``; ``WARN`` (works with a limit); ``FAIL`` (needed and broken); ``SKIP`` (optional, absent).
        detail: What was found.
        remedy: What to do; empty for ``PASS``.
        seconds: How long it took.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
    seconds: float = 0.0


Outcome = tuple[Status, str, str]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence libraries that print while they work, those in C included, so that ``--json`` stays JSON."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, devnull):
            os.close(descriptor)


def run_check(name: str, function: Callable[[], Outcome]) -> Check:
    """Run one check; whatever it raises becomes a ``FAIL`` of this check alone."""
    start = time.perf_counter()
    try:
        with _quiet():
            status, detail, remedy = function()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        status, detail = "FAIL", f"{type(error).__name__}: {reason}"
        remedy = "install the pinned set (make install) and run again"
    return Check(name, status, detail, remedy, round(time.perf_counter() - start, 2))


def run_checks() -> list[Check]:
    """Run every check, in the order a newcomer would ask."""
    from medvlp.doctor_checks import CHECKS

    return [run_check(name, function) for name, function in CHECKS.items()]


def render(checks: list[Check]) -> str:
    """Return the checks as aligned text, remedies below, counts last."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:4}  {check.name:{width}}  {check.detail}")
        if check.remedy:
            lines.append(f"{'':{width + 8}}-> {check.remedy}")
    counts = {status: sum(check.status == status for check in checks) for status in ("PASS", "WARN", "FAIL", "SKIP")}
    return "\n".join([*lines, "", ", ".join(f"{count} {status}" for status, count in counts.items())])


def to_json(checks: list[Check]) -> str:
    """Return the checks as a JSON object with ``ok`` (no FAIL) and the list ``checks``."""
    ok = all(check.status != "FAIL" for check in checks)
    return json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, indent=1)

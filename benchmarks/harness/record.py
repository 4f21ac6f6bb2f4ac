"""The record of one cell of the grid: what the leaderboard is made of.

``records/TASK.PROTOCOL/SYSTEM.VARIANT.SEED.json`` with an ``.npz`` of the same name, which holds ``draws.<metric>``
(S,) of each metric and the predictions. ::

    format      "medvlp-benchmark-record-1"
    title       of the grid
    digest      of everything the record was made from; null in a failed one, which is tried again
    asked       of what is known before anything is opened: the settings of task, protocol, system, grid
    task        name, title, protocol, label, split, mode, num, num_cases, digest, rows_sha256 (what ``expect.sha256``
                freezes), citation, licence, homepage, defects
    system      id, name, kind (model | floor | system), of (the floor's model, or null), title, source, weights_sha256,
                knowledge; a system is what a protocol without models compares
    variant     name of the prompt variant
    seed        of shots, heads, examples
    prompts     digest, source, num; or null
    metrics     [{name, title, value, low, high, n, num_cases, higher_is_better, unit, chance, reason}]
    details     sections of JSON: per class, curves, subgroups, trust, sensitivity
    limits      sentences a reader has to know
    leaks       the leak guard's finding, {state: clean | leak | unknown, lines}, or null
    skipped     why there is no score, or null
    failed      what went wrong, in one line, or null
    command     the command line that makes this very record
    seconds, peak_mb, created, versions

``label`` is the protocol's name, with a number where a task asks one protocol twice.
"""

from __future__ import annotations

import datetime
import io
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from medvlp.io import read_json, write_bytes, write_json
from medvlp.metrics.bootstrap import interval
from medvlp.zeroshot.results import number, versions

FORMAT = "medvlp-benchmark-record-1"
RECORDS = "records"


def answer_part(found: Outcome | Skipped, level: float) -> dict[str, Any]:
    """Return the keys of a record that an answer fills."""
    if isinstance(found, Skipped):
        return {"prompts": None, "metrics": [], "details": {}, "limits": [], "skipped": found.reason}
    return {
        "prompts": found.prompts,
        "metrics": [_entry(metric, level) for metric in found.metrics],
        "details": plain(found.details),
        "limits": list(found.limits),
        "skipped": None,
    }


def _entry(metric: Metric, level: float) -> dict[str, Any]:
    found = interval(metric.value, np.asarray(metric.draw_S, dtype=np.float64), metric.num_cases, level)
    return {
        "name": metric.name,
        "title": metric.title,
        "value": number(found.value),
        "low": number(found.low),
        "high": number(found.high),
        "n": metric.n,
        "num_cases": metric.num_cases,
        "higher_is_better": metric.higher_is_better,
        "unit": metric.unit,
        "chance": None if metric.chance is None else number(metric.chance),
        "reason": metric.reason,
    }


def plain(value: Any) -> Any:
    """Return a value as JSON: arrays as lists, numbers of numpy as numbers, what is not finite as null."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write(file: Path, record: dict[str, Any], found: Outcome | Skipped | None) -> None:
    """Write the arrays, then the record, each whole or not at all: a record that stands has its arrays."""
    arrays: dict[str, NDArray[Any]] = {}
    if isinstance(found, Outcome):
        arrays = {f"draws.{metric.name}": np.asarray(metric.draw_S) for metric in found.metrics}
        arrays |= {name: np.asarray(value) for name, value in found.predictions.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    write_bytes(file.with_suffix(".npz"), stream.getvalue())
    write_json(file, record)


def is_current(file: Path, key: str, digest: str | None) -> bool:
    """Tell whether a finished record with this digest stands under ``key`` (``digest`` or ``asked``)."""
    if digest is None or not file.is_file() or not file.with_suffix(".npz").is_file():
        return False
    record = read_json(file)
    return record.get("format") == FORMAT and record.get("failed") is None and record.get(key) == digest


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays beside a record."""
    with np.load(file.with_suffix(".npz"), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def read_all(out: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return every record below a grid's output, with its file, in order of name."""
    files = sorted((out / RECORDS).glob("*/*.json"))
    return [(file, record) for file in files if (record := read_json(file)).get("format") == FORMAT]


def circumstances(seconds: float) -> dict[str, Any]:
    """Return when, how long, with how much memory (the peak of the process so far) and with which versions."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return {
        "seconds": round(seconds, 3),
        "peak_mb": round(peak),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }

"""The records of a folder, grouped into questions, with the seeds of a system joined.

Shape legend: S bootstrap draws, R seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.grid import INDEX
from benchmarks.harness.record import FORMAT, RECORDS
from medvlp.errors import DataError
from medvlp.io import read_json
from medvlp.metrics.paired import Measured

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One system on one question.

    Attributes:
        name: The system's name.
        kind: ``model``, ``system`` (what a protocol without models compares) or ``floor``.
        of: The model a floor was made from, or None.
        records: One record per seed, in order of the seeds; their metrics are named alike.
        measured: Every metric that has a value on all seeds: values by seed, and their mean on every draw.
    """

    name: str
    kind: str
    of: str | None
    records: tuple[Record, ...]
    measured: dict[str, Measured]

    @property
    def skipped(self) -> str | None:
        """Why there is no score, if so."""
        return next((record["skipped"] for record in self.records if record["skipped"] is not None), None)


@dataclass(frozen=True)
class Group:
    """One question, a task under a protocol (``label``) and a prompt variant, with everybody who was asked it."""

    name: str
    label: str
    variant: str
    rows: tuple[Row, ...]

    @property
    def task(self) -> dict[str, Any]:
        """What the records say of the task."""
        found: dict[str, Any] = self.rows[0].records[0]["task"]
        return found

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics as the first row that was scored names them, the leading one first."""
        scored = next((row for row in self.rows if row.skipped is None), None)
        return [] if scored is None else list(scored.records[0]["metrics"])

    def floors_of(self, model: str) -> list[Row]:
        """The floors a model is held against: those of everybody, and those made from it."""
        return [row for row in self.rows if row.kind == "floor" and row.of in (None, model) and row.measured]


def read_records(out: Path) -> list[tuple[Path, Record]]:
    """Return every record of the grid that a folder was last used for, with its file, in the order of its cells.

    Records of cells that are no longer in that grid stay on disk and are not returned.

    Raises:
        DataError: If there is none, or a file is no record of this format.
    """
    index = out / INDEX
    if index.is_file():
        files = [out / cell["record"] for cell in read_json(index)["cells"]]
    else:
        files = sorted((out / RECORDS).rglob("*.json"))
    found = []
    for file in files:
        if not file.is_file():
            continue
        record = read_json(file)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise DataError("is no record of a benchmark", item=file, remedy="remove it, or run the benchmark again")
        found.append((file, record))
    if not found:
        raise DataError(
            "holds no records", item=out, remedy="run `medvlp benchmark CONFIG --out` with this folder first"
        )
    return found


def gather(records: Iterable[tuple[Path, Record]]) -> list[Group]:
    """Group records by question and join the seeds of each system; order is that of tasks, then of systems.

    Raises:
        DataError: If records of one question were made from different rows, truth, prompts or settings.
    """
    questions: dict[tuple[str, str, str], dict[tuple[str, str | None, str], list[tuple[Path, Record]]]] = {}
    for file, record in records:
        if record["failed"] is not None:
            continue
        task, system = record["task"], record["system"]
        question = questions.setdefault((task["name"], task["label"], record["variant"]), {})
        question.setdefault((system["name"], system["of"], system["kind"]), []).append((file, record))
    names = dict.fromkeys(name for found in questions.values() for name, *_ in found)
    order = {name: place for place, name in enumerate(names)}
    groups = []
    for (name, label, variant), systems in questions.items():
        digests = {record["task"]["digest"]: file for found in systems.values() for file, record in found}
        if len(digests) > 1:
            raise DataError(
                f"{len(digests)} different versions of {name}.{label} lie side by side",
                item=next(iter(digests.values())).parent,
                remedy="run the benchmark again, or remove the older records",
            )
        rows = [_row(key, found) for key, found in systems.items()]
        rows.sort(key=lambda row: (row.kind == "floor", row.of or "", order.get(row.name, len(order)), row.name))
        groups.append(Group(name, label, variant, tuple(rows)))
    return groups


def _row(key: tuple[str, str | None, str], found: list[tuple[Path, Record]]) -> Row:
    name, of, kind = key
    found = sorted(found, key=lambda item: item[1]["seed"])
    scored = [(file, record) for file, record in found if record["skipped"] is None]
    measured: dict[str, Measured] = {}
    if len(scored) == len(found):
        drawn = [_draws(file) for file, _ in scored]
        for metric in scored[0][1]["metrics"]:
            values = [_value(record, metric["name"]) for _, record in scored]
            draws = [part.get(metric["name"], np.zeros(0)) for part in drawn]
            if not np.isnan(values).any() and len({len(draw_S) for draw_S in draws}) == 1:
                mean_S = np.mean(draws, axis=0)
                measured[metric["name"]] = Measured(np.array(values), mean_S, metric["num_cases"])
    return Row(name, kind, of, tuple(record for _, record in found), measured)


def _value(record: Record, name: str) -> float:
    found = next((metric["value"] for metric in record["metrics"] if metric["name"] == name), None)
    return float("nan") if found is None else float(found)


def _draws(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    path = file.with_suffix(".npz")
    if not path.is_file():
        raise DataError("its draws are missing", item=file, remedy="remove the record and run the benchmark again")
    with np.load(path, allow_pickle=False) as arrays:
        return {name.removeprefix("draws."): arrays[name] for name in arrays.files if name.startswith("draws.")}

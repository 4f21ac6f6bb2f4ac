"""Models × tasks × prompts × seeds from one configuration, over several processes, skipping what is done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from benchmarks.harness import leaks, record
from benchmarks.harness.cells import Cell, Invocation, all_cells, choose
from benchmarks.harness.data import check, prepare_graph, prepare_store, read_task, told_of
from benchmarks.harness.session import Plan, ReadyTask, Session, asked
from benchmarks.harness.subjects import ModelEntry
from benchmarks.harness.task import PairsData, TaskConfig
from benchmarks.harness.workers import do_in_processes
from medvlp.config import Config
from medvlp.data.pairs import PairsStore
from medvlp.errors import ConfigError, MedvlpError
from medvlp.io import remove_partials, write_json
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.prompts import PromptConfig

console = Console(stderr=True, highlight=False)
INDEX = "benchmark.json"
INDEX_FORMAT = "medvlp-benchmark-1"


class BenchmarkConfig(Config):
    """The grid; see ``configs/eval/all_local.yaml``."""

    kind: Literal["benchmark"] = Field("benchmark", description="Which schema this file follows.")
    title: str = Field("Benchmark", description="Heading of the leaderboard.")
    tasks: list[str] = Field(min_length=1, description="Task files: names in benchmarks/tasks, or paths.")
    models: dict[str, ModelEntry] = Field({}, description="Models to score, by the name they are shown under.")
    floors: list[str] = Field(["all"], description="Floors to score wherever a protocol has them; `all` is every one.")
    prompts: dict[str, PromptConfig | None] = Field(
        {"task": None}, min_length=1, description="Prompt variants; null is the task's."
    )
    seeds: list[int] = Field([0], min_length=1, description="Seeds of whatever a protocol draws.")
    graph: str | None = Field(None, description="Config of kind `graph`, or a built graph.")
    num_draws: int = Field(1000, ge=0, le=100_000, description="Bootstrap draws of cases.")
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of intervals.")
    jobs: int = Field(1, ge=1, le=256, description="Processes.")


@dataclass(frozen=True)
class Summary:
    """What a run of the grid did: cells scored now, found done, and failed (with why)."""

    scored: int
    found: int
    failed: tuple[tuple[str, str], ...]
    seconds: float


def run(
    config: BenchmarkConfig,
    out: Path,
    *,
    only: Sequence[str] = (),
    jobs: int | None = None,
    invocation: Invocation | None = None,
) -> Summary:
    """Score every cell that has no record yet, and write ``benchmark.json``, the list of all cells.

    Records appear one by one, so a run that is killed goes on where it was. A cell that fails is recorded as failed,
    and the others go on.

    Args:
        config: The grid.
        out: Folder of records, stores and caches.
        only: Choices of cells, see :func:`benchmarks.harness.cells.choose`.
        jobs: Processes, instead of the configuration's.
        invocation: How the command line was; by default a config of the same folder is named.

    Raises:
        ConfigError: If the grid or a task cannot be read.
        DataError: If the data of a task is not what it expects; nothing has been scored then.
    """
    start = time.perf_counter()
    invocation = invocation or Invocation("benchmark.yaml", (), str(out))
    tasks = _read_tasks(config)
    cells = all_cells(config, tasks)
    chosen = choose(cells, only)
    ready = _prepare(config, tasks, {cell.task for cell in chosen}, out)
    plan = Plan(config, ready, out, invocation)
    session = Session(plan)
    for cell in _one_of_each(chosen):
        session.question(cell)  # every mistake in the data shows before anything is scored
    for folder in {cell.file(out).parent for cell in chosen}:
        remove_partials(folder)
    order = ["", *config.models]  # by model, so that a process opens each one once
    todo = sorted((c for c in chosen if not _is_done(session, c, out)), key=lambda c: order.index(c.model or ""))
    _write_index(config, cells, out)
    _say(f"{len(chosen)} cells, {len(chosen) - len(todo)} done, {len(todo)} to score")
    jobs = min(jobs or config.jobs, max(1, len(todo)))
    told = _Progress(len(todo))
    failed: list[tuple[str, str]] = []
    finished: Iterable[tuple[Cell, dict[str, Any]]] = (
        ((cell, session.do(cell)) for cell in todo) if jobs == 1 else do_in_processes(plan, todo, jobs)
    )
    for cell, value in finished:
        told.cell(cell, value)
        if value["failed"] is not None:
            failed.append((cell.title, value["failed"]))
    return Summary(len(todo) - len(failed), len(chosen) - len(todo), tuple(failed), time.perf_counter() - start)


def dry_run(config: BenchmarkConfig, out: Path, only: Sequence[str] = ()) -> list[str]:
    """Return one line per cell, whether its record stands, and an estimate; opens no data and writes nothing."""
    tasks = _read_tasks(config)
    plan = Plan(config, {name: ReadyTask(task, None, None, None) for name, task in tasks.items()}, out, _NOWHERE)
    cells, lines, left, unknown = choose(all_cells(config, tasks), only), [], 0.0, 0
    seconds = _known_seconds(out)
    for cell in cells:
        done = record.is_current(cell.file(out), "asked", asked(plan, cell))
        guess = seconds.get((cell.task, cell.label, cell.name), seconds.get((cell.task, cell.label)))
        lines.append(f"{'done ' if done else 'to do'}  {cell.title}")
        if not done and guess is None:
            unknown += 1
        elif not done and guess is not None:
            left += guess
    to_do = sum(line.startswith("to do") for line in lines)
    known = f"about {_time(left / config.jobs)} with {config.jobs} processes for {to_do - unknown} of them"
    told = "no estimate before the first cells are done" if to_do == unknown else known
    return [*lines, f"{len(cells)} cells, {to_do} to do{'' if to_do == 0 else f'; {told}'}"]


_NOWHERE = Invocation("", (), "")


def _read_tasks(config: BenchmarkConfig) -> dict[str, TaskConfig]:
    found: dict[str, TaskConfig] = {}
    for name in config.tasks:
        stem, task = read_task(name)
        if stem in found:
            raise ConfigError("is named twice", item=f"tasks: {stem}", remedy="rename one file")
        with told_of(stem):
            refuse_test(task.fit_split)
        found[stem] = task
    return found


def _prepare(
    config: BenchmarkConfig, tasks: dict[str, TaskConfig], wanted: set[str], out: Path
) -> dict[str, ReadyTask]:
    """Make or find graphs and stores, check them, search them for leaks."""
    folder = out / "data"
    graphs: dict[str, Path] = {}
    ready: dict[str, ReadyTask] = {}
    opened = _Opened()
    for name, task in tasks.items():
        if name not in wanted:
            continue
        with told_of(name):
            named = task.graph or config.graph
            if named is not None and named not in graphs:
                _say(f"graph {named}")
                graphs[named] = prepare_graph(named, folder)
            graph = None if named is None else graphs[named]
            if not isinstance(task.data, PairsData):
                ready[name] = ReadyTask(task, None, graph, None)
                continue
            _say(f"data of {name}")
            path = prepare_store(task.data, graph, folder)
        store = opened.store(path)
        rows = check(name, task, store, None if graph is None else opened.graph(graph))
        ready[name] = ReadyTask(task, path, graph, leaks.of_store(store, task.split, out / "leaks"), rows)
    return ready


class _Opened:
    """Stores and graphs, each verified and opened once."""

    def __init__(self) -> None:
        self._stores: dict[Path, PairsStore] = {}
        self._graphs: dict[Path, DiseaseGraph] = {}

    def store(self, path: Path) -> PairsStore:
        if path not in self._stores:
            self._stores[path] = PairsStore.load(path)
        return self._stores[path]

    def graph(self, path: Path) -> DiseaseGraph:
        if path not in self._graphs:
            self._graphs[path] = DiseaseGraph.load(path)
        return self._graphs[path]


def _one_of_each(cells: Sequence[Cell]) -> list[Cell]:
    return list({(cell.task, cell.label, cell.variant): cell for cell in cells}.values())


def _is_done(session: Session, cell: Cell, out: Path) -> bool:
    file = cell.file(out)
    if not record.is_current(file, "asked", asked(session.plan, cell)):
        return False
    try:
        model = None if cell.model is None else session.facts(cell.model)
        return record.is_current(file, "digest", session.digest(cell, model))
    except MedvlpError:
        return False  # a model that cannot be opened fails in its own cell


def _write_index(config: BenchmarkConfig, cells: Sequence[Cell], out: Path) -> None:
    """Write which cells the grid has, so that records of cells it no longer has are not shown."""
    rows = [
        {
            "record": str(cell.file(out).relative_to(out)),
            "task": cell.task,
            "label": cell.label,
            "system": cell.system,
            "variant": cell.variant,
            "seed": cell.seed,
        }
        for cell in cells
    ]
    write_json(
        out / INDEX,
        {
            "format": INDEX_FORMAT,
            "title": config.title,
            "level": config.level,
            "num_draws": config.num_draws,
            "config": config.model_dump(mode="json"),
            "cells": rows,
        },
    )


def _known_seconds(out: Path) -> dict[tuple[str, ...], float]:
    """Mean seconds of records that stand: by task, protocol and system, and by task and protocol."""
    found: dict[tuple[str, ...], list[float]] = {}
    for _, value in record.read_all(out):
        task, seconds = value["task"], float(value["seconds"])
        found.setdefault((task["name"], task["label"], value["system"]["name"]), []).append(seconds)
        found.setdefault((task["name"], task["label"]), []).append(seconds)
    return {key: sum(values) / len(values) for key, values in found.items()}


class _Progress:
    """One line per finished cell: who, the leading score with its interval, the time it took, the time left."""

    def __init__(self, num: int) -> None:
        self.num, self.done, self.start = num, 0, time.perf_counter()

    def cell(self, cell: Cell, value: dict[str, Any]) -> None:
        self.done += 1
        left = (time.perf_counter() - self.start) / self.done * (self.num - self.done)
        tail = f"{value['seconds']:.1f} s" + (f", {_time(left)} left" if self.done < self.num else "")
        _say(f"[{self.done}/{self.num}] {cell.title}: {_result(value)}  ({tail})")


def _result(value: dict[str, Any]) -> str:
    if value["failed"] is not None:
        return f"FAILED: {value['failed']}"
    if value["skipped"] is not None:
        return f"skipped: {value['skipped']}"
    first = value["metrics"][0]
    if first["value"] is None:
        return f"{first['title']} undefined ({first['reason']})"
    width = "" if first["low"] is None else f" [{first['low']:.3f}, {first['high']:.3f}]"
    return f"{first['title']} {first['value']:.3f}{width}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)

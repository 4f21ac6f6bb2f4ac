"""Every set x method x arm x seed once, each with a record by which the table resumes.

Seed by seed, so that what is there early already compares the arms. Several processes share the folder: each file is
written aside and renamed, so a cell that is done twice does no harm, and a killed one leaves nothing behind.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.graphs import build_graph
from benchmarks.common.records import console, once
from benchmarks.objectives.ask import answer
from benchmarks.objectives.config import Knowledge, ObjectiveTableConfig
from benchmarks.objectives.floors import FLOOR, floor_answers
from benchmarks.objectives.memory import TextMemory
from benchmarks.objectives.sets import Prepared, prepare_set
from benchmarks.objectives.texts import PreparedTexts, prepare_texts, text_floors, text_record, text_settings
from benchmarks.objectives.train import settings_of, train
from medvlp import __version__
from medvlp.data.entities import Entities
from medvlp.errors import ConfigError
from medvlp.io import read_json, sha256_json
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.training.align import AlignConfig
from medvlp.training.knowledge import KnowledgeConfig

FORMAT = "medvlp-objectives-1"


@dataclass(frozen=True)
class Cell:
    """One run; ``name`` is also the name of its record."""

    set_name: str
    method: str
    arm: Knowledge
    seed: int

    @property
    def name(self) -> str:
        """Return ``SET-METHOD-ARM-seed-N``."""
        return f"{self.set_name}-{self.method}-{self.arm}-seed-{self.seed}"


@dataclass(frozen=True)
class Done:
    """What there is of one set: its floors by title, and the records of cells by method, arm and seed."""

    prepared: Prepared | PreparedTexts
    floors: dict[str, dict[str, Any]]
    records: dict[tuple[str, str, int], dict[str, Any]]


class Worker:
    """Does cells below a folder, and keeps in memory what the next one needs again.

    Args:
        config: The table.
        out: Its folder.
    """

    def __init__(self, config: ObjectiveTableConfig, out: Path) -> None:
        torch.set_num_threads(1)
        self.config, self.out, self.memory = config, out, TextMemory()
        self._sets: dict[str, Prepared | PreparedTexts] = {}
        self._graph: tuple[Path, DiseaseGraph] | None = None

    def set(self, name: str) -> Prepared | PreparedTexts:
        """Return a set, made at the first call of the first process."""
        if name not in self._sets:
            if self._graph is None:
                folder = build_graph(self.config.graph, self.out)
                self._graph = folder, DiseaseGraph.load(folder)
            folder, graph = self._graph
            if name in self.config.texts:
                self._sets[name] = prepare_texts(self.config, name, folder, graph.digest, self.out / "sets")
            else:
                self._sets[name] = prepare_set(self.config, name, graph, folder, self.out / "sets")
        return self._sets[name]

    def settings(self, cell: Cell) -> AlignConfig | KnowledgeConfig:
        """Return the recipe of a cell."""
        prepared, cache = self.set(cell.set_name), self.out / "features"
        if isinstance(prepared, PreparedTexts):
            return text_settings(prepared, cell.method, cell.arm, cell.seed)
        return settings_of(self.config, prepared, cell.method, cell.arm, cell.seed, cache)

    def file(self, cell: Cell) -> Path:
        """Return the record of a cell."""
        return self.out / "cells" / f"{cell.name}.json"

    def identity(self, cell: Cell) -> list[Any]:
        """Return what a record depends on, paths replaced by what lies there."""
        prepared = self.set(cell.set_name)
        paths = {"data", "graph", "entities", "cache", "reports"}
        plain = self.settings(cell).model_dump(mode="json", exclude=paths)
        made_from = [FORMAT, __version__, prepared.digest, plain]
        if isinstance(prepared, Prepared) and prepared.settings.triples is not None:
            method = self.config.methods[cell.method]
            made_from += [Entities.load(prepared.entities_of(method)).digest] if method.triples else []
        return made_from

    def do(self, cell: Cell) -> dict[str, Any]:
        """Train and ask a cell, or find it done; return its record."""

        def work() -> dict[str, Any]:
            settings, prepared, folder = self.settings(cell), self.set(cell.set_name), self.out / "runs" / cell.name
            if isinstance(prepared, PreparedTexts):
                assert isinstance(settings, KnowledgeConfig), "the recipe of a set of texts"
                return text_record(prepared, settings, folder)
            assert isinstance(settings, AlignConfig), "the recipe of a set of images"
            trained = train(settings, folder, self.memory)
            return {"cost": trained.cost, **answer(trained, settings, prepared)}

        return once(self.file(cell), self.identity(cell), work, say=False)

    def found(self, cell: Cell) -> dict[str, Any] | None:
        """Return the record of a cell if it is there and still holds."""
        file = self.file(cell)
        if not file.is_file():
            return None
        record = read_json(file)
        return record if record.get("digest") == sha256_json(self.identity(cell)) else None

    def floors(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what a set's floors say by their titles, made once."""
        prepared, file = self.set(name), self.out / "cells" / f"{name}-floors.json"
        identity: list[Any] = [FORMAT, __version__, prepared.digest]
        if isinstance(prepared, PreparedTexts):
            identity.append(prepared.start().model_dump(mode="json"))
            return dict(once(file, identity, lambda: {"floors": text_floors(prepared)}, say=False)["floors"])
        return {FLOOR: once(file, identity, lambda: floor_answers(prepared), say=False)}


def cells_of(config: ObjectiveTableConfig, only: Sequence[str] = ()) -> list[Cell]:
    """Return the cells of a table, seed by seed.

    Args:
        config: The table.
        only: Keeps what has one of these in its name; all if empty.

    Raises:
        ConfigError: If nothing is left.
    """
    cells = [
        Cell(set_name, method, arm, seed)
        for seed in config.seeds
        for set_name in (*config.sets, *config.texts)
        for method in config.methods_of(set_name)
        for arm in config.arms
    ]
    kept = [cell for cell in cells if not only or any(part in f"{cell.name}-" for part in only)]
    if not kept:
        raise ConfigError(
            "no cell has this in its name", item=f"--only {' '.join(only)}", remedy=f"try {cells[0].name}"
        )
    return kept


def run(
    config: ObjectiveTableConfig,
    out: Path,
    num_processes: int = 1,
    only: Sequence[str] = (),
    partial: Callable[[dict[str, Done]], str] | None = None,
) -> dict[str, Done]:
    """Do whatever is not done yet, and return all that is there, by set.

    Args:
        config: The table.
        out: Folder of graph, sets, cached features and records.
        num_processes: Processes that work at once; 0 trains nothing and returns what is done.
        only: See :func:`cells_of`.
        partial: Makes the table of what is there after each seed.
    """
    cells = cells_of(config, only)
    worker = Worker(config, out)
    names = list(dict.fromkeys(cell.set_name for cell in cells))
    for name in names:  # before there are processes that would all make the same set
        worker.set(name)
    if num_processes > 0:
        todo = [cell for cell in cells if worker.found(cell) is None]
        console.print(f"{len(cells) - len(todo)} of {len(cells)} cells are done", markup=False)
        start, count = time.perf_counter(), 0
        for seed in config.seeds:
            mine = [cell for cell in todo if cell.seed == seed]
            for cell, seconds in _do_all(worker, mine, num_processes):
                count += 1
                left = (time.perf_counter() - start) / count * (len(todo) - count) / 60
                text = f"  {count}/{len(todo)}  {cell.name}: {seconds:.0f} s, about {left:.0f} min left"
                console.print(text, markup=False)
            if mine and partial is not None and seed != config.seeds[-1]:
                console.print(partial(gather(worker, cells)), markup=False)
    return gather(worker, cells)


def gather(worker: Worker, cells: Sequence[Cell]) -> dict[str, Done]:
    """Return the records that are there, by set; a set without any is left out."""
    out: dict[str, Done] = {}
    for cell in cells:
        record = worker.found(cell)
        if record is not None:
            name = cell.set_name
            done = out.setdefault(name, Done(worker.set(name), worker.floors(name), {}))
            done.records[cell.method, cell.arm, cell.seed] = record
    return out


def _do_all(worker: Worker, cells: Sequence[Cell], num_processes: int) -> Iterator[tuple[Cell, float]]:
    if num_processes == 1 or len(cells) < 2:
        for cell in cells:
            yield _timed(worker, cell)
        return
    start = (worker.config.model_dump_json(), str(worker.out))
    spawn = get_context("spawn")  # a forked process would share the threads of torch
    with ProcessPoolExecutor(num_processes, mp_context=spawn, initializer=_start, initargs=start) as pool:
        for future in as_completed([pool.submit(_do, cell) for cell in cells]):
            yield future.result()


_OF_PROCESS: dict[str, Worker] = {}


def _start(config: str, out: str) -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _OF_PROCESS["worker"] = Worker(ObjectiveTableConfig.model_validate_json(config), Path(out))


def _end_with(parent: int) -> None:
    """End this process once the one that started it is gone: nobody would collect what it does."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _do(cell: Cell) -> tuple[Cell, float]:
    return _timed(_OF_PROCESS["worker"], cell)


def _timed(worker: Worker, cell: Cell) -> tuple[Cell, float]:
    start = time.perf_counter()
    worker.do(cell)
    return cell, time.perf_counter() - start

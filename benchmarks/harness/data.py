"""The inputs of a grid: graphs and pairs stores, each made once below the output and reused while nothing changed.

Everything here runs in one process before the first cell, so that a mistake in the data stops the run early.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness.task import PairsData, TaskConfig
from benchmarks.leaks.guards import require_rows, require_separate_cases
from medvlp import __version__
from medvlp.config import load, resolve_path
from medvlp.data.pairs import SPLITS, PairsStore
from medvlp.errors import ConfigError, DataError
from medvlp.io import MANIFEST, read_json, remove_partials, sha256_json, write_json
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.zeroshot.task import Task, build_task

TASKS = Path(__file__).resolve().parent.parent / "tasks"


def read_task(name_or_path: str) -> tuple[str, TaskConfig]:
    """Return a task's name and configuration: a name in ``benchmarks/tasks``, or a path (named by its stem).

    Raises:
        ConfigError: If there is no such file, or it is no task.
    """
    shipped = TASKS / f"{name_or_path.removesuffix('.yaml')}.yaml"
    path = shipped if shipped.is_file() else resolve_path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in TASKS.glob("*.yaml")))
        raise ConfigError("no such task", item=name_or_path, remedy=f"write a path, or one of {known}")
    config = load(path, kind="task")
    assert isinstance(config, TaskConfig)
    return path.stem, config


def prepare_graph(name: str, folder: Path) -> Path:
    """Return the folder of a graph: one already built, or one built here from a config of kind ``graph`` or ``umls``.

    Args:
        name: Folder of a graph store, or a config (path or shipped name).
        folder: Where graphs and stores of this grid are kept.
    """
    ready = resolve_path(name)
    if (ready / MANIFEST).is_file():
        return ready
    config: Any = load(name, kind=("graph", "umls"))
    settings = config.model_dump(mode="json")

    def work(target: Path) -> None:
        if config.kind == "umls":
            from data_prep.ontologies.umls.build import build as build_umls

            build_umls(config, target, overwrite=True)
        else:
            from data_prep.ontologies.build import build

            build(config, target, overwrite=True)

    return _made_once(folder, "graph", [settings, signature(settings)], work)


def prepare_store(data: PairsData, graph: Path | None, folder: Path) -> Path:
    """Return the folder of a task's pairs store, made here where the task names a config.

    Two tasks of one data set share a store.

    Raises:
        ConfigError: Unless exactly one of ``config``, ``simulation`` and ``store`` is given.
        DataError: What the data itself has wrong.
    """
    given = [name for name in ("config", "simulation", "store") if getattr(data, name) is not None]
    if len(given) != 1:
        raise ConfigError("needs exactly one of config, simulation and store", item="data", remedy="name one")
    if data.store is not None:
        return resolve_path(data.store)
    overrides = [*data.set, *([] if graph is None else [f"graph={graph}"])]
    source = data.config if data.config is not None else data.simulation
    assert source is not None
    config: Any = load(source, overrides, kind="pairs" if data.config is not None else "simulation")
    settings = config.model_dump(mode="json", exclude={"num_workers", "graph"})
    digest = None if config.graph is None else DiseaseGraph.load(resolve_path(config.graph)).digest

    def work(target: Path) -> None:
        if data.config is not None:
            from data_prep.pairs.prepare import prepare

            prepare(config, target, data.already_deidentified, overwrite=True)
        else:
            from data_prep.simulation.simulate import simulate

            simulate(config, target, overwrite=True)

    identity = [settings, digest, data.already_deidentified, signature(settings.get("source", settings))]
    return _made_once(folder, Path(source).stem, identity, work)


def _made_once(folder: Path, name: str, identity: Any, work: Callable[[Path], None]) -> Path:
    """Make ``folder/NAME-DIGEST`` unless it stands; a note beside it says it is whole and of which files it is made."""
    digest = sha256_json([__version__, identity])
    target = folder / f"{name}-{digest[:12]}"
    note = folder / f"{target.name}.json"
    if (target / MANIFEST).is_file() and note.is_file() and read_json(note) == {"made_from": digest}:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    remove_partials(folder)
    with quiet():
        work(target)
    write_json(note, {"made_from": digest})
    return target


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what a job tells on the way from the grid's own lines; what it found stands in its manifest."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def signature(value: Any) -> list[Any]:
    """Return size and time of every file that the paths in a configuration lead to, to notice changed sources."""
    if isinstance(value, dict):
        return [entry for part in value.values() for entry in signature(part)]
    if isinstance(value, list):
        return [entry for part in value for entry in signature(part)]
    if not isinstance(value, str) or not value or len(value) > 4000:
        return []
    try:
        path = resolve_path(value)
        if not path.is_absolute() and "/" not in value and not path.exists():
            return []
        if path.is_file():
            return [[str(path), path.stat().st_size, path.stat().st_mtime_ns]]
        return [_folder_signature(path)] if path.is_dir() else []
    except (ConfigError, OSError):
        return []  # not a path, or one that the job itself will complain about


def _folder_signature(path: Path) -> list[Any]:
    num, size, newest = 0, 0, 0
    for folder, _, files in os.walk(path):
        for file in files:
            found = os.stat(os.path.join(folder, file))
            num, size, newest = num + 1, size + found.st_size, max(newest, found.st_mtime_ns)
    return [str(path), num, size, newest]


def labelled(task: TaskConfig, store: PairsStore, graph: DiseaseGraph | None) -> dict[str, Task]:
    """Return the labelled rows of every split; a set without classes counts all rows.

    Raises:
        DataError: If a class of the task is not one of the set's.
    """
    classes = store.classes if task.classes is None else list(task.classes)
    for label in [*classes, *task.class_concepts]:
        if label not in store.classes:
            known = ", ".join(store.classes) or "none"
            raise DataError("is not a class of the data", item=label, remedy=f"its classes are {known}")
    concepts = {**store.class_concepts, **task.class_concepts}
    mode = task.mode if classes else "multi"
    return {
        name: build_task(store.split(name), classes, concepts, mode=mode, graph=graph, positive=task.positive)
        for name in SPLITS
    }


def check(name: str, task: TaskConfig, store: PairsStore, graph: DiseaseGraph | None) -> str:
    """Check the data against what the task expects and return the digest of the scored rows.

    Raises:
        DataError: Naming the task and the item: a wrong n, a missing class, a repeated key, a patient on two sides,
            another digest.
    """
    with told_of(name):
        keys = {split: store.split(split).keys for split in SPLITS}
        require_rows([key for split in SPLITS for key in keys[split]])
        require_separate_cases({split: store.split(split).column("case") for split in SPLITS}, keys)
        tasks = labelled(task, store, graph)
        scored = tasks[task.split]
        if len(scored) == 0:
            raise DataError("holds no labelled row", item=f"split {task.split}", remedy="score another split")
        for split, num in task.expect.num.items():
            if len(tasks[split]) != num:
                raise DataError(
                    f"expected {num} labelled rows, found {len(tasks[split])}",
                    item=f"split {split}",
                    remedy="the data is not what the task was frozen on: mend it, or freeze the task again",
                )
        counts = {label: int(scored.target_NK[:, k].sum()) for k, label in enumerate(scored.classes)}
        for label, count in counts.items():
            if count == 0:
                raise DataError("the class has no row", item=label, remedy="add rows of it or leave the class out")
        for label, num in task.expect.classes.items():
            if counts.get(label) != num:
                raise DataError(
                    f"expected {num} rows, found {counts.get(label, 'no such class')}",
                    item=f"class {label}",
                    remedy="the data is not what the task was frozen on: mend it, or freeze the task again",
                )
        if task.expect.sha256 is not None and scored.digest != task.expect.sha256:
            raise DataError(
                f"keys, cases and truth have the digest {scored.digest[:12]}, not {task.expect.sha256[:12]}",
                item=f"split {task.split}",
                remedy="the data is not what the task was frozen on: mend it, or freeze the task again",
            )
        return scored.digest


@contextlib.contextmanager
def told_of(task: str) -> Iterator[None]:
    """Put the task's name in front of a data error's item."""
    try:
        yield
    except DataError as error:
        item = f"task {task}" if error.item is None else f"task {task}, {error.item}"
        remedy = str(error).partition(f"{error.problem}; ")[2] or None
        raise DataError(error.problem, item=item, remedy=remedy) from error

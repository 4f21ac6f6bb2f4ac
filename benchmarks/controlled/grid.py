"""Every level x method x graph x seed once: worlds, text spaces and runs, each with a record by which the grid resumes.

Seed by seed, so that what is there early already compares the arms. Several processes share the folder: every file is
written aside and renamed, and each depends on its own digest alone, so that work done twice does no harm.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common.graphs import build_graph
from benchmarks.common.records import console, once
from benchmarks.controlled.config import BASE, ControlledConfig, Knowledge
from benchmarks.controlled.features import Towers
from benchmarks.controlled.measure import colour_floor, score
from benchmarks.controlled.model import Answers
from benchmarks.controlled.steps import prompt_texts, steps
from benchmarks.controlled.taxonomy import subgraph
from benchmarks.controlled.text_space import Taught, hierarchy_of, new_head, teach
from benchmarks.controlled.train import Pairs, train, training_pairs
from benchmarks.controlled.world import World, make_world
from medvlp import __version__
from medvlp.encoders.weights import read_state_dict, write_state_dict
from medvlp.errors import ConfigError
from medvlp.io import read_json, sha256_file, sha256_json
from medvlp.knowledge.graph import DiseaseGraph

FORMAT = "medvlp-controlled-1"
FLOOR = "floor"


@dataclass(frozen=True)
class Job:
    """One piece of work; ``method`` is FLOOR for what a level's floors say, empty for its world alone."""

    seed: int
    level: str
    method: str = ""
    knowledge: str = ""

    @property
    def name(self) -> str:
        """Return ``level-method-knowledge-seed-N``, also the name of its record."""
        return "-".join(part for part in (self.level, self.method, self.knowledge, f"seed-{self.seed}") if part)


@dataclass(frozen=True)
class Scene:
    """A world as all its arms see it.

    Attributes:
        world: The world.
        sub: The real sub-graph.
        pairs: Training images with captions.
        test_NI: Image features of the test part.
        target_N: Number of each test image's true leaf.
    """

    world: World
    sub: DiseaseGraph
    pairs: Pairs
    test_NI: Tensor
    target_N: NDArray[np.int64]


class Worker:
    """Does jobs below a folder, and keeps in memory what the next job may need again.

    Args:
        config: The grid.
        out: Its folder; the graph is built there already.
    """

    def __init__(self, config: ControlledConfig, out: Path) -> None:
        torch.set_num_threads(1)
        self.config, self.out = config, out
        self.towers = Towers(config.image, config.text, out / "features")
        self.scene = lru_cache(maxsize=2)(self._scene)
        self.places = lru_cache(maxsize=1)(self._places)
        self._hierarchies: dict[tuple[str, str, int], DiseaseGraph | None] = {}

    @cached_property
    def graph(self) -> DiseaseGraph:
        """The whole graph."""
        return DiseaseGraph.load(self.out / "graph")

    def do(self, job: Job) -> dict[str, Any]:
        """Do a job, or find it done; return its record."""
        if not job.method:
            self.scene(job.level, job.seed)
            return {"seconds": 0.0}
        work = self._floor if job.method == FLOOR else self._run
        return once(self.out / "runs" / f"{job.name}.json", self.identity(job), lambda: _defined(work(job)), say=False)

    def identity(self, job: Job) -> list[Any]:
        """Return what the record of a job depends on."""
        config = self.config
        parts: list[Any] = [FORMAT, __version__, self.graph.digest, job.seed]
        parts += [section.model_dump(mode="json") for section in (config.world_of(job.level), config.image)]
        if job.method != FLOOR:
            method = config.methods[job.method]
            sections = (method, config.stages_1[method.stage_1], config.stage_2, config.text)
            parts += [
                job.knowledge,
                config.templates_of(job.level),
                *(part.model_dump(mode="json") for part in sections),
            ]
        return parts

    def _scene(self, level: str, seed: int) -> Scene:
        world = make_world(self.config.world_of(level), self.graph, seed, self.out / "worlds")
        features_NI = self.towers.images(world.images_N)
        sub = subgraph(self.graph, world.config.root, world.leaves)
        test = world.rows("test")
        pairs = training_pairs(world, features_NI)
        return Scene(world, sub, pairs, features_NI[torch.from_numpy(test)], world.leaf_N[test])

    def _places(self, level: str, seed: int) -> dict[str, Tensor]:
        """Image features by place of the parts that methods read, by name of the part."""
        world = self.scene(level, seed).world
        places_NPI = self.towers.places(world.images_N)
        return {part: places_NPI[torch.from_numpy(world.rows(part))] for part in ("train", "test")}

    def _floor(self, job: Job) -> dict[str, Any]:
        scene = self.scene(job.level, job.seed)
        colour = colour_floor(scene.world, scene.pairs.said_N)
        return {"level": job.level, "seed": job.seed, "colour": colour}

    def _run(self, job: Job) -> dict[str, Any]:
        config, scene, method = self.config, self.scene(job.level, job.seed), self.config.methods[job.method]
        knowledge: Knowledge = job.knowledge  # type: ignore[assignment]
        hierarchy = self.hierarchy(scene.sub, knowledge, job.seed)
        taught = self.space(scene.sub, method.stage_1, knowledge, job.seed)
        places = self.places(job.level, job.seed) if method.reads_places else {}
        trained = train(
            method,
            config.stage_2,
            scene.pairs,
            places.get("train"),
            scene.world,
            scene.sub,
            hierarchy,
            knowledge,
            taught,
            self.towers,
        )
        templates = config.templates_of(job.level)
        answers = Answers(trained.model, scene.test_NI, places.get("test"), self.towers)
        texts = prompt_texts(method.prompts, scene.world.leaves, scene.sub, hierarchy, templates)
        if texts is None:  # paths, but no hierarchy: names are all there is
            texts = prompt_texts("names", scene.world.leaves, scene.sub, None, templates)
        assert texts is not None
        return {
            "level": job.level,
            "method": job.method,
            "knowledge": job.knowledge,
            "seed": job.seed,
            "cost": {
                "steps_1": taught.num_steps,
                "texts_1": taught.num_texts,
                "steps_2": trained.num_steps,
                "rows_2": trained.num_rows,
                "texts_2": trained.num_texts,
                "asked_2": trained.num_asked,
            },
            "loss": {"stage_1": taught.last_loss, "stage_2": trained.last_loss},
            "captions": trained.ledger.to_json(),
            "scores": score(answers(texts), 1.0, scene.target_N, scene.world, scene.sub),
            "steps": steps(
                answers,
                trained.learned,
                scene.test_NI,
                scene.target_N,
                taught.head,
                scene.world,
                scene.sub,
                hierarchy,
                templates,
                self.towers,
            ),
        }

    def hierarchy(self, sub: DiseaseGraph, knowledge: Knowledge, seed: int) -> DiseaseGraph | None:
        """Return what an arm may use of the sub-graph; each rewiring is done once."""
        key = sub.digest, knowledge, seed
        if key not in self._hierarchies:
            self._hierarchies[key] = hierarchy_of(sub, knowledge, seed)
        return self._hierarchies[key]

    def space(self, sub: DiseaseGraph, stage: str, knowledge: Knowledge, seed: int) -> Taught:
        """Train a text space, or find it there; methods and levels share it."""
        settings = self.config.stages_1[stage]
        identity = [FORMAT, __version__, sub.digest, knowledge, seed]
        identity += [settings.model_dump(mode="json"), self.config.text.model_dump(mode="json")]
        stem = self.out / "spaces" / f"{stage}-{knowledge}-seed-{seed}-{sha256_json(identity)[:12]}"
        weights, record = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
        if not weights.is_file():
            record.unlink(missing_ok=True)

        def work() -> dict[str, Any]:
            taught = teach(settings, sub, self.hierarchy(sub, knowledge, seed), seed, self.towers)
            weights.parent.mkdir(parents=True, exist_ok=True)
            write_state_dict(weights, taught.head.state_dict())
            cost = {"num_steps": taught.num_steps, "num_texts": taught.num_texts, "last_loss": taught.last_loss}
            return _defined({**cost, "weights_sha256": sha256_file(weights)})

        found = once(record, identity, work, say=False)
        state = read_state_dict(weights)
        head = new_head(len(state["first.weight"]))
        head.load_state_dict(state)
        loss = math.nan if found["last_loss"] is None else float(found["last_loss"])
        return Taught(head.eval().requires_grad_(False), found["num_steps"], found["num_texts"], loss)


def jobs_of(config: ControlledConfig, only: Sequence[str] = ()) -> list[Job]:
    """Return the runs and floors of a grid, seed by seed.

    Args:
        config: The grid.
        only: Keeps what has one of these in its name, such as ``base-keep`` or ``seed-3``; all if empty.

    Raises:
        ConfigError: If nothing is left.
    """
    jobs = []
    for seed in config.seeds:
        for level in config.level_names():
            arms = [Job(seed, level, method, kind) for method in config.methods for kind in config.graphs]
            jobs += [job for job in (Job(seed, level, FLOOR), *arms) if not only or any(o in job.name for o in only)]
    if not jobs:
        raise ConfigError("no run has this in its name", item=f"--only {' '.join(only)}", remedy=f"try {BASE}")
    return jobs


def run(
    config: ControlledConfig,
    out: Path,
    num_processes: int = 1,
    only: Sequence[str] = (),
    partial: Callable[[list[dict[str, Any]]], str] | None = None,
) -> list[dict[str, Any]]:
    """Do whatever is not done yet and return all records, in the order of :func:`jobs_of`.

    Args:
        config: The grid.
        out: Folder of graph, worlds, features, text spaces and records.
        num_processes: Processes that work at once.
        only: See :func:`jobs_of`.
        partial: Makes the text that is printed after each seed from the records so far.
    """
    build_graph(config.world.graph, out)
    jobs, start, fresh = jobs_of(config, only), time.perf_counter(), 0
    records: list[dict[str, Any]] = []
    with _Pool(config, out, num_processes) as pool:
        seeds = list(dict.fromkeys(job.seed for job in jobs))
        list(pool.map(_worlds(jobs, seeds[0], out)))
        for seed, later in zip(seeds, [*seeds[1:], None], strict=True):
            mine = [job for job in jobs if job.seed == seed]
            found: dict[Job, dict[str, Any]] = {}
            for job, record, seconds in pool.map([*_worlds(jobs, later, out), *mine]):
                if not job.method:
                    continue
                found[job], fresh = record, fresh + (seconds > 0.2)
                done = len(records) + len(found)
                left = (time.perf_counter() - start) / max(1, fresh) * (len(jobs) - done)
                if seconds > 0.2:
                    console.print(f"  {done}/{len(jobs)}  {job.name}: {seconds:.1f} s, about {left / 60:.0f} min left")
            records += [found[job] for job in mine]
            if partial is not None and seed != jobs[-1].seed:
                console.print(partial(records), markup=False)
    return records


def done(config: ControlledConfig, out: Path, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the records that are there and still hold, in the order of :func:`jobs_of`; nothing is trained."""
    build_graph(config.world.graph, out)
    worker = Worker(config, out)
    files = {job: out / "runs" / f"{job.name}.json" for job in jobs_of(config, only)}
    found = {job: read_json(file) for job, file in files.items() if file.is_file()}
    return [record for job, record in found.items() if record.get("digest") == sha256_json(worker.identity(job))]


def _worlds(jobs: Sequence[Job], seed: int | None, out: Path) -> list[Job]:
    """The worlds that undone runs of a seed need, made one seed ahead: two processes then never make one twice."""
    undone = [job for job in jobs if job.seed == seed and not (out / "runs" / f"{job.name}.json").is_file()]
    return [Job(job.seed, level) for level, job in {job.level: job for job in undone}.items()]


class _Pool:
    """Workers in processes of their own, or one in this process."""

    def __init__(self, config: ControlledConfig, out: Path, num_processes: int) -> None:
        self.worker: Worker | None = None
        self.executor: ProcessPoolExecutor | None = None
        if num_processes == 1:
            self.worker = Worker(config, out)
            return
        context = multiprocessing.get_context("spawn")  # a forked process would share the threads of torch
        self.executor = ProcessPoolExecutor(num_processes, context, _start, (config.model_dump_json(), str(out)))

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def map(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any], float]]:
        """Yield each job with its record and how long this call took over it, as they end."""
        if self.worker is not None:
            for job in jobs:
                yield _timed(self.worker, job)
            return
        assert self.executor is not None
        waiting: set[Future[tuple[Job, dict[str, Any], float]]] = {self.executor.submit(_do, job) for job in jobs}
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()


_OF_PROCESS: dict[str, Worker] = {}


def _start(config: str, out: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _OF_PROCESS["worker"] = Worker(ControlledConfig.model_validate_json(config), Path(out))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, killed ones included: nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(job: Job) -> tuple[Job, dict[str, Any], float]:
    return _timed(_OF_PROCESS["worker"], job)


def _timed(worker: Worker, job: Job) -> tuple[Job, dict[str, Any], float]:
    start = time.perf_counter()
    record = worker.do(job)
    return job, record, time.perf_counter() - start


def _defined(value: Any) -> Any:
    """Return JSON values with null in the place of numbers that are not defined (NaN)."""
    if isinstance(value, dict):
        return {key: _defined(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value

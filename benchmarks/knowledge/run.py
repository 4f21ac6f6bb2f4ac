"""Prepare, train and ask: every set × arm × seed once, resumable, with a record of what each answer was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common.graphs import build_graph
from benchmarks.common.records import console, once
from benchmarks.knowledge import answers
from benchmarks.knowledge.answers import Arrays
from benchmarks.knowledge.config import Arm, KnowledgeTableConfig
from benchmarks.knowledge.hierarchies import Hierarchies
from benchmarks.knowledge.sets import Prepared, prepare_set
from benchmarks.knowledge.train import Memory, align_settings, identity_of, stage_1, start_model, train_arm
from medvlp import __version__
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.training.align import AlignConfig

FLOORS = "floors"


@dataclass(frozen=True)
class Answered:
    """One set with everything that was said about it.

    Attributes:
        prepared: The set.
        arms: Arrays of each arm, one per seed.
        floors: Arrays of the floors.
        seconds: Mean seconds of one run of each arm.
    """

    prepared: Prepared
    arms: dict[str, list[Arrays]]
    floors: Arrays
    seconds: dict[str, float]


def run(config: KnowledgeTableConfig, out: Path) -> tuple[dict[str, Answered], DiseaseGraph]:
    """Do whatever is not done yet below ``out``, and return all answers with the graph.

    Args:
        config: The table.
        out: Folder of graph, stores, text encoders, records and answers; a finished piece of work is not done again.
    """
    graph_folder = build_graph(config.graph, out)
    graph = DiseaseGraph.load(graph_folder)
    sets = {name: prepare_set(config, name, graph, graph_folder, out / "sets") for name in config.sets}
    folders = {"cache": out / "features"}
    hierarchies = Hierarchies(graph, out / "graphs")
    memories: dict[str, Memory] = {}
    kept: dict[str, dict[str, list[tuple[Path, dict[str, Any]]]]] = {name: {} for name in sets}
    total = len(config.seeds) * len(config.arms) * len(sets)
    done = 0
    for seed in config.seeds:  # seed by seed, so that what is there early already compares the arms
        used = {stage for arm in config.arms.values() for stage in (arm.text, arm.knowledge_encoder) if stage}
        for stage in sorted(used):
            folders[stage] = stage_1(config, stage, seed, graph_folder, graph.digest, out / "stage_1")
        for set_name, prepared in sets.items():
            for arm_name, arm in config.arms.items():
                settings = align_settings(config, arm, prepared, seed, folders, hierarchies)
                run_folder = out / "runs" / set_name / f"{arm_name}-seed-{seed}"

                file = out / "answers" / set_name / f"{arm_name}-seed-{seed}.npz"
                ask = partial(_ask, arm, settings, prepared, run_folder, memories)
                record = _kept(file, identity_of(settings, prepared, folders, arm), ask)
                kept[set_name].setdefault(arm_name, []).append((file, record))
                done += 1
                if record["seconds"] > 0:
                    console.print(f"  {done}/{total}  {set_name}, {arm_name}, seed {seed}: {record['seconds']:.0f} s")
    out_sets = {}
    for set_name, prepared in sets.items():
        file = out / "answers" / set_name / f"{FLOORS}.npz"
        identity = [__version__, prepared.store.digest, prepared.classes, prepared.settings.retrieval]
        record = _kept(file, identity, partial(answers.floor_answers, prepared))
        of_arms = kept[set_name]
        out_sets[set_name] = Answered(
            prepared,
            {name: [answers.read(path, made["sha256"]) for path, made in found] for name, found in of_arms.items()},
            answers.read(file, record["sha256"]),
            {name: sum(made["seconds"] for _, made in found) / len(found) for name, found in of_arms.items()},
        )
    return out_sets, graph


def _ask(arm: Arm, settings: AlignConfig, prepared: Prepared, run_folder: Path, memories: dict[str, Memory]) -> Arrays:
    if arm.trained:
        model = train_arm(settings, run_folder, prepared.hidden, memories)
    else:
        model = start_model(settings, memories)
    return answers.answer(model, prepared, Path(settings.cache))


def _kept(file: Path, identity: Any, work: Callable[[], Arrays]) -> dict[str, Any]:
    """Keep what some work says in ``file``, with its record beside it."""
    record = file.with_suffix(".json")
    if not file.is_file():
        record.unlink(missing_ok=True)
    return once(record, identity, lambda: {"sha256": answers.save(file, work())})

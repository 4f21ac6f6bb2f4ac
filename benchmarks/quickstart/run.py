"""Run the whole trunk: graph → pairs → knowledge → alignment → zero-shot report → open_clip export.

Without a folder of the user's, a second half follows: simulated radiographs, and three short alignments on them.

Every step prints the command that would do it alone, is skipped when its finished output was made
from the same configs and inputs, and leaves an ordinary store or run folder behind.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quickstart.config import QuickstartConfig, SimulationSteps
from medvlp import __version__
from medvlp.config import Config, load
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError
from medvlp.io import read_json, sha256_json, write_json

console = Console(stderr=True)
ROWS_PER_STEP = 48
MAX_GROUPS = 16
HEADLINE = ("balanced_accuracy", "auroc")


class Steps:
    """Runs steps in order and remembers in ``steps.json`` what each finished one was made from."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.file = out / "steps.json"
        self.done: dict[str, Any] = read_json(self.file) if self.file.is_file() else {}
        self.identity = __version__  # chained: what a step was made from includes all steps before it
        self.seconds: list[tuple[str, float, bool]] = []

    def run(
        self, name: str, command: list[str], config: Config | None, work: Callable[[Path], Any], resumes: bool = False
    ) -> Path:
        """Run one step unless its output stands and nothing it depends on has changed.

        Args:
            name: Folder below the output folder.
            command: The shell words that do the same alone; shown, never executed.
            config: The resolved config, part of the step's identity.
            work: Called with the target folder.
            resumes: Whether the work goes on from what an interruption left.
        """
        target = self.out / name
        settings = config.model_dump(mode="json") if config is not None else None
        self.identity = identity = sha256_json([self.identity, command, settings])
        console.print(f"\n[bold]{name}[/bold]  {shlex.join(command)}", highlight=False, soft_wrap=True)
        start = time.perf_counter()
        stale = self.done.get(name) != identity or not target.exists()
        if not stale:
            console.print("  already done")
        else:
            # Only an interrupted training of the same config goes on; everything else starts afresh.
            interrupted = name not in self.done and self.done.get(f"{name}:started") == identity
            if target.exists() and not (resumes and interrupted):
                shutil.rmtree(target)
            self.done.pop(name, None)
            self._remember(**{f"{name}:started": identity})
            work(target)
            self._remember(**{name: identity})
        self.seconds.append((name, time.perf_counter() - start, stale))
        return target

    def _remember(self, **entries: str) -> None:
        self.done.update(entries)
        write_json(self.file, self.done)


def run(config: QuickstartConfig, out: Path, data: Path | None = None, already_deidentified: bool = False) -> Path:
    """Run every step and return the path of the report.

    Args:
        config: Names of the step configs.
        out: Folder for all outputs.
        data: A folder in the documented layout (``docs/data_layout.md``) instead of the packaged images.
        already_deidentified: The user's word that free text and DICOM in ``data`` carry no identifiers; else these
            are removed.
    """
    from data_prep.ontologies.build import build
    from data_prep.pairs.layout import detect_layout
    from data_prep.pairs.prepare import prepare
    from medvlp.export import export
    from medvlp.training import align, knowledge
    from medvlp.zeroshot.evaluate import evaluate

    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(out)

    graph_config = load(config.graph, kind="graph")
    graph = steps.run(
        "graph",
        ["medvlp", "graph", "build", config.graph, "--out", f"{out}/graph"],
        graph_config,
        lambda target: build(graph_config, target, overwrite=True),
    )
    if data is None:
        pairs_config, shown = load(config.pairs, [f"graph={graph}"], kind="pairs"), [config.pairs]
    else:
        detected = detect_layout(data)
        pairs_config, shown = detected.model_copy(update={"graph": str(graph)}), [str(data)]
    flags = ["--already-deidentified"] if already_deidentified else []
    pairs = steps.run(
        "pairs",
        ["medvlp", "prepare", *shown, *flags, "--out", f"{out}/pairs"],
        pairs_config,
        lambda target: prepare(pairs_config, target, already_deidentified=already_deidentified, overwrite=True),
    )

    def stage(name: str, verb: str, source: str, overrides: list[str], work: Callable[[Config, Path], Any]) -> Path:
        resolved = load(source, overrides, kind=name if verb == "train" else verb)
        words = [word for override in overrides for word in ("--set", override)]
        command = ["medvlp", verb, source, *words, "--out", f"{out}/{name}"]
        return steps.run(name, command, resolved, lambda target: work(resolved, target), resumes=verb == "train")

    stage_1 = stage("knowledge", "train", config.knowledge, [f"graph={graph}"], knowledge.train)
    inputs = [f"data={pairs}", f"graph={graph}"]
    fitted = [] if data is None else fit_to_store(pairs)
    align_overrides = [*inputs, f"model.text.model={stage_1}", *fitted]
    stage_2 = stage("align", "train", config.align, align_overrides, align.train)
    evaluate_overrides = [f"checkpoint={stage_2}", *inputs, *([] if data is None else ["prompts.templates=general"])]
    scored = stage("evaluate", "evaluate", config.evaluate, evaluate_overrides, evaluate)
    steps.run(
        "open_clip",
        ["medvlp", "export", str(stage_2), "--to", "open_clip", "--out", f"{out}/open_clip", "--verify"],
        None,
        lambda target: export(stage_2, "open_clip", target, check=True, results=scored / "results.json"),
    )
    judged = None
    if config.simulation is not None and data is None:
        judged = _simulation(config.simulation, steps, graph, stage_1)
    _summary(steps, scored, out, judged)
    return scored / "report.html"


def _simulation(config: SimulationSteps, steps: Steps, graph: Path, stage_1: Path) -> Path:
    """Render the scenes and judge three alignments on them, with the graph and the text encoder of the first half."""
    from benchmarks.simulation.judge import judge
    from data_prep.simulation.simulate import simulate

    out = steps.out
    scenes_config: Any = load(config.scenes, [f"graph={graph}"], kind="simulation")
    scenes = steps.run(
        "scenes",
        ["medvlp", "simulate", config.scenes, "--set", f"graph={graph}", "--preview", "12", "--out", f"{out}/scenes"],
        scenes_config,
        lambda target: simulate(scenes_config, target, overwrite=True, preview_scenes=12),
    )
    own: Any = load(config.benchmark, kind="simulation_benchmark")
    overrides = [
        f"scenes={scenes}",
        f"graph={graph}",
        f"set={[*own.set, f'model.text.model={stage_1}']}",
    ]
    benchmark: Any = load(config.benchmark, overrides, kind="simulation_benchmark")
    words = [word for override in overrides for word in ("--set", override)]
    return steps.run(
        "simulation",
        ["python", "-m", "benchmarks.simulation", config.benchmark, *words, "--out", f"{out}/simulation"],
        benchmark,
        lambda target: judge(benchmark, target),
        resumes=True,
    )


def fit_to_store(pairs: Path) -> list[str]:
    """Return overrides of the alignment for a store of any kind: its number of groups, and wordings for any image."""
    num_groups = len(np.unique(PairsStore.load(pairs).split("train").column("group")))
    groups = min(MAX_GROUPS, num_groups)
    if groups < 2:
        raise DataError(
            f"its training part has {num_groups} semantic group", item=pairs, remedy="use data of at least two classes"
        )
    return [
        f"batches.groups_per_batch={groups}",
        f"batches.instances={max(2, ROWS_PER_STEP // groups)}",
        "text_augment.templates=general",
        "validation.prompts.templates=general",
    ]


def _summary(steps: Steps, scored: Path, out: Path, judged: Path | None) -> None:
    table = Table("step", "seconds", "ran", title="Quickstart")
    for name, seconds, ran in steps.seconds:
        table.add_row(name, f"{seconds:.1f}", "yes" if ran else "already done")
    console.print(table)
    results = read_json(scored / "results.json")
    for metric in results["metrics"]:
        if metric["name"] in HEADLINE:
            console.print(f"{metric['title']}: {_score(metric)}", highlight=False)
            for floor in results["floors"]:
                beside = next(found for found in floor["metrics"] if found["name"] == metric["name"])
                console.print(f"  floor, {floor['name']}: {_score(beside)}", highlight=False)
    console.print(f"open_clip model: {out / 'open_clip'}", highlight=False)
    console.print(f"report:          {scored / 'report.html'}", highlight=False)
    if judged is not None:
        from benchmarks.simulation.table import headline

        for line in headline(read_json(judged / "results.json")):
            console.print(line, highlight=False)
        console.print(f"simulation page: {judged / 'report.html'}", highlight=False)


def _score(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "undefined"
    if metric["low"] is None:
        return f"{metric['value']:.3f} (n {metric['n']})"
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}] (n {metric['n']})"

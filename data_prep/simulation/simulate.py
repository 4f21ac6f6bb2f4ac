"""The job behind ``medvlp simulate``: draw, render, word and write scenes as a pairs store with masks beside it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from rich.console import Console

from data_prep.simulation import wording
from data_prep.simulation.anatomy import Anatomy, load_anatomy
from data_prep.simulation.config import PARTS, SimulationConfig
from data_prep.simulation.render import Rendered, render
from data_prep.simulation.scene import Scene, draw_scene, num_scenes
from data_prep.simulation.side_files import SideFiles
from medvlp.config import resolve_path
from medvlp.data.pairs import PairsStore, Row
from medvlp.errors import ConfigError, DataError
from medvlp.io import full_disk_told

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

WARNING = "one patient, simulated findings; intervals are over rendered scenes"
DRY_RUN_SCENES = 3
_WINDOW = 32


def simulate(
    config: SimulationConfig,
    out: str | Path,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    preview_scenes: int = 0,
    anatomy: Anatomy | None = None,
) -> Path:
    """Write a pairs store of rendered scenes with ``scenes.parquet``, ``masks.parquet`` and ``organs.parquet``.

    Args:
        config: What to simulate.
        out: Folder of the store.
        overwrite: Exchange an existing store.
        dry_run: Draw all scenes, render three, print counts and time, write nothing.
        preview_scenes: Scenes on the contact sheet ``preview.png``; 0 for none.
        anatomy: A chest in memory instead of the one ``config.chest`` names.

    Returns:
        The folder, or where it would have been.

    Raises:
        ConfigError: If names clash, the held-out rules cannot be kept, or a dry run is asked for a preview.
        DataError: If ``out`` exists, or the chest cannot be read.
        GraphError: If a finding's concept is not in the graph.
        MissingExtraError: If MONAI or the data package is not installed.
    """
    from medvlp.knowledge.graph import DiseaseGraph

    out, console = Path(out), Console(stderr=True, highlight=False)
    if dry_run and preview_scenes:
        raise ConfigError("a dry run writes nothing", item="--preview", remedy="leave --dry-run or --preview out")
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    graph = DiseaseGraph.load(resolve_path(config.graph))
    words = wording.vocabulary(config, graph)
    scenes = [draw_scene(config, number) for number in range(num_scenes(config))]
    chest = config.chest
    if anatomy is None:
        anatomy = load_anatomy(chest.ct, chest.masks, chest.structures, chest.spacing)
    if dry_run:
        start = time.perf_counter()
        for _, rendered in _rendered(config, anatomy, scenes[:DRY_RUN_SCENES]):
            del rendered
        each = (time.perf_counter() - start) / min(DRY_RUN_SCENES, len(scenes))
        for part, counts in _counts(scenes).items():
            console.print(f"  {part}: {counts}", markup=False)
        console.print(f"dry run of {len(scenes)} scenes, {each:.2f} s each; nothing was written", markup=False)
        return out
    side = SideFiles(config, words.concepts, preview_scenes)
    header = _header(config, graph, anatomy, scenes, words)
    classes = {names.label: [words.concepts[kind]] for kind, names in config.findings.items()}
    with full_disk_told(out):
        stream = _rows(config, anatomy, scenes, words, side, console)
        PairsStore.write(out, stream, header, classes=classes, replace=overwrite, beside=side.write)
    return out


def _rendered(config: SimulationConfig, anatomy: Anatomy, scenes: list[Scene]) -> Iterator[tuple[Scene, Rendered]]:
    """Render scenes in order on several threads."""

    def work(scene: Scene) -> Rendered:
        return render(
            anatomy,
            scene.findings,
            scene.pose,
            scene.exposure,
            config.image_size,
            config.field_mm,
            noise_seed=config.seed * 1_000_003 + scene.number,
        )

    anatomy.prepare()  # before the threads, so that each part is computed once
    with ThreadPoolExecutor(config.num_workers) as pool:
        for start in range(0, len(scenes), _WINDOW):
            window = scenes[start : start + _WINDOW]
            yield from zip(window, pool.map(work, window), strict=True)


def _rows(
    config: SimulationConfig,
    anatomy: Anatomy,
    scenes: list[Scene],
    words: wording.Vocabulary,
    side: SideFiles,
    console: Console,
) -> Iterator[Row]:
    from rich.progress import track

    done = _rendered(config, anatomy, scenes)
    kinds = list(config.findings)
    shown = track(
        done, "rendering", total=len(scenes), console=console, transient=True, disable=not console.is_terminal
    )
    for scene, rendered in shown:
        side.add(scene, rendered)
        yield Row(
            key=scene.key,
            image=Image.fromarray(rendered.image),
            texts=wording.texts(scene, config, words),
            split=scene.split,
            case=scene.key,
            # scenes with the same findings, wherever they lie, mean the same in a contrast
            group=sum(1 << kinds.index(kind) for kind in set(scene.kinds)),
            label=config.findings[scene.findings[0].kind].label if scene.findings else None,
            concepts=[words.concepts[kind] for kind in dict.fromkeys(scene.kinds)],
        )


def _counts(scenes: list[Scene]) -> dict[str, dict[str, int]]:
    """Scenes per part, and how many of them have each finding."""
    out: dict[str, dict[str, int]] = {}
    for part in PARTS:
        own = [scene for scene in scenes if scene.part == part]
        counted = Counter(kind for scene in own for kind in set(scene.kinds))
        out[part] = {"scenes": len(own), **dict(sorted(counted.items()))}
    return out


def _header(
    config: SimulationConfig, graph: DiseaseGraph, anatomy: Anatomy, scenes: list[Scene], words: wording.Vocabulary
) -> dict[str, Any]:
    held = config.held_out
    return {
        "kind": "simulation",
        "warning": WARNING,
        "config": config.model_dump(mode="json", exclude={"num_workers"}),
        "sources": anatomy.sources,
        "graph_digest": graph.digest,
        "already_deidentified": True,
        "parts": _counts(scenes),
        "names": {kind: list(names) for kind, names in words.seen.items()},
        "held_out": {
            "combination": held.combination,
            "side": None if held.side is None else held.side.model_dump(),
            "finding": held.finding,
            "names": {kind: list(names) for kind, names in words.unseen.items()},
        },
        "num_groups": len({frozenset(scene.kinds) for scene in scenes}),
    }

"""Prepare the sets, align and export on each, and fine-tune every method from every start; finished parts stay.

Starts: ``start`` is the encoder as published. ``same`` is the export of an alignment on the training part of the same
set, whose captions name the classes: it has seen the training labels once already, but no test image. ``other`` is
the export of an alignment on another set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.finetune.config import FinetuneTableConfig
from medvlp.config import import_from_checkout, load
from medvlp.export import export
from medvlp.finetune import run as fine_tune
from medvlp.finetune.config import FinetuneConfig
from medvlp.io import MANIFEST, read_json
from medvlp.training.align import AlignConfig, train

console = Console(stderr=True, highlight=False)
STARTS = {
    "start": "start encoder",
    "same": "export, aligned on this set's training part",
    "other": "export, aligned on another set",
}


@dataclass(frozen=True)
class Cell:
    """One method from one start on one set, all seeds."""

    set: str
    method: str
    start: str
    folders: tuple[Path, ...]


def run(config: FinetuneTableConfig, out: Path) -> Iterator[Cell]:
    """Yield every cell when it is done, method by method, so that a partial table already compares the starts.

    Args:
        config: Sets, starts and methods.
        out: Folder of stores, runs and exports.
    """
    for name in config.sets:
        prepare(config, name, out)
    for method, row in config.methods.items():
        for name in row.sets if row.sets is not None else list(config.sets):
            for start in STARTS:
                yield Cell(
                    name, method, start, tuple(fit(config, out, name, method, start, seed) for seed in row.seeds)
                )


def prepare(config: FinetuneTableConfig, name: str, out: Path) -> Path:
    """Return the pairs store of a set, made on the first call."""
    folder = out / "pairs" / name
    if not (folder / MANIFEST).is_file():
        loaded = load(config.sets[name].pairs, config.sets[name].set, kind="pairs")
        import_from_checkout("data_prep.pairs.prepare").prepare(loaded, folder, overwrite=folder.exists())
    return folder


def aligned(config: FinetuneTableConfig, name: str, out: Path) -> Path:
    """Return the export of the alignment on a set's training part, made on the first call."""
    folder = out / "exports" / name
    if not (folder / MANIFEST).is_file():
        console.print(f"[bold]align on {name}[/bold]")
        overrides = [
            *config.align_set,
            f"model.image.image_size={config.image_size}",
            f"data={prepare(config, name, out)}",
            *config.sets[name].align,
        ]
        settings = load(config.align, overrides, kind="align")
        assert isinstance(settings, AlignConfig)
        export(train(settings, out / "align" / name), "safetensors", folder, overwrite=folder.exists())
    return folder


def settings_of(
    config: FinetuneTableConfig, out: Path, name: str, method: str, start: str, seed: int
) -> FinetuneConfig:
    """Return what one run does."""
    row, entry = config.methods[method], config.sets[name]
    overrides = [
        *row.set,
        f"task.data={out / 'pairs' / name}",
        f"start.image_size={config.image_size}",
        f"cache={out / 'features'}",
        f"seed={seed}",
    ]
    if entry.classes is not None:
        overrides.append(f"task.classes=[{', '.join(entry.classes)}]")
    if start != "start":
        source = aligned(config, name if start == "same" else entry.other, out)
        overrides += [f"start.model={source}", "start.weights=null"]
    loaded = load(row.config, overrides, kind="finetune")
    assert isinstance(loaded, FinetuneConfig)
    return loaded


def fit(config: FinetuneTableConfig, out: Path, name: str, method: str, start: str, seed: int) -> Path:
    """Return the folder of one finished run."""
    settings = settings_of(config, out, name, method, start, seed)
    folder = out / "runs" / name / f"{method}-{start}-{seed}"
    file = folder / "results" / "results.json"
    if not file.is_file() or read_json(file)["config"] != settings.model_dump(mode="json"):
        console.print(f"[bold]{name}: {method} from {start}, seed {seed}[/bold]")
        fine_tune(settings, folder)
    return folder

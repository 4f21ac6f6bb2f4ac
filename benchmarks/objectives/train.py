"""One cell: which recipe it is, and its training on the library's own engine, timed.

All arms of a method take equally many steps over equally many rows and texts; only ``knowledge`` differs. Places of
images are cached on disk, texts of a frozen tower are encoded once per process, and no checkpoint is written: a grid of
runs of seconds would else be mostly that.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.objectives.config import Knowledge, ObjectiveTableConfig
from benchmarks.objectives.memory import TextMemory
from medvlp.config import load
from medvlp.training import align
from medvlp.training.align import AlignConfig, AlignRecipe
from medvlp.training.checkpoint import Checkpoints
from medvlp.training.loop import Engine, make_fabric
from medvlp.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.objectives.sets import Prepared
    from medvlp.model import DualEncoder

_WARM = 3  # steps that are not timed: the first ones encode texts that later ones remember
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Trained:
    """A trained model, the heads its objective brought along or None, and what a step cost."""

    model: DualEncoder
    heads: nn.Module | None
    cost: dict[str, Any]


class _FrozenOnce(AlignRecipe):
    """The alignment, without walking through all modules at every step to freeze what is frozen already."""

    def begin_step(self, step: int) -> None:
        """Freeze what the schedule freezes at this step."""
        if step in (0, self.config.freeze.steps):
            super().begin_step(step)


def settings_of(
    config: ObjectiveTableConfig, prepared: Prepared, method: str, arm: Knowledge, seed: int, cache: Path
) -> AlignConfig:
    """Return the recipe of one cell; a method that asks for entities or wordings gets the set's."""
    chosen = config.methods[method]
    overrides = [
        *config.align_set,
        *prepared.settings.align_set,
        *chosen.set,
        f"data={prepared.store.folder}",
        f"graph={prepared.folders['graph']}",
        f"cache={cache}",
        f"knowledge={arm}",
        f"seed={seed}",
    ]
    plain = _align(chosen.align, overrides)
    if plain.entities is not None:
        overrides.append(f"entities={prepared.entities_of(chosen)}")
    if plain.text_augment is not None:
        overrides.append(f"text_augment.templates={prepared.settings.templates}")
    if plain.aspect_texts is not None:
        overrides.append(f"aspect_texts.templates={prepared.settings.templates}")
    return _align(chosen.align, overrides)


def _align(name: str, overrides: list[str]) -> AlignConfig:
    found = load(name, overrides, kind="align")
    assert isinstance(found, AlignConfig)
    return found


def train(settings: AlignConfig, run: Path, memory: TextMemory) -> Trained:
    """Train one cell.

    Args:
        settings: The recipe.
        run: Folder as in :func:`timed_steps`.
        memory: Texts that frozen towers have met.
    """
    align.check(settings)
    fabric = make_fabric(settings)
    recipe = _FrozenOnce(settings, fabric, None, use_cache=settings.cached_features)
    if "text_tower" in settings.freeze.always:
        memory.attach(recipe.model.text)
    cost = timed_steps(recipe, fabric, run)
    return Trained(recipe.model.eval(), recipe.module.heads, cost)


def timed_steps(recipe: Recipe, fabric: Any, run: Path) -> dict[str, Any]:
    """Take all steps of a run without a checkpoint or validation; return what they cost.

    Args:
        recipe: What is trained.
        fabric: Where.
        run: Folder for what a failed run has to say; it goes when the run is done.
    """
    settings = recipe.config
    engine = Engine(recipe, fabric)
    engine.setup(None, Checkpoints(run, settings.checkpoint))
    run.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    rows, texts = 0, 0
    batches = recipe.batches(0, 0, 1)
    reset = _forget_peak()
    clock, processor = time.perf_counter(), time.process_time()
    warm = min(_WARM, settings.steps - 1)
    for step in range(settings.steps):
        if step == warm:
            clock, processor = time.perf_counter(), time.process_time()
        batch = next(batches)
        values, num_rows = engine.step(_one(batch), run)
        losses.append(float(values["loss"]))
        rows, texts = rows + num_rows, texts + len(batch.texts)
    timed = settings.steps - warm
    cost = {
        "steps": settings.steps,
        "rows": rows,
        "texts": texts,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "processor_seconds_per_step": (time.process_time() - processor) / timed,
        "seconds_per_step": (time.perf_counter() - clock) / timed,
        "peak_mib": _peak_mib() if reset else None,
        "parameters_trained": sum(p.numel() for p in recipe.module.parameters() if p.requires_grad),
    }
    shutil.rmtree(run)
    return cost


def _one(batch: Any) -> Iterator[Any]:
    yield batch


def _forget_peak() -> bool:
    """Give freed memory back and let the process's peak start anew; tell whether the system can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _peak_mib() -> float:
    """Most memory of the process since then, with what it keeps between runs."""
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    return math.nan

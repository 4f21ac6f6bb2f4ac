"""The cells of a grid: which there are, how one is chosen on the command line, which command makes it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.protocols.settings import MODULES
from benchmarks.harness.record import RECORDS
from medvlp.errors import ConfigError

if TYPE_CHECKING:
    from benchmarks.harness.grid import BenchmarkConfig
    from benchmarks.harness.task import TaskConfig

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_KEYS = ("task", "system", "seed", "variant")
MODEL, FLOOR, SYSTEM = "model", "floor", "system"
ALL = "all"


@dataclass(frozen=True)
class Cell:
    """One record to be.

    Attributes:
        task: Name of the task.
        label: The protocol's label within the task.
        kind: ``model``, ``floor`` or ``system``.
        name: Name of the model, floor or system.
        of: The floor's model, or None.
        variant: Prompt variant.
        seed: Seed of whatever is drawn.
    """

    task: str
    label: str
    kind: str
    name: str
    of: str | None
    variant: str
    seed: int

    @property
    def system(self) -> str:
        """Identifier of who answers: ``NAME``, or ``MODEL.FLOOR`` for a floor made from a model."""
        return self.name if self.of is None else f"{self.of}.{self.name}"

    @property
    def model(self) -> str | None:
        """The model that has to be open, if any."""
        return self.name if self.kind == MODEL else self.of

    @property
    def title(self) -> str:
        """What progress lines call it."""
        return f"{self.task}.{self.label}  {self.system}  {self.variant}  seed {self.seed}"

    def file(self, out: Path) -> Path:
        """Return the record's path."""
        return out / RECORDS / f"{self.task}.{self.label}" / f"{self.system}.{self.variant}.{self.seed}.json"

    def only(self) -> str:
        """Return the ``--only`` text that chooses this cell and no other."""
        return f"task={self.task}.{self.label},system={self.system},variant={self.variant},seed={self.seed}"


@dataclass(frozen=True)
class Invocation:
    """How the grid was called, so that each record can name its own command."""

    config: str
    overrides: tuple[str, ...]
    out: str

    def command(self, cell: Cell) -> str:
        """Return the command line that makes one record."""
        words = ["medvlp", "benchmark", self.config, "--out", self.out]
        for text in self.overrides:
            words += ["--set", text]
        return shlex.join([*words, "--only", cell.only()])


def protocols_of(task: TaskConfig) -> dict[str, Any]:
    """Return the task's protocol settings by label: the protocol's name, numbered from the second time on."""
    found: dict[str, Any] = {}
    for settings in task.protocols:
        times = sum(label.partition("-")[0] == settings.name for label in found)
        found[settings.name if times == 0 else f"{settings.name}-{times + 1}"] = settings
    return found


def all_cells(config: BenchmarkConfig, tasks: Mapping[str, TaskConfig]) -> list[Cell]:
    """Return every cell of a grid; those of one task and model stand together.

    Raises:
        ConfigError: For a name that cannot be part of a file's name, or a floor no protocol has.
    """
    _check_names(config, tasks)
    cells: list[Cell] = []
    for task, settings in tasks.items():
        protocols = protocols_of(settings)
        for label, protocol in protocols.items():
            cells += _without_model(config, task, label, MODULES[protocol.name])
        for model in config.models:
            for label, protocol in protocols.items():
                cells += _of_model(config, task, label, MODULES[protocol.name], model)
    return cells


def _without_model(config: BenchmarkConfig, task: str, label: str, module: Any) -> Iterator[Cell]:
    named = [(SYSTEM, name) for name in getattr(module, "SYSTEMS", ())]
    named += [(FLOOR, name) for name in module.FLOORS if _wanted(config, name)]
    for kind, name in named:
        for variant, seed in _repeats(config, module, name):
            yield Cell(task, label, kind, name, None, variant, seed)


def _of_model(config: BenchmarkConfig, task: str, label: str, module: Any, model: str) -> Iterator[Cell]:
    if not module.ABILITIES:
        return
    for variant, seed in _repeats(config, module, MODEL):
        yield Cell(task, label, MODEL, model, None, variant, seed)
    for name in module.FLOORS_OF_MODEL:
        if _wanted(config, name):
            for variant, seed in _repeats(config, module, name):
                yield Cell(task, label, FLOOR, name, model, variant, seed)


def _wanted(config: BenchmarkConfig, floor: str) -> bool:
    return floor in config.floors or ALL in config.floors


def _repeats(config: BenchmarkConfig, module: Any, name: str) -> list[tuple[str, int]]:
    """Prompt variants and seeds, one of each where they play no part."""
    seeded = getattr(module, "SEEDED", None)
    variants = list(config.prompts) if getattr(module, "PROMPTED", True) else list(config.prompts)[:1]
    seeds = config.seeds if seeded is None or name in seeded else config.seeds[:1]
    return [(variant, seed) for variant in variants for seed in seeds]


def _check_names(config: BenchmarkConfig, tasks: Mapping[str, TaskConfig]) -> None:
    places: dict[str, Mapping[str, Any]] = {"models": config.models, "prompts": config.prompts, "tasks": tasks}
    for place, names in places.items():
        for name in names:
            if _NAME.fullmatch(name) is None:
                raise ConfigError("has other characters than letters, digits, _ and -", item=f"{place}: {name}")
    floors = {name for module in MODULES.values() for name in (*module.FLOORS, *module.FLOORS_OF_MODEL)}
    for name in config.floors:
        if name not in floors and name != ALL:
            known = ", ".join([ALL, *sorted(floors)])
            raise ConfigError("is no floor", item=f"floors: {name}", remedy=f"use some of {known}")
    taken = floors | {name for module in MODULES.values() for name in getattr(module, "SYSTEMS", ())}
    for name in config.models:
        if name in taken:
            raise ConfigError("is the name of a floor or system", item=f"models: {name}", remedy="choose another")


def choose(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Return the cells that one of the ``--only`` texts names; all without any.

    Args:
        cells: All cells.
        only: Texts ``task=NAME[.PROTOCOL],system=NAME,variant=NAME,seed=N``, any of the four; a system may be
            ``MODEL.FLOOR``, a model, or a floor of whatever model.

    Raises:
        ConfigError: For a text of another form, or one that names no cell.
    """
    if not only:
        return list(cells)
    chosen: set[Cell] = set()
    for text in only:
        wanted: dict[str, str] = {}
        for part in text.split(","):
            key, sign, value = part.strip().partition("=")
            if key not in _KEYS or not sign or not value:
                raise ConfigError("is not key=value", item=f"--only {text}", remedy=f"keys are {', '.join(_KEYS)}")
            wanted[key] = value
        found = [cell for cell in cells if all(_fits(cell, key, value) for key, value in wanted.items())]
        if not found:
            raise ConfigError("names no cell of the grid", item=f"--only {text}", remedy="see them with --dry-run")
        chosen.update(found)
    return [cell for cell in cells if cell in chosen]


def _fits(cell: Cell, key: str, value: str) -> bool:
    if key == "task":
        return value in (cell.task, f"{cell.task}.{cell.label}")
    if key == "system":
        return value in (cell.system, cell.name)
    return value == (cell.variant if key == "variant" else str(cell.seed))

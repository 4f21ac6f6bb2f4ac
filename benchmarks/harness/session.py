"""What one process holds open: graphs, stores, questions and one model, so that neighbouring cells share them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import leaks, record
from benchmarks.harness.cells import FLOOR, MODEL, Cell, Invocation, protocols_of
from benchmarks.harness.data import told_of
from benchmarks.harness.outcome import Outcome, Skipped
from benchmarks.harness.protocol import Context, Question
from benchmarks.harness.protocols.settings import MODULES
from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.data.pairs import PairsStore
from medvlp.io import sha256_json
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.loading import has_scheme
from medvlp.zeroshot.existence import chosen_scorer
from medvlp.zeroshot.results import versions

if TYPE_CHECKING:
    from benchmarks.harness.grid import BenchmarkConfig
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

_DECIDING = ("torch", "numpy", "timm", "transformers", "open_clip_torch", "scikit-learn")


@dataclass(frozen=True)
class ReadyTask:
    """A task whose data is prepared and checked.

    Attributes:
        config: The task.
        store: Folder of its pairs store, or None.
        graph: Folder of its graph, or None.
        leaks: What its splits share; None without a store.
        rows_sha256: Digest of keys, cases and truth of the scored rows; None without a store.
    """

    config: TaskConfig
    store: Path | None
    graph: Path | None
    leaks: dict[str, Any] | None
    rows_sha256: str | None = None


@dataclass(frozen=True)
class Plan:
    """All a process needs to know to do any cell."""

    config: BenchmarkConfig
    tasks: Mapping[str, ReadyTask]
    out: Path
    invocation: Invocation


@dataclass
class Session:
    """Opens things once. One per process."""

    plan: Plan
    _graphs: dict[Path, DiseaseGraph] = field(default_factory=dict)
    _stores: dict[Path, PairsStore] = field(default_factory=dict)
    _questions: dict[tuple[str, str, str], Question] = field(default_factory=dict)
    _subjects: dict[str, Subject] = field(default_factory=dict)
    _facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def graph(self, folder: Path | None) -> DiseaseGraph | None:
        """Return an open graph."""
        if folder is not None and folder not in self._graphs:
            self._graphs[folder] = DiseaseGraph.load(folder)
        return None if folder is None else self._graphs[folder]

    def store(self, folder: Path | None) -> PairsStore | None:
        """Return an open pairs store."""
        if folder is not None and folder not in self._stores:
            self._stores[folder] = PairsStore.load(folder, verify=False)  # verified before the first cell
        return None if folder is None else self._stores[folder]

    def question(self, cell: Cell) -> Question:
        """Return a task under a protocol and a prompt variant.

        Raises:
            DataError: What the data has wrong, with the task's name.
        """
        key = (cell.task, cell.label, cell.variant)
        if key not in self._questions:
            ready = self.plan.tasks[cell.task]
            settings = protocols_of(ready.config)[cell.label]
            context = Context(
                folder=self.plan.out / "cache",
                graph=self.graph(ready.graph),
                num_draws=self.plan.config.num_draws,
                level=self.plan.config.level,
                prompts=self.plan.config.prompts[cell.variant],
                store=self.store(ready.store),
            )
            with told_of(cell.task):
                self._questions[key] = MODULES[settings.name].open(ready.config, settings, context)
        return self._questions[key]

    def subject(self, name: str) -> Subject:
        """Return an open model; the one before it is let go."""
        from benchmarks.harness.subjects import open_subject

        if name not in self._subjects:
            self._subjects.clear()
            self._subjects[name] = open_subject(name, self.plan.config.models[name])
        return self._subjects[name]

    def facts(self, name: str) -> dict[str, Any]:
        """Return what the digest and the record of a cell say of a model."""
        if name not in self._facts:
            entry = self.plan.config.models[name]
            self._facts[name] = {
                "title": entry.title or name,
                "source": entry.source if has_scheme(entry.source) else str(resolve_path(entry.source)),
                "weights_sha256": self.subject(name).weights_sha256,
                "scorer": chosen_scorer("auto", self.subject(name).model),
                "knowledge": entry.knowledge,
            }
        return self._facts[name]

    def digest(self, cell: Cell, model: Mapping[str, Any] | None) -> str:
        """Return the digest of everything a cell's record is made from; ``model`` is from :meth:`facts`."""
        question = self.question(cell)
        entry = None if cell.model is None else self.plan.config.models[cell.model].model_dump(mode="json")
        weights = None if model is None else model["weights_sha256"]
        made_from = [asked(self.plan, cell), question.digest, question.prompts_digest, entry, weights]
        if model is not None and model["scorer"] == "decoder":
            made_from.append("decoder")  # such models were once asked by cosine
        return sha256_json(made_from)

    def do(self, cell: Cell) -> dict[str, Any]:
        """Answer one cell, write its record and return it; whatever goes wrong is recorded as failed."""
        start = time.perf_counter()
        try:
            question = self.question(cell)
            model = None if cell.model is None else self.facts(cell.model)
            found = self._answer(cell, question)
            parts = record.answer_part(found, self.plan.config.level)
            parts |= {"digest": self.digest(cell, model), "failed": None}
            return self._write(cell, parts, found, question, model, start)
        except Exception as error:  # one cell must not stop the others, whatever it stumbles over
            return self.fail(cell, one_line(error), start)

    def fail(self, cell: Cell, reason: str, start: float | None = None) -> dict[str, Any]:
        """Record a cell as failed; the next run tries it again."""
        parts = {**record.answer_part(Skipped(""), self.plan.config.level), "skipped": None}
        return self._write(cell, {"digest": None, **parts, "failed": reason}, None, None, None, start)

    def _write(
        self,
        cell: Cell,
        parts: dict[str, Any],
        found: Outcome | Skipped | None,
        question: Question | None,
        model: dict[str, Any] | None,
        start: float | None,
    ) -> dict[str, Any]:
        value = {
            "format": record.FORMAT,
            "title": self.plan.config.title,
            "asked": asked(self.plan, cell),
            "task": self._task_part(cell, question),
            "system": _system_part(cell, model),
            "variant": cell.variant,
            "seed": cell.seed,
            **parts,
            "leaks": self._leaks(cell),
            "command": self.plan.invocation.command(cell),
            **record.circumstances(0.0 if start is None else time.perf_counter() - start),
        }
        record.write(cell.file(self.plan.out), value, found)
        return value

    def _answer(self, cell: Cell, question: Any) -> Outcome | Skipped:
        if cell.model is None:
            if cell.kind == FLOOR:
                return question.floor(cell.name, None, cell.seed)
            return question.system(cell.name, cell.seed)
        subject = self.subject(cell.model)
        for ability in sorted(MODULES[self._protocol(cell)].ABILITIES):
            if (reason := subject.why_not(ability)) is not None:
                return Skipped(reason)
        if cell.kind == MODEL:
            return question.score(subject, cell.seed)
        return question.floor(cell.name, subject, cell.seed)

    def _protocol(self, cell: Cell) -> str:
        name: str = protocols_of(self.plan.tasks[cell.task].config)[cell.label].name
        return name

    def _task_part(self, cell: Cell, question: Question | None) -> dict[str, Any]:
        config = self.plan.tasks[cell.task].config
        return {
            "name": cell.task,
            "title": config.title,
            "protocol": self._protocol(cell),
            "label": cell.label,
            "split": config.split,
            "mode": config.mode,
            "num": None if question is None else question.num,
            "num_cases": None if question is None else question.num_cases,
            "digest": None if question is None else question.digest,
            "rows_sha256": self.plan.tasks[cell.task].rows_sha256,
            "citation": config.citation,
            "licence": config.licence,
            "homepage": config.homepage,
            "defects": list(config.defects),
        }

    def _leaks(self, cell: Cell) -> dict[str, Any] | None:
        ready = self.plan.tasks[cell.task]
        if cell.kind != MODEL:
            return ready.leaks
        source = self.plan.config.models[cell.name].source
        return leaks.of_model(ready.leaks, cell.task, ready.config, self.store(ready.store), source)


def asked(plan: Plan, cell: Cell) -> str:
    """Return the digest of what is known of a cell before anything is opened."""
    config = plan.config
    variant = config.prompts[cell.variant]
    return sha256_json(
        [
            record.FORMAT,
            __version__,
            {name: version for name, version in versions().items() if name in _DECIDING},
            plan.tasks[cell.task].config.model_dump(mode="json"),
            [cell.task, cell.label, cell.kind, cell.name, cell.of, cell.variant, cell.seed],
            None if variant is None else variant.model_dump(mode="json"),
            None if cell.model is None else config.models[cell.model].model_dump(mode="json"),
            config.graph,
            config.num_draws,
            config.level,
        ]
    )


def _system_part(cell: Cell, model: dict[str, Any] | None) -> dict[str, Any]:
    known = model if cell.kind == MODEL and model is not None else {}
    return {
        "id": cell.system,
        "name": cell.name,
        "kind": cell.kind,
        "of": cell.of,
        "title": known.get("title", cell.name),
        "source": known.get("source"),
        "weights_sha256": None if model is None else model["weights_sha256"],
        "knowledge": known.get("knowledge"),
    }


def one_line(error: BaseException) -> str:
    """Return an error as one line."""
    from medvlp.errors import MedvlpError

    text = " ".join(str(error).split())
    return text if isinstance(error, MedvlpError) else f"{type(error).__name__}: {text}"[:500]

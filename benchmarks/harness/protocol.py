"""The interface between the grid and a protocol: open a task once, then let systems answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.harness.outcome import Outcome, Skipped

if TYPE_CHECKING:
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig
    from medvlp.data.pairs import PairsStore
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.zeroshot.prompts import PromptConfig


@dataclass(frozen=True)
class Context:
    """What the grid hands to every protocol.

    Attributes:
        folder: Folder for stores, caches and other things that several cells share (made once, resumable).
        graph: The disease graph, for names, paths and hierarchy scores; None without one.
        num_draws: Bootstrap draws.
        level: Coverage of intervals.
        prompts: The prompt variant of this cell, over the task's own; None takes the task's.
        store: The task's pairs store, where its data has the form ``pairs``.
    """

    folder: Path
    graph: DiseaseGraph | None
    num_draws: int
    level: float
    prompts: PromptConfig | None = None
    store: PairsStore | None = None


def draw_seed(digest: str) -> int:
    """Return the seed of a question's bootstrap draws: the same for all systems, so that their differences pair."""
    return int(hashlib.sha256(digest.encode()).hexdigest()[:8], 16)


class Question(Protocol):
    """One task under one protocol, opened."""

    digest: str
    """Sha256 of everything but the system: rows, truth, cases, prompts, settings. Equal digests, comparable scores."""

    prompts_digest: str | None
    """Digest of the prompts, where there are any."""

    num: int
    num_cases: int

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Let a model answer; ``seed`` is for what is drawn (shots, heads, examples)."""
        ...

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Let a floor answer, of the protocol's ``FLOORS``, or ``FLOORS_OF_MODEL`` (``subject`` is that model)."""
        ...

    # Protocols without a model (``ABILITIES`` empty) have ``system(name, seed) -> Outcome | Skipped`` in place of
    # ``score``: one answer for each name in ``SYSTEMS``.


class ProtocolModule(Protocol):
    """What a file in ``benchmarks/harness/protocols`` offers, as module-level names."""

    Config: type[Any]
    """Settings: a ``medvlp.config.Config`` with ``name: Literal[...]``."""

    ABILITIES: frozenset[str]
    """What a model has to be able to do: ``image``, ``text``, ``maps``; empty for protocols that need no model."""

    FLOORS: tuple[str, ...]
    """Floors that need no model, such as ``prior`` and ``colour-histogram``."""

    FLOORS_OF_MODEL: tuple[str, ...]
    """Floors made from each model, such as ``untrained``, ``text-only``, ``permuted-graph``, ``mean-pooling``."""

    # Optional names, with what holds where a protocol lacks them:
    #   SYSTEMS: tuple[str, ...] = ()          what it compares by itself, for a protocol that needs no model
    #   PROMPTED: bool = True                  False: prompts play no part, so one prompt variant is enough
    #   SEEDED: frozenset[str] | None = None   who depends on the seed, ``model`` standing for models; None: everybody

    def open(self, task: TaskConfig, settings: Any, context: Context) -> Question:
        """Read the data, check it, make the prompts. Raises what the user has to mend."""
        ...

"""Mention detection: which spans of a text name a disease. Systems are our linker's tiers; no model is needed.

Shape legend: N documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.harness.protocols.annotated import Arm, Corpus, LinkerSettings, open_corpus
from benchmarks.linking.scores import f1_statistics, span_counts
from medvlp.metrics import bootstrap

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

ABILITIES: frozenset[str] = frozenset()
SYSTEMS: tuple[str, ...] = ("exact", "fuzzy", "all")
FLOORS = ("every-name",)
FLOORS_OF_MODEL: tuple[str, ...] = ()
SEEDED: frozenset[str] = frozenset()
PROMPTED = False

TITLES = {"f1": "F1", "precision": "Precision", "recall": "Recall"}
SPANS = {"strict": "same span", "overlap": "overlap"}


class Config(LinkerSettings):
    """Settings of mention detection."""

    name: Literal["ner"] = Field(description="Spans that name a disease.")


class Mentions:
    """An opened task; ``benchmarks.harness.protocol.Question`` without models."""

    prompts_digest: str | None = None

    def __init__(self, corpus: Corpus, context: Context) -> None:
        self.corpus, self.context, self.digest = corpus, context, corpus.digest
        self.case_N = [document.key for document in corpus.scored]
        self.num, self.num_cases = corpus.num_mentions, len(set(self.case_N))

    def system(self, name: str, seed: int) -> Outcome:
        """Find mentions by the named tiers, fitted on the training part.

        ``exact`` is not fitted at all; the others leave out names that mislead there and know names learnt there.
        """
        corpus, arm = self.corpus, cast(Arm, name)
        fitted = None if name == "exact" else corpus.fitted(arm)
        return self._outcome(corpus.base.sibling(tiers=corpus.tiers(arm), fitted=fitted).link)

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """No model takes part."""
        return Skipped("models do not mark spans")

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Every name of the graph, whatever kind of concept it is of."""
        from data_prep.text.linking import link

        assert name == "every-name", name
        return self._outcome(lambda text: link(text, self.corpus.graph))

    def _outcome(self, link: Callable[[str], Any]) -> Outcome:
        documents = self.corpus.scored
        found = [{(one.start, one.end) for one in link(document.text)} for document in documents]
        counts = {kind: span_counts(documents, found, kind == "strict") for kind in SPANS}
        return Outcome(
            self._metrics(counts),
            predictions={"document": np.array(self.case_N), **{f"counts_{kind}": c for kind, c in counts.items()}},
        )

    def _metrics(self, counts: dict[str, NDArray[np.float64]]) -> tuple[Metric, ...]:
        statistics = {
            f"{name}_{kind}": one for kind, count_N3 in counts.items() for name, one in f1_statistics(count_N3).items()
        }
        drawn = bootstrap.draws(statistics, self.case_N, self.context.num_draws, draw_seed(self.digest))
        wanted = [f"{name}_{kind}" for kind in SPANS for name in TITLES]
        return tuple(
            Metric(
                name,
                f"{TITLES[name.split('_')[0]]}, {SPANS[name.split('_')[1]]}",
                float(statistics[name](None)),
                drawn[name],
                self.num,
                self.num_cases,
            )
            for name in wanted
        )


def open(task: TaskConfig, settings: Config, context: Context) -> Mentions:
    """Read the corpus; see :func:`open_corpus` for what is refused."""
    return Mentions(open_corpus(task, settings, context), context)

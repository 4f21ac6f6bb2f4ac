"""Linking: given mentions of a text to the concepts they mean. Systems are our linker's tiers; no model is needed.

Shape legend: N mentions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.harness.protocols.annotated import Arm, Corpus, LinkerSettings, open_corpus
from benchmarks.linking.ncbi import by_heart, equal_names, linked_rows, peer_rows, without_names
from benchmarks.linking.scores import Answers, cases, rights
from data_prep.text.linking.fit import Truth
from medvlp.errors import MissingExtraError
from medvlp.metrics import bootstrap
from medvlp.metrics._weighted import mean_defined

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

ABILITIES: frozenset[str] = frozenset()
SYSTEMS: tuple[str, ...] = ("exact", "fuzzy", "all")
FLOORS = ("equal-name", "by-heart", "scispacy")
FLOORS_OF_MODEL: tuple[str, ...] = ()
SEEDED: frozenset[str] = frozenset()
PROMPTED = False

CEILING = "A right concept without a cross-reference to the corpus's ids counts as wrong, for every system alike."


class Config(LinkerSettings):
    """Settings of linking."""

    name: Literal["linking"] = Field(description="Given mentions to concepts.")
    scispacy: bool = Field(False, description="Also score scispaCy's candidates; its index takes a minute and more.")


class Linking:
    """An opened task; ``benchmarks.harness.protocol.Question`` without models."""

    prompts_digest: str | None = None

    def __init__(self, corpus: Corpus, context: Context, scispacy: bool) -> None:
        self.corpus, self.context, self.digest = corpus, context, corpus.digest
        self.scispacy = scispacy
        self.truth = Truth.of(corpus.graph, [*corpus.train, *corpus.scored])
        self.case_N = cases(corpus.scored)
        self.num, self.num_cases = len(self.case_N), len(set(self.case_N))

    def system(self, name: str, seed: int) -> Outcome:
        """Link by the named tiers, thresholds fitted on the training part; ``all`` has names learnt from it too."""
        fitted = self.corpus.fitted(cast(Arm, name))
        linker = self.corpus.base.sibling(
            tiers=self.corpus.tiers(cast(Arm, name)), fitted=fitted if name == "all" else without_names(fitted)
        )
        return self._outcome(linked_rows(linker, self.corpus.scored), {"tiers": list(linker.config.tiers)})

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """No model takes part."""
        return Skipped("models do not link mentions; see concept_retrieval")

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """The same name in the graph, the training part by heart, or scispaCy's candidate generator."""
        corpus = self.corpus
        if name == "equal-name":
            return self._outcome(equal_names(corpus.graph, corpus.base.rows, corpus.scored), {})
        if name == "by-heart":
            return Outcome(self._metrics(by_heart(corpus.train, corpus.scored), None), limits=(CEILING,))
        assert name == "scispacy", name
        if not self.scispacy:
            return Skipped("its index takes a minute and more to build; set `scispacy: true` in the task")
        try:
            index = corpus.folder / f"scispacy-light-{corpus.identity[:12]}.index"
            exact = corpus.base.sibling(tiers=["exact"])
            found, _ = peer_rows(corpus.graph, exact, corpus.scored, index, "light")
        except MissingExtraError as error:
            return Skipped(str(error))
        return self._outcome(found["scispacy"], {"index": "light: M = 20, efConstruction = 100"})

    def _outcome(self, answers: Answers, details: dict[str, Any]) -> Outcome:
        right_N = rights(self.corpus.scored, answers, self.truth)
        linked_N = np.array([bool(rows) for rows in answers])
        ids = [mention.ids for document in self.corpus.scored for mention in document.mentions]
        ceiling = float(np.mean([self.truth.reachable(one) for one in ids]))
        return Outcome(
            self._metrics(right_N, linked_N),
            predictions={"document": np.array(self.case_N), "right": right_N, "linked": linked_N},
            details={**details, "ceiling": ceiling},
            limits=(CEILING,),
        )

    def _metrics(self, right_N: NDArray[np.float64], linked_N: NDArray[np.bool_] | None) -> tuple[Metric, ...]:
        found: dict[str, tuple[str, NDArray[np.float64]]] = {"accuracy": ("Mentions linked right", right_N)}
        if linked_N is not None:
            found["precision"] = ("Right among those linked", np.where(linked_N, right_N, np.nan))
            found["linked"] = ("Mentions linked", linked_N.astype(np.float64))
        functions = {
            name: (lambda w, value_N=value_N: mean_defined(value_N, w))  # type: ignore[misc]
            for name, (_, value_N) in found.items()
        }
        drawn = bootstrap.draws(functions, self.case_N, self.context.num_draws, draw_seed(self.digest))
        return tuple(
            Metric(name, title, float(functions[name](None)), drawn[name], self.num, self.num_cases)
            for name, (title, _) in found.items()
        )


def open(task: TaskConfig, settings: Config, context: Context) -> Linking:
    """Read the corpus; see :func:`open_corpus` for what is refused."""
    return Linking(open_corpus(task, settings, context), context, settings.scispacy)

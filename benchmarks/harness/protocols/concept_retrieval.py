"""Does a name held out of the gallery find its concept among all concepts of a graph?

The split by name, the ranks and the TF-IDF floor are those of ``benchmarks.names``. The gallery is names alone, so a
permuted hierarchy would change nothing: there is no such floor.
Shape legend: Q queries, U concepts of the gallery, S draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.names.floors import tfidf_ranks
from medvlp.config import Config as BaseConfig
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_json
from medvlp.knowledge.splits import HeldOut
from medvlp.metrics import bootstrap
from medvlp.metrics.chance import RandomOrder
from medvlp.metrics.ranking import mean_reciprocal_rank, recall_at
from medvlp.training.name_retrieval import rank_names

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig
    from medvlp.knowledge.graph import DiseaseGraph

ABILITIES = frozenset({"text"})
FLOORS = ("tfidf", "random")
FLOORS_OF_MODEL = ("untrained",)
SEEDED = frozenset({"untrained"})
PROMPTED = False

TITLES = {"r@1": "R@1", "r@10": "R@10", "mrr": "MRR"}
SEEN = "Names are held out of the gallery only: a model trained on all names of this graph has seen them."


class Config(BaseConfig):
    """Settings of concept retrieval."""

    name: Literal["concept_retrieval"] = Field(description="Held-out names to concepts.")
    fraction: float = Field(0.1, gt=0, lt=1, description="Share of the names that is held out.")
    seed: int = Field(0, ge=0, description="Which names and concepts are drawn.")
    kinds: list[str] | None = Field(None, description="Kinds of names that may be held out; null is all.")
    num_queries: int | None = Field(None, ge=1, description="Random sample of the held-out names; null is all.")
    num_concepts: int | None = Field(
        None, ge=2, description="Random sample of the concepts that holds every right one; null is all."
    )


def sample(heldout: HeldOut, graph: DiseaseGraph, settings: Config) -> HeldOut:
    """Draw the queries, and the concepts whose names are the gallery; every right concept stays.

    Names of several concepts are left out: they have no single right answer.
    """
    rng = np.random.default_rng([settings.seed, len(heldout.heldout)])
    queries = heldout.heldout
    if settings.num_queries is not None and settings.num_queries < len(queries):
        queries = [queries[row] for row in np.sort(rng.permutation(len(queries))[: settings.num_queries])]
    kept = {concept for concept, _ in queries}
    if settings.num_concepts is None or settings.num_concepts >= len(graph):
        return HeldOut(heldout.train, queries, [])
    others = [concept for concept in graph.ids if concept not in kept]
    room = max(0, settings.num_concepts - len(kept))
    kept |= {others[row] for row in rng.permutation(len(others))[:room]}
    return HeldOut([pair for pair in heldout.train if pair[0] in kept], queries, [])


@dataclass(frozen=True)
class ConceptRetrieval:
    """An opened task; ``benchmarks.harness.protocol.Question``."""

    graph: DiseaseGraph
    names: HeldOut
    context: Context
    digest: str
    num: int
    num_cases: int
    num_concepts: int
    prompts_digest: str | None = None

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Rank concepts by the best cosine with one of their names; ``seed`` draws nothing."""

        def embed(texts: list[str]) -> NDArray[np.float32]:
            order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # a batch is as long as its longest
            out_ND = np.empty_like(sorted_ND := subject.encode_texts([texts[row] for row in order]), dtype=np.float32)
            out_ND[order] = sorted_ND
            return out_ND

        return self._outcome(rank_names(embed, self.graph, self.names).rank_Q)

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Character 3-grams, a random order (exactly), or random weights."""
        if name == "tfidf":
            return self._outcome(tfidf_ranks(self.graph, self.names).rank_Q)
        if name == "random":
            order = RandomOrder(np.ones(self.num, dtype=int), self.num_concepts)
            found = {
                "r@1": lambda w: order.recall_at(1, w),
                "r@10": lambda w: order.recall_at(10, w),
                "mrr": order.mean_reciprocal_rank,
            }
            return Outcome(self._metrics(found), limits=("Computed exactly.",))
        assert name == "untrained", name
        assert subject is not None
        fresh = subject.untrained(seed)
        return Skipped("its weights cannot be redrawn") if fresh is None else self.score(fresh, seed)

    def _outcome(self, rank_Q: NDArray[np.float64]) -> Outcome:
        found: dict[str, Callable[[Any], Any]] = {
            "r@1": lambda w: recall_at(rank_Q, 1, w),
            "r@10": lambda w: recall_at(rank_Q, 10, w),
            "mrr": lambda w: mean_reciprocal_rank(rank_Q, w),
        }
        return Outcome(
            self._metrics(found),
            predictions={"concept": np.array([concept for concept, _ in self.names.heldout]), "rank": rank_Q},
            details={"gallery": {"concepts": self.num_concepts, "names": len(self.names.train)}},
            limits=(SEEN, "Ties count at their mean rank."),
        )

    def _metrics(self, found: dict[str, Callable[[Any], Any]]) -> tuple[Metric, ...]:
        cases = [concept for concept, _ in self.names.heldout]
        drawn = bootstrap.draws(found, cases, self.context.num_draws, draw_seed(self.digest))
        chance = {"r@1": 1 / self.num_concepts, "r@10": min(1.0, 10 / self.num_concepts)}
        return tuple(
            Metric(name, TITLES[name], float(one(None)), drawn[name], self.num, self.num_cases, chance=chance.get(name))
            for name, one in found.items()
        )


def open(task: TaskConfig, settings: Config, context: Context) -> ConceptRetrieval:
    """Hold names out and draw the gallery.

    Raises:
        ConfigError: Without a graph.
        DataError: If no name of one concept is held out.
    """
    graph = context.graph
    if graph is None:
        raise ConfigError("needs a graph", item=task.title, remedy="set `graph` in the task or the grid")
    names = sample(graph.split_names(settings.fraction, settings.seed, settings.kinds), graph, settings)
    if not names.heldout:
        raise DataError("no name is held out", item="fraction", remedy="raise it, or name other kinds")
    if (wanted := task.expect.num.get(task.split)) is not None and wanted != len(names.heldout):
        problem = f"{len(names.heldout)} held-out names, expected {wanted}"
        raise DataError(problem, item=task.title, remedy="check the graph")
    digest = sha256_json([graph.digest, settings.model_dump(mode="json"), context.num_draws])
    concepts = [concept for concept, _ in names.heldout]
    return ConceptRetrieval(
        graph, names, context, digest, len(concepts), len(set(concepts)), len({c for c, _ in names.train})
    )

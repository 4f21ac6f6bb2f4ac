"""The part of the graph that a set's captions can reach, real or rewired, so that no run reads or rewires it whole.

A run on ``knowledge: permuted`` rewires the whole graph anew. Here it is rewired once per seed, and cut to the set's
concepts with all their ancestors: names, paths and relations of these concepts are then the same as in the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.records import once
from medvlp import __version__
from medvlp.data.pairs import SPLITS

if TYPE_CHECKING:
    from benchmarks.knowledge.sets import Prepared
    from medvlp.knowledge.graph import DiseaseGraph

REAL, PERMUTED = "real", "permuted"


class Hierarchies:
    """Makes the stores below a folder on demand.

    Args:
        graph: The whole graph.
        out: Folder of the stores.
    """

    def __init__(self, graph: DiseaseGraph, out: Path) -> None:
        self.graph, self.out = graph, out
        self._rewired: tuple[int, DiseaseGraph] | None = None

    def store(self, prepared: Prepared, knowledge: str, seed: int) -> Path | None:
        """Return the store of a set's part of the real or the rewired graph, None for knowledge ``none``."""
        if knowledge not in (REAL, PERMUTED):
            return None
        name = f"{prepared.name}-{REAL if knowledge == REAL else f'rewired-{seed}'}"
        made_from = [__version__, self.graph.digest, prepared.store.digest, name]
        folder = self.out / name
        record = self.out / f"{name}.json"
        if not folder.is_dir():
            record.unlink(missing_ok=True)

        def work() -> dict[str, Any]:
            reachable(self._of(knowledge, seed), prepared).save(folder, overwrite=True)
            return {}

        once(record, made_from, work)
        return folder

    def _of(self, knowledge: str, seed: int) -> DiseaseGraph:
        if knowledge == REAL:
            return self.graph
        if self._rewired is None or self._rewired[0] != seed:
            self._rewired = (seed, self.graph.permuted(seed))
        return self._rewired[1]


def reachable(graph: DiseaseGraph, prepared: Prepared) -> DiseaseGraph:
    """Return the concepts of a set's classes and images, and all their ancestors."""
    store = prepared.store
    named = {concept for concepts in store.class_concepts.values() for concept in concepts}
    named |= {concept for part in SPLITS for concepts in store.split(part).column("concepts") for concept in concepts}
    known = {graph.ids[graph.index(concept)] for concept in named if concept in graph}
    return graph.subset(known.union(*(graph.ancestors(concept) for concept in known)))

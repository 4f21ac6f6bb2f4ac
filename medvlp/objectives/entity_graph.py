"""The graph among a run's entities: its nodes, their first vectors, its edges; what ``knowledge`` makes of it.

Shapes: Q entities, N nodes (entities first), E edges, X numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medvlp.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.knowledge.vectors import EntityVectors
    from medvlp.objectives.context import KnownEntity

_VECTORS, _EXCHANGE = 19, 23  # random streams
_LEAST_LETTERS = 3


@dataclass(frozen=True)
class EntityGraph:
    """Nodes and edges.

    Attributes:
        start_NX: First vectors, each of length 1; the first Q are the entities'.
        edge_2E: Rows of giver and taker, each "is a" in both directions, int64.
        share: Share of the entities whose vector comes from a file.
    """

    start_NX: Tensor
    edge_2E: Tensor
    share: float


def entity_graph(
    entities: Sequence[KnownEntity],
    graph: DiseaseGraph | None,
    vectors: EntityVectors | None,
    *,
    knowledge: str,
    hops: int,
    width: int,
    seed: int,
) -> EntityGraph:
    """Return the graph among the entities and what is up to ``hops`` above them.

    Args:
        entities: The entities; a node stands for the first concept that the graph has.
        graph: The hierarchy the run may use; None: no edges, no node but the entities.
        vectors: Where vectors start from; what they lack, or all without them, starts at random.
        knowledge: ``real``: as they are. ``permuted``: the hierarchy is the rewired one, and the vectors are exchanged
            among the concepts in a circle, so that none keeps its own. ``none``: all start at random.
        hops: Steps above an entity.
        width: Numbers of a vector where no file says.
        seed: Decides what is random.

    Raises:
        ConfigError: If there is but one vector to exchange.
    """
    concepts: list[str | None] = [None] * len(entities)
    if graph is not None:
        known = [[concept for concept in entity.concepts if concept in graph] for entity in entities]
        concepts = [graph.ids[graph.index(found[0])] if found else None for found in known]
    nodes, edges = _hierarchy(concepts, graph, hops)
    width = width if vectors is None else vectors.entity_NX.shape[1]
    start_NX = np.random.default_rng([seed, _VECTORS]).standard_normal((len(nodes), width)).astype(np.float32)
    share = 0.0
    if vectors is not None and knowledge != "none":
        row_N = _vector_rows(nodes, vectors, seed if knowledge == "permuted" else None)
        start_NX[row_N >= 0] = vectors.entity_NX[row_N[row_N >= 0]]
        share = float((row_N[: len(entities)] >= 0).mean()) if entities else 0.0
    length_N1 = np.linalg.norm(start_NX, axis=1, keepdims=True)
    start_NX /= np.where(length_N1 > 0, length_N1, 1.0)
    return EntityGraph(torch.from_numpy(start_NX), torch.tensor(edges, dtype=torch.long).view(-1, 2).T, share)


def _hierarchy(
    concepts: list[str | None], graph: DiseaseGraph | None, hops: int
) -> tuple[list[str | None], list[tuple[int, int]]]:
    """The concept of each node, and the edges in both directions."""
    nodes, row, newest = list(concepts), dict[str, int](), list[str]()
    for number, concept in enumerate(concepts):
        if concept is not None and concept not in row:
            row[concept] = number
            newest.append(concept)
    if graph is None:
        return nodes, []
    for _ in range(hops):
        above = sorted({parent for concept in newest for parent in graph.parents(concept)} - row.keys())
        for concept in above:
            row[concept] = len(nodes)
            nodes.append(concept)
        newest = above
    edges = []
    for number, concept in enumerate(nodes):  # two entities of one concept both have its edges
        for parent in graph.parents(concept) if concept is not None else ():
            if parent in row:
                edges += [(row[parent], number), (number, row[parent])]
    return nodes, edges


def _vector_rows(nodes: Sequence[str | None], vectors: EntityVectors, exchange: int | None) -> np.ndarray:
    """The row of the vector of each node, -1 for none; with ``exchange`` the row of another concept's."""
    row_N = vectors.rows([concept or "" for concept in nodes])
    if exchange is None:
        return row_N
    found = np.unique(row_N[row_N >= 0])
    if len(found) < 2:
        raise ConfigError(
            "knowledge permuted needs two concepts with a vector to exchange",
            item="objective.vectors",
            remedy="use vectors of the graph of this run",
        )
    order = np.random.default_rng([exchange, _EXCHANGE]).permutation(found)
    other = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return np.array([other.get(row, -1) for row in row_N.tolist()], dtype=np.int64)


def mention_names(entity: KnownEntity, graph: DiseaseGraph | None) -> list[str]:
    """Names by which a text may mention an entity: its own, and with a graph all its concepts have.

    Rewiring keeps names, so the names are the same for the real and the permuted graph.
    """
    names = [entity.name]
    if graph is not None:
        names += [text for concept in entity.concepts if concept in graph for text in graph.texts(concept)]
    return list(dict.fromkeys(name for name in names if len(name) >= _LEAST_LETTERS or name == entity.name))

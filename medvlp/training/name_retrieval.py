"""Held-out-name retrieval: does a name never seen in training find its concept among all concepts?

Shape legend: Q queries, N gallery names, U concepts, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from medvlp.errors import GraphError
from medvlp.knowledge.names import normalise
from medvlp.metrics.ranking import mean_reciprocal_rank, recall_at, retrieval_ranks, similarity_ranks
from medvlp.training.buckets import encode_in_buckets

if TYPE_CHECKING:
    from medvlp.encoders.text import TextEncoder
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.knowledge.splits import HeldOut

Floats = NDArray[np.float32]


def embed_texts(encoder: TextEncoder, texts: Sequence[str], batch_size: int = 256) -> Floats:
    """Return unit vectors (N, D) of texts in their order; eval mode, no gradient, like lengths together."""
    if len(texts) == 0:
        return np.zeros((0, encoder.width), dtype=np.float32)
    training, device = encoder.training, next(encoder.parameters()).device
    encoder.eval()
    order = sorted(range(len(texts)), key=lambda position: (len(texts[position]), position))
    out = np.empty((len(texts), encoder.width), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids_ML, mask_ML = encoder.tokenize([texts[row] for row in rows])
            features = encode_in_buckets(encoder, ids_ML.to(device), mask_ML.to(device))
            out[rows] = normalize(features.float(), dim=-1).cpu().numpy()
    encoder.train(training)
    return out


def evaluate_names(
    encoder: TextEncoder,
    graph: DiseaseGraph,
    heldout: HeldOut,
    *,
    num_queries: int | None = None,
    num_concepts: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Rank all concepts for each held-out name; a concept scores as its best training name.

    Args:
        encoder: Text encoder; its pooled output is compared by cosine.
        graph: Concepts.
        heldout: Result of :meth:`DiseaseGraph.split_names`.
        num_queries: Score a random sample of the held-out names; all by default.
        num_concepts: Search among a random sample of concepts that holds every right answer; all by default.
        seed: Draws the samples.

    Returns:
        ``r@1``, ``r@5``, ``mrr`` over names of one concept, with ``num_queries`` and ``num_concepts``; and apart from
        them ``ambiguous_r@1`` and ``num_ambiguous`` over names of several, where any of them is right.

    Raises:
        GraphError: If no name is held out.
    """
    return score_names(lambda texts: embed_texts(encoder, texts), graph, heldout, num_queries, num_concepts, seed)


def score_names(
    embed: Any,
    graph: DiseaseGraph,
    heldout: HeldOut,
    num_queries: int | None = None,
    num_concepts: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """:func:`evaluate_names` for any function from texts to L2-normalised vectors (N, D)."""
    ranks = rank_names(embed, graph, heldout, num_queries, num_concepts, seed)
    scores = {
        "r@1": float(recall_at(ranks.rank_Q, 1)),
        "r@5": float(recall_at(ranks.rank_Q, 5)),
        "mrr": float(mean_reciprocal_rank(ranks.rank_Q)),
        "num_queries": float(len(ranks.rank_Q)),
        "num_concepts": float(ranks.num_concepts),
        "num_ambiguous": float(len(ranks.ambiguous_Q)),
    }
    if len(ranks.ambiguous_Q) > 0:
        scores["ambiguous_r@1"] = float(recall_at(ranks.ambiguous_Q, 1))
    return scores


@dataclass(frozen=True)
class NameRanks:
    """Rank of the right concept for every held-out name, ties at their mean.

    Attributes:
        rank_Q: For names of one concept.
        concept_Q: That concept's row in the graph, in the same order.
        ambiguous_Q: For names of several concepts, the best of the right ones.
        num_concepts: Concepts searched.
    """

    rank_Q: NDArray[np.float64]
    concept_Q: NDArray[np.int64]
    ambiguous_Q: NDArray[np.float64]
    num_concepts: int


def rank_names(
    embed: Any,
    graph: DiseaseGraph,
    heldout: HeldOut,
    num_queries: int | None = None,
    num_concepts: int | None = None,
    seed: int = 0,
) -> NameRanks:
    """Rank all concepts for each held-out name by the best cosine with one of their training names.

    Args:
        embed: Texts to L2-normalised vectors (N, D).
        graph: Concepts.
        heldout: Names of the gallery and of the queries.
        num_queries: Random sample of the queries; all by default.
        num_concepts: Random sample of the concepts that holds every right answer; all by default.
        seed: Draws the samples.

    Raises:
        GraphError: If no name is held out.
    """
    if not heldout.heldout:
        raise GraphError("no name is held out", item="held-out names", remedy="raise holdout.fraction")
    rng = np.random.default_rng([seed, len(heldout.heldout)])
    queries = _sample(heldout.heldout, num_queries, rng)
    answers: dict[str, tuple[str, list[int]]] = {}  # normalised name -> a text, rows of all its concepts
    for concept, text in heldout.ambiguous:
        answers.setdefault(normalise(text), (text, []))[1].append(graph.index(concept))
    ambiguous = [answers[key] for key in _sample(sorted(answers), num_queries, rng)]
    concept_Q = graph.indices([concept for concept, _ in queries])
    needed = {int(row) for row in concept_Q} | {row for _, rows in ambiguous for row in rows}
    rows = np.unique(graph.indices([concept for concept, _ in heldout.train]))  # a caller may have drawn the concepts
    if num_concepts is not None and num_concepts < len(rows):
        others = rng.permutation(np.setdiff1d(rows, sorted(needed)))
        rows = np.union1d(sorted(needed), others[: max(0, num_concepts - len(needed))]).astype(np.int64)
    place = {int(row): number for number, row in enumerate(rows)}
    gallery = [(place[row], text) for concept, text in heldout.train if (row := graph.index(concept)) in place]
    texts = [text for _, text in gallery] + [text for _, text in queries] + [text for text, _ in ambiguous]
    name_ND, query_QD, ambiguous_QD = np.split(embed(texts), [len(gallery), len(gallery) + len(queries)])
    owner_N = np.array([owner for owner, _ in gallery])
    target_Q = np.array([place[int(row)] for row in concept_Q])
    rank_Q = retrieval_ranks(query_QD, name_ND, target_Q, owner_G=owner_N).realistic_Q
    ambiguous_Q = np.empty(0)
    if ambiguous:
        score_QU = _best_per_owner(ambiguous_QD @ name_ND.T, owner_N)
        positive_QU = np.zeros(score_QU.shape, dtype=bool)
        for number, (_, right) in enumerate(ambiguous):
            positive_QU[number, [place[row] for row in right]] = True
        ambiguous_Q = similarity_ranks(score_QU, positive_QU, 1e-6).realistic_Q
    return NameRanks(rank_Q, concept_Q, ambiguous_Q, len(rows))


def _best_per_owner(score_QN: Floats, owner_N: NDArray[np.int64]) -> Floats:
    order_N = np.argsort(owner_N, kind="stable")
    starts = np.unique(owner_N[order_N], return_index=True)[1]
    return np.maximum.reduceat(score_QN[:, order_N], starts, axis=1)


def _sample(items: Sequence[Any], count: int | None, rng: np.random.Generator) -> list[Any]:
    if count is None or count >= len(items):
        return list(items)
    return [items[number] for number in np.sort(rng.permutation(len(items))[:count])]

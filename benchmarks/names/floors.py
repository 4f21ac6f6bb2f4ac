"""The floor without learning: character 3-gram TF-IDF between a held-out name and all training names.

Shape legend: Q queries, N gallery names, U concepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from medvlp.knowledge.names import normalise
from medvlp.metrics.ranking import similarity_ranks
from medvlp.training.name_retrieval import NameRanks

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.knowledge.splits import HeldOut


def tfidf_ranks(graph: DiseaseGraph, heldout: HeldOut, chunk: int = 256) -> NameRanks:
    """Rank all concepts for each held-out name; a concept scores as its best training name.

    3-grams within word boundaries, fitted on the training names alone.
    """
    owner_N = graph.indices([concept for concept, _ in heldout.train])
    order_N = np.argsort(owner_N, kind="stable")
    owners_U, start_U = np.unique(owner_N[order_N], return_index=True)
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), lowercase=True)
    gallery_N = vectors.fit_transform([text for _, text in heldout.train])[order_N].T.tocsr()
    answers: dict[str, tuple[str, set[int]]] = {}
    for concept, text in heldout.ambiguous:
        answers.setdefault(normalise(text), (text, set()))[1].add(graph.index(concept))
    ambiguous = [answers[key] for key in sorted(answers)]
    concept_Q = graph.indices([concept for concept, _ in heldout.heldout])

    def ranks(texts: list[str], right: list[set[int]]) -> np.ndarray:
        parts = [np.empty(0)]
        for begin in range(0, len(texts), chunk):
            score_QN = (vectors.transform(texts[begin : begin + chunk]) @ gallery_N).toarray()
            score_QU = np.maximum.reduceat(score_QN, start_U, axis=1)
            positive_QU = np.zeros(score_QU.shape, dtype=bool)
            for row, rows in enumerate(right[begin : begin + chunk]):
                positive_QU[row, np.searchsorted(owners_U, sorted(rows))] = True
            parts.append(similarity_ranks(score_QU, positive_QU, 1e-9).realistic_Q)
        return np.concatenate(parts)

    rank_Q = ranks([text for _, text in heldout.heldout], [{int(row)} for row in concept_Q])
    ambiguous_Q = ranks([text for text, _ in ambiguous], [rows for _, rows in ambiguous])
    return NameRanks(rank_Q, concept_Q, ambiguous_Q, len(graph))

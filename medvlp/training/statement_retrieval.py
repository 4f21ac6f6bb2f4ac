"""What validation asks where reports take part: statements of held-out sentences, and names that no report spells.

Shape legend: Q sentences that ask, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medvlp.knowledge.names import normalise
from medvlp.metrics.ranking import mean_reciprocal_rank, recall_at, similarity_ranks
from medvlp.training.name_retrieval import embed_texts

if TYPE_CHECKING:
    from medvlp.encoders.text import TextEncoder
    from medvlp.knowledge.splits import HeldOut
    from medvlp.training.report_pairs import Reports

AT = 5


def evaluate_statements(encoder: TextEncoder, reports: Reports) -> dict[str, float]:
    """Rank held-out sentences that are in no training report by the statement of each; equal statements are right.

    Returns:
        ``statement_r@5``, ``statement_mrr`` and ``num_statements``; empty with fewer than two different statements.
    """
    asked = reports.unseen()
    statement_Q = np.array([one.statement for one in asked])
    if len(set(statement_Q.tolist())) < 2:
        return {}
    ask_QD, own_QD = (embed_texts(encoder, texts) for texts in (statement_Q.tolist(), [one.text for one in asked]))
    rank_Q = similarity_ranks(ask_QD @ own_QD.T, statement_Q[:, None] == statement_Q, 1e-6).realistic_Q
    return {
        f"statement_r@{AT}": float(recall_at(rank_Q, AT)),
        "statement_mrr": float(mean_reciprocal_rank(rank_Q)),
        "num_statements": float(len(asked)),
    }


def unspelled(heldout: HeldOut, texts: Iterable[str]) -> HeldOut:
    """Return held-out names without those that training texts spell: they would no longer be unknown."""
    hidden = {normalise(name): len(normalise(name).split()) for _, name in (*heldout.heldout, *heldout.ambiguous)}
    lengths = sorted(set(hidden.values()))
    spelled: set[str] = set()
    for text in texts:
        words = normalise(text).split()
        for length in lengths:
            runs = (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
            spelled.update(run for run in runs if run in hidden)
    kept = [[pair for pair in of if normalise(pair[1]) not in spelled] for of in (heldout.heldout, heldout.ambiguous)]
    return replace(heldout, heldout=kept[0], ambiguous=kept[1])

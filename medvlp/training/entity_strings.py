"""A report as the findings it names and what it says of them, in place of its words.

Source: Zhang et al. 2023 (KAD), entity extraction: the second stage reads entities with their state.
"""

from __future__ import annotations

from collections.abc import Sequence

from medvlp.data.batch import Triple
from medvlp.training.concept_pairs import SEPARATOR

_IS = "is"


def entity_string(text: str, triples: Sequence[Triple]) -> str:
    """Return ``finding [SEP] present [SEP] finding [SEP] absent ...``, in the order of the triples.

    Args:
        text: The text, returned as it is if its triples name no finding: nothing else is known of it.
        triples: What it says; those of relation ``is`` tell whether a finding is present, absent or uncertain.
    """
    states = [part for one in triples if one.relation == _IS for part in (one.head, one.tail)]
    return SEPARATOR.join(states) if states else text

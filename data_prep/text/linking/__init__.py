"""Concept linking: text in, (start, end, concept, semantic types, score, tier) out.

Lives here: words and names as they are compared, the three tiers, fitting, the ``link`` job.
Not here: assertion, side and anatomy of a mention, and the scores of a linker (``benchmarks.linking``).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from data_prep.text.linking.candidates import Candidate
from data_prep.text.linking.config import Fitted, LinkerConfig
from data_prep.text.linking.linker import Linker
from data_prep.text.linking.links import Link

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

__all__ = ["Candidate", "Fitted", "Link", "Linker", "LinkerConfig", "link"]

_ALL = LinkerConfig(exclude_below=[], exclude=[], abbreviations=False, max_concepts=1_000_000)
_LINKERS: weakref.WeakKeyDictionary[DiseaseGraph, Linker] = weakref.WeakKeyDictionary()


def link(text: str, graph: DiseaseGraph) -> list[Link]:
    """Find the concepts that a text names, by the exact tier alone.

    A name shared by several concepts gives one link per concept, those for which it is the preferred name alone if
    there are any. Names of fewer than three letters ("PE", "MI") are not linked.

    Args:
        text: Any text; offsets refer to it unchanged.
        graph: Its index is built at the first call and kept as long as the graph lives.

    Returns:
        Links in order of position, without overlaps.
    """
    linker = _LINKERS.get(graph)
    if linker is None:
        linker = _LINKERS[graph] = Linker(weakref.proxy(graph), _ALL)  # the linker must not keep its key alive
    return linker.link(text)

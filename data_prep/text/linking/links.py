"""What a linker returns, and which of overlapping mentions stay."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A span of the text that names a concept: ``text[start:end]``.

    Attributes:
        start, end: Characters of the text.
        concept: Id in the graph.
        text: ``text[start:end]``.
        score: 1 for a name as the graph writes it; below for other spellings and for resemblance.
        semantic_types: The concept's, as the graph gives them.
        tier: What found the concept: ``exact``, ``fuzzy`` or ``rerank``.
    """

    start: int
    end: int
    concept: str
    text: str
    score: float
    semantic_types: tuple[str, ...] = ()
    tier: str = "exact"


def resolve(links: Iterable[Link]) -> list[Link]:
    """Keep the longest of overlapping mentions, of equal ones the best, of those the first; links of one span stay.

    Returns:
        Links in order of position, then of falling score, then of concept id.
    """
    spans: dict[tuple[int, int], list[Link]] = {}
    for link in links:
        spans.setdefault((link.start, link.end), []).append(link)
    best = {span: max(link.score for link in found) for span, found in spans.items()}
    kept: list[tuple[int, int]] = []  # disjoint, in order
    for span in sorted(spans, key=lambda span: (span[0] - span[1], -best[span], span)):
        place = bisect_left(kept, span)
        clear_before = place == 0 or kept[place - 1][1] <= span[0]
        if clear_before and (place == len(kept) or span[1] <= kept[place][0]):
            kept.insert(place, span)
    return [link for span in kept for link in sorted(spans[span], key=lambda found: (-found.score, found.concept))]

"""What a rule finds: a place in the text and its kind. Rules never see what an earlier one has taken.

A taken place is overwritten by :data:`BARRIER` characters of the same length, which are neither letters, digits nor
spaces. So offsets stay, nothing is taken twice, and placeholders of an earlier pass stop every rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

KINDS = ("date", "name", "id", "phone", "email", "url", "address", "age", "institution")
BARRIER = "\ue000"
PLACEHOLDER = re.compile(
    rf"\[(?:{'|'.join(kind.upper() for kind in KINDS)})\]"
    r"|\[\*\*[^\[\]\n]{0,80}\*\*\]"  # MIMIC's
    r"|\b[Xx]{3,}\b|_{3,}"  # Open-I's, and MIMIC-CXR's
)


class Span(NamedTuple):
    """``text[start:end]`` identifies somebody."""

    start: int
    end: int
    kind: str


def word_set(words: str) -> frozenset[str]:
    """The words of a text as a set, so that long lists stay readable."""
    return frozenset(words.split())


def blank(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Overwrite places with barrier characters."""
    parts, position = [], 0
    for start, end in sorted(spans):
        parts += [text[position:start], BARRIER * (end - max(start, position))]
        position = max(position, end)
    return "".join([*parts, text[position:]])

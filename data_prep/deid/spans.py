"""What a rule finds: a place in the text and its kind. Rules never see what an earlier one has taken.

A taken place is overwritten by :data:`BARRIER` characters of the same length, which are neither letters, digits nor
spaces. So offsets stay, nothing is taken twice, and placeholders of an earlier pass stop every rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KINDS = ("date", "name", "id", "phone", "email", "url", "address", "age", "institution")
BARRIER = "\ue000"
PLACEHOLDER = re.compile(
    rf"\[(?:{'|'.join(kind.upper() for kind in KINDS)})\]"
    r"|\[\*\*[^\[\]\n]{0,80}\*\*\]"  # MIMIC's
    r"|\b[Xx]{3,}\b|_{3,}"  # Open-I's, and MIMIC-CXR's
)


_REACH = 120


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


def in_windows(pattern: re.Pattern[str], text: str, hint: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Matches of a pattern that is tried only around what it cannot do without."""
    start = end = -1
    for found in hint.finditer(text):
        first, last = max(0, found.start() - _REACH), min(len(text), found.end() + _REACH)
        if first > end:
            if end > 0:
                yield from pattern.finditer(text, start, end)
            start = first
            if start > 0 and text[start - 1].isalnum():  # not in the middle of a word
                start = text.find(" ", start, found.start()) + 1 or found.start()
        end = last
    if end > 0:
        yield from pattern.finditer(text, start, end)

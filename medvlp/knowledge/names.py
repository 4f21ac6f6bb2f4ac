"""One rule for when two strings are the same name, used by search, linking and splits alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("preferred", "exact", "xref_merge", "narrow", "broad", "related")
"""Kinds of names, most trustworthy first; ``xref_merge`` is the preferred name of a merged concept."""

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Name:
    """One string that names a concept, with where it comes from and under which licence."""

    text: str
    kind: str
    source: str
    licence: str


def normalise(text: str) -> str:
    """Return the form in which names are compared.

    Compatibility forms are unified, accents dropped, case folded, and everything but letters and digits becomes one
    space: ``"Type-2  Diabetes"`` and ``"type 2 diabetes"`` are the same name. Word order, plurals, Greek letters stay.
    """
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _NOT_WORD.sub(" ", text.casefold()).strip()


def fold(text: str) -> str:
    """Return the form in which strings count as duplicates inside one concept: case and spacing ignored."""
    return " ".join(text.split()).casefold()


def deduplicate(names: Iterable[Name]) -> list[Name]:
    """Keep the first of every run of names that differ only by case or spacing; empty strings go."""
    kept: dict[str, Name] = {}
    for name in names:
        key = fold(name.text)
        if key:
            kept.setdefault(key, name)
    return list(kept.values())

"""Sections of a report: headings in many spellings, several on one line, joined, missing, and addenda."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class SectionKind(StrEnum):
    """What a section is about; ``body`` is text under no heading, ``other`` under one not known here."""

    indication = "indication"
    history = "history"
    family_history = "family_history"
    comparison = "comparison"
    technique = "technique"
    findings = "findings"
    impression = "impression"
    addendum = "addendum"
    body = "body"
    other = "other"


DESCRIBES = (
    SectionKind.findings,
    SectionKind.impression,
    SectionKind.addendum,
    SectionKind.body,
    SectionKind.other,
)
"""Sections that say what is seen; the others say why and how it was looked at."""

_SPELLINGS: dict[SectionKind, str] = {
    SectionKind.indication: (
        "indication|indications|clinical indication|indication for (?:study|exam|examination)|reason for (?:the )?"
        "(?:exam|examination|study|visit|consultation)|reason|clinical (?:information|question|data|details|statement"
        "|history)|clinical|history|hx|chief complaint|presenting complaint|history of present(?:ing)? illness|hpi"
        "|provided history|history and indication|symptoms?|diagnosis"
    ),
    SectionKind.history: (
        "past medical history|pmh|pmhx|medical history|past history|past surgical history|psh|surgical history"
        "|relevant history"
    ),
    SectionKind.family_history: "family history|family hx|fh|fhx|fam hx",
    SectionKind.comparison: (
        "comparisons?|comparison (?:studies|study|exams?|films?)|compared? (?:to|with)|prior (?:studies|study|exams?)"
        "|previous (?:studies|study|exams?)|priors"
    ),
    SectionKind.technique: (
        "techniques?|procedure|procedures performed|exam|examination|examination performed|study|study type|protocol"
        "|views?|procedure (?:comments?|details)|modality|method|contrast|radiation dose|type of (?:exam|study)"
    ),
    SectionKind.findings: (
        "findings?|results?|report|description|observations?|interpretation|radiographic findings"
        "|imaging findings|microscopic description|gross description|microscopy|macroscopy|narrative"
    ),
    SectionKind.impression: (
        "impressions?|conclusions?|summary|opinion|assessment|assessment and plan|overall impression"
        "|final (?:impression|diagnosis)|diagnostic impression|findings? ?(?:/|and|&) ?impressions?"
        "|interpretation and conclusion|comment|imp"
    ),
    SectionKind.addendum: r"addend(?:um|a)(?: ?(?:#|no\.?)? ?\d+)?(?: (?:to|for) [\w ]{1,30})?|amended report",
}
_KIND = {kind: re.compile(rf"(?:{pattern})", re.IGNORECASE) for kind, pattern in _SPELLINGS.items()}
_ANY = "|".join(f"(?:{pattern})" for pattern in _SPELLINGS.values())
_EDGE = r"[*_=#\-]{0,5}[ \t]*"
_AT_LINE = re.compile(
    rf"(?:^|\n)[ \t]*{_EDGE}(?P<name>{_ANY}|[A-Z][A-Z /&()]{{2,40}})[ \t]*[*_=#]{{0,5}}[ \t]*"
    rf"(?:(?P<colon>:)|[ \t]-[ \t]|(?=\n)|$)",
    re.IGNORECASE,
)
_IN_LINE = re.compile(rf"(?<=[.!?:)\]\s])(?P<name>{_ANY}):", re.IGNORECASE)
_ENDED = re.compile(r"[.!?)\]]\s+$")
_LOOK_BACK = 8


@dataclass(frozen=True)
class Section:
    """``text[start:end]`` is what stands below the heading; ``heading`` is its words, empty for ``body``."""

    kind: SectionKind
    heading: str
    start: int
    end: int


def split_sections(text: str) -> list[Section]:
    """Cut a report at its headings.

    A heading is a known name at the start of a line (with a colon, or alone on it), or one with a colon further on,
    in capitals or behind the end of a sentence. Other names in capitals with a colon ("LUNGS:") are headings too, but
    stay text inside findings, impression and addendum. Text before the first heading, and a report without any, is
    ``body``. Sections without words are left out; what no heading claims is never lost.
    """
    marks: dict[int, tuple[int, int, str]] = {}
    for found in _AT_LINE.finditer(text):
        name = found["name"]
        if kind_of(name) is not SectionKind.other or (found["colon"] and name.isupper()):
            marks[found.start("name")] = (found.start("name"), found.end(), name)
    for found in _IN_LINE.finditer(text):
        begin, name = found.start("name"), found["name"]
        before = text[max(0, begin - _LOOK_BACK) : begin]
        if name.isupper() or (name[0].isupper() and _ENDED.search(before)):
            marks.setdefault(begin, (begin, found.end(), name))
    sections, begin, kind, heading = [], 0, SectionKind.body, ""
    for start, end, name in [*sorted(marks.values()), (len(text), len(text), "")]:
        following = kind_of(name)
        inside = following is SectionKind.other and kind in DESCRIBES and heading != "" and end < len(text)
        if start < begin or inside:  # inside the mark before it, or an organ under its heading
            continue
        if any(letter.isalnum() for letter in text[begin:start]):
            sections.append(Section(kind, heading, begin, start))
        begin, kind, heading = end, following, " ".join(name.split())
    return sections


def kind_of(heading: str) -> SectionKind:
    """Return what a heading announces; a joined one ("findings and impression") counts as impression."""
    name = " ".join(heading.split())
    return next((kind for kind, pattern in _KIND.items() if pattern.fullmatch(name)), SectionKind.other)

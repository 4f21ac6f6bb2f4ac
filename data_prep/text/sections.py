"""Sections of a report: headings in many spellings, several on one line, joined or missing, addenda and closings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from data_prep.text.headings import SectionKind, is_organ, is_strong, kind_of
from data_prep.text.unheaded import parts_of_body, split_tail

__all__ = ["DESCRIBES", "Section", "SectionKind", "kind_of", "split_sections"]

DESCRIBES = (
    SectionKind.findings,
    SectionKind.impression,
    SectionKind.addendum,
    SectionKind.body,
    SectionKind.other,
)
"""Sections that say what is seen; the others say why and how it was looked at, and what follows from it."""

_NAME = r"[A-Za-z][\w /&,()'’#.\[\]\-]{0,70}?"
_EDGE = r"(?:(?:[*_=#>•~\-\[]++|(?:\d{1,2}|[ivxIVX]{1,4}|[A-Ha-h])[.)](?=[ \t\n])|<b>|<strong>)[ \t]*+){0,4}+"
_BOLD = r"(?:\*{1,3}|</b>|</strong>)?"
_AT_LINE = re.compile(
    rf"^[ \t]*{_EDGE}(?P<name>{_NAME})[ \t]*(?:[_=#~\]]{{1,5}}|{_BOLD})[ \t]*"
    rf"(?:(?P<colon>:)(?!\d)[ \t]*{_BOLD}|(?P<dash>[ \t]*(?:[-–—|=]{{1,3}}|\.{{2,8}})[ \t]|[–—])|$)",
    re.MULTILINE,
)
_NO_MARK = re.compile(
    rf"^[ \t]*{_EDGE}(?P<name>[A-Za-z]+(?:[ /][A-Za-z]+){{0,3}}?)(?P<stop>\.?)[ \t]+(?P<after>\S+)", re.MULTILINE
)
_CAPITALS = re.compile(r"(?<=[.!?)\]])[ \t]+(?P<name>[A-Z]{4,}(?:[ /][A-Z]{2,}){0,2})[ \t]+(?=[A-Z\d]?[\da-z])")
_COLON = re.compile(r":(?!\d)|[ \t][-–—][ \t]")
_WORDS_BEFORE = re.compile(r"[A-Za-z][\w'’()\-]*(?:(?:[ \t]+|[ \t]*[/&][ \t]*)[A-Za-z][\w'’()\-]*){0,5}$")
_ENDED = re.compile(r"[.!?)\];|,>]\s*$")
_MAX_IN_LINE = 60
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_TITLES = re.compile(r"exam|study|procedure|patient|name|date|report", re.IGNORECASE)
_WHY_AND_HOW = (
    SectionKind.indication,
    SectionKind.history,
    SectionKind.comparison,
    SectionKind.technique,
    SectionKind.header,
)


@dataclass(frozen=True)
class Section:
    """``text[start:end]`` is what stands below the heading; ``heading`` is its words, empty where there is none."""

    kind: SectionKind
    heading: str
    start: int
    end: int


@dataclass(frozen=True)
class _Mark:
    """A heading: its place, and whether it stands in capitals at the start of a line, or behind a blank one."""

    start: int
    end: int
    name: str
    kind: SectionKind
    new_paragraph: bool = False


def split_sections(text: str) -> list[Section]:
    """Cut a report at its headings, and what stands under none by what it says.

    A heading is a known name at the start of a line (with a colon or a dash, alone on it, numbered or marked), or one
    with a colon further on, in capitals or behind the end of a sentence. Other names in capitals with a colon
    ("LUNGS:") are headings too, but stay text inside findings, impression and addendum. Where no heading says
    "findings", parts of the body with a colon, and paragraphs that an empty line sets apart from the history or the
    technique, are findings. In text under no heading, sentences that tell why or how it was looked at, a paragraph
    that sums up, and a signature are sections of their own; the rest, and a report without any heading, is ``body``.
    Sections without words are left out; what no heading claims is never lost.
    """
    marks = _by_report(_marks(text))
    described = any(
        mark.kind is SectionKind.findings and re.search(r"\w", text[mark.end : following.start])
        for mark, following in pairwise([*marks, _Mark(len(text), len(text), "", SectionKind.other)])
    )
    sections, begin, kind, heading = [], 0, SectionKind.body, ""
    for mark in [*marks, _Mark(len(text), len(text), "", SectionKind.other)]:
        following = mark.kind
        started = re.search(r"[^\W_]", text[begin : mark.start]) is not None
        if mark.start < begin or (started and mark.end < len(text) and _is_inside(mark, kind, heading)):
            continue  # inside the mark before it, or an organ under its heading
        sections += _cut(text, Section(kind, heading, begin, mark.start), described)
        begin, kind, heading = mark.end, following, " ".join(mark.name.split())
        if following is SectionKind.other and is_organ(mark.name):  # "LUNGS: clear" where nothing says "findings"
            begin, kind, heading = mark.start, SectionKind.findings, ""
    stripped = (_stripped(text, section) for section in sections)
    return [section for section in stripped if any(c.isalnum() for c in text[section.start : section.end])]


def _is_inside(mark: _Mark, kind: SectionKind, heading: str) -> bool:
    """Whether a name is no heading of its own but stays text of the section it stands in."""
    organ = mark.kind is SectionKind.other and is_organ(mark.name)
    if kind is SectionKind.body or kind not in DESCRIBES or (not heading and kind is not SectionKind.findings):
        return organ and kind is SectionKind.body and not mark.name.isupper()
    if mark.kind is SectionKind.header:
        return not (mark.new_paragraph and mark.name.isupper() and _TITLES.search(mark.name))
    if kind is SectionKind.other:
        return mark.kind is SectionKind.other and not organ
    return mark.kind is SectionKind.other


def _marks(text: str) -> list[_Mark]:
    found: dict[int, _Mark] = {}
    for mark in (*_at_lines(text), *_in_lines(text)):
        found.setdefault(mark.start, mark)
    return sorted(found.values(), key=lambda mark: mark.start)


def _at_lines(text: str) -> Iterator[_Mark]:
    for found in _AT_LINE.finditer(text):
        name = found["name"].rstrip(" .")
        kind = kind_of(name)
        before = (
            text[: found.start()].rstrip(" \t")
            if found.start() < 400
            else text[found.start() - 400 : found.start()].rstrip(" \t")
        )
        new = not before.strip() or before.endswith("\n\n") or before.rstrip()[-1] in ".:!?*-=_"
        if kind is SectionKind.other:
            known = bool(found["colon"]) and (name.isupper() or is_organ(name))
        elif found["colon"]:
            known = name[0].isupper() or new or is_strong(name)
        elif found["dash"]:
            known = is_strong(name) or name.isupper()
        else:  # alone on its line: as a rest of a wrapped sentence it would not be in capitals or begin a paragraph
            known = name.isupper() or (new and (name[0].isupper() or is_strong(name)))
        if known:
            yield _Mark(found.start("name"), found.end(), name, kind, new)
    for found in _NO_MARK.finditer(text):
        name, after = found["name"], found["after"]
        if not is_strong(name) or not (name.isupper() or (name[0].isupper() and found["stop"])):
            continue
        if found["stop"] or not after.isupper() or after in {"A", "I"}:
            yield _Mark(found.start("name"), found.start("after"), name, kind_of(name))


def _in_lines(text: str) -> Iterator[_Mark]:
    """Names with a colon behind the start of a line: the longest known one before each colon."""
    lower = re.match(r"\s*[a-z]", text) is not None and text[:400] == text[:400].lower()
    for colon in _COLON.finditer(text):
        line = max(text.rfind("\n", max(0, colon.start() - 200), colon.start()) + 1, colon.start() - _MAX_IN_LINE)
        words = _WORDS_BEFORE.search(text, line, colon.start())
        if words is None:
            continue
        starts = [words.start(), *(words.start() + gap.end() for gap in re.finditer(r"[\s/&]+", words.group()))]
        for start in starts:
            name = text[start : colon.start()]
            if kind_of(name) is SectionKind.other or not _stands_out(text, start, name, colon.group() == ":", lower):
                continue
            yield _Mark(start, colon.end(), name, kind_of(name))
            break

    for found in _CAPITALS.finditer(text):  # "COMPARISON None. FINDINGS The lungs are clear."
        if is_strong(found["name"]):
            yield _Mark(found.start("name"), found.end(), found["name"], kind_of(found["name"]))


def _stands_out(text: str, start: int, name: str, colon: bool, lower: bool) -> bool:
    before = text[max(0, start - 8) : start]
    if not before or "\n" in before[-1:]:
        return False  # at the start of a line: read already
    ended = (_ENDED.search(before) is not None and before[-1].isspace()) or before[-1] in ".)]|>"
    if not colon:
        return ended and name[0].isupper() and is_strong(name)
    if name.isupper():
        return before[-1].isspace() or ended
    if before.rstrip().endswith(":") or not before[-1].isspace():
        return False  # "FINDINGS: Comparison: the effusion is smaller"
    if name[0].isupper():
        return bool(ended and before.rstrip()[-1:] != ",") or (is_strong(name) and before.rstrip()[-1:] != ",")
    return lower and is_strong(name)


def _by_report(marks: list[_Mark]) -> list[_Mark]:
    """Names that mean one thing beside an impression or findings, and another without."""
    names = [mark.name.casefold() for mark in marks]
    sums_up = any(
        m.kind is SectionKind.impression and not n.startswith("diagnos") for m, n in zip(marks, names, strict=True)
    )
    describes = any(m.kind is SectionKind.findings and n != "interpretation" for m, n in zip(marks, names, strict=True))
    result = []
    for mark, name in zip(marks, names, strict=True):
        kind = mark.kind
        if name in {"diagnosis", "diagnoses"} and sums_up:
            kind = SectionKind.indication
        elif name == "interpretation" and describes and not sums_up:
            kind = SectionKind.impression
        result.append(replace(mark, kind=kind))
    return result


def _cut(text: str, section: Section, described: bool) -> Iterator[Section]:
    """One section as it stands, or in the parts that its text tells apart."""
    start, end = section.start, section.end
    if section.kind in _WHY_AND_HOW and not described:
        first = next((i for i in range(start, end) if not text[i].isspace()), end)
        blank = _BLANK_LINE.search(text, first, end)
        if blank is not None:
            yield replace(section, end=blank.start())
            start, section = blank.end(), Section(SectionKind.body, "", blank.end(), end)
    tail = split_tail(text, start, end)
    if section.kind is SectionKind.body:
        for kind, first, last in parts_of_body(text, start, tail[0][1] if tail else end):
            yield Section(kind, "", first, last)
    else:
        yield replace(section, end=tail[0][1] if tail else end)
    for kind, first, last in tail:
        yield Section(kind, "", first, last)


def _stripped(text: str, section: Section) -> Section:
    """Without the mark of the next heading at its end ("**", "4.")."""
    body = re.search(rf"(?:^|\n)[ \t]*{_EDGE}$", text[section.start : section.end])
    return section if body is None else replace(section, end=section.start + body.start())

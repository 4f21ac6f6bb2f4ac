"""Abbreviations that a text defines itself, "long form (LF)", and where it uses them.

The rule is that of Schwartz and Hearst (2003): the letters of the short form, read from the right, are found in this
order in the words before the bracket, the first at the start of a word. scispaCy's detector follows the same paper on
spaCy's tokens; on strings it needs no tokeniser (docs/linking.md compares the two).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BRACKET = re.compile(r"\(([^()\n]{2,80})\)")
_SHORT = re.compile(r"[^\W\d_](?:[\w/-]{0,8}[^\W_])")
_LAST_WORD = re.compile(r"(\S+)\s$")
_WORD = re.compile(r"\w+")
_REACH = 300
_BREAK = re.compile(r"[.;:!?]\s|\n\s*\n|[()]")


@dataclass(frozen=True)
class Definition:
    """``text[long_start:long_end]`` is what ``short`` stands for; ``bracket`` is the span in brackets, with them."""

    short: str
    long_start: int
    long_end: int
    bracket: tuple[int, int]


def find(text: str) -> dict[str, Definition]:
    """Return the definitions of a text by short form; the first of a short form counts."""
    found: dict[str, Definition] = {}
    for bracket in _BRACKET.finditer(text):
        inside = re.split(r"[,;]\s", bracket.group(1), maxsplit=1)[0].strip()
        definition = _before(text, bracket, inside) if is_short_form(inside) else _inside(text, bracket)
        if definition is not None:
            found.setdefault(definition.short, definition)
    return found


def uses(text: str, short: str) -> list[tuple[int, int]]:
    """Return the spans where a short form stands as a word of its own, its plural in "s" included."""
    found: list[tuple[int, int]] = []
    start = text.find(short)
    while start >= 0:  # by hand: an expression for each short form would have to be compiled first
        end = start + len(short)
        behind = end + 1 if text.startswith("s", end) else end
        if (start == 0 or not _in_word(text[start - 1], "_-")) and not _in_word(text[behind : behind + 1], "_"):
            found.append((start, end))
            start = text.find(short, behind)
        else:
            start = text.find(short, start + 1)
    return found


def _in_word(letter: str, others: str) -> bool:
    return letter.isalnum() or (letter != "" and letter in others)


def is_short_form(word: str) -> bool:
    """Tell whether a word can be a short form: two to ten characters, a letter first, at least one capital."""
    return bool(_SHORT.fullmatch(word)) and any(map(str.isupper, word)) and 2 * sum(map(str.isalpha, word)) >= len(word)


def _before(text: str, bracket: re.Match[str], short: str) -> Definition | None:
    """Long form in front of the bracket that holds the short one."""
    words = min(len(short) + 5, 2 * len(short))
    earliest = max(0, bracket.start() - _REACH)
    earliest = max((match.end() for match in _BREAK.finditer(text, earliest, bracket.start())), default=earliest)
    parts = text[earliest : bracket.start()].rsplit(None, words)
    if not parts:
        return None
    further = len(parts[0]) if len(parts) > words else 0  # what is further away than the last words
    begin = earliest + further
    begin += len(text[begin : bracket.start()]) - len(text[begin : bracket.start()].lstrip())
    end = begin + len(text[begin : bracket.start()].rstrip())
    start = _align(short, text, begin, end)
    if start is None or end - start <= len(short) or short in _WORD.findall(text[start:end]):
        return None
    return Definition(short, start, end, bracket.span())


def _inside(text: str, bracket: re.Match[str]) -> Definition | None:
    """Long form in the bracket, from its first word on; short one the word in front of it."""
    before = _LAST_WORD.search(text, max(0, bracket.start() - 20), bracket.start())
    if before is None or not is_short_form(before[1]) or _align(before[1], text, *bracket.span(1)) != bracket.start(1):
        return None
    return Definition(before[1], *bracket.span(1), bracket.span())


def _align(short: str, text: str, begin: int, end: int) -> int | None:
    """Start of the shortest stretch that ends at ``end`` and holds the short form's letters in order."""
    position = end - 1
    letters = [letter.casefold() for letter in short if letter.isalnum()]
    for number in range(len(letters) - 1, -1, -1):
        while position >= begin and (
            text[position].casefold() != letters[number]
            or (number == 0 and position > begin and text[position - 1].isalnum())
        ):
            position -= 1
        if position < begin:
            return None
        position -= 1
    return position + 1


def expand(mention: str, long_forms: dict[str, str]) -> str:
    """Write out the short forms in a mention; "adenomatous polyposis coli (APC)" loses its bracket instead."""
    if not long_forms:
        return mention
    for short in long_forms:
        mention = re.sub(rf"\s*\({re.escape(short)}\)", "", mention)
    pattern = "|".join(sorted(map(re.escape, long_forms), key=lambda short: (-len(short), short)))
    return re.sub(rf"(?<![\w-])({pattern})(?!\w)", lambda found: long_forms[found[1]], mention)

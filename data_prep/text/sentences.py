"""Sentences of clinical text: wrapped lines, numbered items, missing blanks after full stops, abbreviations."""

from __future__ import annotations

import re
from bisect import bisect_right

_STOP = re.compile(
    r"(?:\.+|(?<=[\w)\]])[!?]+)[\"')\]]*(?=\s|$)|(?<=[a-z\d)])\.(?=[A-Z][a-z]+\b)|\n[ \t]*(?:\n[ \t]*)+|\n"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:dr|drs|mr|mrs|ms|prof|st|vs|e\.g|i\.e|approx|fig|figs|ca|cf|no|nos|resp|incl|ext|int|med|lat|ant"
    r"|post|sup|inf|pt|hx|a\.m|p\.m|[a-z])\.$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?:^|\n|[.!?:;]\s)[ \t]*\(?\d{1,2}[.)]$")
_ITEM = re.compile(r"[ \t]*(?:[-*•▪·+]|\(?\d{1,2}[.)])\s")
_NEXT_ITEM = re.compile(r"\s+\(?\d{1,2}[.)]\s")
_SHORT_LINE = 48
_LOOK_BACK = 16
_LONGEST = 1000


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Return the spans of the sentences of ``text[start:end]``, blanks at either side left out.

    A line end is a sentence end before a blank line or an item of a list, and after a short line that the next one
    does not go on from in lower case; else the line was wrapped. Time is linear in the text: what goes on
    for more than 1,000 characters is cut at a blank.
    """
    stop = len(text) if end is None else end
    cuts = [found.end() for found in _STOP.finditer(text, start, stop) if _is_end(text, found, start, stop)]
    spans, begin = [], start
    for cut in [*cuts, stop]:
        left, right = begin, cut
        while left < right and text[left].isspace():
            left += 1
        while right > left and text[right - 1].isspace():
            right -= 1
        while right - left > _LONGEST:  # a table, or text without stops: later rules take time by its square
            blank = text.rfind(" ", left + _LONGEST // 2, left + _LONGEST)
            middle = blank if blank > 0 else left + _LONGEST
            spans.append((left, middle))
            left = middle + (blank > 0)
        if left < right:
            spans.append((left, right))
        begin = cut
    return spans


def sentence_of(spans: list[tuple[int, int]], place: int) -> int:
    """Return the index of the sentence that holds a place of the text; -1 before the first one."""
    return bisect_right(spans, (place, 1 << 62)) - 1


def _is_end(text: str, found: re.Match[str], start: int, stop: int) -> bool:
    mark = found.group()
    if mark[0] == "\n":
        return mark.count("\n") > 1 or _line_ends(text, found.start(), found.end(), start, stop)
    before = text[max(start, found.start() - _LOOK_BACK) : found.start() + 1]
    if mark[0] != ".":
        return True
    if _NUMBER.search(before) or (found.start() - start < 4 and re.fullmatch(r"\s*\(?\d{1,2}\.", before)):
        return False
    after = text[found.end() : found.end() + _LOOK_BACK].lstrip()
    if _ABBREVIATION.search(before):
        single_word_end = re.search(r"(?:^|[\s(])(?:no|post|st|ms|int|ext|med|lat|[a-z])\.$", before, re.IGNORECASE)
        return bool(single_word_end and len(mark) > 1)
    return not after[:1].islower() or after[:4].startswith("XXXX")


def _line_ends(text: str, place: int, after: int, start: int, stop: int) -> bool:
    """Whether a single line end closes a sentence."""
    rest = text[after : min(stop, after + 80)]
    if not rest.strip() or _ITEM.match(rest):
        return True
    begin = max(text.rfind("\n", max(start, place - 400), place) + 1, start)
    line = text[begin:place].rstrip()
    if not line or line[-1] in ".!?:":
        return True
    following = rest.lstrip()[0]
    return len(line) < _SHORT_LINE and not following.islower() and line[-1] not in ",;/-(" and following.isalpha()

"""How a text becomes comparable words: one rule for the names of a graph and for the texts that mention them.

A word's key unites spellings that mean the same: case, accents, plural ("metastases", "metastasis"), British and
American ("tumour", "tumor"), Greek letters ("β", "beta"), roman numbers ("type II", "type 2"), joined and hyphenated
prefixes ("non-small", "nonsmall"), possessives. Small words ("of", "the") have no key, so word order is free of them.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from typing import Any

from medvlp.knowledge.names import normalise

_WORD = re.compile(r"([^\W_]+)")
_HARD = re.compile(r"[.!?;]\s|\n\s*(?:\n|[-*•]\s)")
_SOFT = re.compile(r"[,:()\[\]\n]")
_SAME, _NEW_CLAUSE, _NEW_SENTENCE = range(3)
_APOSTROPHES = frozenset("'’")
_POSSESSIVE = frozenset("sS")
_GREEK = {
    chr(code): unicodedata.name(chr(code)).rpartition(" ")[2].lower().replace("lamda", "lambda")
    for code in range(ord("α"), ord("ω") + 1)
}
_ROMAN = {"ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12, "xiii": 13}
_ROMAN_LETTERS = {"i": "1", "v": "5", "x": "10"}
_NUMBERED = frozenset(
    ["type", "stage", "grade", "class", "group", "factor", "phase", "complex", "zone", "nerve", "level", "category"]
)
_SMALL = frozenset(["an", "the", "of", "in", "to", "with", "by", "from", "on", "for", "at", "due"])
_PREFIXES = frozenset(
    [
        "non",
        "anti",
        "pre",
        "post",
        "sub",
        "inter",
        "intra",
        "extra",
        "para",
        "pseudo",
        "semi",
        "multi",
        "peri",
        "retro",
        "micro",
    ]
)
_SPECIAL = _PREFIXES | frozenset(_ROMAN_LETTERS)
_VOWEL_SIS = re.compile(r"(?<=[aeoy]s)(?:is|es|e)$")
_STRONG_ES = re.compile(r"(?:ss|sh|ch|x|z|us)es$")


@dataclass(frozen=True)
class Words:
    """A text as words that have a key; all fields but the last have one entry per word, offsets refer to the text.

    Attributes:
        keys: What is compared.
        starts, ends: The word's characters.
        raw: The characters themselves; empty for the words of a long form.
        clause: Number of the part between commas, colons, brackets and line ends; only inside one is word order free.
        sentence_of_clause: Number of each clause's sentence; a name never crosses one.
    """

    keys: list[str]
    starts: list[int]
    ends: list[int]
    raw: list[str]
    clause: list[int]
    sentence_of_clause: list[int]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sentence(self) -> list[int]:
        """Number of each word's sentence."""
        return [self.sentence_of_clause[clause] for clause in self.clause]

    def part_sentences(self, first: int, last: int) -> bool:
        """Tell whether two words are in different sentences."""
        one, other = self.clause[first], self.clause[last]
        return one != other and self.sentence_of_clause[one] != self.sentence_of_clause[other]

    def cut_long_form(self, first: int, last: int) -> bool:
        """Tell whether a stretch of words begins or ends inside a long form, which shares its place in the text."""
        raw, starts = self.raw, self.starts
        if not raw[first] and first > 0 and starts[first - 1] == starts[first]:
            return True
        return not raw[last] and last + 1 < len(starts) and starts[last + 1] == starts[last]


def read(
    text: str, long_forms: Sequence[tuple[int, int, Sequence[str]]] = (), skipped: Sequence[tuple[int, int]] = ()
) -> Words:
    """Cut a text into words; linear in its length.

    Args:
        text: Any text.
        long_forms: Spans to be read as other words (abbreviations as what they stand for), with those words' keys.
        skipped: Spans to be left out, as if they were not there (brackets that define abbreviations).
    """
    cut = _Cut(text)
    if long_forms or skipped:
        cut.replace(long_forms, skipped)
    if None in cut.keys:
        cut.decide()
    return cut.words()


class _Cut:
    """All words of a text in columns, with or without a key.

    Most words of a text have one key, whatever stands around them: columns are made as a whole, which takes three
    quarters of the time of a loop over words, and only the other words are looked at one by one. ``keys`` has "" for
    a word that has none and is left out at the end, and None for one that is not decided yet.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _WORD.split(text)  # gap, word, gap, ..., word, gap
        offsets = list(accumulate(map(len, pieces)))
        self.gaps, self.raw = pieces[:-1:2], pieces[1::2]  # each word's gap is the one in front of it
        self.starts, self.ends = offsets[:-1:2], offsets[1::2]
        self.keys: list[str | None] = list(map(_plain, self.raw))
        self.long: dict[int, Sequence[str]] = {}  # words read as long forms
        self.several: dict[int, Sequence[str]] = {}  # further words with more than one key
        self.last: dict[int, str] = {}  # the key that the next word sees, where it is not the one in ``keys``

    def replace(self, long_forms: Sequence[tuple[int, int, Sequence[str]]], skipped: Sequence[tuple[int, int]]) -> None:
        """Leave spans out, or put long forms there."""
        spans: dict[int, tuple[int, Sequence[str]]] = {start: (end, ()) for start, end in skipped}
        spans |= {start: (end, long) for start, end, long in long_forms}
        reached = 0
        for begin in sorted(spans):
            end, long = spans[begin]
            first, behind = bisect_left(self.starts, begin), bisect_left(self.starts, end)
            if begin < reached or first == behind or (long and self.starts[first] != begin):
                continue
            reached = end
            if long:
                self.long[first], self.last[first] = long, ""
                self.keys[first], self.raw[first], self.ends[first] = " ".join(long), "", end
                first += 1
            self.keys[first:behind] = [""] * (behind - first)
            self.gaps[first:behind] = [" "] * (behind - first)
            if behind < len(self.gaps):
                self.gaps[behind] = self.text[end : self.starts[behind]]

    def decide(self) -> None:
        """Give a key to the words whose key depends on those around them, or that have several."""
        for place in [place for place, key in enumerate(self.keys) if key is None]:
            if self.keys[place] is not None:  # joined to the prefix before it
                continue
            if self._possessive(place):
                self.keys[place] = ""
                continue
            found = list(_keys(self.raw[place]))
            for number, key in enumerate(found):
                if key in _ROMAN_LETTERS and (found[number - 1] if number else self._before(place)) in _NUMBERED:
                    found[number] = _ROMAN_LETTERS[key]
            self._enter(place, found)
            if found[-1] in _PREFIXES and len(found) == 1:
                self._join(place)

    def words(self) -> Words:
        """Return the words that have a key, those with several once for each."""
        clauses, sentence_of_clause = self._parts()
        keys: list[Any] = self.keys
        columns: list[list[Any]] = [self.starts, self.ends, self.raw, clauses]
        for place in sorted([*self.long, *self.several], reverse=True):  # places further left stay what they are
            found = self.long.get(place) or self.several[place]
            for column in columns:
                column[place : place + 1] = [column[place]] * len(found)
            keys[place : place + 1] = found
        starts, ends, raw, clause = (list(compress(column, keys)) for column in columns)
        return Words(list(filter(None, keys)), starts, ends, raw, clause, sentence_of_clause)

    def _parts(self) -> tuple[list[int], list[int]]:
        """Number of each word's clause, and of each clause's sentence."""
        steps = list(map(_USUAL_GAPS.get, self.gaps))
        if None in steps:
            steps = [_step(gap) if step is None else step for step, gap in zip(steps, self.gaps, strict=True)]
        sentences = accumulate((step == _NEW_SENTENCE for step in steps if step), initial=0)
        return list(accumulate(map(bool, steps))), list(sentences)

    def _possessive(self, place: int) -> bool:
        return self.raw[place] in _POSSESSIVE and self.gaps[place] in _APOSTROPHES

    def _before(self, place: int) -> str:
        """Key in front of a word, which has been decided."""
        place -= 1
        while place >= 0 and not self.keys[place]:
            place -= 1
        return "" if place < 0 else self.last.get(place, self.keys[place] or "")

    def _enter(self, place: int, found: Sequence[str]) -> None:
        self.keys[place] = " ".join(found)
        if len(found) > 1:
            self.several[place], self.last[place] = found, found[-1]

    def _join(self, place: int) -> None:
        """Join a prefix to the next word if one character parts them: "non-small"."""
        after = place + 1
        if after == len(self.keys) or self.starts[after] - self.ends[place] != 1:
            return
        if self.keys[after] == "" or after in self.long or self._possessive(after):
            return
        key, *rest = _keys(self.raw[after])
        self.keys[place], self.last[place] = f"{self.keys[place]}{key}", key
        self.ends[place] = self.ends[after]
        self.raw[place] = self.text[self.starts[place] : self.ends[place]]
        self._enter(after, rest)


def _step(gap: str) -> int:
    """What begins behind the characters between two words."""
    if _HARD.search(gap):
        return _NEW_SENTENCE
    return _NEW_CLAUSE if _SOFT.search(gap) else _SAME


_USUAL_GAPS = {gap: _step(gap) for gap in (" ", "-", ", ", ". ", " (", ") ", "/", ": ", "; ", "'", ".", "), ")}


def key(text: str) -> str:
    """Return the keys of a text's words, in order, parted by blanks."""
    keys: list[str | None] = list(map(_plain, _WORD.findall(text)))
    if None in keys:
        cut = _Cut(text)
        cut.decide()
        keys = cut.keys
    return " ".join(filter(None, keys))


def unordered(keys: Sequence[str]) -> str:
    """Return keys in an order that does not depend on the text's."""
    return " ".join(sorted(keys))


class _PlainKeys(dict[str, str | None]):
    """Key of a word that has one at most, the same in all places ("" for none); None for other words.

    Kept as they are asked for, and emptied when full: a cache that remembers what was used last takes longer to look
    up than everything else that is done with a word.
    """

    def __missing__(self, word: str) -> str | None:
        if len(self) >= _KEPT:
            self.clear()
        found = _keys(word)
        if len(found) > 1 or word in _POSSESSIVE or not _SPECIAL.isdisjoint(found):
            return self.setdefault(word, None)
        return self.setdefault(word, found[0] if found else "")


_KEPT = 1 << 17
_plain = _PlainKeys().__getitem__


def _keys(word: str) -> tuple[str, ...]:
    """Keys of a word, none of a small one; the small "a" is an article, the capital one may be a name's letter."""
    folded = word.casefold()
    if not folded.isascii():
        folded = normalise("".join(f" {_GREEK[c]} " if c in _GREEK else c for c in folded))
    return tuple(sys.intern(_stem(part)) for part in folded.split() if part not in _SMALL and word != "a")


def _stem(word: str) -> str:
    if word in _ROMAN:
        return str(_ROMAN[word])
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("omata"):
        word = word[:-2]
    elif word.endswith("ae"):
        word = word[:-1]
    elif word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif _VOWEL_SIS.search(word):
        word = _VOWEL_SIS.sub("", word)
    elif _STRONG_ES.search(word):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if "ae" in word or "oe" in word:
        word = word.replace("ae", "e").replace("oe", "e")
    return word[:-3] + "or" if word.endswith("our") and len(word) > 4 else word

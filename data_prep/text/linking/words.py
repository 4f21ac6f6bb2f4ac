"""How a text becomes comparable words: one rule for the names of a graph and for the texts that mention them.

A word's key unites spellings that mean the same: case, accents, plural ("metastases", "metastasis"), British and
American ("tumour", "tumor"), Greek letters ("β", "beta"), roman numbers ("type II", "type 2"), joined and hyphenated
prefixes ("non-small", "nonsmall"), possessives. Small words ("of", "the") have no key, so word order is free of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from medvlp.knowledge.names import normalise

_WORD = re.compile(r"[^\W_]+")
_HARD = re.compile(r"[.!?;]\s|\n\s*(?:\n|[-*•]\s)")
_SOFT = re.compile(r"[,:()\[\]\n]")
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
    """A text as words that have a key; all fields have one entry per word, offsets refer to the text.

    Attributes:
        keys: What is compared.
        starts, ends: The word's characters.
        sentence: Number of the sentence; a name never crosses one.
        clause: Number of the part between commas, colons, brackets and line ends; only inside one is word order free.
        raw: The characters themselves; empty for the words of a long form.
        opens, closes: Whether a name may begin, or end, with the word: not inside a long form.
    """

    keys: list[str]
    starts: list[int]
    ends: list[int]
    sentence: list[int]
    clause: list[int]
    raw: list[str]
    opens: list[bool]
    closes: list[bool]

    def __len__(self) -> int:
        return len(self.keys)


def read(
    text: str, long_forms: Sequence[tuple[int, int, Sequence[str]]] = (), skipped: Sequence[tuple[int, int]] = ()
) -> Words:
    """Cut a text into words; linear in its length.

    Args:
        text: Any text.
        long_forms: Spans to be read as other words (abbreviations as what they stand for), with those words' keys.
        skipped: Spans to be left out, as if they were not there (brackets that define abbreviations).
    """
    keys: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    sentences: list[int] = []
    clauses: list[int] = []
    raw: list[str] = []
    inner: dict[int, tuple[bool, bool]] = {}  # words of long forms: (opens, closes)
    replaced = {start: (end, long) for start, end, long in long_forms}
    left_out = dict(skipped)
    sentence = clause = previous_end = skip_to = 0
    previous, after_prefix = "", False
    special = bool(replaced or left_out)
    append_key, append_start, append_end = keys.append, starts.append, ends.append
    append_sentence, append_clause, append_raw = sentences.append, clauses.append, raw.append
    for match in _WORD.finditer(text):
        word, start = match[0], match.start()
        if special and start < skip_to:
            previous_end = skip_to
            continue
        if start - previous_end != 1 or text[previous_end] != " ":
            gap = text[previous_end:start]
            if left_out and (bracket := _bracket(left_out, previous_end, start)) is not None:
                skip_to = previous_end = bracket
                continue
            if _HARD.search(gap):
                sentence += 1
                clause += 1
            elif _SOFT.search(gap):
                clause += 1
            if word in _POSSESSIVE and gap in _APOSTROPHES:
                previous_end = start + 1
                continue
        previous_end = end = start + len(word)
        if special and start in replaced:
            skip_to, long = replaced[start]
            for number, key in enumerate(long):
                inner[len(keys)] = (number == 0, number == len(long) - 1)
                keys.append(key)
                starts.append(start)
                ends.append(skip_to)
                sentences.append(sentence)
                clauses.append(clause)
                raw.append("")
            previous_end, previous, after_prefix = skip_to, "", False
            continue
        for key in _keys(word):
            if after_prefix:
                after_prefix = False
                if start - ends[-1] == 1:
                    keys[-1], ends[-1], raw[-1] = keys[-1] + key, end, text[starts[-1] : end]
                    previous = key
                    continue
            if key in _SPECIAL:
                if key in _PREFIXES:
                    after_prefix = True
                elif key in _ROMAN_LETTERS and previous in _NUMBERED:
                    key = _ROMAN_LETTERS[key]
            previous = key
            append_key(key)
            append_start(start)
            append_end(end)
            append_sentence(sentence)
            append_clause(clause)
            append_raw(word)
    opens, closes = [True] * len(keys), [True] * len(keys)
    for position, (opening, closing) in inner.items():
        opens[position], closes[position] = opening, closing
    return Words(keys, starts, ends, sentences, clauses, raw, opens, closes)


def _bracket(left_out: dict[int, int], begin: int, end: int) -> int | None:
    """End of the left-out span that starts between two words."""
    return next((left_out[position] for position in range(begin, end) if position in left_out), None)


def key(text: str) -> str:
    """Return the keys of a text's words, in order, parted by blanks."""
    return " ".join(read(text).keys)


def unordered(keys: Sequence[str]) -> str:
    """Return keys in an order that does not depend on the text's."""
    return " ".join(sorted(keys))


@lru_cache(maxsize=1 << 17)
def _keys(word: str) -> tuple[str, ...]:
    """Keys of a word, none of a small one; the small "a" is an article, the capital one may be a name's letter."""
    folded = word.casefold()
    if not folded.isascii():
        folded = normalise("".join(f" {_GREEK[c]} " if c in _GREEK else c for c in folded))
    return tuple(_stem(part) for part in folded.split() if part not in _SMALL and word != "a")


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

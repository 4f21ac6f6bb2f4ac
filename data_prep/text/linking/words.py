"""How a text becomes comparable words: one rule for the names of a graph and for the texts that mention them.

A word's key unites spellings that mean the same: case, accents, plural ("metastases", "metastasis"), British and
American ("tumour", "tumor"), Greek letters ("β", "beta"), roman numbers ("type II", "type 2"), joined and hyphenated
prefixes ("non-small", "nonsmall"), possessives. Small words ("of", "the") have no key, so word order is free of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from medvlp.knowledge.names import normalise

_WORD = re.compile(r"[^\W_]+")
_HARD = re.compile(r"[.!?;]\s|\n\s*(?:\n|[-*•]\s)")
_SOFT = re.compile(r"[,:()\[\]\n]")
_APOSTROPHES = "'’"
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi "
        "chi psi omega".split(),
        strict=True,
    )
)
_ROMAN = {"ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12, "xiii": 13}
_ROMAN_LETTERS = {"i": 1, "v": 5, "x": 10}
_NUMBERED = frozenset("type stage grade class group factor phase complex zone nerve level category".split())
_SMALL = frozenset("an the of in to with by from on for at due".split())
_PREFIXES = frozenset("non anti pre post sub inter intra extra para pseudo semi multi peri retro micro".split())
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
        raw: The characters themselves.
    """

    keys: list[str]
    starts: list[int]
    ends: list[int]
    sentence: list[int]
    clause: list[int]
    raw: list[str]

    def __len__(self) -> int:
        return len(self.keys)


def read(text: str) -> Words:
    """Cut a text into words; linear in its length."""
    keys: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    sentences: list[int] = []
    clauses: list[int] = []
    raw: list[str] = []
    sentence = clause = 0
    previous_end, previous_key, after_prefix = 0, "", False
    for match in _WORD.finditer(text):
        word, (start, end) = match.group(), match.span()
        gap = text[previous_end:start]
        if gap != " " and gap:
            if _HARD.search(gap):
                sentence += 1
                clause += 1
            elif _SOFT.search(gap):
                clause += 1
        possessive = word in ("s", "S") and len(gap) == 1 and gap in _APOSTROPHES
        previous_end = end
        if possessive:
            continue
        for key in _keys(word):
            if key in _ROMAN_LETTERS and previous_key in _NUMBERED:
                key = str(_ROMAN_LETTERS[key])
            previous_key = key
            if key in _SMALL or word == "a":
                continue
            if after_prefix:
                after_prefix = False
                if start - ends[-1] == 1:
                    keys[-1], ends[-1], raw[-1] = keys[-1] + key, end, text[starts[-1] : end]
                    continue
            after_prefix = key in _PREFIXES
            keys.append(key)
            starts.append(start)
            ends.append(end)
            sentences.append(sentence)
            clauses.append(clause)
            raw.append(word)
    return Words(keys, starts, ends, sentences, clauses, raw)


def key(text: str) -> str:
    """Return the keys of a text's words, in order, parted by blanks."""
    return " ".join(read(text).keys)


def unordered(keys: Sequence[str]) -> str:
    """Return keys in an order that does not depend on the text's."""
    return " ".join(sorted(keys))


@lru_cache(maxsize=1 << 17)
def _keys(word: str) -> tuple[str, ...]:
    folded = word.casefold()
    if not folded.isascii():
        folded = normalise("".join(f" {_GREEK[c]} " if c in _GREEK else c for c in folded))
    return tuple(_stem(part) for part in folded.split())


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

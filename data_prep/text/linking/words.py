"""How a text becomes comparable words: one rule for the names of a graph and for the texts that mention them.

A word's key unites spellings that mean the same: case, accents, plural ("metastases", "metastasis"), British and
American ("tumour", "tumor"), Greek letters ("β", "beta"), roman numbers ("type II", "type 2"), joined and hyphenated
prefixes ("non-small", "nonsmall"), possessives. Small words ("of", "the") have no key, so word order is free of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from medvlp.knowledge.names import normalise

_WORD = re.compile(r"[^\W_]+")
_HARD = re.compile(r"[.!?;]\s|\n\s*(?:\n|[-*•]\s)")
_SOFT = re.compile(r"[,:()\[\]\n]")
_APOSTROPHES = "'’"
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        [
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "iota",
            "kappa",
            "lambda",
            "mu",
            "nu",
            "xi",
            "omicron",
            "pi",
            "rho",
            "sigma",
            "tau",
            "upsilon",
            "phi",
            "chi",
            "psi",
            "omega",
        ],
        strict=True,
    )
)
_ROMAN = {"ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12, "xiii": 13}
_ROMAN_LETTERS = {"i": 1, "v": 5, "x": 10}
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
_VOWEL_SIS = re.compile(r"(?<=[aeoy]s)(?:is|es|e)$")
_STRONG_ES = re.compile(r"(?:ss|sh|ch|x|z|us)es$")


@dataclass
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

    keys: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    sentence: list[int] = field(default_factory=list)
    clause: list[int] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    opens: list[bool] = field(default_factory=list)
    closes: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: str, span: tuple[int, int], place: tuple[int, int], raw: str) -> None:
        """Append a word of this sentence and clause."""
        self.keys.append(key)
        self.starts.append(span[0])
        self.ends.append(span[1])
        self.sentence.append(place[0])
        self.clause.append(place[1])
        self.raw.append(raw)
        self.opens.append(True)
        self.closes.append(True)


def read(
    text: str, long_forms: Sequence[tuple[int, int, Sequence[str]]] = (), skipped: Sequence[tuple[int, int]] = ()
) -> Words:
    """Cut a text into words; linear in its length.

    Args:
        text: Any text.
        long_forms: Spans to be read as other words (abbreviations as what they stand for), with those words' keys.
        skipped: Spans to be left out, as if they were not there (brackets that define abbreviations).
    """
    words = Words()
    replaced = {start: (end, keys) for start, end, keys in long_forms}
    left_out = dict(skipped)
    sentence = clause = previous_end = skip_to = 0
    previous, after_prefix = "", False
    for match in _WORD.finditer(text):
        start, end = match.span()
        if start < skip_to:
            previous_end = skip_to
            continue
        word = match[0]
        gap = text[previous_end:start]
        if gap != " " and gap:
            if (bracket := _inside(left_out, previous_end, start)) is not None:
                skip_to = previous_end = bracket
                continue
            if _HARD.search(gap):
                sentence += 1
                clause += 1
            elif _SOFT.search(gap):
                clause += 1
        possessive = word in ("s", "S") and len(gap) == 1 and gap in _APOSTROPHES
        previous_end = end
        if possessive:
            continue
        if start in replaced:
            skip_to, keys = replaced[start]
            for number, key in enumerate(keys):
                words.add(key, (start, skip_to), (sentence, clause), "")
                words.opens[-1], words.closes[-1] = number == 0, number == len(keys) - 1
            previous_end, previous, after_prefix = skip_to, "", False
            continue
        for key in _keys(word):
            if key in _ROMAN_LETTERS and previous in _NUMBERED:
                key = str(_ROMAN_LETTERS[key])
            previous = key
            if key in _SMALL or word == "a":
                continue
            if after_prefix and start - words.ends[-1] == 1:
                words.keys[-1], words.ends[-1] = words.keys[-1] + key, end
                words.raw[-1] = text[words.starts[-1] : end]
                after_prefix = False
                continue
            after_prefix = key in _PREFIXES
            words.add(key, (start, end), (sentence, clause), word)
    return words


def _inside(left_out: dict[int, int], begin: int, end: int) -> int | None:
    """End of the left-out span that starts between two words."""
    return (
        next((left_out[position] for position in range(begin, end) if position in left_out), None) if left_out else None
    )


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

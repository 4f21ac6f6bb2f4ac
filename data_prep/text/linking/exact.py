"""The exact tier: every stretch of words that is a name of the graph, found in one pass over the text.

The words of a stretch are added up as random 64-bit numbers, one per key, so a stretch has the same sum in any word
order, and the sums of all stretches are differences of one running total. A table of bits keeps the few whose sum is
that of a name; those are compared word by word, so no match rests on a hash.

Shape letters: N words of the text, P = N + 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_prep.text.linking.lexicon import ENGLISH, Lexicon, Owner, best
from data_prep.text.linking.words import Words, unordered
from medvlp.knowledge.names import normalise

_BITS = 24
_LONGEST = 16
_SHIFT = np.uint64(64 - _BITS)
REORDERED_SCORE = 0.95
_SHOUTING = 0.7


@dataclass(frozen=True)
class Match:
    """Words ``first`` to ``last`` (inclusive) name these concepts."""

    first: int
    last: int
    owners: list[Owner]
    score: float


@dataclass
class ExactIndex:
    """Finds the names of a lexicon; ``word_order`` allows other orders of a name's words inside one clause."""

    lexicon: Lexicon
    word_order: bool = True
    _table: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sums = np.array([_sum(words) for words in self.lexicon.names], dtype=np.uint64)
        self._table = np.zeros(1 << _BITS, dtype=bool)
        self._table[sums >> _SHIFT] = True

    def matches(self, words: Words, text: str) -> Iterator[Match]:
        """Yield all matches, overlapping ones too; a match never crosses the end of a sentence."""
        yield from self._acronyms(words, text)
        if not len(words):
            return
        total_P = np.zeros(len(words) + 1, dtype=np.uint64)
        np.cumsum(np.array([_number(word) for word in words.keys], dtype=np.uint64), out=total_P[1:])
        sentence_N = np.array(words.sentence)
        opens_N, closes_N = np.array(words.opens), np.array(words.closes)
        for length in range(1, min(self.lexicon.longest, _LONGEST, len(words)) + 1):
            sums = total_P[length:] - total_P[:-length]
            hit = self._table[sums >> _SHIFT]
            hit &= opens_N[: len(hit)] & closes_N[length - 1 :]
            if length > 1:
                hit &= sentence_N[length - 1 :] == sentence_N[: 1 - length]
            for first in np.flatnonzero(hit).tolist():
                last = first + length - 1
                inside = self.word_order and words.clause[first] == words.clause[last]
                owners, score = self._look_up(words.keys[first : last + 1], inside)
                if owners:
                    surface = normalise(text[words.starts[first] : words.ends[last]]) if len(owners) > 1 else ""
                    yield Match(first, last, best(owners, surface), score)

    def find(self, words: Words, text: str) -> tuple[list[Owner], float]:
        """Return the concepts that a whole text names, and the score; none and 0 if it is no name."""
        if len(words) == 1 and (owners := self._acronym(words.raw[0], shouting=False)):
            return owners, 1.0
        owners, score = self._look_up(words.keys, self.word_order) if len(words) else ([], 0.0)
        return best(owners, normalise(text)), score

    def _look_up(self, keys: list[str], any_order: bool) -> tuple[list[Owner], float]:
        if owners := self.lexicon.names.get(" ".join(keys)):
            return owners, 1.0
        if any_order and len(keys) > 1:
            found = [o for name in self.lexicon.reordered.get(unordered(keys), ()) for o in self.lexicon.names[name]]
            return list({owner.row: owner for owner in found}.values()), REORDERED_SCORE if found else 0.0
        return [], 0.0

    def _acronyms(self, words: Words, text: str) -> Iterator[Match]:
        letters = sum(map(str.isalpha, text))
        shouting = letters > 0 and sum(map(str.isupper, text)) / letters > _SHOUTING
        for position, raw in enumerate(words.raw):
            if 2 <= len(raw) <= 7 and (owners := self._acronym(raw, shouting)):
                yield Match(position, position, owners, 1.0)

    def _acronym(self, raw: str, shouting: bool) -> list[Owner]:
        """Owners of an acronym as written, in the plural ("GISTs"), or in lower case if it cannot be another word."""
        acronyms = self.lexicon.acronyms
        if shouting and raw.casefold() in ENGLISH:
            return []
        owners = acronyms.get(raw) or (acronyms.get(raw[:-1]) if raw.endswith("s") else None)
        if owners is None and len(raw) >= 3 and raw.islower() and raw.isalpha() and raw not in ENGLISH:
            owners = acronyms.get(raw.upper()) if raw in _LOWER_CASE or not set(raw) & set("aeiouy") else None
        return best(owners, raw) if owners else []


_LOWER_CASE = frozenset(["copd", "ards", "gerd", "adhd", "hiv"])


@lru_cache(maxsize=1 << 18)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _sum(words: str) -> int:
    return sum(map(_number, words.split(" "))) & 0xFFFFFFFFFFFFFFFF

"""The exact tier: every stretch of words that is a name of the graph, found in one pass over the text.

The words of a stretch are added up as random 64-bit numbers, one per key, so a stretch has the same sum in any word
order, and the sums of all stretches are differences of one running total. A table of bits keeps the few whose sum is
that of a name; those are compared word by word, so no match rests on a hash.

Shape letters: N words of the text, L lengths of a stretch, P padded number of words, H stretches found, X = 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from data_prep.text.linking.lexicon import ENGLISH, Lexicon, Owner, best
from data_prep.text.linking.words import Words, unordered
from medvlp.knowledge.names import normalise

_BITS = 22
_LONGEST = 10
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
    _forms: dict[str, list[Owner]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sums = np.array([_sum(words) for words in self.lexicon.names], dtype=np.uint64)
        self._table = np.zeros(1 << _BITS, dtype=bool)
        self._table[sums >> _SHIFT] = True
        self._forms = _acronym_forms(self.lexicon.acronyms)

    def matches(self, words: Words, text: str) -> Iterator[Match]:
        """Yield all matches, overlapping ones too; a match never crosses the end of a sentence."""
        if not len(words):
            return
        yield from self._acronyms(words, text)
        for first, length in self._likely(words):
            last = first + length - 1
            inside = self.word_order and words.clause[first] == words.clause[last]
            owners, score = self._look_up(words.keys[first : last + 1], inside)
            if owners:
                surface = normalise(text[words.starts[first] : words.ends[last]]) if len(owners) > 1 else ""
                yield Match(first, last, best(owners, surface), score)

    def _likely(self, words: Words) -> list[list[int]]:
        """First word and number of words of the stretches whose sum is in the table."""
        count, width = len(words), min(self.lexicon.longest, _LONGEST, len(words))
        total_P = np.zeros(count + width, dtype=np.uint64)
        np.cumsum(np.array(list(map(_number, words.keys)), dtype=np.uint64), out=total_P[1 : count + 1])
        sum_NL = sliding_window_view(total_P[1:], width) - total_P[:count, None]
        hit_NL = self._table[sum_NL >> _SHIFT]
        padded_P = np.full(count + width - 1, -1)
        padded_P[:count] = words.sentence
        hit_NL &= sliding_window_view(padded_P, width) == padded_P[:count, None]
        if not (all(words.opens) and all(words.closes)):
            padded_P[:count] = words.closes
            hit_NL &= np.array(words.opens)[:, None] & (sliding_window_view(padded_P, width) == 1)
        found_HX = np.argwhere(hit_NL)
        found_HX[:, 1] += 1
        return found_HX.tolist()

    def find(self, words: Words, text: str) -> tuple[list[Owner], float]:
        """Return the concepts that a whole text names, and the score; none and 0 if it is no name."""
        if len(words) == 1 and (owners := self._forms.get(words.raw[0])):
            return best(owners, words.raw[0]), 1.0
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
        found = [position for position, raw in enumerate(words.raw) if raw in self._forms]
        if found:
            letters = sum(map(str.isalpha, text))
            shouting = sum(map(str.isupper, text)) > _SHOUTING * letters
            for position in found:
                raw = words.raw[position]
                if not (shouting and raw.casefold() in ENGLISH):
                    yield Match(position, position, best(self._forms[raw], raw), 1.0)


def _acronym_forms(acronyms: dict[str, list[Owner]]) -> dict[str, list[Owner]]:
    """Acronyms as they occur: as written, in the plural ("GISTs"), in small letters if they cannot be another word."""
    forms: dict[str, list[Owner]] = {}
    for acronym, owners in acronyms.items():
        small = acronym.lower()
        unlike_words = not set(small) & set("aeiouy") or small in _LOWER_CASE
        if acronym.isupper() and acronym.isalpha() and len(acronym) >= 3 and unlike_words and small not in ENGLISH:
            forms.setdefault(small, owners)
        forms.setdefault(f"{acronym}s", owners)
    return {**forms, **acronyms}


_LOWER_CASE = frozenset(["copd", "ards", "gerd", "adhd", "hiv"])


@lru_cache(maxsize=1 << 18)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _sum(words: str) -> int:
    return sum(map(_number, words.split(" "))) & 0xFFFFFFFFFFFFFFFF

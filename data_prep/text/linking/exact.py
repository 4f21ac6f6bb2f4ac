"""The exact tier: every stretch of words that is a name of the graph, found in one pass over the text.

The words of a stretch are added up as random 64-bit numbers, one per key, so a stretch has the same sum in any word
order, and the sums of all stretches are differences of one running total. A table of bits keeps the few whose sum is
that of a name; those are compared word by word, so no match rests on a hash.

Shape letters: N words of the text, L lengths of a stretch, P padded number of words, H stretches found, X = 2.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

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


class Match(NamedTuple):
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

    def matches(self, words: Words, text: str) -> list[Match]:
        """Return all matches, overlapping ones too; a match never crosses the end of a sentence."""
        if not len(words):
            return []
        found = self._acronyms(words, text)
        names, keys, sentence = self.lexicon.names, words.keys, words.sentence
        for first, last in self._likely(words):
            if sentence[first] != sentence[last] or not (words.opens[first] and words.closes[last]):
                continue
            score = 1.0
            owners = names.get(keys[first] if first == last else " ".join(keys[first : last + 1]))
            if owners is None:
                if first == last or not self.word_order or words.clause[first] != words.clause[last]:
                    continue
                owners, score = self._reordered(keys[first : last + 1]), REORDERED_SCORE
                if not owners:
                    continue
            if len(owners) > 1:
                owners = best(owners, normalise(text[words.starts[first] : words.ends[last]]))
            found.append(Match(first, last, owners, score))
        return found

    def _likely(self, words: Words) -> list[list[int]]:
        """First and last words of the stretches whose sum is in the table."""
        count, width = len(words), min(self.lexicon.longest, _LONGEST, len(words))
        total_P = np.zeros(count + width, dtype=np.uint64)
        np.cumsum(np.array([_number(word) for word in words.keys], dtype=np.uint64), out=total_P[1 : count + 1])
        total_P[count + 1 :] = total_P[count]
        sum_NL = sliding_window_view(total_P[1:], width) - total_P[:count, None]
        hit_NL = self._table.take((sum_NL >> _SHIFT).view(np.int64))
        hit_NL[_beyond(count, width)] = False
        found_HX = np.argwhere(hit_NL)
        found_HX[:, 1] += found_HX[:, 0]
        return found_HX.tolist()

    def find(self, words: Words, text: str) -> tuple[list[Owner], float]:
        """Return the concepts that a whole text names, and the score; none and 0 if it is no name."""
        if len(words) == 1 and (owners := self._forms.get(words.raw[0])):
            return best(owners, words.raw[0]), 1.0
        if owners := self.lexicon.names.get(" ".join(words.keys)):
            return best(owners, normalise(text)), 1.0
        owners = self._reordered(words.keys) if self.word_order and len(words) > 1 else []
        return best(owners, normalise(text)), REORDERED_SCORE if owners else 0.0

    def _reordered(self, keys: list[str]) -> list[Owner]:
        names = self.lexicon.reordered.get(unordered(keys), ())
        return list({owner.row: owner for name in names for owner in self.lexicon.names[name]}.values())

    def _acronyms(self, words: Words, text: str) -> list[Match]:
        found = [position for position, raw in enumerate(words.raw) if raw in self._forms]
        if found and _shouts(text):
            found = [position for position in found if words.raw[position].casefold() not in ENGLISH]
        raw = words.raw
        return [Match(position, position, best(self._forms[raw[position]], raw[position]), 1.0) for position in found]


def _beyond(count: int, width: int) -> NDArray[np.bool_]:
    """Stretches that would end behind the last word, (N, L)."""
    return np.add.outer(np.arange(count), np.arange(width)) >= count


def _shouts(text: str) -> bool:
    """Tell whether a text is written in capitals, so that they tell nothing of acronyms."""
    return sum(map(str.isupper, text)) > _SHOUTING * sum(map(str.isalpha, text))


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

"""The exact tier: every stretch of words that is a name of the graph, found in one pass over the text.

Each word of the names has a random number, and a stretch the sum of its words' numbers, which is the same in any word
order. A text is first cut where neighbours occur together in no name; what is left is short. Of its stretches those
with the sum of a name are compared word by word, so that no match rests on numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, pairwise, repeat
from sys import intern
from typing import NamedTuple

import numpy as np

from data_prep.text.linking.lexicon import ENGLISH, Lexicon, Owner, best
from data_prep.text.linking.words import Words, key, read, unordered
from medvlp.knowledge.names import normalise

_LONGEST = 10
_RANDOM = 1 << 24
_ALONE, _ACRONYM = _RANDOM, 2 * _RANDOM  # flags above a word's random number; ten such still add up to a small int
_PAIRS = (1 << 20) - 1
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
    _numbers: dict[str, int] = field(init=False, repr=False)
    _unknown: int = field(init=False, repr=False)
    _sums: set[int] = field(init=False, repr=False)
    _together: bytearray = field(init=False, repr=False)
    _forms: dict[str, list[Owner]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # words are interned here as they are in texts: equal ones are the same object, which is found sooner
        names = [list(map(intern, name.split(" "))) for name in self.lexicon.names if name.count(" ") < _LONGEST]
        self._forms = _acronym_forms(self.lexicon.acronyms)
        alone = {words[0] for words in names if len(words) == 1}
        acronyms = {intern(word) for form in self._forms for word in key(form).split(" ")}
        known = dict.fromkeys(chain(chain.from_iterable(names), sorted(acronyms)))
        self._unknown, *numbers = np.random.default_rng(0).integers(_RANDOM, size=len(known) + 1).tolist()
        self._numbers = {
            word: number + _ALONE * (word in alone) + _ACRONYM * (word in acronyms)
            for word, number in zip(known, numbers, strict=True)
        }
        self._sums, self._together = set(), bytearray(_PAIRS + 1)
        for words in names:
            of_words = [self._numbers[word] for word in words]
            self._sums.add(sum(of_words))
            for one, other in combinations(of_words, 2):
                self._together[(one + other) & _PAIRS] = 1

    def matches(self, words: Words, text: str) -> list[Match]:
        """Return all matches, overlapping ones too; a match never crosses the end of a sentence."""
        keys, clause = words.keys, words.clause
        numbers = list(map(self._numbers.get, keys, repeat(self._unknown)))
        flagged = [place for place, number in enumerate(numbers) if number >= _RANDOM]
        found = self._acronyms(words, text, [place for place in flagged if numbers[place] & _ACRONYM])
        likely = [(place, place) for place in flagged if numbers[place] & _ALONE]
        for first, last in chain(likely, self._stretches(numbers)):
            if words.cut_long_form(first, last) or words.part_sentences(first, last):
                continue
            score = 1.0
            owners = self.lexicon.names.get(keys[first] if first == last else " ".join(keys[first : last + 1]))
            if owners is None:
                if first == last or not self.word_order or clause[first] != clause[last]:
                    continue
                owners, score = self._reordered(keys[first : last + 1]), REORDERED_SCORE
                if not owners:
                    continue
            if len(owners) > 1:
                owners = best(owners, normalise(text[words.starts[first] : words.ends[last]]))
            found.append(Match(first, last, owners, score))
        return found

    def _stretches(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        """First and last words of the stretches of two words and more whose sum is that of a name."""
        sums, together = self._sums, self._together
        pairs = enumerate(pairwise(numbers))
        end_of: dict[int, int] = {}  # last word of the run whose neighbours all occur together, by its other words
        for first in [place for place, (one, other) in pairs if together[(one + other) & _PAIRS]][::-1]:
            end_of[first] = end = end_of.get(first + 1, first + 1)
            total = numbers[first]
            for last in range(first + 1, min(end + 1, first + _LONGEST)):
                total += numbers[last]
                if total in sums:
                    yield first, last

    def find(self, text: str) -> tuple[list[Owner], float]:
        """Return the concepts that a whole text names, and the score; none and 0 if it is no name."""
        keys, score = key(text), 1.0
        if " " not in keys and (raw := read(text).raw) and (owners := self._forms.get(raw[0])):
            return best(owners, raw[0]), score
        owners = self.lexicon.names.get(keys, [])
        if not owners and self.word_order and " " in keys:
            owners, score = self._reordered(keys.split(" ")), REORDERED_SCORE
        return (best(owners, normalise(text)), score) if owners else ([], 0.0)

    def _reordered(self, keys: list[str]) -> list[Owner]:
        names = self.lexicon.reordered.get(unordered(keys), ())
        return list({owner.row: owner for name in names for owner in self.lexicon.names[name]}.values())

    def _acronyms(self, words: Words, text: str, places: Sequence[int]) -> list[Match]:
        """Matches of the acronyms among the words at some places."""
        raw, forms = words.raw, self._forms
        found = [place for place in places if raw[place] in forms]
        if any(raw[place].casefold() in ENGLISH for place in found) and _shouts(text):
            found = [place for place in found if raw[place].casefold() not in ENGLISH]
        return [Match(place, place, best(forms[raw[place]], raw[place]), 1.0) for place in found]


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

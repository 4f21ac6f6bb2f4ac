"""Captions that two sets share: equal after normalising, or nearly the same set of words.

The search for near captions is exact: with the words of every caption ordered from rare to frequent, two word sets of
Jaccard similarity t share a word among the first n - ceil(t n) + 1 of each (Chaudhuri et al. 2006), so only captions
that meet in such a word are compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from benchmarks.leaks.images import Match
from medvlp.errors import DataError

MIN_WORDS = 5
MIN_JACCARD = 0.9
_WORD = re.compile(r"\w+")
Captions = Sequence[tuple[str, str]]
"""Key and text; a key may have several."""


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def long_enough(captions: Captions, min_words: int = MIN_WORDS) -> list[tuple[str, str]]:
    """Leave out captions with fewer different words: "normal chest" is equal in every set without any leak."""
    return [(key, text) for key, text in captions if len(set(words_of(text))) >= min_words]


def shared_captions(tested: Captions, learned: Captions, min_jaccard: float = MIN_JACCARD) -> list[Match]:
    """Return the tested keys with a caption that a learned one repeats, with the best match of each.

    Args:
        tested: Captions of the tested set.
        learned: Captions of the set learned from.
        min_jaccard: Smallest Jaccard similarity of the word sets, in (0, 1].

    Returns:
        Matches in the order of ``tested``; similarity 1 for equal texts or equal word sets.

    Raises:
        DataError: If ``min_jaccard`` is outside (0, 1].
    """
    if not 0 < min_jaccard <= 1:
        raise DataError("is not in (0, 1]", item=f"min_jaccard {min_jaccard}", remedy="0.9 is the default")
    tested_words = [(key, frozenset(words_of(text))) for key, text in tested]
    learned_words = [(key, frozenset(words_of(text))) for key, text in learned]
    frequency = Counter(word for _, words in [*tested_words, *learned_words] for word in words)
    index: defaultdict[str, list[int]] = defaultdict(list)
    seen: set[frozenset[str]] = set()
    for number, (_, words) in enumerate(learned_words):
        if words not in seen:  # a repeated caption adds nothing
            seen.add(words)
            for word in _rare(words, frequency, min_jaccard):
                index[word].append(number)
    best: dict[str, Match] = {}
    for key, words in tested_words:
        for number in {number for word in _rare(words, frequency, min_jaccard) for number in index.get(word, ())}:
            other, other_words = learned_words[number]
            similarity = len(words & other_words) / len(words | other_words)
            old = best.get(key)
            if similarity >= min_jaccard and (old is None or (-similarity, other) < (-old.similarity, old.other)):
                best[key] = Match(key, other, similarity)
    return list(best.values())


def _rare(words: frozenset[str], frequency: Counter[str], min_jaccard: float) -> list[str]:
    ordered = sorted(words, key=lambda word: (frequency[word], word))
    # The small number keeps 0.9 x 10 from being rounded up to 10.
    return ordered[: len(ordered) - math.ceil(min_jaccard * len(ordered) - 1e-9) + 1]

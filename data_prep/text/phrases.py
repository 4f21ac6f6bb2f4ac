"""Phrases over words: the one matcher behind trigger lexicons, vocabularies and sides.

A pattern is written as words: ``pleural|lung effusion`` (alternatives), ``calcif*`` (any ending), ``the?`` (may be
absent), ``..3`` (up to three words in between, no punctuation and no negation). Case, hyphens and plural endings do not
matter on either side.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from medvlp.errors import ConfigError

Value = TypeVar("Value")
_TOKEN = re.compile(r"[^\W_]+(?:['’][a-z]+)?|[^\w\s]|_+")
_SKIPPED = frozenset('-‐‑–—"*_')
_MAX_SEEN = 65536
_NEVER_IN_GAPS = frozenset({"no", "not", "without"})


def words(text: str) -> frozenset[str]:
    """Return the words of a line as a set."""
    return frozenset(text.split())


class Token(NamedTuple):
    """One word or punctuation mark: ``text[start:end]``, with the form in which it is compared."""

    form: str
    start: int
    end: int
    is_word: bool


@lru_cache(maxsize=65536)
def word_form(word: str) -> str:
    """Return the lower-case singular by spelling alone: ``Opacities`` gives ``opacity``, ``masses`` gives ``mass``."""
    word = word.casefold().replace("’", "'")
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]


def tokenise(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Return words and punctuation of ``text[start:end]``; hyphens, dashes and quotes count as spaces."""
    stop = len(text) if end is None else end
    return [
        Token(word_form(found.group()), found.start(), found.end(), found.group()[0].isalnum())
        for found in _TOKEN.finditer(text, start, stop)
        if found.group()[0] not in _SKIPPED
    ]


def token_span(tokens: Sequence[Token], start: int, end: int) -> tuple[int, int]:
    """Return the first token that reaches into ``[start, end)`` and the one behind the last; (0, 0) if none does."""
    first = bisect_right(tokens, start, key=lambda token: token.end)
    last = bisect_left(tokens, end, key=lambda token: token.start)
    return (first, last) if first < last else (0, 0)


@dataclass(frozen=True)
class Match(Generic[Value]):
    """A phrase found in tokens ``[first, last)``; ``start`` and ``end`` are its place in the text."""

    first: int
    last: int
    start: int
    end: int
    value: Value


@dataclass(frozen=True)
class _Step:
    """One position of a pattern: words and beginnings of words it takes, or a gap of up to ``gap`` words."""

    words: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    optional: bool = False
    gap: int = 0

    def takes(self, form: str) -> bool:
        return form in self.words or (bool(self.prefixes) and form.startswith(self.prefixes))


def _step(word: str, pattern: str) -> list[_Step]:
    gap = re.fullmatch(r"\.\.([1-9])", word)
    if gap:
        return [_Step(gap=int(gap[1]))]
    if word in {"?", "|", "/"}:
        return [_Step(words=frozenset([word]))]
    optional = word.endswith("?")
    options = word.removesuffix("?").split("|")
    if not all(options) or any("*" in option[:-1] for option in options):
        raise ConfigError("is not a pattern of words", item=f'phrase "{pattern}"')
    prefixes = tuple(option[:-1].casefold() for option in options if option.endswith("*"))
    whole = [[token.form for token in tokenise(option)] for option in options if not option.endswith("*")]
    if len(options) == 1 and whole and len(whole[0]) > 1:  # w/o, one word to the eye and three to the tokeniser
        return [_Step(words=frozenset([form]), optional=optional) for form in whole[0]]
    if any(len(forms) != 1 for forms in whole):
        raise ConfigError("an alternative must be one word", item=f'phrase "{pattern}"')
    return [_Step(frozenset(form for (form,) in whole), prefixes, optional)]


class PhraseMatcher(Generic[Value]):
    """Finds many phrases at once, in time linear in the text.

    Args:
        phrases: Pattern and the value its matches carry.

    Raises:
        ConfigError: If a pattern is malformed, naming it.
    """

    def __init__(self, phrases: Iterable[tuple[str, Value]]) -> None:
        self._by_word: dict[str, list[tuple[tuple[_Step, ...], Value]]] = {}
        self._by_prefix: dict[str, list[tuple[tuple[_Step, ...], Value]]] = {}
        for pattern, value in phrases:
            steps = tuple(step for word in str(pattern).replace("-", " ").split() for step in _step(word, str(pattern)))
            while steps and steps[0].optional:
                self._add(steps, value)
                steps = steps[1:]
            if not steps or steps[0].gap or steps[-1].gap:
                raise ConfigError("a phrase starts and ends with a word", item=f'phrase "{pattern}"')
            self._add(steps, value)
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})
        self._seen: dict[str, list[tuple[tuple[_Step, ...], Value]]] = {}

    def _add(self, steps: tuple[_Step, ...], value: Value) -> None:
        for word in steps[0].words:
            self._by_word.setdefault(word, []).append((steps, value))
        for prefix in steps[0].prefixes:
            self._by_prefix.setdefault(prefix, []).append((steps, value))

    def find(self, tokens: Sequence[Token]) -> list[Match[Value]]:
        """Return every match, longest first at each place; matches may overlap."""
        found = []
        for first, token in enumerate(tokens):
            starting = self._starting(token.form)
            if not starting:
                continue
            lasts = [(_last(tokens, first, steps), value) for steps, value in starting]
            for last, value in sorted((e for e in lasts if e[0] > 0), key=lambda e: -e[0]):
                found.append(Match(first, last, token.start, tokens[last - 1].end, value))
        return found

    def _starting(self, form: str) -> list[tuple[tuple[_Step, ...], Value]]:
        """Phrases that may start with a word; remembered, as texts repeat their words."""
        if form not in self._seen:
            if len(self._seen) > _MAX_SEEN:
                self._seen.clear()
            with_prefix = [entry for n in self._lengths for entry in self._by_prefix.get(form[:n], ())]
            self._seen[form] = [*self._by_word.get(form, ()), *with_prefix]
        return self._seen[form]

    def longest(self, tokens: Sequence[Token]) -> list[Match[Value]]:
        """Return matches without overlap, the longest (in words, then the first) winning, in order of place."""
        return without_overlap(self.find(tokens))


def without_overlap(matches: Iterable[Match[Value]]) -> list[Match[Value]]:
    """Drop what overlaps a longer match (of equal ones, the earlier in place and then in the lexicon stays)."""
    kept: list[Match[Value]] = []
    taken: set[int] = set()
    for match in sorted(matches, key=lambda match: (match.first - match.last, match.first)):
        if taken.isdisjoint(range(match.first, match.last)):
            taken.update(range(match.first, match.last))
            kept.append(match)
    return sorted(kept, key=lambda match: match.first)


def _last(tokens: Sequence[Token], first: int, steps: tuple[_Step, ...]) -> int:
    """Token behind the longest match of ``steps`` at ``first``, or 0."""
    ends = {first}
    for step in steps:
        after = set(ends) if step.optional or step.gap else set()
        for place in ends:
            if step.gap:
                for reach in range(place, min(place + step.gap, len(tokens))):
                    if not tokens[reach].is_word or tokens[reach].form in _NEVER_IN_GAPS:
                        break
                    after.add(reach + 1)
            elif place < len(tokens) and step.takes(tokens[place].form):
                after.add(place + 1)
        ends = after
        if not ends:
            return 0
    return max(ends)

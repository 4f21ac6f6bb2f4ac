"""Swapped captions: a caption with one fact exchanged (side, place, presence, severity), which is then false.

Source: Huang et al. 2024 (Structure-CLIP), section 3.1, semantic negatives of a scene graph, carried over to medicine;
the words are in ``swaps.yaml`` beside this file. Better no swap than one that may be true: what is denied keeps its
side, place and size, and a text that means the same is never returned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from medvlp.config import Config as BaseConfig
from medvlp.config import load_as
from medvlp.data.augment import swap_sides
from medvlp.data.batch import FILLER, NO_SWAP, Swap, Triple

LOCATED = "located at"
"""Relation of a :class:`medvlp.data.batch.Triple` whose tails :func:`swaps_of` exchanges between two heads."""

SwapKind = Literal["side", "anatomy", "presence", "severity"]
KINDS: tuple[SwapKind, ...] = ("side", "anatomy", "presence", "severity")
_MOST_WORDS_OF_A_BARE_FINDING = 12


class PresenceRules(BaseConfig):
    """Phrases that say or deny."""

    affirm: dict[str, str] = Field(description="Phrases that deny, and what says the contrary.")
    negate: dict[str, str] = Field(description="Phrases that say, and what denies it.")
    verbs: list[str] = Field(description="Words that a bare finding does not have.")


class Rules(BaseConfig):
    """The table of words, as ``swaps.yaml`` holds it."""

    negations: list[str] = Field(description="Words that make a part of a sentence a denial.")
    normal: list[str] = Field(description="Words that say that nothing is wrong.")
    breaks: list[str] = Field(description="Where a part of a sentence begins.")
    never: list[str] = Field(description="Phrases in which nothing is exchanged.")
    presence: PresenceRules = Field(description="Said and denied.")
    severity: dict[str, list[str]] = Field(description="Degrees, and what each may become.")
    anatomy: list[list[str]] = Field(description="Groups of places that stand for one another.")
    organs: list[list[str]] = Field(description="The same, in parts that hold no phrase of `anatomy`.")
    between: list[str] = Field(description="Words between the two sides of one thing.")


class Part(NamedTuple):
    """A part of a text that is said or denied as a whole; what is ``fixed`` is denied or normal."""

    start: int
    end: int
    denied: bool
    fixed: bool


class Phrases:
    """Finds phrases as whole words, the longest at each place."""

    def __init__(self, phrases: Iterable[str]) -> None:
        ordered = sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase))
        choice = "|".join(re.escape(phrase).replace(r"\ ", r"[\s-]+") for phrase in ordered)
        self._pattern = re.compile(rf"(?<!\w)(?:{choice})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str, start: int = 0, end: int | None = None) -> Iterator[re.Match[str]]:
        """Yield the matches of ``text[start:end]``."""
        return self._pattern.finditer(text, start, len(text) if end is None else end)

    def occur(self, text: str, start: int = 0, end: int | None = None) -> bool:
        """Tell whether ``text[start:end]`` holds any of the phrases."""
        return next(self(text, start, end), None) is not None


class _Table:
    """The rules, ready to match."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.negations, self.normal = Phrases(rules.negations), Phrases(rules.normal)
        self.never, self.breaks = Phrases(rules.never), Phrases(rules.breaks)
        self.affirm, self.negate = Phrases(rules.presence.affirm), Phrases(rules.presence.negate)
        self.verbs, self.severity = Phrases(rules.presence.verbs), Phrases(rules.severity)
        self.others = {
            phrase: [other for group in groups for other in group if phrase in group and other != phrase]
            for groups in (rules.anatomy, rules.organs)
            for group in groups
            for phrase in group
        }
        self.anatomy, self.organs = (
            Phrases(phrase for group in groups for phrase in group) for groups in (rules.anatomy, rules.organs)
        )
        words = "|".join(map(re.escape, rules.between))
        self.joined = re.compile(
            rf"(?<!\w)(left|right)(?!\w)(?:[\s,-]+(?:{words})(?!\w))*[\s,-]+(?!\1)(?:left|right)(?!\w)", re.IGNORECASE
        )


@lru_cache(maxsize=1)
def _table() -> _Table:
    return _Table(load_as(Rules, Path(__file__).with_suffix(".yaml")))


def swaps_of(text: str, kind: str, triples: Sequence[Triple] = ()) -> list[str]:
    """Return every text that differs from ``text`` in one fact of a kind, in order of place; empty if there is none.

    Args:
        text: A caption or report.
        kind: One of :data:`medvlp.data.batch.SWAPS`.
        triples: What the text says; with two findings at two places, ``anatomy`` also exchanges the places.
    """
    return list(_options(text, kind, tuple(triples)))


@lru_cache(maxsize=65536)  # a text comes back every epoch
def _options(text: str, kind: str, triples: tuple[Triple, ...]) -> tuple[str, ...]:
    table = _table()
    found = {
        "side": lambda: _sides(text, table),
        "severity": lambda: _severities(text, table),
        "presence": lambda: _presences(text, table),
        "anatomy": lambda: [*_exchanged(text, triples, table), *_places(text, table)],
    }[kind]()
    same = _meaning(text)
    return tuple(swapped for swapped in dict.fromkeys(found) if _meaning(swapped) != same)


class Swaps:
    """Draws swapped captions; the same texts and generator give the same ones.

    Args:
        config: Kinds and number.
    """

    class Config(BaseConfig):
        """Which swapped captions are drawn."""

        kinds: list[SwapKind] = Field(list(KINDS), min_length=1, description="Facts that may be exchanged.")
        per_image: int = Field(1, ge=1, description="Swapped captions per image and step, so far as there are any.")

    def __init__(self, config: Swaps.Config) -> None:
        self.config = config

    def __call__(
        self,
        texts: Sequence[str],
        rng: np.random.Generator,
        *,
        triples: Sequence[Sequence[Triple]] = (),
        true: Collection[str] = (),
    ) -> list[Swap]:
        """Return exactly ``per_image`` swaps: kinds and texts in random order, then :data:`NO_SWAP`.

        Every image has equally many, so that all processes of a run hold equally many.

        Args:
            texts: The image's texts of this step; those that only fill up are left out.
            rng: Decides everything.
            triples: What each text says, in the order of ``texts``; may be empty.
            true: Further texts that are true of the image, which no swap may come to.
        """
        known = {_meaning(text) for text in (*texts, *true)}
        choices = [(place, kind) for place, text in enumerate(texts) if text != FILLER for kind in self.config.kinds]
        drawn: list[Swap] = []
        further: list[Swap] = []  # second and later ones of a text and kind, if there are not enough others
        for number in rng.permutation(len(choices)):
            if len(drawn) == self.config.per_image:
                break
            place, kind = choices[number]
            said = tuple(triples[place]) if triples else ()
            options = [text for text in _options(texts[place], kind, said) if _meaning(text) not in known]
            swaps = [Swap(options[index], kind, place) for index in rng.permutation(len(options))]
            known.update(_meaning(swap.text) for swap in swaps)
            drawn += swaps[:1]
            further += swaps[1:]
        drawn += further[: self.config.per_image - len(drawn)]
        return drawn + [NO_SWAP] * (self.config.per_image - len(drawn))


def severity_words(text: str, start: int, end: int) -> list[str]:
    """Return the words of ``text[start:end]`` that say how severe something is, in lower case."""
    table = _table()
    return [_key(match) for match in _free(text, table.severity(text, start, end), table)]


def presence_words(text: str) -> list[tuple[int, int, Part]]:
    """Return first and end of words that say or deny something ("there is", "no"), and the part they count for."""
    table = _table()
    found = []
    for part in _parts(text, table):
        phrases = (table.affirm, table.negations) if part.denied else (table.negate,)
        for one in phrases:
            matches = _free(text, one(text, part.start, part.end), table)
            if matches:
                found += [(match.start(), match.end(), part) for match in matches]
                break
    return found


def _parts(text: str, table: _Table) -> list[Part]:
    """Cut a text where what is denied may begin or end."""
    cuts = {0, len(text)}
    cuts.update(match.end() for match in re.finditer(r"[.;:!?](?=\s|$)|\n", text))
    cuts.update(match.start() for match in table.breaks(text))
    cuts.update(match.start() + 1 for match in re.finditer(r",(?=\s*no\b)", text, re.IGNORECASE))
    edges = sorted(cuts)
    parts = []
    for start, end in pairwise(edges):
        denied = table.negations.occur(text, start, end)
        parts.append(Part(start, end, denied, denied or table.normal.occur(text, start, end)))
    return parts


def _free(text: str, found: Iterable[re.Match[str]], table: _Table) -> list[re.Match[str]]:
    """Leave out matches inside phrases in which nothing is exchanged."""
    closed = [match.span() for match in table.never(text)]
    return [one for one in found if not any(one.start() < end and start < one.end() for start, end in closed)]


def _cased(new: str, old: str) -> str:
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def _key(match: re.Match[str]) -> str:
    return re.sub(r"[\s-]+", " ", match.group()).lower()


def _sides(text: str, table: _Table) -> list[str]:
    """All sides of what is said at once, so that a report stays of one piece; sides of one thing are left alone."""
    out = []
    for part in _parts(text, table):
        words = text[part.start : part.end]
        fixed = part.fixed or table.joined.search(words) or table.never.occur(words)
        swapped = None if fixed else swap_sides(words)
        out.append(words if swapped is None else swapped)
    return ["".join(out)]


def _severities(text: str, table: _Table) -> list[str]:
    def options(match: re.Match[str]) -> list[str]:
        return table.rules.severity[_key(match)]

    return [
        new
        for part in _parts(text, table)
        if not part.fixed
        for match in _free(text, table.severity(text, part.start, part.end), table)
        for new in _replaced(text, match, options(match), part)
    ]


def _places(text: str, table: _Table) -> list[str]:
    out: list[str] = []
    for part in _parts(text, table):
        if part.fixed:
            continue
        fine = table.anatomy.occur(text, part.start, part.end)
        phrases = table.anatomy if fine else table.organs
        for match in _free(text, phrases(text, part.start, part.end), table):
            out += _replaced(text, match, table.others[_key(match)], part)
    return out


def _replaced(text: str, match: re.Match[str], options: Sequence[str], part: Part) -> Iterator[str]:
    """Put each option in the match's place, save those that the same part names anyway."""
    around = _meaning(text[part.start : part.end])
    for option in options:
        if not any(re.search(rf"(?<!\w){re.escape(option)}(?!\w)", clause) for clause in around):
            new = option.replace(" ", "-") if "-" in match.group() else option
            yield text[: match.start()] + _cased(new, match.group()) + text[match.end() :]


def _exchanged(text: str, triples: Sequence[Triple], table: _Table) -> list[str]:
    """Two findings that are said to be at two places: each at the other's."""
    fixed = [part for part in _parts(text, table) if part.fixed]
    located = [triple for triple in triples if triple.relation == LOCATED]
    heads_at: Mapping[str, set[str]] = {t.tail: {u.head for u in located if u.tail == t.tail} for t in located}
    out = []
    for number, one in enumerate(located):
        for other in located[number + 1 :]:
            if one.head == other.head or one.tail == other.tail or heads_at[one.tail] & heads_at[other.tail]:
                continue
            first, second = (list(Phrases([triple.tail])(text)) for triple in (one, other))
            if len(first) == 1 and len(second) == 1:
                a, b = sorted((first[0], second[0]), key=lambda match: match.start())
                said = not any(part.start <= m.start() < part.end for part in fixed for m in (a, b))
                if said and a.end() <= b.start():
                    out.append(text[: a.start()] + b.group() + text[a.end() : b.start()] + a.group() + text[b.end() :])
    return out


def _presences(text: str, table: _Table) -> list[str]:
    out = []
    for part in _parts(text, table):
        phrases, become = (
            (table.affirm, table.rules.presence.affirm) if part.denied else (table.negate, table.rules.presence.negate)
        )
        matches = _free(text, phrases(text, part.start, part.end), table)
        if matches:
            best = max(matches, key=lambda match: (len(match.group()), -match.start()))
            out.append(_with_phrase(text, best, become[_key(best)]))
        elif not part.denied:
            out += _denied(text, part, table)
    return out


def _with_phrase(text: str, match: re.Match[str], new: str) -> str:
    rest = text[match.end() :]
    if not new:  # "No effusion" becomes "Effusion"
        rest = rest.lstrip()
        rest = rest[:1].upper() + rest[1:] if match.group()[:1].isupper() else rest
        return text[: match.start()] + rest
    return text[: match.start()] + _cased(new, match.group()) + rest


def _denied(text: str, part: Part, table: _Table) -> list[str]:
    """Deny a bare finding."""
    words = text[part.start : part.end].split()
    if (
        not words
        or words[-1].endswith(":")
        or len(words) > _MOST_WORDS_OF_A_BARE_FINDING
        or table.verbs.occur(text, part.start, part.end)
    ):
        return []
    first = words[0]
    start = text.index(first, part.start)
    before, after = text[:start], text[start + len(first) :]
    if not first[:1].isalpha() or (before.strip() and before.rstrip()[-1] not in ".;:!?"):
        return []
    if first.lower() in ("a", "an", "the"):
        return [before + _cased("no", first) + after]
    rest = first if len(first) > 1 and not first[1:].islower() else first.lower()  # COPD stays COPD
    return [f"{before}{_cased('no', words[-1] if text.isupper() else first[:1])} {rest}{after}"]


@lru_cache(maxsize=65536)
def _meaning(text: str) -> tuple[str, ...]:
    """Return the clauses of a text, in no order: equal ones mean the same."""
    clauses = re.split(r"[.;:,!?\n]|(?<!\w)(?:and|or|&)(?!\w)", text.lower().replace("-", " "))
    return tuple(sorted(clause for clause in (" ".join(clause.split()) for clause in clauses) if clause))

"""What a report says about a mention: present, absent, uncertain, historical, or of the family.

Rules in the manner of NegEx (Chapman et al. 2001) and ConText (Harkema et al. 2009): triggers with a direction, a reach
inside the sentence, phrases that only look like triggers, and words that end a reach. The lexicon is
``assertion.yaml`` beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from data_prep.text.phrases import Match, PhraseMatcher, Token, token_span, tokenise, words
from data_prep.text.sections import Section, SectionKind, split_sections
from data_prep.text.sentences import sentence_of, sentences

LEXICON = Path(__file__).with_name("assertion.yaml")
_VERBS = words("is are was were has have remain appear seem show")
_SEEN = words(
    "seen identified noted present evident demonstrated appreciated visualized visualised detected found visible "
    "observed apparent suspected"
)
_SINGULAR = words("is was has isn't wasn't hasn't")
_ENDS = frozenset({"ends", "causes"})
_SUBORDINATE = words("although though while whereas despite")
_BREAKS = frozenset(";:()")  # not "[": placeholders of de-identification stand in it


class Assertion(StrEnum):
    """The five things kept apart; ``absent`` is said not to be there, never merely not mentioned."""

    present = "present"
    absent = "absent"
    uncertain = "uncertain"
    historical = "historical"
    family = "family"


_SECTION = {SectionKind.history: Assertion.historical, SectionKind.family_history: Assertion.family}
_PRECEDENCE = (Assertion.family, Assertion.absent, Assertion.uncertain, Assertion.historical)


class Trigger(NamedTuple):
    """An entry of the lexicon: the assertion it gives (None: what only shapes a reach) and where it stands."""

    assertion: Assertion | None
    place: str


@dataclass(frozen=True)
class _Reach:
    first: int
    last: int
    assertion: Assertion


@lru_cache(maxsize=1)
def _lexicon() -> PhraseMatcher[Trigger]:
    entries = yaml.safe_load(LEXICON.read_text(encoding="utf-8"))
    phrases = [
        (pattern, Trigger(None, place)) for place in ("ignored", "causes", "ends") for pattern in entries.pop(place)
    ]
    for name, places in entries.items():
        phrases += [(p, Trigger(Assertion(name), place)) for place, patterns in places.items() for p in patterns]
    return PhraseMatcher(phrases)


def assertions(text: str, spans: Sequence[tuple[int, int]]) -> list[Assertion]:
    """Say of each span of a text what the text asserts about it.

    Where several triggers reach a span, the family comes first (it is not about the patient), then absent, uncertain
    and historical; a span that none reaches takes its section's meaning (past history, family history) or is present.
    A trigger inside a span belongs to the name ("no-reflow phenomenon") and does not count.

    Args:
        text: A report or a sentence.
        spans: Start and end of each mention, in any order.
    """
    sections, whole = split_sections(text), sentences(text)
    by_sentence: dict[int, list[int]] = {}
    for number, (start, _) in enumerate(spans):
        by_sentence.setdefault(sentence_of(whole, start), []).append(number)
    result = [Assertion.present] * len(spans)
    for sentence, numbers in by_sentence.items():
        begin, end = whole[sentence] if sentence >= 0 else (0, 0)
        found = assert_sentence(tokenise(text, begin, end), [spans[number] for number in numbers])
        for number, assertion in zip(numbers, found, strict=True):
            result[number] = assertion if assertion is not Assertion.present else _of_section(sections, spans[number])
    return result


def _of_section(sections: list[Section], span: tuple[int, int]) -> Assertion:
    kinds = [section.kind for section in sections if section.start <= span[0] < section.end]
    return section_assertion(kinds[0]) if kinds else Assertion.present


def section_assertion(kind: SectionKind) -> Assertion:
    """What a mention means by its section alone: ``historical`` below "past medical history", else ``present``."""
    return _SECTION.get(kind, Assertion.present)


def assert_sentence(tokens: Sequence[Token], spans: Sequence[tuple[int, int]]) -> list[Assertion]:
    """The rules for one sentence: its tokens, and spans in the coordinates of the text."""
    covered = [token_span(tokens, *span) for span in spans]
    names = {place for first, last in covered for place in range(first, last) if last - first > 1}
    triggers = _resolve([match for match in _lexicon().find(tokens) if _counts(tokens, match)], names)
    ends = [match for match in triggers if match.value.place in _ENDS]
    reaches = [_reach(tokens, match, ends) for match in triggers if match.value.assertion is not None]
    result = []
    for first, last in covered:
        hit = {reach.assertion for reach in reaches if reach.first < last and first < reach.last}
        result.append(next((assertion for assertion in _PRECEDENCE if assertion in hit), Assertion.present))
    return result


def _resolve(matches: list[Match[Trigger]], names: set[int]) -> list[Match[Trigger]]:
    """The longest phrase at each place; ``before`` and ``after`` of the same words both stay, ``ends`` never hide."""
    kept: list[Match[Trigger]] = []
    taken: dict[int, tuple[int, int]] = {}
    order = {"ignored": 0, "before": 1, "after": 1, "at_end": 1, "causes": 2, "ends": 2}
    for match in sorted(matches, key=lambda m: (m.first - m.last, order[m.value.place], m.first)):
        places = range(match.first, match.last)
        mine = (match.first, match.last)
        if any(taken.get(place, mine) != mine for place in places) or names.issuperset(places):
            continue
        if match.value.place not in _ENDS and any(
            other.value.place == "ignored" and (other.first, other.last) == mine for other in kept
        ):
            continue
        taken.update(dict.fromkeys(places, mine))
        kept.append(match)
    return sorted(kept, key=lambda m: m.first)


def _counts(tokens: Sequence[Token], match: Match[Trigger]) -> bool:
    """``at_end`` triggers count only where their clause ends."""
    if match.value.place != "at_end":
        return True
    return match.last == len(tokens) or tokens[match.last].form in {",", ".", "and", "but", "or", *_BREAKS}


def _reach(tokens: Sequence[Token], trigger: Match[Trigger], ends: list[Match[Trigger]]) -> _Reach:
    assertion = trigger.value.assertion
    assert assertion is not None
    if trigger.value.place == "before":
        return _Reach(trigger.first + 1, _right(tokens, trigger, ends), assertion)  # "no acute findings": its noun too
    return _Reach(_left(tokens, trigger, ends), trigger.first, assertion)


def _right(tokens: Sequence[Token], trigger: Match[Trigger], ends: list[Match[Trigger]]) -> int:
    doubt = trigger.value.assertion is Assertion.uncertain
    after = [end.first for end in ends if end.first >= trigger.last and not (doubt and end.value.place == "causes")]
    stop = min(after, default=len(tokens))
    place = trigger.last + (trigger.last < stop and tokens[trigger.last].form == ":")
    before = {token.form for token in tokens[: trigger.first]}
    conceded = (
        tokens[0].form in _SUBORDINATE and "," not in before
    )  # "although tests were negative, nephritis was found"
    while place < stop:
        form = tokens[place].form
        closed = form == "," and (conceded or tokens[place - 1].form in _SEEN)  # "no effusion seen, left apical scar"
        if form in ";:)" or closed or (form in {",", "and"} and _is_clause(tokens, place + 1, stop)):
            return place
        place += 1
    return stop


def _is_clause(tokens: Sequence[Token], first: int, stop: int) -> bool:
    """Whether a verb of its own follows ("..., heart is enlarged") and not the list's ("..., effusion are seen")."""
    for place in range(first, stop):
        form = tokens[place].form
        if form in {",", ";", "or", "nor"}:
            return False
        if form in _VERBS:
            following = {token.form for token in tokens[place + 1 : place + 4]}
            return not following & _SEEN
    return False


def _left(tokens: Sequence[Token], trigger: Match[Trigger], ends: list[Match[Trigger]]) -> int:
    """First token reached leftwards: an earlier verb, bracket or end stops it, a comma too unless it is of a list."""
    stop = max([end.last for end in ends if end.last <= trigger.first], default=0)
    near = {token.form for token in tokens[max(0, trigger.first - 1) : trigger.last]}
    listed, skipped = False, False
    for place in range(trigger.first - 1, stop - 1, -1):
        form = tokens[place].form
        if form in _BREAKS - {":"} or (form == ":" and place != trigger.first - 1):
            return place + 1
        if form in _VERBS and (skipped or place < trigger.first - 2):
            return place + 1
        if form == "and" and near & _SINGULAR:  # "... and effusion is not seen": of what is joined, only the last
            return place + 1
        if form == "," and not listed:
            if place == trigger.first - 1:
                continue
            return place + 1
        listed = listed or form in {"or", "and", "nor"}
        skipped = skipped or (tokens[place].is_word and form not in _VERBS)
    return stop

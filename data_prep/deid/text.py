"""De-identification of one text: every rule in turn, typed placeholders, counts by kind.

The rules follow HIPAA Safe Harbor (45 CFR 164.514(b)(2)): names, places smaller than a state, dates more precise than a
year, ages over 89, numbers, addresses of machines. Years and clock times alone stay. What was removed is counted and
never logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from data_prep.deid.dates import ages, dates, packed_dates
from data_prep.deid.names import names
from data_prep.deid.numbers import formed_ids, labelled_ids, labelled_phones, machine_addresses, phones
from data_prep.deid.places import addresses, institutions
from data_prep.deid.spans import BARRIER, PLACEHOLDER, Span, blank

ENGINE = "medvlp-rules-2"
# What is found first is taken first: the sure forms before those that need a guess.
_RULES: tuple[Callable[[str], Iterable[Span]], ...] = (
    machine_addresses, dates, labelled_phones, labelled_ids, phones, addresses, packed_dates, formed_ids,
    institutions, ages, names,
)  # fmt: skip
_MAX_PASSES = 4

Recogniser = Callable[[str], Iterable[tuple[int, int]]]


@dataclass(frozen=True)
class Deidentified:
    """A text without identifiers.

    Attributes:
        text: With placeholders such as ``[DATE]``.
        removed: How many places of each kind were replaced.
        spans: Those places in the text as it was, in order and without overlaps.
    """

    text: str
    removed: Counter[str] = field(default_factory=Counter)
    spans: tuple[Span, ...] = ()


def find_identifiers(text: str, recogniser: Recogniser | None = None) -> list[Span]:
    """Find what identifies somebody, in order and without overlaps.

    Args:
        text: Any text.
        recogniser: Gives further names of persons as (start, end), for example
            :func:`data_prep.deid.recogniser.spacy_recogniser`.
    """
    found: list[Span] = []
    masked = blank(text, [match.span() for match in PLACEHOLDER.finditer(text)])
    if recogniser is not None:  # first, while the text is whole; what it finds is a name whatever else would fit
        named = (Span(start, end, "name") for start, end in recogniser(masked) if BARRIER not in masked[start:end])
        found += _apart(named)
        masked = blank(masked, [(span.start, span.end) for span in found])
    for _ in range(_MAX_PASSES):
        new: list[Span] = []
        for rule in _RULES:
            hits = list(_apart(rule(masked)))
            new += hits
            masked = blank(masked, [(span.start, span.end) for span in hits])
        if not new:
            break
        found += new
    return sorted(found)


def deidentify_text(text: str, recogniser: Recogniser | None = None) -> Deidentified:
    """Replace what identifies somebody by typed placeholders; doing it twice changes nothing.

    Example:
        >>> deidentify_text("Seen by Dr. Smith on 3/12/2019: 10/12 lymph nodes, Hodgkin lymphoma.").text
        'Seen by Dr. [NAME] on [DATE]: 10/12 lymph nodes, Hodgkin lymphoma.'
    """
    spans = find_identifiers(text, recogniser)
    parts, position = [], 0
    for span in spans:
        parts += [text[position : span.start], f"[{span.kind.upper()}]"]
        position = span.end
    return Deidentified("".join([*parts, text[position:]]), Counter(span.kind for span in spans), tuple(spans))


def _apart(spans: Iterable[Span]) -> Iterator[Span]:
    """Of overlapping places keep the union: a longer reading swallows a shorter one."""
    current: Span | None = None
    for span in sorted(spans):
        if span.end <= span.start:
            continue
        if current is None:
            current = span
        elif span.start < current.end:
            current = Span(current.start, max(current.end, span.end), current.kind)
        else:
            yield current
            current = span
    if current is not None:
        yield current

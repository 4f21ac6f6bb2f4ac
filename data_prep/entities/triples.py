"""What a text says as triples of its own words: finding, relation, place, side, severity or presence."""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.text.assertion import Assertion
from data_prep.text.laterality import side_words
from data_prep.text.mentions import Mention
from data_prep.text.phrases import Match, Token, tokenise
from data_prep.text.sections import split_sections
from data_prep.text.sentences import sentences
from data_prep.text.triplets.vocabulary import Vocabulary
from medvlp.data.batch import Triple
from medvlp.data.swaps import LOCATED, severity_words

IS, SIDE, SEVERITY = "is", "on side", "has severity"
_STATES = {Assertion.present: "present", Assertion.absent: "absent", Assertion.uncertain: "uncertain"}
_WORDS_BEFORE = 3  # of a finding's name, among which its severity is looked for


def text_triples(text: str, mentions: Sequence[Mention], vocabulary: Vocabulary) -> tuple[Triple, ...]:
    """Return what a text says, each finding's presence first; history and family say nothing about the picture.

    Args:
        text: The text.
        mentions: Of :func:`data_prep.text.mentions.annotate` with the same vocabulary.
        vocabulary: Its regions are the places; one that the text does not name is not made up.
    """
    spans = [span for section in split_sections(text) for span in sentences(text, section.start, section.end)]
    out: dict[Triple, None] = {}
    read: dict[int, tuple[list[Token], list[Match[str]]]] = {}
    for mention in mentions:
        state = _STATES.get(mention.assertion)
        if mention.finding is None or state is None:
            continue
        if mention.sentence not in read:
            tokens = tokenise(text, *spans[mention.sentence])
            read[mention.sentence] = tokens, vocabulary.region_phrases.longest(tokens)
        tokens, regions = read[mention.sentence]
        head = mention.text.lower()
        out[Triple(head, IS, state)] = None
        named = (mention.anatomy or "").split("; ")
        places = [
            _with_side(text, tokens, region)
            for region in regions
            if region.value in named and not (mention.start <= region.start and region.end <= mention.end)
        ]
        for place in places:  # "pleural effusion in the left pleural space" is at one place, not two
            if not any(f" {place} " in f" {other} " and place != other for other in places):
                out[Triple(head, LOCATED, place)] = None
        if mention.side is not None:
            out[Triple(head, SIDE, mention.side.value)] = None
        before = [token for token in tokens if token.end <= mention.start][-_WORDS_BEFORE:]
        if before:
            for word in severity_words(text, before[0].start, mention.start):
                out[Triple(head, SEVERITY, word)] = None
    return tuple(out)


def _with_side(text: str, tokens: Sequence[Token], region: Match[str]) -> str:
    """Return the words of a place, with the side that stands right in front of it."""
    beside = [word for word in side_words(tokens) if word.last == region.first]
    return text[beside[0].start if beside else region.start : region.end].lower()

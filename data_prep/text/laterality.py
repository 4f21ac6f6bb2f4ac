"""Sides of mentions: left, right or bilateral, by the words that stand at a mention."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from data_prep.text.phrases import Match, PhraseMatcher, Token, token_span, tokenise, words
from data_prep.text.sentences import sentence_of, sentences


class Side(StrEnum):
    """Side of the body, as the patient has it."""

    left = "left"
    right = "right"
    bilateral = "bilateral"


_WORDS = {
    Side.left: ["left", "left sided", "lt", "l", "lul", "lll", "leftward", "lingula*"],
    Side.right: ["right", "right sided", "rt", "r", "rul", "rml", "rll", "rightward"],
    Side.bilateral: [
        "bilateral|bilaterally",
        "both",
        "bibasilar|bibasal|biapical|bihilar",
        "right|left and|or|& left|right",
        "left|right ..1 than the? right|left",
        "right|left > left|right",
        "left|right and to? ..3 right|left",
        "each side",
        "either side",
    ],
}
_BARRIERS = words("; : . ( ) with without but")
_JOINTS = words("and or is are")
_FREE = [["free", "of"], ["free", "from"], ["clear", "of"], ["without"]]
_IGNORED = [
    "left the|against|without|for|ama",
    "has|had|was|were left",
    "right now|away|handed",
    "left handed",
    "both has|have|had|were",
]
_MAX_BEFORE, _MAX_AFTER = 5, 8


@lru_cache(maxsize=1)
def _matcher() -> PhraseMatcher[Side | None]:
    sides: list[tuple[str, Side | None]] = [(word, side) for side, words in _WORDS.items() for word in words]
    return PhraseMatcher([*sides, *((pattern, None) for pattern in _IGNORED)])


def sides(text: str, spans: Sequence[tuple[int, int]]) -> list[Side | None]:
    """Say on which side each span of a text lies, None where nothing is said.

    A side inside a span counts first, then one up to five words before it ("left small effusion"), then one up to
    eight words behind it ("effusion in the lower lobe on the left"). A comma, a bracket or another span in between
    shuts a side out; several sides at one span make it bilateral.

    Args:
        text: A report or a sentence.
        spans: Start and end of each mention, in any order.
    """
    whole = sentences(text)
    by_sentence: dict[int, list[int]] = {}
    for number, (start, _) in enumerate(spans):
        by_sentence.setdefault(sentence_of(whole, start), []).append(number)
    result: list[Side | None] = [None] * len(spans)
    for sentence, numbers in by_sentence.items():
        begin, end = whole[sentence] if sentence >= 0 else (0, 0)
        found = side_sentence(tokenise(text, begin, end), [spans[number] for number in numbers])
        for number, side in zip(numbers, found, strict=True):
            result[number] = side
    return result


def side_words(tokens: Sequence[Token]) -> list[Match[Side | None]]:
    """The side words of a sentence, the longest phrase at each place."""
    return [match for match in _matcher().longest(tokens) if match.value is not None]


def side_sentence(tokens: Sequence[Token], spans: Sequence[tuple[int, int]]) -> list[Side | None]:
    """The rules for one sentence: its tokens, and spans in the coordinates of the text."""
    found = side_words(tokens)
    places = [token_span(tokens, *span) for span in spans]
    return [_side(tokens, found, place, places) for place in places]


def _side(
    tokens: Sequence[Token], words: list[Match[Side | None]], mine: tuple[int, int], all_places: list[tuple[int, int]]
) -> Side | None:
    first, last = mine
    if first == last:
        return None
    inside = {word.value for word in words if word.first < last and first < word.last}
    if inside:
        return _joined(inside)

    def open_between(begin: int, end: int, comma: bool = False) -> bool:
        blocked = any(begin < other_end and other_first < end for other_first, other_end in all_places)
        barriers = _BARRIERS if comma else _BARRIERS | {","}
        return not blocked and not any(tokens[i].form in barriers for i in range(begin, end))

    def is_freed(begin: int) -> bool:  # "the right lung is free of infiltrate"
        forms = [token.form for token in tokens[begin:first]]
        return any(forms[i] in {"is", "are"} and forms[i + 1 : i + 3] in _FREE for i in range(len(forms)))

    before = [w for w in words if w.last <= first and first - w.last < _MAX_BEFORE and open_between(w.last, first)]
    before = [w for w in before if not any(tokens[i].form in _JOINTS for i in range(w.last, first)) or is_freed(w.last)]
    if before:
        return before[-1].value
    after = [
        w for w in words if last <= w.first < last + _MAX_AFTER and open_between(last, w.first, w.last - w.first > 2)
    ]
    after = [w for w in after if not any(tokens[i].form in {"and", "or"} for i in range(last, w.first))]
    return after[0].value if after else _of_label(tokens, words)


def _of_label(tokens: Sequence[Token], words: list[Match[Side | None]]) -> Side | None:
    """The side in a label that opens the sentence ("Left cheek: melanoma"), if it is the only one in it."""
    colon = next((i for i, token in enumerate(tokens[:_MAX_BEFORE]) if token.form == ":"), 0)
    named = {word.value for word in words}
    return words[0].value if len(named) == 1 and words[0].last <= colon else None


def _joined(found: set[Side | None]) -> Side | None:
    return next(iter(found)) if len(found) == 1 else Side.bilateral

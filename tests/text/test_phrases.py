"""Patterns mean what they say, and matching equals a slow reading of them."""

import re
import time

import pytest

from data_prep.text.phrases import PhraseMatcher, tokenise, word_form
from medvlp.errors import ConfigError


def found(patterns, text):
    matches = PhraseMatcher((pattern, pattern) for pattern in patterns).longest(tokenise(text))
    return [(text[match.start : match.end], match.value) for match in matches]


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        ("pleural|lung effusion", "Bilateral pleural effusions.", "pleural effusions"),
        ("calcif*", "It is CALCIFIED", "CALCIFIED"),
        ("enlargement of the? heart", "enlargement of heart", "enlargement of heart"),
        ("enlargement of the? heart", "enlargement of the heart", "enlargement of the heart"),
        ("heart ..2 enlarged", "heart is mildly enlarged", "heart is mildly enlarged"),
        ("heart ..2 enlarged", "heart is very mildly enlarged", None),
        ("heart ..2 enlarged", "heart is not enlarged", None),
        ("heart ..2 enlarged", "heart, enlarged", None),
        ("w/o", "lungs w/o nodule", "w/o"),
        ("air space disease", "air-space disease", "air-space disease"),
        ("chronic? bronchitis", "bronchitis", "bronchitis"),
        ("?", "?pneumonia", "?"),
        ("opacity", "patchy opacities", "opacities"),
        ("mass", "masses", "masses"),
        ("can't exclude", "can’t exclude", "can’t exclude"),
        ("rib", "ribbon", None),
    ],
)
def test_patterns(pattern, text, wanted):
    assert [words for words, _ in found([pattern], text)] == ([] if wanted is None else [wanted])


def test_longest_wins_and_nothing_overlaps():
    text = "No change in calcified granulomas"
    patterns = ["no", "no change in", "calcif*", "granuloma", "calcif* granuloma"]
    assert [value for _, value in found(patterns, text)] == ["no change in", "calcif* granuloma"]


@pytest.mark.parametrize("pattern", ["", "..2 heart", "heart ..2", "a||b", "he*art", "a/b|c", "x?"])
def test_malformed_patterns_are_refused(pattern):
    with pytest.raises(ConfigError, match="phrase"):
        PhraseMatcher([(pattern, 1)])


def test_equals_a_regular_expression_on_random_words():
    import random

    rng = random.Random(0)
    words = ["a", "b", "c", "d"]
    for _ in range(300):
        text = " ".join(rng.choices(words, k=12))
        pattern, expression = rng.choice(
            [
                ("a b", r"\ba b\b"),
                ("a|b c", r"\b[ab] c\b"),
                ("a b? c", r"\ba (?:b )?c\b"),
                ("a ..1 c", r"\ba (?:\w )?c\b"),
            ]
        )
        matches = PhraseMatcher([(pattern, 0)]).find(tokenise(text))
        slow = {m.start() for start in range(len(text)) if (m := re.compile(expression).match(text, start))}
        assert {match.start for match in matches} == slow, (pattern, text)


def test_word_forms():
    assert [word_form(w) for w in ("opacities", "masses", "diseases", "apices", "this", "pelvis", "thymus", "gas")] == [
        "opacity",
        "mass",
        "disease",
        "apice",
        "this",
        "pelvis",
        "thymus",
        "gas",
    ]


def test_time_is_linear():
    matcher = PhraseMatcher([("heart ..3 enlarged", 1), ("a* b* c*", 2)])
    seconds = []
    for size in (20_000, 80_000):
        tokens = tokenise("heart a b " * size)
        start = time.process_time()
        matcher.find(tokens)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 12 * seconds[0]

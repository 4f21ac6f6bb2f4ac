"""Swapped captions as a test: a model that sees scores full, one that does not scores chance or its floor."""

import numpy as np
import pytest

from medvlp.errors import DataError
from medvlp.zeroshot.consistency import consistency, swapped_captions

WORDS = {"left": 0, "right": 1, "no": 2, "small": 3, "large": 4}
SIDES = ["left", "right"] * 10
CAPTIONS = [[f"There is a small {side} effusion.", "The heart is wide"] for side in SIDES]


class Words:
    """Embeds a text by the words it holds; an image as it is told."""

    def __init__(self, seen):
        self.seen = seen

    def encode_text(self, texts):
        out = np.full((len(texts), len(WORDS) + 1), 0.0)
        out[:, -1] = 1
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", "").split():
                if word in WORDS and word in self.seen:
                    out[row, WORDS[word]] = 1
        return out


def images(sees=True):
    out = np.full((20, len(WORDS) + 1), 0.1)
    for row, side in enumerate(SIDES):
        out[row, WORDS[side]] = 1.0 if sees else 0.1
    out[:, WORDS["small"]] = 1.0
    return out


def test_captions_repeat_and_have_every_kind_that_can_be():
    made = swapped_captions(CAPTIONS, 0)
    assert made == swapped_captions(CAPTIONS, 0)
    assert {one.kind for one in made} == {"side", "presence", "severity"}
    assert {one.row for one in made} == set(range(20))
    assert all(one.true == CAPTIONS[one.row][0] for one in made)
    side = next(one for one in made if one.kind == "side")
    assert side.swapped == "There is a small right effusion."


def test_a_model_that_sees_sides_ranks_them_and_its_floor_is_chance():
    made = swapped_captions(CAPTIONS, 0, kinds=["side"])
    found = consistency(Words({"left", "right"}), images(), made, list(range(20)))
    assert found["side"].share.value == 1
    assert found["side"].share.low == 1
    assert found["side"].floor.value == 0.5
    assert (found["side"].num, found["side"].num_images, found["side"].num_cases) == (20, 20, 20)
    assert found["all"] == found["side"]


def test_texts_alone_are_the_floor_and_no_credit():
    """Presence is told by the word "no", whatever the image: floor and share are the same."""
    made = swapped_captions(CAPTIONS, 0, kinds=["presence"])
    found = consistency(Words({"no"}), images(), made, list(range(20)))["presence"]
    assert found.share.value == found.floor.value
    assert found.floor.value in (0.0, 1.0)


def test_a_model_that_reads_no_side_has_chance():
    made = swapped_captions(CAPTIONS, 0, kinds=["side"])
    found = consistency(Words({"small"}), images(), made, list(range(20)))["side"]
    assert found.share.value == 0.5
    assert found.chance == 0.5


def test_intervals_are_by_case():
    made = swapped_captions(CAPTIONS, 0, kinds=["side"])
    half = images()
    half[10:] = half[10:][:, [1, 0, 2, 3, 4, 5]]  # sees the wrong side in the second ten
    model = Words({"left", "right"})
    many = consistency(model, half, made, list(range(20)))["side"].share
    two = consistency(model, half, made, [0] * 10 + [1] * 10)["side"].share
    assert many.value == two.value == 0.5
    assert 0.2 < many.low < many.high < 0.8
    assert (two.low, two.high) == (0, 1)


def test_nothing_to_exchange_is_refused():
    with pytest.raises(DataError, match="no caption holds a fact"):
        consistency(Words(set()), images(), swapped_captions([["xyz was here 3"]] * 20, 0), list(range(20)))

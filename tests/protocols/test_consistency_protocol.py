"""Swap consistency in the harness: shares equal a count by hand, the floor sees no image, draws are by case."""

import numpy as np
import pytest
from PIL import Image
from protocols.protocol_cases import context_of, task_config

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocols import consistency
from benchmarks.harness.protocols.consistency import Config
from benchmarks.harness.subjects import Subject
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError

SHADE = {"left": 40, "right": 200}


class Sides:
    """Sees a side in an image's shade, reads sides and denial in a text."""

    def __init__(self, reads=("left", "right")):
        self.reads = reads

    def encode_image(self, images):
        shades = [np.asarray(image.convert("L")).mean() for image in images]
        return np.array([[shade < 120, shade >= 120, 0, 0.2] for shade in shades], dtype=float)

    def encode_text(self, texts):
        words = [text.lower().replace(".", "").split() for text in texts]
        return np.array(
            [[*(word in own and word in self.reads for word in ("left", "right", "no")), 0.5] for own in words], float
        )


def store_of(folder, sides=("left", "right") * 6, aspect="finding", wrong=()):
    rows = []
    for split in ("train", "dev", "test"):
        for number, side in enumerate(sides):
            seen = {"left": "right", "right": "left"}[side] if number in wrong and split == "test" else side
            texts = [Text(f"There is an effusion on the {side}.", aspect), Text("effusion", "name")]
            if number == 0:
                texts = [Text("xyz was here 3", aspect)]
            picture = Image.new("RGB", (8, 8), (SHADE[seen],) * 3)
            rows.append(Row(f"{split}-{number}", picture, texts, split, f"{split}-case-{number // 2}", len(rows)))
    return PairsStore.write(folder, rows)


@pytest.fixture
def ask(tmp_path):
    whole = store_of(tmp_path / "store")

    def make(store=None, task=None, **changes):
        store = store if store is not None else whole
        settings = Config(**{"name": "consistency", "kinds": ["side", "presence"], **changes})
        return consistency.open(task_config(settings, **(task or {})), settings, context_of(tmp_path, store))

    return make


def test_a_model_that_sees_sides_tells_them_and_its_floor_is_chance(ask):
    question = ask()
    found = {metric.name: metric for metric in question.score(Subject.of(Sides()), 0).metrics}
    assert (question.num, question.num_cases) == (11, 6)  # the first image has no fact to exchange
    assert found["side"].value == 1.0
    assert (found["side"].n, found["side"].num_cases, found["side"].chance) == (11, 6, 0.5)
    assert found["all"].value == pytest.approx((found["side"].value * 11 + found["presence"].value * 11) / 22)
    floor = {metric.name: metric for metric in question.floor("text-only", Subject.of(Sides()), 0).metrics}
    assert 0.4 < floor["side"].value < 0.6, "the mean image knows no side"
    assert question.floor("untrained", Subject.of(Sides()), 0) == Skipped(
        "the model is not a network whose weights can be redrawn"
    )


def test_words_that_give_a_swap_away_count_in_the_floor_as_much_as_in_the_score(ask):
    question = ask(kinds=["presence"])
    subject = Subject.of(Sides(("no",)))
    score, floor = question.score(subject, 0), question.floor("text-only", subject, 0)
    assert score.metrics[1].value == floor.metrics[1].value
    assert score.metrics[1].value in (0.0, 1.0)


def test_the_share_equals_a_count_and_its_draws_resample_cases(ask, tmp_path):
    question = ask(store_of(tmp_path / "some", wrong=(2, 3, 4)), kinds=["side"])
    found = question.score(Subject.of(Sides()), 0)
    below = found.predictions["below"]
    assert sorted(found.predictions["key"][below == 0]) == ["test-2", "test-3", "test-4"]
    lead = found.metrics[0]
    assert lead.value == pytest.approx(8 / 11)
    assert lead.draw_S.shape == (60,)
    assert 0 < lead.draw_S.std() < 0.3
    assert found.details["rows"]["kept"] == 11
    assert found.details["rows"]["dropped"] == {"no fact that can be exchanged": 1}
    assert not any("effusion" in str(value) for value in (found.details, found.limits))


def test_captions_and_settings_are_part_of_the_digest(ask, tmp_path):
    store = store_of(tmp_path / "one")
    assert ask(store).digest == ask(store).digest
    assert ask(store).digest != ask(store, kinds=["side"]).digest
    assert ask(store).digest != ask(store, draw=1).digest


def test_what_cannot_be_asked_is_told(ask, tmp_path):
    with pytest.raises(DataError, match="no text has the aspect 'report'"):
        ask(aspects=["report"])
    with pytest.raises(DataError, match="no caption holds a fact"):
        ask(store_of(tmp_path / "none", sides=("left",)))
    question = ask(task={"split": "train", "fit_split": "train"})
    assert question.floor("text-only", Subject.of(Sides()), 0) == Skipped(
        "there is no other part to take a mean image from"
    )

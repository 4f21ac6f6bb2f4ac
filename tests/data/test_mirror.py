"""Sided positions and entities change places with the image, or keep it from being mirrored."""

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.data.augment import Augment
from medvlp.data.batch import Triple
from medvlp.data.entities import Entities, Entity, Position
from medvlp.data.mirror import Mirror

LEFT_WHITE = np.zeros((32, 32, 3), dtype=np.uint8)
LEFT_WHITE[:, :16] = 255
POSITIONS = ["upper_left_lobe", "upper_right_lobe", "heart", "middle_right_lobe"]
NAMES = ["effusion", "left rib fracture", "right rib fracture"]


def known_of(state_QP, triples=None):
    entities = Entities(
        [Entity(name) for name in NAMES],
        [Position(name) for name in POSITIONS],
        ["a"],
        np.array(state_QP)[None],
        triples={"a": triples or {}},
    )
    return Mirror(entities), entities.of("a")


def flipped(mirror, known, laterality, texts=()):
    pytest.importorskip("albumentations", reason="needs the aug extra")
    augment = Augment(Augment.Config(size=32, crop_scale=[1.0, 1.0], horizontal_flip=1.0, laterality=laterality))
    asked = [*texts, *mirror.texts(known)]
    image, shown = augment(Image.fromarray(LEFT_WHITE), asked, np.random.default_rng(0))
    pixels = np.asarray(image)
    return pixels[:, :8].mean() < pixels[:, 24:].mean(), mirror.known(known, asked, shown), shown


SIDED = [[1, 0, -100, -100], [-100] * 4, [-100, -100, 2, -100]]


def test_labels_follow_a_mirrored_image():
    mirror, known = known_of(SIDED, {"left lung": [Triple("effusion", "located at", "left lung")]})
    turned, after, _ = flipped(mirror, known, "swap")
    assert turned
    assert after.position_QP.tolist() == [[0, 1, -100, -100], [-100, -100, 2, -100], [-100] * 4]
    assert after.label_Q.tolist() == [1, 2, -100]
    assert after.triples == {"left lung": (Triple("effusion", "located at", "right lung"),)}


def test_sided_labels_keep_an_image_from_being_mirrored():
    mirror, known = known_of(SIDED)
    turned, after, _ = flipped(mirror, known, "refuse")
    assert not turned
    assert torch.equal(after.position_QP, known.position_QP)


def test_a_position_without_a_mirror_image_does_so_even_when_words_are_swapped():
    mirror, known = known_of([[-100, -100, -100, 1], [-100] * 4, [-100] * 4])
    turned, after, _ = flipped(mirror, known, "swap", ["left lung"])
    assert not turned
    assert torch.equal(after.position_QP, known.position_QP)


def test_unsided_labels_are_mirrored_freely_and_ignored_sides_stay():
    mirror, known = known_of([[-100, -100, 1, -100], [-100] * 4, [-100] * 4])
    turned, after, _ = flipped(mirror, known, "refuse")
    assert turned
    assert torch.equal(after.position_QP, known.position_QP)
    mirror, known = known_of(SIDED)
    turned, after, _ = flipped(mirror, known, "ignore")
    assert turned
    assert torch.equal(after.position_QP, known.position_QP)


def test_unsided_labels_follow_a_sided_text():
    mirror, known = known_of([[-100, -100, 1, -100], [-100] * 4, [-100] * 4])
    turned, after, shown = flipped(mirror, known, "swap", ["left lung"])
    assert turned
    assert shown == ["right lung"]
    assert torch.equal(after.position_QP, known.position_QP)

"""Planted copies of images are found in every orientation; different and plain images are not."""

import os
from pathlib import Path

import pytest
from leak_cases import cropped, jpeg, texture, write_images
from PIL import Image, ImageEnhance

from benchmarks.leaks.images import Prints, equal_images, near_images, take_prints
from benchmarks.leaks.measure import measure
from medvlp.errors import DataError

COPIES = {
    "re-encoded": lambda image: jpeg(image, 40),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "smaller": lambda image: image.resize((70, 70)),
    "cropped": cropped,
    "turned, cropped and re-encoded": lambda image: jpeg(cropped(image.transpose(Image.Transpose.ROTATE_90)), 70),
}
ORIGINALS = {f"a{n}": texture(n) for n in range(20)}
OTHERS = {f"b{n}": texture(1000 + n) for n in range(20)}


@pytest.fixture(scope="module")
def learned():
    return take_prints(ORIGINALS.items())


@pytest.mark.parametrize("copy", COPIES)
def test_planted_copies_are_found(learned, copy):
    tested = take_prints((f"copy of {key}", COPIES[copy](image)) for key, image in ORIGINALS.items())
    found = near_images(tested, learned)
    assert {match.key for match in found} == set(tested.keys)
    assert all(match.key == f"copy of {match.other}" for match in found)
    assert all(0.7 <= match.similarity <= 1 for match in found)
    assert equal_images(tested, learned) == []


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
def test_every_orientation_is_found(learned, turn):
    turned = ((key, image if turn is None else image.transpose(turn)) for key, image in ORIGINALS.items())
    found = near_images(take_prints(turned), learned)
    assert [match.key for match in found] == [match.other for match in found] == list(ORIGINALS)
    assert min(match.similarity for match in found) > 0.95  # Pillow resamples a mirror image slightly differently


def test_different_images_are_not_found(learned):
    assert near_images(take_prints(OTHERS.items()), learned) == []


def test_more_images_than_one_block_holds(learned, monkeypatch):
    tested = take_prints([*OTHERS.items(), *((f"copy of {key}", cropped(image)) for key, image in ORIGINALS.items())])
    whole = near_images(tested, learned)
    monkeypatch.setattr("benchmarks.leaks.images._QUERIES", 7)
    monkeypatch.setattr("benchmarks.leaks.images._CONFIRMED", 3)
    assert [(match.key, match.other) for match in near_images(tested, learned)] == [
        (match.key, match.other) for match in whole
    ]
    assert len(whole) == 20


def test_images_without_detail_resemble_nothing_but_equal_pixels_are_equal():
    white = Image.new("RGB", (40, 40), "white")
    first = take_prints([("w", white), ("g", Image.new("RGB", (40, 40), "grey"))])
    second = take_prints([("v", white.copy()), ("t", texture(0))])
    assert near_images(second, first) == []
    assert [(match.key, match.other) for match in equal_images(second, first)] == [("v", "w")]


def test_size_is_part_of_the_digest():
    prints = take_prints([("a", Image.new("RGB", (2, 8))), ("b", Image.new("RGB", (4, 4)))])
    assert prints.digests[0] != prints.digests[1]


def test_empty_sides(learned):
    nothing = take_prints([])
    assert isinstance(nothing, Prints)
    assert near_images(nothing, learned) == near_images(learned, nothing) == equal_images(nothing, learned) == []


def test_bad_input_of_images(learned):
    with pytest.raises(DataError, match="a: the key occurs twice"):
        take_prints([("a", texture(0)), ("a", texture(1))])
    for value in (0, 1.5):
        with pytest.raises(DataError, match="min_similarity"):
            near_images(learned, learned, value)


def test_measurement_counts_copies_and_flags_repeats(tmp_path):
    folder = write_images(tmp_path / "set", range(8))
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())  # one learned image, repeated in between
    cells, flagged = measure(folder, most=100)
    assert cells[:3] == ["set", "4", "4"]
    assert cells[3:6] == ["4 of 4"] * 3  # turned, re-encoded, brightness
    assert cells[-1] == "1 of 4"
    assert flagged == ["set: 1.png = 0.png (1.00)"]
    assert measure(folder, most=4)[0][1:3] == ["2", "2"]
    with pytest.raises(DataError, match="fewer than four images"):
        measure(write_images(tmp_path / "few", range(3)), most=100)


@pytest.mark.data
@pytest.mark.skipif("MEDVLP_DATA" not in os.environ, reason="MEDVLP_DATA is not set")
def test_real_histology():
    folder = Path(os.environ["MEDVLP_DATA"]) / "path_mini" / "lc25000" / "images"
    images = {path.name: Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))[::4]}
    half = list(images)[::2]
    copies = [(key, jpeg(cropped(images[key].transpose(Image.Transpose.TRANSVERSE)), 75)) for key in half]
    rest = take_prints((key, image) for key, image in images.items() if key not in half)
    found = near_images(take_prints(copies), take_prints(images.items()))
    assert sum(match.key == match.other for match in found) >= 0.9 * len(half)
    assert near_images(take_prints(copies), rest) == []

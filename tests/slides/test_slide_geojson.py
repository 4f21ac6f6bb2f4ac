"""GeoJSON that QuPath opens: squares and merged regions, drawn again pixel by pixel, are the tiles they came from."""

import itertools
import json

import numpy as np
import pytest

from medvlp.errors import DataError
from medvlp.slides.geojson import colour_of, region_features, tile_features, write_geojson

CLASSES = ("carcinoma", "normal")


def drawn(features: list[dict], width: int, height: int) -> np.ndarray:
    """How many polygons cover the middle of every pixel, by the even-odd rule over all rings."""
    count = np.zeros((height, width), dtype=int)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for feature in features:
        inside = np.zeros((height, width), dtype=bool)
        for ring in feature["geometry"]["coordinates"]:
            for (x0, y0), (x1, y1) in itertools.pairwise(ring):
                if x0 == x1:
                    inside ^= (y > min(y0, y1)) & (y < max(y0, y1)) & (x < x0)
        count += inside
    return count


def area(ring: list[list[int]]) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) / 2


def check_shapes(features: list[dict]) -> None:
    for feature in features:
        rings = feature["geometry"]["coordinates"]
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        for number, ring in enumerate(rings):
            assert len(ring) >= 5
            assert ring[0] == ring[-1]
            assert len({tuple(place) for place in ring}) == len(ring) - 1  # no ring meets itself
            assert (area(ring) > 0) == (number == 0)  # the outer ring has its inside to the left, holes do not
            assert all((x0 == x1) != (y0 == y1) for (x0, y0), (x1, y1) in itertools.pairwise(ring))


def probabilities(tumour: list[bool]) -> np.ndarray:
    value = np.where(tumour, 0.9, 0.2)
    return np.stack([value, 1 - value], 1)


def test_tiles_are_the_tiles() -> None:
    coords = np.argwhere(np.ones((3, 2))) * 4 + (2, 1)
    features = tile_features(coords, 4, probabilities([True, False, False, True, True, False]), CLASSES)
    check_shapes(features)
    expected = np.zeros((12, 16), dtype=int)
    for x, y in coords:
        expected[y : y + 4, x : x + 4] += 1
    np.testing.assert_array_equal(drawn(features, 16, 12), expected)
    assert features[0]["properties"] == {
        "objectType": "tile",
        "classification": {"name": "carcinoma", "color": list(colour_of(0))},
        "measurements": {"p(carcinoma)": 0.9, "p(normal)": pytest.approx(0.1)},
    }


@pytest.mark.parametrize("seed", range(30))
def test_regions_drawn_again_are_the_tiles_of_their_class(seed) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    kept = np.argwhere(rng.random(shape) < 0.9)
    if len(kept) == 0:
        kept = np.array([[0, 0]])
    side = 3
    tumour = rng.random(len(kept)) < (0.3, 0.5, 0.8)[seed % 3]
    features = region_features(kept * side + 1, side, probabilities(tumour), CLASSES)
    check_shapes(features)
    for k, label in enumerate(CLASSES):
        expected = np.zeros((26, 26), dtype=int)
        for x, y in (kept * side + 1)[tumour == (k == 0)]:
            expected[y : y + side, x : x + side] = 1
        found = [feature for feature in features if feature["properties"]["classification"]["name"] == label]
        np.testing.assert_array_equal(drawn(found, 26, 26), expected)
        assert sum(feature["properties"]["measurements"]["tiles"] for feature in found) == (tumour == (k == 0)).sum()


@pytest.mark.parametrize("seed", range(5))
def test_overlapping_and_crooked_tiles_are_joined(seed) -> None:
    rng = np.random.default_rng(seed)
    coords = np.unique(rng.integers(0, 20, (9, 2)), axis=0)
    features = region_features(coords, 5, probabilities([True] * len(coords)), CLASSES, leave_out=["normal"])
    check_shapes(features)
    expected = np.zeros((26, 26), dtype=int)
    for x, y in coords:
        expected[y : y + 5, x : x + 5] = 1
    np.testing.assert_array_equal(drawn(features, 26, 26), expected)


def test_a_hole_that_touches_the_outside_at_a_corner() -> None:
    """A ring of seven tiles, open at one corner: the hole and the outside meet there in a point."""
    coords = np.array([[x, y] for x in range(3) for y in range(3) if (x, y) not in ((1, 1), (2, 2))]) * 2
    features = region_features(coords, 2, probabilities([True] * 7), CLASSES)
    check_shapes(features)
    (feature,) = features
    assert len(feature["geometry"]["coordinates"]) == 2
    assert feature["properties"]["measurements"] == {"tiles": 7.0, "mean p(carcinoma)": pytest.approx(0.9)}


def test_tiles_that_touch_at_a_corner_are_two_regions() -> None:
    features = region_features(np.array([[0, 0], [2, 2]]), 2, probabilities([True, True]), CLASSES)
    check_shapes(features)
    assert len(features) == 2


def test_a_square_has_four_corners() -> None:
    coords = np.argwhere(np.ones((4, 4))) * 10
    (feature,) = region_features(coords, 10, probabilities([True] * 16), CLASSES)
    assert len(feature["geometry"]["coordinates"][0]) == 5
    assert feature["properties"]["objectType"] == "annotation"


def test_the_file_is_read_back(tmp_path) -> None:
    features = tile_features(np.array([[5, 6]]), 3, np.array([[0.25, 0.75]]), CLASSES)
    write_geojson(tmp_path / "tiles.geojson", features)
    assert json.loads((tmp_path / "tiles.geojson").read_text()) == {"type": "FeatureCollection", "features": features}
    write_geojson(tmp_path / "none.geojson", [])
    assert json.loads((tmp_path / "none.geojson").read_text())["features"] == []


def test_what_does_not_fit_is_refused() -> None:
    for coords, table in (([[0, 0]], [[np.nan, 1]]), ([[0, 0]], [[1.0]]), ([[0, 0], [1, 1]], [[0.5, 0.5]])):
        with pytest.raises(DataError, match="geojson"):
            tile_features(coords, 4, table, CLASSES)

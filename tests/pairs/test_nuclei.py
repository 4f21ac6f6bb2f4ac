"""The packaged nuclei: real crops, and no pixel in two splits."""

import struct

import numpy as np
import pytest

from data_prep.pairs.config import PackagedNuclei, PairsConfig, SplitConfig
from data_prep.pairs.nuclei import list_nuclei, polygon_centroid
from data_prep.pairs.prepare import prepare
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError


def wkb(points):
    ring = np.asarray(points, dtype="<f8")
    return struct.pack("<BIII", 1, 3, 1, len(ring)) + ring.tobytes()


def test_centroid_is_of_the_area():
    square = [(0, 0), (4, 0), (4, 2), (2, 2), (0, 2), (0, 0)]
    assert polygon_centroid(wkb(square)) == pytest.approx((2.0, 1.0))
    shifted = [(x + 1e6, y) for x, y in square]
    assert polygon_centroid(wkb(shifted)) == pytest.approx((1e6 + 2.0, 1.0))
    with pytest.raises(DataError, match="not a little-endian WKB polygon"):
        polygon_centroid(b"\0" * 40)
    with pytest.raises(DataError, match="truncated"):
        polygon_centroid(wkb(square)[:-8])


@pytest.fixture(scope="module")
def source():
    import importlib.util

    if importlib.util.find_spec("histolytics") is None:
        pytest.skip("the data package histolytics is not installed")
    return PackagedNuclei(name="packaged_nuclei")


def test_every_nucleus_is_a_crop_or_counted(source):
    listing = list_nuclei(source, SplitConfig())
    assert len(listing.items) + len(listing.dropped) == 1718
    assert len(listing.items) > 1200
    for split in ("train", "dev", "test"):
        labels = {item.label for item in listing.items if item.split == split}
        assert labels == {"inflammatory", "connective", "neoplastic"}
    assert len(listing.sources) == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_no_pixel_in_two_splits(source, seed):
    listing = list_nuclei(source, SplitConfig(seed=seed))
    owner = {field: np.full((1500, 1500), "", dtype="<U5") for field in source.fields}
    cases = {}
    for item in listing.items:
        left, top, right, bottom = item.load.__closure__[0].cell_contents
        area = owner[item.key.split("-")[0]][top:bottom, left:right]
        assert set(np.unique(area)) <= {"", item.split}
        area[:] = item.split
        assert cases.setdefault(item.case, item.split) == item.split


def test_store(source, tmp_path):
    config = PairsConfig(source=PackagedNuclei(name="packaged_nuclei", fields=["stroma"]), format="png")
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    pair = store.split("train")[0]
    assert pair.image.size == (64, 64)
    assert np.asarray(pair.image).std() > 5

"""The packaged nuclei as masks: outlines are filled where the crops of the pairs job find their centres."""

import importlib.util
import struct

import numpy as np
import pytest
from PIL import Image

from data_prep.masks.nuclei import CLASSES, polygon_rings, rasterise, write_nuclei
from medvlp.errors import DataError
from medvlp.io import verify_manifest


def wkb(*rings):
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for points in rings:
        ring = np.asarray(points, dtype="<f8")
        parts.append(struct.pack("<I", len(ring)) + ring.tobytes())
    return b"".join(parts)


SQUARE = [(2, 2), (8, 2), (8, 8), (2, 8), (2, 2)]
HOLE = [(4, 4), (6, 4), (6, 6), (4, 6), (4, 4)]


def test_outlines_are_filled_and_holes_stay_empty():
    rings = polygon_rings(wkb(SQUARE, HOLE))
    mask = np.asarray(rasterise(iter([("neoplastic", rings)]), (12, 12)))
    assert mask[3, 3] == CLASSES.index("neoplastic")
    assert mask[5, 5] == 0
    assert mask[0, 0] == mask[10, 10] == 0
    later = [(label, polygon_rings(wkb(SQUARE))) for label in ("connective", "inflammatory")]
    assert np.asarray(rasterise(iter(later), (12, 12)))[5, 5] == CLASSES.index("inflammatory")


def test_damaged_outlines_are_refused():
    with pytest.raises(DataError, match="geometry is truncated"):
        polygon_rings(wkb(SQUARE)[:-8])
    with pytest.raises(DataError, match="not a little-endian WKB polygon"):
        polygon_rings(struct.pack("<BII", 1, 1, 1))


def test_the_packaged_fields(tmp_path):
    if importlib.util.find_spec("histolytics") is None:
        pytest.skip("the data package histolytics is not installed")
    out = write_nuclei(tmp_path / "masks", tile=500)
    manifest = verify_manifest(out)
    assert manifest["num_images"] == {"train": 10, "dev": 4, "test": 4}
    values = set()
    for split, count in manifest["num_images"].items():
        masks = sorted((out / "masks" / split).iterdir())
        assert [path.name for path in masks] == [path.name for path in sorted((out / "images" / split).iterdir())]
        assert len(masks) == count
        for path in masks:
            opened = Image.open(path)
            assert (opened.size, opened.mode) == ((500, 500), "L")
            values |= set(np.unique(np.asarray(opened)).tolist())
    assert values == {0, 1, 2, 3}
    with pytest.raises(DataError, match="already exists"):
        write_nuclei(out)

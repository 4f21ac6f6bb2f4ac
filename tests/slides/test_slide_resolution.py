"""Micrometres per pixel come from the file or the caller, never from a guess."""

from pathlib import Path

import pytest
from dicom_slides import write_level
from pyramids import discs, write_pyramid

from medvlp.errors import DataError
from medvlp.slides.reader import open_slide
from medvlp.slides.resolution import settle

pytestmark = pytest.mark.extras
pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tiffslide", reason="needs the extra slides")
RGB = discs(300, 200, [(100, 100, 60)])
ITEM = Path("a.svs")


@pytest.mark.parametrize(
    ("stated", "given", "mpp", "source"),
    [
        ((0.25, 0.25), None, 0.25, "metadata"),
        ((0.25, 0.252), None, 0.251, "metadata"),
        ((0.5, 0.5), 0.51, 0.5, "metadata"),
        ((None, None), 0.4, 0.4, "given"),
        ((352.8, 352.8), None, None, "unknown"),
        ((10000.0, 10000.0), 0.5, 0.5, "given"),
        ((0.001, 0.001), None, None, "unknown"),
        ((0.5, None), None, None, "unknown"),
        ((float("nan"), float("inf")), None, None, "unknown"),
        ((0.0, 0.0), None, None, "unknown"),
    ],
)
def test_what_is_used(stated, given, mpp, source):
    found = settle(stated, given, ITEM)
    assert (found.mpp, found.source) == (pytest.approx(mpp) if mpp else None, source)
    assert bool(found.note) == (source != "metadata")


@pytest.mark.parametrize(
    ("stated", "given", "message"),
    [
        ((0.25, 0.26), None, "not square: 0.25 um along x, 0.26 um along y"),
        ((0.25, 0.25), 0.5, "mpp 0.5 was given, but the file states 0.25"),
        ((None, None), 0.0, "outside 0.05 to 20"),
        ((None, None), float("nan"), "outside 0.05 to 20"),
        ((None, None), 40.0, "outside 0.05 to 20"),
    ],
)
def test_what_is_refused(stated, given, message):
    with pytest.raises(DataError, match=message):
        settle(stated, given, ITEM)


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({"mpp": 0.5}, 0.5),
        ({"resolution": (25400 / 0.25, 25400 / 0.25), "unit": "INCH"}, 0.25),
        ({"resolution": (72, 72), "unit": "INCH"}, None),
        ({"resolution": (1, 1), "unit": "CENTIMETER"}, None),
        ({"resolution": (40000, 40000), "unit": "NONE"}, None),
        ({"mpp": None}, None),
        ({"ome": True, "mpp": 0.5}, 0.5),
        ({"ome": True, "mpp": 250, "metadata": {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}}, 0.25),
        ({"ome": True, "mpp": 0.0005, "metadata": {"PhysicalSizeXUnit": "mm", "PhysicalSizeYUnit": "mm"}}, 0.5),
        ({"ome": True, "mpp": 1, "metadata": {"PhysicalSizeXUnit": "pixel", "PhysicalSizeYUnit": "pixel"}}, None),
        ({"ome": True, "mpp": None}, None),
    ],
)
def test_by_file(tmp_path, options, mpp):
    path = write_pyramid(tmp_path / ("a.ome.tif" if options.get("ome") else "a.tif"), RGB, levels=1, **options)
    with open_slide(path) as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-4))
        assert slide.mpp_source == ("unknown" if mpp is None else "metadata")
        if mpp is None:
            with pytest.raises(DataError, match="--mpp"):
                slide.require_mpp()


def test_different_resolutions_along_x_and_y(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", RGB, resolution=(20000, 40000))
    with pytest.raises(DataError, match=r"not square: 0.5 um along x, 0.25 um along y"):
        open_slide(path)


def test_a_given_value_that_contradicts_the_file(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", RGB, mpp=0.25)
    with pytest.raises(DataError, match="leave --mpp out"):
        open_slide(path, mpp=0.5)


@pytest.mark.parametrize(("mpp", "expected"), [(0.25, 0.25), (None, None)])
def test_dicom(tmp_path, mpp, expected):
    with open_slide(write_level(tmp_path / "a.dcm", RGB, mpp)) as slide:
        assert slide.mpp == (None if expected is None else pytest.approx(expected))


def test_an_objective_is_quoted_and_not_used():
    found = settle((None, None), None, ITEM, objective=20.0)
    assert found.mpp is None
    assert "20x objective" in found.note

"""The verb `slide info`: what it prints, and what it must not."""

import pytest
from dicom_slides import write_level
from PIL import Image
from pyramids import discs, write_pyramid

from medvlp.cli import run

pytestmark = pytest.mark.extras
pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tifffile", reason="needs the extra slides")
RGB = discs(1600, 1200, [(700, 600, 400)])


def test_info_and_preview(tmp_path, capfd):
    path = write_pyramid(tmp_path / "a.tif", RGB, mpp=0.5, levels=2)
    assert run(["slide", "info", str(path), "--preview", str(tmp_path / "out" / "a.png")]) == 0
    said = capfd.readouterr().out
    assert "size: 1600 x 1200 px" in said
    assert "levels: 2: 1600 x 1200 (1:1), 800 x 600 (1:2)" in said
    assert "resolution: 0.5 um per pixel (metadata)" in said
    assert "read by: openslide" in said
    assert "tissue: 26." in said
    assert "tiles: 10 of 256 px at 0.5 um per pixel, 256 px of the slide each" in said
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.size == (1200, 900)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]


def test_unknown_and_given_resolution(tmp_path, capfd):
    path = write_pyramid(tmp_path / "a.tif", RGB, mpp=None, levels=1)
    assert run(["slide", "info", str(path)]) == 0
    said = capfd.readouterr().out
    assert "resolution: unknown" in said
    assert "tiles: unknown without a resolution; give --mpp" in said
    assert run(["slide", "info", str(path), "--mpp", "0.5"]) == 0
    assert "resolution: 0.5 um per pixel (given)" in capfd.readouterr().out
    assert run(["slide", "info", str(path), "--mpp", "2"]) == 0
    assert "tiles: none at 0.5 um per pixel" in capfd.readouterr().out


def test_identifiers_are_never_printed(tmp_path, capfd):
    path = write_level(tmp_path / "a.dcm", RGB, complete=False)
    assert run(["slide", "info", str(path)]) == 0
    captured = capfd.readouterr()
    assert "read by: pydicom" in captured.out
    assert "4711" not in captured.out + captured.err
    assert "Doe" not in captured.out + captured.err


def test_mistakes_are_one_line(tmp_path, capfd):
    path = write_pyramid(tmp_path / "a.tif", RGB, mpp=0.25, levels=1)
    for words in ([str(tmp_path / "none.svs")], [str(path), "--mpp", "0.5"], [str(path), "--preview", "a.jpg"]):
        assert run(["slide", "info", *words]) == 2
        said = capfd.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1

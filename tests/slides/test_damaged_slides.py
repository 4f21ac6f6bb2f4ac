"""Damaged and hostile slides: one line that names the file, no crash, and the rest of the slide still readable."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from dicom_slides import write_level
from PIL import Image
from pyramids import discs, he_crop, write_pyramid

from medvlp.errors import DataError
from medvlp.slides import reader
from medvlp.slides.reader import UnreadableRegion, open_slide

pytestmark = pytest.mark.extras
pytest.importorskip("openslide", reason="needs the extra slides")
tifffile = pytest.importorskip("tifffile", reason="needs the extra slides")
FORMS = {"a.tif": {}, "b.tif": {"compression": "jpeg"}, "c.ome.tif": {"ome": True}}


@pytest.fixture(scope="module")
def rgb():
    return he_crop(0, 0, 1024, 768)


def refused(path) -> str:
    with pytest.raises(DataError) as caught:
        open_slide(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_no_slide(tmp_path):
    assert "not found" in refused(tmp_path / "none.svs")
    (tmp_path / "empty.svs").touch()
    assert "zero-byte" in refused(tmp_path / "empty.svs")
    (tmp_path / "text.svs").write_text("not a slide")
    assert "not a slide" in refused(tmp_path / "text.svs")
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    assert "tiled pyramidal TIFF" in refused(tmp_path / "a.png")
    (tmp_path / "magic.tif").write_bytes(b"II*\0" + bytes(40))
    assert "not a slide" in refused(tmp_path / "magic.tif")
    (tmp_path / "folder").mkdir()
    assert "no DICOM slide" in refused(tmp_path / "folder")


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_a_truncated_file(tmp_path, rgb, name, share):
    path = write_pyramid(tmp_path / name, rgb, **FORMS[name])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated" in refused(path)


def spoil(path, index: int, level: int = 0) -> None:
    with tifffile.TiffFile(path) as file:
        page = file.series[0].levels[level].keyframe
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\x11" * count
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", FORMS)
def test_an_unreadable_region_in_the_middle(tmp_path, rgb, name, caplog):
    path = write_pyramid(tmp_path / name, rgb, levels=2, **FORMS[name])
    with open_slide(path) as slide:
        before = slide.read(0, 0, 256, 256)
    spoil(path, 5)
    with open_slide(path) as slide:
        for _ in range(2):
            with pytest.raises(UnreadableRegion, match="x=300, y=300, level 0, 64 x 64 px"):
                slide.read(300, 300, 64, 64)
            assert np.array_equal(slide.read(0, 0, 256, 256), before)
        with pytest.raises(UnreadableRegion):
            slide.square(256, 256, 128, 128)


def test_a_thumbnail_leaves_unreadable_blocks_white_and_says_so(tmp_path, monkeypatch, caplog, rgb):
    monkeypatch.setattr(reader, "_BLOCK", 64)
    path = write_pyramid(tmp_path / "a.tif", rgb, levels=1)
    spoil(path, 5)
    with open_slide(path) as slide:
        small = slide.thumbnail(256)
    assert (small[64:128, 64:128] == 255).all()
    assert small[:64, :64].mean() < 230
    assert "1 of 12 blocks cannot be decoded" in caplog.text
    for index in range(12):
        spoil(path, index)
    with open_slide(path) as slide, pytest.raises(UnreadableRegion):
        slide.thumbnail(256)


def test_limits_of_one_read(tmp_path, rgb):
    with open_slide(write_pyramid(tmp_path / "a.tif", rgb, levels=2)) as slide:
        with pytest.raises(DataError, match="no level 2, the slide has 2"):
            slide.read(0, 0, 10, 10, level=2)
        with pytest.raises(DataError, match="read it in parts"):
            slide.read(0, 0, 100_000, 100_000)
        with pytest.raises(DataError, match="0 x 10 px"):
            slide.read(0, 0, 0, 10)


def test_a_level_too_large_for_a_thumbnail(tmp_path, rgb, monkeypatch):
    monkeypatch.setattr(reader, "MAX_LEVEL_PIXELS", 100_000)
    path = write_pyramid(tmp_path / "a.tif", rgb, levels=1)
    with open_slide(path) as slide, pytest.raises(DataError, match="rebuild the slide with a pyramid"):
        slide.thumbnail(100)


def test_absurd_sizes(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", discs(300, 300, []), levels=1)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["ImageWidth"]
        assert tag.dtype == 4
    struct.pack_into("<I", data, tag.valueoffset, 2_000_000_000)
    path.write_bytes(bytes(data))
    refused(path)


def test_one_strip_is_not_decoded_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("medvlp.slides.backend_tiff.MAX_SEGMENT_PIXELS", 50_000)
    tifffile.imwrite(tmp_path / "a.tif", discs(300, 300, []), rowsperstrip=300, photometric="rgb")
    assert "decoded whole" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["uint16", "grey"])
def test_pixels_that_are_not_8_bit_rgb(tmp_path, kind):
    shape = (300, 300, 3) if kind == "uint16" else (300, 300)
    pixels = np.full(shape, 200, dtype=np.uint16 if kind == "uint16" else np.uint8)
    photometric = "rgb" if kind == "uint16" else "minisblack"
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, tile=(64, 64), photometric=photometric)
    assert "8-bit RGB" in refused(tmp_path / "a.ome.tif")


def test_other_files_named_in_the_metadata_are_not_opened(tmp_path):
    options = {"photometric": "rgb", "tile": (64, 64), "ome": True, "metadata": {"axes": "YXS"}}
    for name, value in (("a.ome.tif", 200), ("b.ome.tif", 10)):
        tifffile.imwrite(tmp_path / name, np.full((256, 256, 3), value, np.uint8), **options)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.read(0, 0, 9, 9).max() == 200
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        other = re.search(r'UUID="([^"]+)"', file.ome_metadata)[1]
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        xml = file.ome_metadata
    entry = f'<TiffData IFD="0"><UUID FileName="b.ome.tif">{other}</UUID></TiffData>'
    xml = re.sub(r"<TiffData[^>]*/>", entry, xml)
    assert "b.ome.tif" in xml
    tifffile.imwrite(
        tmp_path / "c.ome.tif",
        np.full((256, 256, 3), 200, np.uint8),
        photometric="rgb",
        tile=(64, 64),
        description=xml.encode(),
        metadata=None,
    )
    assert "other files" in refused(tmp_path / "c.ome.tif")


def swollen(path, payload: bytes) -> None:
    """Let the sixth tile of the first level point to another payload, at the file's end."""
    with tifffile.TiffFile(path) as file:
        tags = file.series[0].levels[0].keyframe.tags
        offsets, counts = tags["TileOffsets"].valueoffset, tags["TileByteCounts"].valueoffset
        assert tags["TileByteCounts"].dtype == tags["TileOffsets"].dtype == 4
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, offsets + 4 * 5, len(data))
    struct.pack_into("<I", data, counts + 4 * 5, len(payload))
    path.write_bytes(bytes(data) + payload)


def bloated(tmp_path, name):
    rgb = np.random.default_rng(0).integers(0, 255, (768, 1024, 3), dtype=np.uint8)
    path = write_pyramid(tmp_path / name, rgb, levels=1, **FORMS[name])
    swollen(path, zlib.compress(bytes(1 << 24), 9))
    return path, rgb


def test_a_tile_that_expands_beyond_its_size(tmp_path):
    path, rgb = bloated(tmp_path, "c.ome.tif")
    with open_slide(path) as slide:
        with pytest.raises(UnreadableRegion):
            slide.read(256, 256, 256, 256)
        assert np.array_equal(slide.read(0, 0, 256, 256), rgb[:256, :256])


def test_openslide_decodes_no_more_than_the_declared_size(tmp_path):
    path, rgb = bloated(tmp_path, "a.tif")
    with open_slide(path) as slide:
        assert slide.read(256, 256, 256, 256).max() == 0
        assert np.array_equal(slide.read(0, 0, 256, 256), rgb[:256, :256])


def test_a_compressed_tile_larger_than_its_pixels(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (768, 1024, 3), dtype=np.uint8)
    path = write_pyramid(tmp_path / "c.ome.tif", rgb, levels=1, ome=True, compression="jpeg")
    stream = io.BytesIO()
    Image.new("RGB", (8000, 8000), (9, 9, 9)).save(stream, "JPEG", quality=1)
    swollen(path, stream.getvalue())
    assert len(stream.getvalue()) > 900_000
    assert "exceeds its declared size" in refused(path)


def test_dicom_frames(tmp_path, rgb):
    path = write_level(tmp_path / "a.dcm", rgb, complete=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 256, 256), rgb[:256, :256])
        with pytest.raises(UnreadableRegion) as caught:
            slide.read(800, 600, 50, 50)
    assert "4711" not in str(caught.value)
    columns = struct.Struct("<HH2sHI")
    path.write_bytes(whole.replace(columns.pack(0x48, 6, b"UL", 4, 1024), columns.pack(0x48, 6, b"UL", 4, 9000)))
    assert "do not fill a grid" in refused(path)


def test_frames_in_no_order(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    assert "seams" in refused(write_level(tmp_path / "a.dcm", noise, complete=False))

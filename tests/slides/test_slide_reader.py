"""Pixels of a slide equal those of the library that reads it, on every level and beyond the edges."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from dicom_slides import write_level
from PIL import Image
from pydicom.uid import generate_uid
from pyramids import halved, he_crop, write_pyramid

from medvlp.errors import DataError
from medvlp.slides.reader import open_slide
from medvlp.slides.resample import area_resample

pytestmark = pytest.mark.extras
openslide = pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tiffslide", reason="needs the extra slides")


def real(name: str) -> Path:
    folder = os.environ.get("MEDVLP_DATA")
    if not folder:
        pytest.skip("needs MEDVLP_DATA")
    return Path(folder, "wsi", name)


@pytest.fixture(scope="module")
def rgb():
    return he_crop(100, 200, 1000, 700)


def reference(path: Path, x: int, y: int, width: int, height: int, level: int) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        region = slide.read_region((x, y), level, (width, height))
    return np.asarray(Image.alpha_composite(Image.new("RGBA", region.size, (255,) * 4), region))[..., :3]


def random_regions(slide, count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        level = int(rng.integers(len(slide.levels)))
        x, y = (int(rng.integers(-300, side + 100)) for side in slide.size)
        width, height = (int(value) for value in rng.integers(1, 400, 2))
        yield x, y, width, height, level


@pytest.mark.data
def test_read_equals_openslide_on_a_real_slide():
    path = real("cmu-1-small-region.svs")
    with open_slide(path) as slide:
        assert (slide.reader, slide.size, slide.mpp, slide.mpp_source) == ("openslide", (2220, 2967), 0.499, "metadata")
        for region in random_regions(slide, 12):
            assert np.array_equal(slide.read(*region), reference(path, *region)), region


def test_read_equals_openslide_on_every_level(tmp_path, rgb):
    path = write_pyramid(tmp_path / "a.tif", rgb, compression="jpeg")
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1, 2, 4]
        for region in random_regions(slide, 25):
            assert np.array_equal(slide.read(*region), reference(path, *region)), region
        assert np.array_equal(slide.read(2000, 0, 9, 9), np.full((9, 9, 3), 255))


@pytest.mark.parametrize("compression", ["jpeg", "deflate", None])
def test_openslide_and_tiffslide_read_alike(tmp_path, rgb, compression):
    from medvlp.slides.backend_openslide import open_openslide
    from medvlp.slides.backend_tiff import open_tiff

    path = write_pyramid(tmp_path / "a.tif", rgb, compression=compression)
    one, two = open_openslide(path), open_tiff(path)
    assert one.sizes == two.sizes
    assert one.mpp_xy == pytest.approx(two.mpp_xy)
    for x, y, width, height, level in ((0, 0, 1000, 700, 0), (-20, 400, 300, 300, 1), (512, 256, 100, 90, 2)):
        a, b = one.read(x, y, level, width, height), two.read(x, y, level, width, height)
        assert np.abs(a.astype(int) - b).max() <= (2 if compression == "jpeg" else 0)
    one.close()
    two.close()


@pytest.mark.parametrize("options", [{"ome": True}, {"subifds": True}])
def test_pyramids_in_sub_images_are_seen(tmp_path, rgb, options):
    path = write_pyramid(tmp_path / "a.ome.tif", rgb, **options)
    with open_slide(path) as slide:
        assert (slide.reader, len(slide.levels), slide.mpp) == ("tiffslide", 3, pytest.approx(0.5))
        assert np.array_equal(slide.read(0, 0, 1000, 700), rgb)
        assert np.array_equal(slide.read(0, 0, 500, 350, 1), halved(rgb))


@pytest.mark.parametrize("axes", ["CYX", "YXS"])
def test_colour_planes_of_ome(tmp_path, rgb, axes):
    import tifffile

    planes = rgb.transpose(2, 0, 1) if axes == "CYX" else rgb
    options = {"photometric": "rgb", "planarconfig": "separate" if axes == "CYX" else "contig"}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, ome=True, tile=(256, 256), metadata={"axes": axes}, **options)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert np.array_equal(slide.read(10, 20, 300, 200), rgb[20:220, 10:310])


def test_strips_are_read(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.tif", compression="tiff_lzw")
    with open_slide(tmp_path / "a.tif") as slide:
        assert (slide.reader, slide.mpp) == ("tiffslide", None)
        assert np.array_equal(slide.read(900, 600, 200, 200)[:100, :100], rgb[600:, 900:])


def test_tiles_that_are_not_stored_are_white(tmp_path, rgb):
    import tifffile

    def tiles():
        for index in range(12):
            top, left = index // 4 * 256, index % 4 * 256
            block = np.zeros((256, 256, 3), dtype=np.uint8)
            cut = rgb[top : top + 256, left : left + 256]
            block[: len(cut), : cut.shape[1]] = cut
            yield None if index == 5 else block

    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(tiles(), shape=rgb.shape, dtype=rgb.dtype, tile=(256, 256), photometric="rgb", compression="jpeg")
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.reader == "tiffslide"
        assert (slide.read(256, 256, 256, 256) == 255).all()
        assert slide.read(0, 256, 256, 256).mean() < 230
        assert slide.read(512, 256, 256, 256).mean() < 230


@pytest.mark.data
def test_frames_of_a_real_dicom_slide():
    from pydicom.pixels.utils import pixel_array

    path = real("wsi_dicom_42frames.dcm")
    with open_slide(path) as slide:
        assert (slide.reader, slide.size, slide.mpp, slide.mpp_source) == ("pydicom", (3236, 2638), None, "unknown")
        assert any("columns" in note for note in slide.notes)
        for column, row in ((0, 0), (3, 1), (5, 4)):
            frame = pixel_array(path, index=column * 6 + row)
            assert np.array_equal(slide.read(column * 500, row * 500, 500, 500), frame)
        assert (slide.read(3236, 0, 20, 20) == 255).all()
        assert "TCGA" not in f"{slide!r}{slide.notes}"


@pytest.mark.parametrize(
    ("options", "reader"),
    [
        ({}, "openslide"),
        ({"rle": True}, "wsidicom"),
        ({"complete": False}, "pydicom"),
        ({"complete": False, "columns_first": True}, "pydicom"),
    ],
)
def test_dicom_by_file_and_by_folder(tmp_path, rgb, options, reader):
    series = generate_uid()
    write_level(tmp_path / "0.dcm", rgb, 0.25, series=series, **options)
    if reader != "pydicom":
        write_level(tmp_path / "1.dcm", halved(rgb), 0.5, series=series, **options)
    for path in (tmp_path / "0.dcm", tmp_path):
        with open_slide(path) as slide:
            assert (slide.reader, slide.mpp) == (reader, pytest.approx(0.25))
            assert slide.key == (path.name if path.is_dir() else "0")
            assert len(slide.levels) == (1 if reader == "pydicom" else 2)
            assert np.array_equal(slide.read(0, 0, 1000, 700), rgb)
            if reader != "pydicom":
                assert np.array_equal(slide.read(200, 100, 300, 200, 1), halved(rgb)[50:250, 100:400])
            assert (slide.read(-30, -30, 30, 30) == 255).all()


def test_a_folder_of_two_series_is_refused(tmp_path, rgb):
    write_level(tmp_path / "0.dcm", rgb)
    write_level(tmp_path / "1.dcm", rgb)
    with pytest.raises(DataError, match="several DICOM series"):
        open_slide(tmp_path)


def test_sent_to_another_process(tmp_path, rgb):
    path = write_pyramid(tmp_path / "a.tif", rgb, mpp=None)
    with open_slide(path, mpp=0.3) as slide, pickle.loads(pickle.dumps(slide)) as again:
        assert (again.key, again.mpp, again.mpp_source) == ("a", 0.3, "given")
        assert np.array_equal(again.read(5, 6, 70, 80), slide.read(5, 6, 70, 80))


def brute_force(rgb: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    left, top, right, bottom = box
    out = np.zeros((size[1], size[0], 3))
    for j in range(size[1]):
        for i in range(size[0]):
            x0, x1 = (left + (right - left) * k / size[0] for k in (i, i + 1))
            y0, y1 = (top + (bottom - top) * k / size[1] for k in (j, j + 1))
            for y in range(int(y0), int(np.ceil(y1))):
                for x in range(int(x0), int(np.ceil(x1))):
                    weight = (min(x + 1, x1) - max(x, x0)) * (min(y + 1, y1) - max(y, y0))
                    out[j, i] += weight * rgb[y, x]
            out[j, i] /= (x1 - x0) * (y1 - y0)
    return out


@pytest.mark.parametrize("box", [(0, 0, 20, 16), (0, 0, 19, 15), (0.25, 1.5, 18.75, 13.0), (2.5, 0, 12.6, 8.2)])
def test_area_means(box):
    rgb = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    assert np.abs(area_resample(rgb, box, (10, 8)) - brute_force(rgb, box, (10, 8))).max() <= 0.5 + 1e-3


def test_tiles_look_alike_at_every_scan_magnification(tmp_path, rgb):
    """The same tissue at 0.25, 0.5 and 1 um per pixel, as tiles of 1 um per pixel."""
    tiles = []
    for name, image, mpp in (("40", rgb, 0.25), ("20", halved(rgb), 0.5), ("10", halved(halved(rgb)), 1.0)):
        with open_slide(write_pyramid(tmp_path / f"{name}.tif", image, mpp=mpp, levels=1)) as slide:
            tiles.append(slide.square(round(50 / mpp), round(25 / mpp), round(96 / mpp), 96).astype(int))
    assert np.abs(tiles[0] - tiles[2]).max() <= 2
    assert np.abs(tiles[1] - tiles[2]).max() <= 1


def test_the_level_does_not_change_a_tile(tmp_path, rgb):
    flat = write_pyramid(tmp_path / "flat.tif", rgb, levels=1)
    deep = write_pyramid(tmp_path / "deep.tif", rgb, levels=3)
    with open_slide(flat) as one, open_slide(deep) as two:
        for x, y, side, size in ((0, 0, 512, 128), (133, 77, 512, 128), (100, 100, 600, 250), (300, 200, 333, 100)):
            a, b = one.square(x, y, side, size).astype(int), two.square(x, y, side, size).astype(int)
            assert np.abs(a - b).mean() < 2.5
            assert np.abs(a - b).max() < 24


def test_enlarging_is_limited(tmp_path, rgb):
    with open_slide(write_pyramid(tmp_path / "a.tif", rgb)) as slide:
        assert slide.square(0, 0, 200, 256).shape == (256, 256, 3)
        with pytest.raises(DataError, match="more than 1.5 times"):
            slide.square(0, 0, 128, 256)


def test_thumbnail(tmp_path, rgb):
    with open_slide(write_pyramid(tmp_path / "a.tif", rgb, levels=1)) as slide:
        assert np.array_equal(slide.thumbnail(5000), rgb)
        small = slide.thumbnail(250)
        assert small.shape == (175, 250, 3)
        assert np.abs(small.astype(int) - halved(halved(rgb))).max() <= 1


@pytest.mark.parametrize("longest", [250, 333, 71])
def test_a_thumbnail_in_blocks_has_no_seams(tmp_path, rgb, monkeypatch, longest):
    with open_slide(write_pyramid(tmp_path / "a.tif", rgb, levels=2)) as slide:
        whole = slide.thumbnail(longest)
        monkeypatch.setattr("medvlp.slides.reader._BLOCK", 40)
        assert np.abs(slide.thumbnail(longest).astype(int) - whole).max() <= 1

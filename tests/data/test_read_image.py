"""read_image gives the right 8-bit RGB for every common encoding, and one line for everything else."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medvlp.data.image import encode_image, read_image
from medvlp.errors import DataError

RED = (200, 30, 10)


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def pixel(image, at=(2, 2)):
    assert image.mode == "RGB"
    return image.getpixel(at)


def near(a, b, tolerance=4):
    return all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_rgb_formats(format, tmp_path):
    path = tmp_path / f"a.{format.lower()}"
    Image.new("RGB", (9, 6), RED).save(path)
    image = read_image(path)
    assert image.size == (9, 6)
    assert near(pixel(image), RED)


def test_grey_one_bit_and_palette():
    assert pixel(read_image(saved(Image.new("L", (5, 5), 77), "PNG"))) == (77, 77, 77)
    assert pixel(read_image(saved(Image.new("1", (5, 5), 1), "PNG"))) == (255, 255, 255)
    assert pixel(read_image(saved(Image.new("1", (5, 5), 1), "TIFF"))) == (255, 255, 255)
    assert pixel(read_image(saved(Image.new("RGB", (5, 5), RED).quantize(4), "PNG"))) == RED


def test_transparency_is_composited_on_white():
    half = Image.new("RGBA", (5, 5), (*RED, 128))
    assert near(pixel(read_image(saved(half, "PNG"))), (227, 142, 132))
    assert pixel(read_image(saved(Image.new("RGBA", (5, 5), (0, 0, 0, 0)), "PNG"))) == (255, 255, 255)
    assert pixel(read_image(saved(Image.new("LA", (5, 5), (0, 0)), "PNG"))) == (255, 255, 255)
    palette = Image.new("P", (5, 5), 1)
    palette.putpalette([9, 9, 9, *RED])
    assert pixel(read_image(saved(palette, "PNG", transparency=1))) == (255, 255, 255)
    assert pixel(read_image(saved(palette, "PNG", transparency=0))) == RED


def test_cmyk_jpeg():
    cmyk = Image.new("RGB", (16, 16), RED).convert("CMYK")
    assert near(pixel(read_image(saved(cmyk, "JPEG", quality=95))), RED, 6)
    assert near(pixel(read_image(saved(cmyk, "TIFF"))), RED, 2)


def test_exif_rotation():
    image = Image.new("RGB", (8, 4), (255, 255, 255))
    image.putpixel((0, 0), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to show
    turned = read_image(saved(image, "PNG", exif=exif))
    assert turned.size == (4, 8)
    assert pixel(turned, (3, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("top", "expected"), [(255, 255), (4095, 255), (2048, 128), (65535, 255), (16383, 255), (1023, 255), (40000, 156)]
)
def test_sixteen_bit_grey_keeps_contrast(top, expected):
    values = np.zeros((4, 4), dtype=np.uint16)
    values[2, 2] = top
    for format in ("PNG", "TIFF"):
        image = read_image(saved(Image.fromarray(values), format))
        assert pixel(image) == (expected,) * 3
        assert pixel(image, (0, 0)) == (0, 0, 0)
    assert pixel(read_image(saved(Image.fromarray(values), "PNG"), bits=16)) == (round(top / 65535 * 255),) * 3


def test_big_endian_sixteen_bit_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="needs the slides extra")
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 4), 4095, dtype=np.uint16), byteorder=">")
    assert pixel(read_image(tmp_path / "a.tif")) == (255,) * 3


def test_tiff_that_stores_white_as_zero(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="needs the slides extra")
    for dtype, top in (("u1", 255), ("u2", 65535)):
        values = np.array([[0, top]] * 4, dtype=dtype)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
        image = read_image(tmp_path / "a.tif")
        assert [pixel(image, (x, 0))[0] for x in (0, 1)] == [255, 0], dtype
    tifffile.imwrite(tmp_path / "b.tif", np.full((4, 4), 2**31 + 5, dtype="u4"))
    with pytest.raises(DataError, match=r"outside 0 to \d+; give window="):
        read_image(tmp_path / "b.tif")


def test_float_and_window():
    def tiff(values):
        return saved(Image.fromarray(np.asarray(values, dtype=np.float32)), "TIFF")

    assert pixel(read_image(tiff(np.full((4, 4), 0.5)))) == (128,) * 3
    with pytest.raises(DataError, match=r"span \[-1000, 400\].*window="):
        read_image(tiff([[-1000.0, 400.0]] * 4))
    windowed = read_image(tiff([[-1000.0, 40.0, 400.0]] * 4), window=(40, 400))
    assert [pixel(windowed, (x, 0))[0] for x in range(3)] == [0, 128, 255]
    with pytest.raises(DataError, match="NaN"):
        read_image(tiff([[np.nan, 0.0]] * 4))
    with pytest.raises(DataError, match="width 0 is not positive"):
        read_image(tiff(np.zeros((4, 4))), window=(1, 0))


def test_several_pages_need_a_choice():
    pages = [Image.new("RGB", (4, 4), (value,) * 3) for value in (10, 20, 30)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 3 frames; choose one with frame="):
        read_image(data)
    assert pixel(read_image(data, frame=2)) == (30, 30, 30)
    with pytest.raises(DataError, match="frame 3 does not exist"):
        read_image(data, frame=3)


def bomb(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [100_000, 10_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bomb_is_refused_on_its_header(side, tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with pytest.raises(DataError, match=r"bomb\.png: .*exceed the limit of 64,000,000") as caught:
        read_image(tmp_path / "bomb.png")
    assert "\n" not in str(caught.value)


def test_truncated_zero_byte_and_foreign_files(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for format in ("JPEG", "PNG", "TIFF"):
        path = tmp_path / f"cut.{format.lower()}"
        data = saved(noise, format)
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=rf"cut\.{format.lower()}: (truncated|damaged|not an) ?image"):
            read_image(path)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png: zero-byte file; copy it again"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: not an image"):
        read_image(tmp_path / "text.png")
    (tmp_path / "evil.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataError, match="not an image"):
        read_image(tmp_path / "evil.png")
    with pytest.raises(DataError, match=r"gone\.png: image not found"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_flip_of_a_byte_is_an_image_or_a_data_error():
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    rng = np.random.default_rng(2)
    for format in ("JPEG", "PNG", "TIFF", "GIF"):
        data = saved(noise, format)
        for _ in range(60):
            broken = bytearray(data)
            broken[int(rng.integers(len(broken)))] ^= int(rng.integers(1, 256))
            with contextlib.suppress(DataError):
                assert read_image(bytes(broken), max_pixels=10**6).mode == "RGB"


def test_bounded_size_and_encoding():
    image = read_image(Image.new("RGB", (300, 100), RED), max_side=60)
    assert image.size == (60, 20)
    assert read_image(Image.new("RGB", (30, 10)), max_side=60).size == (30, 10)
    assert encode_image(image, "png") == encode_image(image, "png")
    assert near(pixel(read_image(encode_image(image, "jpeg"))), RED)
    with pytest.raises(DataError, match="colour mode LAB"):
        read_image(Image.new("LAB", (4, 4)))

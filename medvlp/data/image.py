"""One way to turn any image file into 8-bit RGB, or refuse it in one line, for library and preparation alike.

The rules, so that a colour is never silently wrong:

* transparency (LA, RGBA, palette) is composited on white; EXIF orientation is applied; CMYK becomes RGB;
* grey of more than 8 bits is divided by the full range of the smallest of 8, 10, 12, 14 or 16 bits that
  holds the image's own maximum (a 12-bit scan in a 16-bit file keeps its contrast), unless ``bits`` is given;
* float images must lie in [0, 1]; anything else needs a ``window``;
* ``window=(centre, width)`` maps [centre - width/2, centre + width/2] linearly to [0, 255] for any grey image;
* DICOM is read by :mod:`medvlp.data.dicom`.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medvlp.errors import DataError

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".dcm", ".dicom"})
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
)
_TIFF_PHOTOMETRIC = 262
_BIT_DEPTHS = (8, 10, 12, 14, 16)


def is_dicom(source: Path | bytes) -> bool:
    """Tell whether a file is DICOM, by its magic number or, for files without preamble, its suffix."""
    if isinstance(source, bytes):
        return source[128:132] == b"DICM"
    if source.suffix.lower() in {".dcm", ".dicom"}:
        return True
    try:
        with source.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", item=source, remedy="check its permissions") from None


def read_image(
    source: str | Path | bytes | Image.Image,
    *,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    window: tuple[float, float] | None = None,
    bits: int | None = None,
    frame: int | None = None,
    name: str | None = None,
) -> Image.Image:
    """Read one image as 8-bit RGB.

    Args:
        source: A path, the encoded bytes, or an already opened PIL image.
        max_pixels: Largest width x height accepted, checked on the header before anything is decoded.
        max_side: Shrink (never enlarge) so that the longer side is at most this many pixels.
        window: Centre and width for grey images, in the image's own units (Hounsfield units for CT).
        bits: Bit depth of grey images with more than 8 bits, instead of the rule above.
        frame: Page or frame of a file that holds several.
        name: What errors call the image; defaults to the path.

    Raises:
        DataError: In one line, for anything that is not one readable image: missing, empty, truncated,
            unknown format, too many pixels, several frames without ``frame``, float values out of range.
    """
    if isinstance(source, str):
        source = Path(source)
    item = name if name is not None else (str(source) if isinstance(source, Path) else "image")
    if not isinstance(source, Path | bytes | Image.Image):
        kind = type(source).__name__
        raise DataError(f"expected a path, bytes or a PIL image, got {kind}", item=item, remedy="convert it first")
    if isinstance(source, Image.Image):
        image = _to_rgb(_checked(source, max_pixels, frame, item), window, bits, item)
    else:
        _require_content(source, item)
        if is_dicom(source):
            from medvlp.data.dicom import read_dicom

            image = read_dicom(source, window=window, frame=frame, max_pixels=max_pixels, name=item)
        else:
            image = _read_file(source, max_pixels, window, bits, frame, item)
    if max_side is not None and max(image.size) > max_side:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return image


def encode_image(image: Image.Image, format: str = "jpeg", quality: int = 95) -> bytes:
    """Encode an RGB image as ``jpeg`` (4:4:4) or ``png`` bytes, the same bytes for the same pixels."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": quality, "subsampling": 0} if format == "jpeg" else {"compress_level": 4}
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def scale_to_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map [low, high] linearly to uint8 [0, 255], clipping outside and rounding to nearest."""
    span = max(high - low, float(np.finfo(np.float64).tiny))
    return np.rint(np.clip((values.astype(np.float64) - low) / span, 0.0, 1.0) * 255.0).astype(np.uint8)


def check_size(width: int, height: int, max_pixels: int, item: str) -> None:
    """Refuse an image by its header alone."""
    if width * height > max_pixels:
        raise DataError(
            f"{width} x {height} pixels exceed the limit of {max_pixels:,}",
            item=item,
            remedy="raise max_pixels or cut it into tiles",
        )


def _require_content(source: Path | bytes, item: str) -> None:
    if isinstance(source, Path):
        if not source.is_file():
            raise DataError("is a folder" if source.is_dir() else "image not found", item=item, remedy="check the path")
        size = source.stat().st_size
    else:
        size = len(source)
    if size == 0:
        raise DataError("zero-byte file", item=item, remedy="copy it again from its source")


def _read_file(
    source: Path | bytes,
    max_pixels: int,
    window: tuple[float, float] | None,
    bits: int | None,
    frame: int | None,
    item: str,
) -> Image.Image:
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            return _to_rgb(_checked(image, max_pixels, frame, item), window, bits, item)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            "not an image, or its header is damaged", item=item, remedy=f"supported: {', '.join(FORMATS)}, DICOM"
        ) from None
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise DataError(
            f"{int(found[0]) if found else 0:,} pixels exceed the limit of {max_pixels:,}",
            item=item,
            remedy="cut it into tiles",
        ) from None
    except _DECODER_ERRORS as error:
        problem = "truncated image" if "truncated" in str(error) else f"damaged image ({type(error).__name__})"
        raise DataError(problem, item=item, remedy="copy it again from its source") from None


def _checked(image: Image.Image, max_pixels: int, frame: int | None, item: str) -> Image.Image:
    """Check size and number of frames on the header and select the frame."""
    check_size(*image.size, max_pixels, item)
    # An MPO is a photograph followed by its previews: the first image is the photograph.
    num_frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    if frame is not None and not 0 <= frame < num_frames:
        raise DataError(f"frame {frame} does not exist, the file holds {num_frames}", item=item)
    if num_frames > 1:
        if frame is None:
            raise DataError(f"holds {num_frames} frames", item=item, remedy="choose one with frame=")
        image.seek(frame)
        check_size(*image.size, max_pixels, item)
    return image


def _to_rgb(image: Image.Image, window: tuple[float, float] | None, bits: int | None, item: str) -> Image.Image:
    # Pillow inverts TIFFs that store white as zero only up to 8 bits.
    white_is_zero = getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == 0
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _from_deep_grey(image, window, bits, item)
        return ImageOps.invert(grey) if white_is_zero else grey
    if window is not None and image.mode in ("L", "1"):
        return _grey(_windowed(np.asarray(image.convert("L")), window, item))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        straight = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)
        top = (image.convert(straight) if straight is not None else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", top.size, (255, 255, 255, 255)), top).convert("RGB")
    if image.mode not in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX"):
        raise DataError(f"colour mode {image.mode} is not supported", item=item, remedy="save it as 8-bit RGB")
    converted = image.convert("RGB")
    return converted if converted is not image else image.copy()


def _from_deep_grey(image: Image.Image, window: tuple[float, float] | None, bits: int | None, item: str) -> Image.Image:
    values = np.asarray(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("holds NaN or infinite pixels", item=item, remedy="replace them before preparing")
    if window is not None:
        return _grey(_windowed(values, window, item))
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        if low < 0.0 or high > 1.0:
            raise DataError(
                f"float pixels span [{low:.4g}, {high:.4g}], not [0, 1]",
                item=item,
                remedy="give window=(centre, width)",
            )
        return _grey(scale_to_bytes(values, 0.0, 1.0))
    depth = bits if bits is not None else next((b for b in _BIT_DEPTHS if high < 2**b), _BIT_DEPTHS[-1])
    if low < 0 or high >= 2**depth:
        raise DataError(
            f"integer pixels span [{low:.0f}, {high:.0f}], outside 0 to {2**depth - 1}",
            item=item,
            remedy="give window=(centre, width)",
        )
    return _grey(scale_to_bytes(values, 0.0, float(2**depth - 1)))


def _windowed(values: np.ndarray, window: tuple[float, float], item: str) -> np.ndarray:
    centre, width = window
    if width <= 0:
        raise DataError(f"window width {width:g} is not positive", item=item)
    return scale_to_bytes(values, centre - width / 2, centre + width / 2)


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values).convert("RGB")

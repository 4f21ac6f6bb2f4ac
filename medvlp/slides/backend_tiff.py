"""TIFF slides through tiffslide: OME pyramids in sub-images, strips, compressions OpenSlide does not know."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp.errors import DataError
from medvlp.io import require
from medvlp.slides.backends import MAX_SEGMENT_PIXELS, DecodeError, on_white

MAX_COMPRESSED_RATIO = 1.5
"""Largest size of a compressed tile or strip, as a multiple of four bytes per declared pixel (and 64 KiB more)."""

_UM_PER = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4, "in": 25400.0}
_ATTRIBUTE = re.compile(r'\b(PhysicalSize[XY](?:Unit)?|NominalMagnification)\s*=\s*"([^"]*)"')


class TiffBackend:
    """A slide that tiffslide reads; see :class:`medvlp.slides.backends.Backend`."""

    name = "tiffslide"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, handle: Any) -> None:
        self._handle = handle
        file = handle.ts_tifffile
        self.is_ome = bool(file.is_ome)
        if self.is_ome:
            _check_one_file(file.ome_metadata or "", path)
        properties = handle.properties
        self.sizes = tuple((int(width), int(height)) for width, height in handle.level_dimensions)
        self.downsamples = tuple(float(value) for value in handle.level_downsamples)
        series = file.series[properties["tiffslide.series-index"]]
        self._pages = [level.keyframe for level in series.levels]
        self._channels_first = series.axes == "CYX"
        if _is_cut_off(file):
            raise DataError(
                "truncated: parts of it lie beyond its end", item=path, remedy="copy it again from its source"
            )
        _check_pixels(series, self._pages, path)
        if self.is_ome:
            self.mpp_xy, self.objective = _ome_resolution(file.ome_metadata or "")
        else:
            self.mpp_xy = _number(properties.get("tiffslide.mpp-x")), _number(properties.get("tiffslide.mpp-y"))
            self.objective = _number(properties.get("tiffslide.objective-power"))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a region, white outside the level and where the file stores no tile."""
        downsample = self.downsamples[level]
        left, top = math.floor(x / downsample), math.floor(y / downsample)

        def inside(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
            try:
                group = self._handle.zarr_group
                array = group if hasattr(group, "shape") else group[str(level)]
                rows, columns = slice(y0, y1), slice(x0, x1)
                if self._channels_first:
                    values = np.moveaxis(np.asarray(array[:, rows, columns]), 0, -1)
                else:
                    values = np.asarray(array[rows, columns])
            except Exception as error:  # decoders raise many types, whose messages may quote the file
                raise DecodeError(type(error).__name__) from error
            if values.shape[-1] == 4:
                top_image = Image.fromarray(np.ascontiguousarray(values))
                white = Image.new("RGBA", top_image.size, (255, 255, 255, 255))
                values = np.asarray(Image.alpha_composite(white, top_image))
            return _unstored_white(np.array(values[..., :3]), self._pages[level], x0, y0)

        return on_white(self.sizes[level], left, top, width, height, inside)

    def close(self) -> None:
        """Release the file."""
        self._handle.close()


def open_tiff(path: Path) -> TiffBackend | None:
    """Open a TIFF with tiffslide; None if it does not read the file.

    Raises:
        DataError: If it reads it, but the pixels are not 8-bit RGB or come in pieces too large to decode.
    """
    tiffslide = require("tiffslide", "slides")
    handle = None
    try:
        handle = tiffslide.TiffSlide(path)
        return TiffBackend(path, handle)
    except DataError:
        if handle is not None:
            handle.close()
        raise
    except Exception:  # a damaged header fails in many ways, none of which says more than that it is not readable
        if handle is not None:
            handle.ts_tifffile.close()
        return None


def _check_one_file(xml: str, path: Path) -> None:
    """Refuse a slide whose metadata send the reader to other files: names in a stranger's file are not followed."""
    own = re.search(r"<(?:\w+:)?OME\b[^>]*\bUUID\s*=\s*\"([^\"]+)\"", xml)
    named = re.findall(r"<(?:\w+:)?UUID\b[^>]*>([^<]*)<", xml)
    if any(own is None or name.strip() != own[1] for name in named):
        raise DataError("its metadata name other files", item=path, remedy="write the slide into one OME-TIFF")


def _check_pixels(series: Any, pages: list[Any], path: Path) -> None:
    shape, axes = series.shape, series.axes
    channels = {"YXS": shape[-1], "CYX": shape[0]}.get(axes, 1)
    if series.dtype != np.uint8 or channels not in (3, 4) or (axes == "CYX" and channels != 3):
        raise DataError(
            f"pixels are {series.dtype} with {channels} channels (axes {axes}), not 8-bit RGB",
            item=path,
            remedy="export the slide as 8-bit RGB",
        )
    for page in pages:
        tile = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
        if tile[0] * tile[1] > MAX_SEGMENT_PIXELS:
            raise DataError(
                f"is stored in pieces of {tile[0]} x {tile[1]} px, which have to be decoded whole",
                item=path,
                remedy="convert it to a tiled pyramidal TIFF",
            )
        _check_compressed(page, tile[0] * tile[1], path)


def _check_compressed(page: Any, pixels: int, path: Path) -> None:
    """Refuse compressed pieces larger than what they are to become: a decoder follows the piece, not the header."""
    if len(page.databytecounts) and max(page.databytecounts) > MAX_COMPRESSED_RATIO * 4 * pixels + 65536:
        raise DataError("a compressed piece exceeds its declared size", item=path, remedy="do not trust this file")


def _is_cut_off(file: Any) -> bool:
    """Say whether a TIFF points beyond its end; tifffile itself goes on with what is left, with fewer levels."""
    size, tiff = file.filehandle.size, file.tiff
    pages = [page for first in file.pages for page in (first, *(first.pages or ()))]
    for page in pages:
        ends = np.asarray(page.dataoffsets, dtype=np.float64) + np.asarray(page.databytecounts, dtype=np.float64)
        below = page.subifds if isinstance(page.subifds, tuple) else ()
        if (len(ends) and ends.max() > size) or any(offset >= size for offset in below):
            return True
        file.filehandle.seek(page.offset)
        (tags,) = struct.unpack(tiff.tagnoformat, file.filehandle.read(tiff.tagnosize))
        file.filehandle.seek(page.offset + tiff.tagnosize + tags * tiff.tagsize)
        (following,) = struct.unpack(tiff.offsetformat, file.filehandle.read(tiff.offsetsize))
        if following >= size:
            return True
    return False


def _unstored_white(rgb_hwc: NDArray[np.uint8], page: Any, x0: int, y0: int) -> NDArray[np.uint8]:
    """Paint tiles of no bytes white: tifffile fills them with zeros, which would be black tissue."""
    if not page.is_tiled:
        return rgb_hwc
    tile_w, tile_h = page.tilewidth, page.tilelength
    across = math.ceil(page.imagewidth / tile_w)
    height, width = rgb_hwc.shape[:2]
    for row in range(y0 // tile_h, (y0 + height - 1) // tile_h + 1):
        for column in range(x0 // tile_w, (x0 + width - 1) // tile_w + 1):
            if page.databytecounts[row * across + column] == 0:
                top, left = row * tile_h - y0, column * tile_w - x0
                rgb_hwc[max(top, 0) : top + tile_h, max(left, 0) : left + tile_w] = 255
    return rgb_hwc


def _ome_resolution(xml: str) -> tuple[tuple[float | None, float | None], float | None]:
    """Read the sizes of the first image by their attributes, without parsing (and expanding) a stranger's XML."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    found = dict(_ATTRIBUTE.findall(pixels[0])) if pixels else {}
    sizes = []
    for axis in "XY":
        value = _number(found.get(f"PhysicalSize{axis}"))
        factor = _UM_PER.get(found.get(f"PhysicalSize{axis}Unit", "µm"))
        sizes.append(None if value is None or factor is None else value * factor)
    magnifications = [value for name, value in _ATTRIBUTE.findall(xml) if name == "NominalMagnification"]
    return (sizes[0], sizes[1]), _number(magnifications[0]) if magnifications else None


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None

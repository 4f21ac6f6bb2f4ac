"""Which library reads a slide, and the one form in which all of them are asked for pixels.

OpenSlide comes first. TIFFs it refuses, or whose OME pyramid it does not see, go to tiffslide; DICOM it refuses goes to
wsidicom, and single-level DICOM without the attributes those two insist on to pydicom.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medvlp.data.image import is_dicom
from medvlp.errors import DataError, MissingExtraError

MAX_SEGMENT_PIXELS = 2**26
"""Largest tile or strip a file may declare: reading one pixel decodes all of it."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class DecodeError(Exception):
    """Pixels that cannot be decoded; the slide turns it into one line that names the region."""


class Backend(Protocol):
    """An open slide as a library sees it.

    Attributes:
        name: "openslide", "tiffslide", "wsidicom" or "pydicom".
        sizes: (width, height) of each level, largest first.
        downsamples: Level-0 pixels per pixel of each level.
        mpp_xy: Micrometres per level-0 pixel that the metadata state, along x and y.
        objective: Nominal magnification that the metadata state.
        notes: What had to be assumed, in words.
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    mpp_xy: tuple[float | None, float | None]
    objective: float | None
    notes: tuple[str, ...]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) from level-0 position (x, y), white outside the slide, or raise DecodeError."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def open_backend(path: Path) -> Backend:
    """Open a slide with the first library that reads it.

    Raises:
        DataError: Missing, empty, or read by none of them.
        MissingExtraError: No library for this format is installed.
    """
    if path.is_dir():
        from medvlp.slides.backend_dicom import series_file

        return open_backend(series_file(path))
    if not path.is_file():
        raise DataError("slide not found", item=path, remedy="check the path")
    if path.stat().st_size == 0:
        raise DataError("zero-byte file", item=path, remedy="copy it again from its source")
    failure: MissingExtraError | None = None
    for opener in _openers(path):
        try:
            backend = opener(path)
        except MissingExtraError as error:
            failure = failure or error
            continue
        if backend is not None:
            return backend
    if failure is not None:
        raise failure
    raise DataError(
        "is not a slide that OpenSlide, tiffslide, wsidicom or pydicom reads, or it is damaged",
        item=path,
        remedy="copy it again from its source, or convert it to a tiled pyramidal TIFF",
    )


def _openers(path: Path) -> list[Callable[[Path], Backend | None]]:
    from medvlp.slides.backend_openslide import open_openslide

    if is_dicom(path):
        from medvlp.slides.backend_dicom import open_pydicom, open_wsidicom

        return [open_openslide, open_wsidicom, open_pydicom]
    with path.open("rb") as stream:
        is_tiff = stream.read(4) in _TIFF_MAGIC
    if is_tiff:
        from medvlp.slides.backend_tiff import open_tiff

        return [_openslide_unless_it_misses_levels, open_tiff]
    return [open_openslide]


def _openslide_unless_it_misses_levels(path: Path) -> Backend | None:
    """Hand a generic TIFF on if OpenSlide sees one level where OME metadata or sub-images hold a pyramid."""
    from medvlp.slides.backend_openslide import open_openslide
    from medvlp.slides.backend_tiff import open_tiff

    backend = open_openslide(path)
    if backend is None or not backend.generic or len(backend.sizes) > 1:
        return backend
    try:
        other = open_tiff(path)
    except (DataError, MissingExtraError):
        return backend
    if other is not None and (len(other.sizes) > 1 or other.is_ome):
        backend.close()
        return other
    if other is not None:
        other.close()
    return backend


def on_white(
    level_size: tuple[int, int], x: int, y: int, width: int, height: int, read: Callable[..., NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return a region of a level, white where it leaves the level.

    Args:
        level_size: (width, height) of the level.
        x: Left edge in pixels of the level.
        y: Top edge in pixels of the level.
        width: Pixels of the level.
        height: Pixels of the level.
        read: ``read(x0, y0, x1, y1)`` gives the pixels of a box inside the level.
    """
    out = np.full((height, width, 3), 255, dtype=np.uint8)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, level_size[0]), min(y + height, level_size[1])
    if x0 < x1 and y0 < y1:
        out[y0 - y : y1 - y, x0 - x : x1 - x] = read(x0, y0, x1, y1)
    return out

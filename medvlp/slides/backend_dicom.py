"""DICOM slides that OpenSlide refuses: through wsidicom, or frame by frame through pydicom.

The standard (PS3.3 C.7.6.17.3) lets a writer leave the frames' positions out only with the dimension organisation
TILED_FULL, rows first. Files without either exist, with rows first or columns first; there the seams between frames
decide, and the slide carries a note that says so.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.data.image import is_dicom
from medvlp.errors import DataError
from medvlp.io import require
from medvlp.slides.backends import MAX_SEGMENT_PIXELS, DecodeError, on_white

_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_TAGS = ["SOPClassUID", "SeriesInstanceUID", "ImageType", "TotalPixelMatrixColumns"]
_CACHED_FRAMES = 32
_CLEAR_SEAM = 0.7


def series_file(folder: Path) -> Path:
    """Return the file of the largest level in a folder that holds one DICOM slide.

    Raises:
        DataError: If the folder holds none, or files of several series.
    """
    found: list[tuple[int, str, Path]] = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_dicom(path):
            header = _header(path, _TAGS)
            kind = [str(value) for value in header.get("ImageType", [])] if header is not None else []
            if header is not None and header.get("SOPClassUID") == _SLIDE_CLASS and not {"LABEL", "OVERVIEW"} & {*kind}:
                size = int(header.get("TotalPixelMatrixColumns", 0))
                found.append((size, str(header.get("SeriesInstanceUID", "")), path))
    if not found:
        raise DataError("the folder holds no DICOM slide", item=folder, remedy="name a slide file")
    if len({series for _, series, _ in found}) > 1:
        raise DataError("the folder holds several DICOM series", item=folder, remedy="name one file of the wanted slide")
    return max(found, key=lambda entry: entry[0])[2]


class WsidicomBackend:
    """A slide that wsidicom reads; see :class:`medvlp.slides.backends.Backend`."""

    name = "wsidicom"
    notes: tuple[str, ...] = ()

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        levels = sorted(handle.pyramids.get(handle.selected_pyramid), key=lambda level: -level.size.width)
        self._numbers = [level.level for level in levels]
        self.sizes = tuple((level.size.width, level.size.height) for level in levels)
        width, height = self.sizes[0]
        self.downsamples = tuple((width / w + height / h) / 2 for w, h in self.sizes)
        spacing = levels[0].mpp
        self.mpp_xy = (float(spacing.width), float(spacing.height))
        self.objective = None

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a region, white outside the level."""
        left, top = math.floor(x / self.downsamples[level]), math.floor(y / self.downsamples[level])

        def inside(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
            try:
                image = self._handle.read_region((x0, y0), self._numbers[level], (x1 - x0, y1 - y0))
                return np.asarray(image.convert("RGB"))
            except Exception as error:  # decoders raise many types, whose messages may quote the file
                raise DecodeError(type(error).__name__) from error

        return on_white(self.sizes[level], left, top, width, height, inside)

    def close(self) -> None:
        """Release the files."""
        self._handle.close()


def open_wsidicom(path: Path) -> WsidicomBackend | None:
    """Open the series of a DICOM file with wsidicom; None if it does not read it."""
    wsidicom = require("wsidicom", "slides")
    handle = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header's values
            handle = wsidicom.WsiDicom.open(_series_of(path))
            return WsidicomBackend(handle)
    except Exception:  # it refuses incomplete headers in many ways; pydicom is asked next
        if handle is not None:
            handle.close()
        return None


class PydicomBackend:
    """One level of frames in a grid; see :class:`medvlp.slides.backends.Backend`."""

    name = "pydicom"

    def __init__(self, path: Path, header: Any) -> None:
        self._path = path
        self.sizes = ((int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows)),)
        self.downsamples = (1.0,)
        self._tile = int(header.Columns), int(header.Rows)
        if self._tile[0] * self._tile[1] > MAX_SEGMENT_PIXELS or min(*self._tile, *self.sizes[0]) < 1:
            raise DataError(f"frames of {self._tile[0]} x {self._tile[1]} px", item=path, remedy="its header is damaged")
        self._grid = math.ceil(self.sizes[0][0] / self._tile[0]), math.ceil(self.sizes[0][1] / self._tile[1])
        self.mpp_xy = _spacing(header)
        self.objective = None
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._columns_first, self.notes = False, ()
        if header.get("DimensionOrganizationType") != "TILED_FULL":
            self._columns_first = self._frames_run_down()
            order = "columns" if self._columns_first else "rows"
            self.notes = (f"the file does not say how its frames lie; by their seams they run in {order}",)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a region, white outside the slide."""
        return on_white(self.sizes[0], x, y, width, height, self._inside)

    def close(self) -> None:
        """Forget the decoded frames; no file is held open."""
        self._cache.clear()

    def _inside(self, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
        out = np.empty((y1 - y0, x1 - x0, 3), dtype=np.uint8)
        tile_w, tile_h = self._tile
        for row in range(y0 // tile_h, (y1 - 1) // tile_h + 1):
            for column in range(x0 // tile_w, (x1 - 1) // tile_w + 1):
                frame = self._frame(column * self._grid[1] + row if self._columns_first else row * self._grid[0] + column)
                left, top = column * tile_w, row * tile_h
                xa, xb = max(x0, left), min(x1, left + tile_w)
                ya, yb = max(y0, top), min(y1, top + tile_h)
                out[ya - y0 : yb - y0, xa - x0 : xb - x0] = frame[ya - top : yb - top, xa - left : xb - left]
        return out

    def _frame(self, index: int) -> NDArray[np.uint8]:
        if index not in self._cache:
            from pydicom.pixels.utils import pixel_array

            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # they quote the header's values
                    frame = pixel_array(self._path, index=index)
            except Exception as error:  # decoders raise many types, whose messages may quote the file
                raise DecodeError(type(error).__name__) from error
            if frame.dtype != np.uint8 or frame.shape != (self._tile[1], self._tile[0], 3):
                raise DecodeError("frame of another shape")
            self._cache[index] = frame
            if len(self._cache) > _CACHED_FRAMES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]

    def _frames_run_down(self) -> bool:
        """Compare edges of frames that would touch in each order, over the first frames that hold anything."""
        columns, rows = self._grid
        if columns == 1 or rows == 1:
            return False
        across = [self._seam(index, index + 1, down=False) for index in range(min(columns - 1, 6))]
        down = [self._seam(index, index + 1, down=True) for index in range(min(rows - 1, 6))]
        rows_first, columns_first = float(np.mean(across)), float(np.mean(down))
        if min(rows_first, columns_first) > _CLEAR_SEAM * max(rows_first, columns_first):
            raise DataError(
                "the file does not say how its frames lie, and their seams do not show it",
                item=self._path,
                remedy="write it again with DimensionOrganizationType TILED_FULL or frame positions",
            )
        return columns_first < rows_first

    def _seam(self, first: int, second: int, *, down: bool) -> float:
        a, b = self._frame(first).astype(np.float64), self._frame(second).astype(np.float64)
        return float(np.abs(a[-1] - b[0]).mean() if down else np.abs(a[:, -1] - b[:, 0]).mean())


def open_pydicom(path: Path) -> PydicomBackend | None:
    """Open a DICOM file as a grid of frames; None if it is not such a file.

    Raises:
        DataError: If it is one, but holds positions or several focal planes, which are not placed here, or its frames
            do not fill the slide.
    """
    header = _header(path)
    if header is None or header.get("SOPClassUID") != _SLIDE_CLASS or "TotalPixelMatrixColumns" not in header:
        return None
    if header.get("PerFrameFunctionalGroupsSequence") and header.get("DimensionOrganizationType") != "TILED_FULL":
        raise DataError("frames with positions of their own", item=path, remedy="convert it to TILED_FULL")
    try:
        backend = PydicomBackend(path, header)
    except DecodeError as error:
        raise DataError(f"its frames cannot be decoded ({error})", item=path, remedy="copy it again") from None
    frames, grid = int(header.get("NumberOfFrames", 1)), backend._grid
    if frames != grid[0] * grid[1]:
        raise DataError(f"{frames} frames do not fill a grid of {grid[0]} x {grid[1]}", item=path)
    return backend


def _header(path: Path, tags: list[str] | None = None) -> Any:
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header's values
            return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
    except Exception:  # any of many types; the file is then no DICOM slide
        return None


def _series_of(path: Path) -> list[Path]:
    """Return the files beside ``path`` that belong to its series: the other levels."""
    own = _header(path, _TAGS)
    series = None if own is None else own.get("SeriesInstanceUID")
    beside = []
    for other in sorted(path.parent.iterdir()):
        if other.is_file() and is_dicom(other):
            header = _header(other, _TAGS)
            if header is not None and header.get("SeriesInstanceUID") == series:
                beside.append(other)
    return beside


def _spacing(header: Any) -> tuple[float | None, float | None]:
    """Return micrometres per pixel along x and y from the pixel spacing (row distance first, in millimetres)."""
    measures: Any = header
    shared = header.get("SharedFunctionalGroupsSequence")
    if shared and shared[0].get("PixelMeasuresSequence"):
        measures = shared[0].PixelMeasuresSequence[0]
    spacing = measures.get("PixelSpacing")
    if not spacing or len(spacing) != 2:
        return None, None
    return float(spacing[1]) * 1000, float(spacing[0]) * 1000

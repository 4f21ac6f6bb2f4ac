"""One whole-slide image: levels, micrometres per pixel, regions.

Coordinates are (x, y) in level-0 pixels, sizes are (width, height). Where a slide ends, and where a sparse slide holds
nothing, pixels are white.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.slides.backends import Backend, DecodeError, open_backend
from medvlp.slides.resample import area_resample
from medvlp.slides.resolution import settle

MAX_READ_PIXELS = 2**26
"""Largest region of one read."""
MAX_SLIDE_SIDE = 2**22
"""Largest side a file may claim; real slides stay below a tenth of it."""
MAX_LEVEL_PIXELS = 2**31
"""Largest level that is read whole to make a thumbnail."""
MAX_UPSAMPLING = 1.5
"""A tile may have up to this many times the slide's own pixels per side; more would be invented detail."""
_SAME_LEVEL = 1.01
"""Levels whose sizes were rounded have downsamples like 4.003; they still serve a wanted 4."""
_BLOCK = 512

_log = logging.getLogger(__name__)


class UnreadableRegion(DataError):
    """A region whose pixels cannot be decoded; other regions of the slide may be read."""


@dataclass(frozen=True)
class Level:
    """One level of a slide's pyramid.

    Attributes:
        size: (width, height), pixels of the level.
        downsample: Level-0 pixels per pixel of the level.
    """

    size: tuple[int, int]
    downsample: float


def open_slide(path: str | Path, *, mpp: float | None = None) -> Slide:
    """Open a slide for reading; use it in a ``with`` statement or close it.

    Args:
        path: A file, or the folder of one DICOM series.
        mpp: Micrometres per level-0 pixel, for files that do not state it.

    Raises:
        DataError: A file no library reads, absurd sizes, pixels that are not square, or an ``mpp`` that is implausible
            or differs from the file's own by more than 5 %.
        MissingExtraError: Without the extra ``slides``.
    """
    path = Path(path)
    return Slide(path, open_backend(path), mpp)


def _reopened(path: Path, mpp: float | None) -> Slide:
    return open_slide(path, mpp=mpp)


class Slide:
    """An open slide; made by :func:`open_slide`. Sent to another process, it opens its file there again.

    Attributes:
        key: The file's name without its suffix.
        path: The file.
        size: (width, height) of level 0.
        mpp: Micrometres per level-0 pixel; None if unknown.
        mpp_source: "metadata", "given" or "unknown".
        levels: The pyramid, largest level first.
        reader: The library that reads it: "openslide", "tiffslide", "wsidicom" or "pydicom".
        notes: What is missing or had to be assumed, in words.
    """

    def __init__(self, path: Path, backend: Backend, mpp: float | None = None) -> None:
        self.path, self._given, self._backend = path, mpp, backend
        self.key = path.name if path.is_dir() else path.stem
        self.reader = backend.name
        try:
            self.levels = _levels(backend, path)
            resolution = settle(backend.mpp_xy, mpp, path, backend.objective)
        except DataError:
            backend.close()
            raise
        self.size = self.levels[0].size
        self.mpp, self.mpp_source, self._why_no_mpp = resolution.mpp, resolution.source, resolution.note
        self.notes = tuple(note for note in (resolution.note, *backend.notes) if note)

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path, float | None], Slide], tuple[Path, float | None]]:
        return _reopened, (self.path, self._given)

    def __repr__(self) -> str:
        return f"Slide({self.key!r}, {self.size[0]} x {self.size[1]}, mpp={self.mpp}, reader={self.reader!r})"

    def close(self) -> None:
        """Release the file."""
        self._backend.close()

    def require_mpp(self) -> float:
        """Return the micrometres per level-0 pixel.

        Raises:
            DataError: If they are unknown.
        """
        if self.mpp is None:
            remedy = "give the scanner's value with --mpp (open_slide(..., mpp=))"
            raise DataError(self._why_no_mpp, item=self.path, remedy=remedy)
        return self.mpp

    def read(self, x: int, y: int, width: int, height: int, level: int = 0) -> NDArray[np.uint8]:
        """Return a region as uint8 (height, width, 3), white outside the slide.

        Args:
            x: Left edge, level-0 pixels; may be negative.
            y: Top edge, level-0 pixels; may be negative.
            width: Pixels of the level.
            height: Pixels of the level.
            level: Index into :attr:`levels`.

        Raises:
            DataError: A level that does not exist, an empty region, or more than ``MAX_READ_PIXELS``.
            UnreadableRegion: If the file's pixels there cannot be decoded.
        """
        if not 0 <= level < len(self.levels):
            raise DataError(f"no level {level}, the slide has {len(self.levels)}", item=self.path)
        if width < 1 or height < 1 or width * height > MAX_READ_PIXELS:
            problem = f"a region of {width} x {height} px is not between 1 and {MAX_READ_PIXELS:,} pixels"
            raise DataError(problem, item=self.path, remedy="read it in parts, or from a smaller level")
        try:
            return self._backend.read(int(x), int(y), level, int(width), int(height))
        except DecodeError as error:
            where = f"x={x}, y={y}, level {level}, {width} x {height} px"
            raise UnreadableRegion(
                f"pixels cannot be decoded at {where} ({error})",
                item=self.path,
                remedy="skip this region, or copy the file again from its source",
            ) from error

    def square(self, x: int, y: int, side_level0: int, size: int) -> NDArray[np.uint8]:
        """Return a square of the slide as uint8 (size, size, 3): the best level, then means over areas.

        Args:
            x: Left edge, level-0 pixels.
            y: Top edge, level-0 pixels.
            side_level0: Side of the square, level-0 pixels.
            size: Side of the result, pixels.

        Raises:
            DataError: If the result would have more than ``MAX_UPSAMPLING`` times the slide's own pixels per side.
            UnreadableRegion: If the file's pixels there cannot be decoded.
        """
        check_upsampling(side_level0, size, self.path)
        return self._region(x, y, side_level0, side_level0, size, size)

    def thumbnail(self, longest: int = 1024) -> NDArray[np.uint8]:
        """Return the whole slide as uint8 (h, w, 3), its longer side ``longest`` px or the slide's own if that is less.

        Blocks that cannot be decoded are white, and a warning counts them.

        Raises:
            DataError: If no level is small enough to be read whole.
            UnreadableRegion: If nothing of the level can be decoded.
        """
        downsample = max(max(self.size) / longest, 1.0)
        width, height = (max(1, round(side / downsample)) for side in self.size)
        level = self._best_level(downsample)
        level_width, level_height = self.levels[level].size
        if level_width * level_height > MAX_LEVEL_PIXELS:
            problem = f"its smallest fitting level has {level_width} x {level_height} px"
            raise DataError(problem, item=self.path, remedy="rebuild the slide with a pyramid of levels")
        step_x, step_y = (
            max(1, math.floor(_BLOCK * 4 * out / side))
            for out, side in zip((width, height), (level_width, level_height), strict=True)
        )
        out_hwc = np.empty((height, width, 3), dtype=np.uint8)
        blocks, failed, last = 0, 0, None
        scale_x, scale_y = self.size[0] / width, self.size[1] / height
        for top in range(0, height, step_y):
            for left in range(0, width, step_x):
                w, h = min(step_x, width - left), min(step_y, height - top)
                blocks += 1
                try:
                    out_hwc[top : top + h, left : left + w] = self._region(
                        left * scale_x, top * scale_y, w * scale_x, h * scale_y, w, h, level
                    )
                except UnreadableRegion as error:
                    failed, last = failed + 1, error
                    out_hwc[top : top + h, left : left + w] = 255
        if last is not None and failed == blocks:
            raise last
        if failed:
            _log.warning(
                "%s: %d of %d blocks cannot be decoded and are white in its thumbnail", self.key, failed, blocks
            )
        return out_hwc

    def _best_level(self, downsample: float) -> int:
        fitting = [index for index, level in enumerate(self.levels) if level.downsample <= downsample * _SAME_LEVEL]
        return max(fitting, key=lambda index: self.levels[index].downsample, default=0)

    def _sharp_level(self, x: float, y: float, w0: float, h0: float, downsample: float) -> int:
        """Return the smallest level that shows a region as level 0 does.

        A region that cuts through pixels of a level as coarse as the result would be blurred by part of a pixel; from
        a level at least twice as fine that is hardly seen.
        """
        fitting = [index for index, level in enumerate(self.levels) if level.downsample <= downsample * _SAME_LEVEL]
        for index in sorted(fitting, key=lambda index: -self.levels[index].downsample):
            own = self.levels[index].downsample
            aligned = all(_snap(value / own).is_integer() for value in (x, y, x + w0, y + h0))
            if aligned or downsample >= 2 * own:
                return index
        return 0

    def _region(
        self, x: float, y: float, w0: float, h0: float, width: int, height: int, level: int | None = None
    ) -> NDArray[np.uint8]:
        if level is None:
            level = self._sharp_level(x, y, w0, h0, w0 / width)
        downsample = self.levels[level].downsample
        # Whole pixels of the level are read, so that no library interpolates before the means are taken.
        left, top, right, bottom = (_snap(value / downsample) for value in (x, y, x + w0, y + h0))
        x0, y0, x1, y1 = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
        rgb_hwc = self.read(round(x0 * downsample), round(y0 * downsample), x1 - x0, y1 - y0, level)
        return area_resample(rgb_hwc, (left - x0, top - y0, right - x0, bottom - y0), (width, height))


def check_upsampling(side_level0: float, size: int, item: object) -> None:
    """Refuse tiles of ``size`` px from ``side_level0`` px of the slide where detail would be invented.

    Raises:
        DataError: Above ``MAX_UPSAMPLING``.
    """
    if side_level0 * MAX_UPSAMPLING < size:
        raise DataError(
            f"{side_level0:g} px of the slide would become {size} px, more than {MAX_UPSAMPLING:g} times as many",
            item=item,
            remedy="choose a larger mpp for the tiles",
        )


def _snap(value: float) -> float:
    """Round away what levels with rounded sizes leave of a whole number."""
    return float(round(value)) if abs(value - round(value)) < 0.02 else value


def _levels(backend: Backend, path: Path) -> tuple[Level, ...]:
    for width, height in backend.sizes:
        if not (0 < width <= MAX_SLIDE_SIDE and 0 < height <= MAX_SLIDE_SIDE):
            raise DataError(f"claims a level of {width} x {height} px", item=path, remedy="its header is damaged")
    return tuple(Level(size, ds) for size, ds in zip(backend.sizes, backend.downsamples, strict=True))

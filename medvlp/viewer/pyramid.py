"""A slide as a DeepZoom pyramid: squares of one size on levels that halve, from one pixel up to the whole slide.

Every reader of ``medvlp.slides`` serves it, since it asks for squares only. Level numbers are DeepZoom's: 0 is one
pixel.
Shape legend: h, w pixels, c colours.
"""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp.errors import DataError
from medvlp.slides.reader import UnreadableRegion

if TYPE_CHECKING:
    from medvlp.slides.reader import Slide

TILE = 256
"""Side of a served tile, pixels."""
MAX_READ_SIDE = 2048
"""A tile that needs a larger region of the file is put together from the four below it."""
_SQUARES_KEPT = 256
_QUALITY = 90
_GREY, _CROSS = 200, 150

Pixels = NDArray[np.uint8]


class DeepZoom:
    """The pyramid over an open slide; safe to use from several threads, one of which reads at a time.

    Args:
        slide: The slide.
    """

    def __init__(self, slide: Slide) -> None:
        self.slide = slide
        self.num_levels = math.ceil(math.log2(max(slide.size))) + 1
        self._lock = threading.RLock()
        self._squares: OrderedDict[tuple[int, int, int], Pixels] = OrderedDict()
        self._unreadable: set[tuple[int, int, int]] = set()
        self._ended = False

    @property
    def num_unreadable(self) -> int:
        """Tiles asked for so far whose pixels could not be decoded."""
        return len(self._unreadable)

    def scale(self, level: int) -> int:
        """Level-0 pixels of the slide per pixel of a level."""
        return 1 << (self.num_levels - 1 - level)

    def level_size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of a level, pixels."""
        scale = self.scale(level)
        return -(-self.slide.size[0] // scale), -(-self.slide.size[1] // scale)

    def has(self, level: int, column: int, row: int) -> bool:
        """Whether there is such a tile."""
        if not 0 <= level < self.num_levels:
            return False
        width, height = self.level_size(level)
        return 0 <= column * TILE < width and 0 <= row * TILE < height

    def tile(self, level: int, column: int, row: int) -> Pixels:
        """Return a tile as uint8 (h, w, 3), cut where the slide ends; grey with a cross if it cannot be decoded.

        The tile must exist, see :meth:`has`.

        Raises:
            DataError: After :meth:`end`.
        """
        width, height = self.level_size(level)
        square_hwc = self._square(level, column, row)
        return square_hwc[: min(TILE, height - row * TILE), : min(TILE, width - column * TILE)]

    def end(self) -> None:
        """Let no more be read, and wait until what is being read is: a slide must not be closed under a reader."""
        self._ended = True  # seen by a reader that puts a large square together
        self._lock.acquire()
        self._lock.release()

    def _square(self, level: int, column: int, row: int) -> Pixels:
        where = (level, column, row)
        with self._lock:
            if where in self._squares:
                self._squares.move_to_end(where)
                return self._squares[where]
            if self._ended:
                raise DataError("is closed", item="slide")
            scale = self.scale(level)
            if TILE * scale / self._fitting_downsample(scale) > MAX_READ_SIDE:
                square_hwc = self._from_below(level, column, row)
            else:
                try:
                    left, top = column * TILE * scale, row * TILE * scale
                    square_hwc = self.slide.square(left, top, TILE * scale, TILE)
                except UnreadableRegion:
                    self._unreadable.add(where)
                    square_hwc = unreadable()
            self._squares[where] = square_hwc
            while len(self._squares) > _SQUARES_KEPT:
                self._squares.popitem(last=False)
            return square_hwc

    def _from_below(self, level: int, column: int, row: int) -> Pixels:
        double_hwc = np.full((2 * TILE, 2 * TILE, 3), 255, dtype=np.uint8)
        for down in (0, 1):
            for right in (0, 1):
                below = (level + 1, 2 * column + right, 2 * row + down)
                if self.has(*below):
                    double_hwc[down * TILE : (down + 1) * TILE, right * TILE : (right + 1) * TILE] = self._square(
                        *below
                    )
        means_hwc = double_hwc.reshape(TILE, 2, TILE, 2, 3).mean((1, 3))
        return np.floor(means_hwc + 0.5).astype(np.uint8)

    def _fitting_downsample(self, scale: int) -> float:
        """The level that :meth:`medvlp.slides.reader.Slide.square` can use at best."""
        return max((level.downsample for level in self.slide.levels if level.downsample <= scale * 1.01), default=1.0)


def unreadable() -> Pixels:
    """A grey square with a cross, (TILE, TILE, 3): no tissue looks like it."""
    square_hwc = np.full((TILE, TILE, 3), _GREY, dtype=np.uint8)
    line = np.arange(TILE)
    for shift in (-1, 0, 1):
        across = np.clip(line + shift, 0, TILE - 1)
        square_hwc[line, across] = _CROSS
        square_hwc[line, TILE - 1 - across] = _CROSS
    return square_hwc


def jpeg(pixels_hwc: Pixels) -> bytes:
    """A tile as JPEG, colours at full resolution, without metadata."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_hwc)).save(stream, format="JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()


def descriptor(pyramid: DeepZoom) -> str:
    """The pyramid's ``.dzi`` file."""
    width, height = pyramid.slide.size
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpeg" Overlap="0" TileSize="{TILE}">'
        f'<Size Width="{width}" Height="{height}"/></Image>\n'
    )

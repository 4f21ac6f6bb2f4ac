"""Slides through OpenSlide: SVS, NDPI, MRXS, SCN, generic tiled TIFF, DICOM and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp.io import require
from medvlp.slides.backends import DecodeError


class OpenSlideBackend:
    """A slide that OpenSlide reads; see :class:`medvlp.slides.backends.Backend`."""

    name = "openslide"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, handle: Any) -> None:
        self._path, self._handle = path, handle
        self.sizes = tuple((int(width), int(height)) for width, height in handle.level_dimensions)
        self.downsamples = tuple(float(value) for value in handle.level_downsamples)
        properties = handle.properties
        self.generic = properties.get("openslide.vendor") == "generic-tiff"
        self.mpp_xy = _number(properties.get("openslide.mpp-x")), _number(properties.get("openslide.mpp-y"))
        self.objective = _number(properties.get("openslide.objective-power"))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return OpenSlide's own pixels, transparency composited on white."""
        openslide = require("openslide", "slides")
        if self._handle is None:
            self._handle = openslide.OpenSlide(self._path)
        try:
            region = self._handle.read_region((x, y), level, (width, height))
        except openslide.OpenSlideError as error:
            # A handle that failed once fails for ever; the next read opens another.
            self.close()
            raise DecodeError(type(error).__name__) from error
        if region.getchannel("A").getextrema()[0] < 255:
            region = Image.alpha_composite(Image.new("RGBA", region.size, (255, 255, 255, 255)), region)
        return np.array(region.convert("RGB"))

    def close(self) -> None:
        """Release the file."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def open_openslide(path: Path) -> OpenSlideBackend | None:
    """Open a slide with OpenSlide; None if it does not read the file."""
    openslide = require("openslide", "slides")
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError:
        return None
    if handle.level_count == 0:
        handle.close()
        return None
    return OpenSlideBackend(path, handle)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None

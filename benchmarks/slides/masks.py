"""Where the tumour of a listed slide is: an image of the whole slide, or outlines in the XML of the ASAP viewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medvlp.errors import DataError

CUT_OUT = ("_2", "Exclusion")
"""Groups of outlines that are holes: CAMELYON16's `_2` (its README, "Annotations"), and the common name for it."""
FINEST, LONGEST = 8, 4096
_RATIO = 0.02

Mask = tuple[NDArray[np.bool_], float]
"""Tumour (h, w) and level-0 pixels per mask pixel."""


def read_mask(path: Path, size: Sequence[int]) -> Mask:
    """Read a mask, by the ending of its name: ``.xml`` outlines, else an image that is not 0 where tumour is.

    Outlines are drawn at 8 level-0 pixels per mask pixel, or coarser so that no side is above 4,096.

    Args:
        path: The file.
        size: (width, height) of the slide, level-0 pixels.

    Raises:
        DataError: If it cannot be read, or has not the shape of the slide.
    """
    return _outlines(path, size) if path.suffix.lower() == ".xml" else _image(path, size)


def _image(path: Path, size: Sequence[int]) -> Mask:
    try:
        with Image.open(path) as image:
            mask_hw = np.asarray(image.convert("L")) > 0
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot be read ({error})", item=path, remedy="give a PNG of the slide at a low level"
        ) from None
    across, down = size[0] / mask_hw.shape[1], size[1] / mask_hw.shape[0]
    if abs(across - down) > _RATIO * across:
        raise DataError(
            f"has the shape {mask_hw.shape}, but the slide is {size[0]} x {size[1]} pixels",
            item=path,
            remedy="give a mask of the whole slide",
        )
    return mask_hw, across


def _outlines(path: Path, size: Sequence[int]) -> Mask:
    try:
        text = path.read_bytes()
        if b"<!ENTITY" in text:  # nothing that expands
            raise ElementTree.ParseError("defines entities")
        annotations = ElementTree.fromstring(text).iter("Annotation")
        rings = [(one.get("PartOfGroup") in CUT_OUT, _ring(one)) for one in annotations]
    except (OSError, ElementTree.ParseError, TypeError, ValueError) as error:
        raise DataError(f"holds no readable outlines ({error})", item=path, remedy="use the publisher's file") from None
    downsample = max(FINEST, -(-max(size) // LONGEST))
    image = Image.new("1", (-(-size[0] // downsample), -(-size[1] // downsample)))
    pen = ImageDraw.Draw(image)
    for hole, ring in sorted(rings, key=lambda pair: pair[0]):  # holes last
        if len(ring) > 2:
            pen.polygon([(x / downsample, y / downsample) for x, y in ring], fill=0 if hole else 1)
    return np.asarray(image), float(downsample)


def _ring(annotation: ElementTree.Element) -> list[tuple[float, float]]:
    points = sorted(annotation.iter("Coordinate"), key=lambda point: float(point.get("Order") or 0))
    return [(float(point.attrib["X"]), float(point.attrib["Y"])) for point in points]

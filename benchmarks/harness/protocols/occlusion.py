"""Maps of any model with images and texts: how much the cosine to a text falls where a patch hides the image.

Zeiler and Fergus 2014, section 4.2, with the image's mean colour as the patch.

Shape legend: G patches per side, H, W pixels, D embedding size, M texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.harness.protocols.labelled import Floats

if TYPE_CHECKING:
    from benchmarks.harness.subjects import Subject


def occlusion_maps(
    subject: Subject, images: Sequence[Image.Image], texts: Sequence[str | Sequence[str]], grid: int
) -> list[Floats]:
    """Return a map (H, W) per image: at each pixel the mean fall of the cosine over the patches that cover it.

    Patches overlap by half: each is ``2 / (grid + 1)`` of a side long and they start ``1 / (grid + 1)`` apart. An
    image that is given several times (the same object) is embedded once.

    Args:
        subject: Anything with ``encode_images`` and ``encode_texts`` to unit rows.
        images: The images.
        texts: What is looked for in each; of several texts the mean of the maps.
        grid: Patches per side.
    """
    wanted = [[text] if isinstance(text, str) else list(text) for text in texts]
    distinct = sorted({text for several in wanted for text in several})
    text_MD = np.asarray(subject.encode_texts(distinct), dtype=np.float64)
    row = {text: number for number, text in enumerate(distinct)}
    embedded: dict[int, Floats] = {}
    out = []
    for image, several in zip(images, wanted, strict=True):
        if id(image) not in embedded:
            hidden = [image, *occluded(image, grid)]
            embedded[id(image)] = np.asarray(subject.encode_images(hidden), dtype=np.float64)
        mean_D = text_MD[[row[text] for text in several]].mean(0)
        cosine = embedded[id(image)] @ mean_D
        out.append(_spread(cosine[0] - cosine[1:], image.size, grid))
    return out


def occluded(image: Image.Image, grid: int) -> list[Image.Image]:
    """Return grid x grid copies, row by row, each with a patch of the image's mean colour."""
    rgb = image.convert("RGB")
    mean = tuple(round(value) for value in np.asarray(rgb, dtype=np.float64).reshape(-1, 3).mean(0))
    out = []
    for top, bottom in _edges(rgb.height, grid):
        for left, right in _edges(rgb.width, grid):
            copy = rgb.copy()
            copy.paste(mean, (left, top, right, bottom))
            out.append(copy)
    return out


def _edges(length: int, grid: int) -> list[tuple[int, int]]:
    step = length / (grid + 1)
    return [(round(place * step), max(round(place * step) + 1, round((place + 2) * step))) for place in range(grid)]


def _spread(fall_P: Floats, size: tuple[int, int], grid: int) -> Floats:
    width, height = size
    total_HW, count_HW = np.zeros((height, width)), np.zeros((height, width))
    places = [(rows, columns) for rows in _edges(height, grid) for columns in _edges(width, grid)]
    for fall, ((top, bottom), (left, right)) in zip(fall_P, places, strict=True):
        total_HW[top:bottom, left:right] += fall
        count_HW[top:bottom, left:right] += 1
    return total_HW / np.maximum(count_HW, 1)

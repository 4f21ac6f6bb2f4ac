"""A sheet of planted slides, each plain and with the outline of its tumour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from data_prep.planted.plan import TUMOUR
from data_prep.planted.store import PlantedSlide
from medvlp.io import require

_SIDE, _LEGEND, _MARGIN, _COLUMNS = 320, 16, 6, 4
_OUTLINE = (0, 150, 60)


def contact_sheet(slides: Sequence[PlantedSlide], count: int) -> Image.Image:
    """Show ``count`` slides, spread evenly over all.

    Raises:
        MissingExtraError: If OpenSlide is not installed.
    """
    chosen = np.unique(np.linspace(0, len(slides) - 1, min(count, len(slides))).round().astype(int))
    rows = -(-2 * len(chosen) // _COLUMNS)
    step_x, step_y = _SIDE + _MARGIN, _SIDE + _LEGEND + _MARGIN
    sheet = Image.new("RGB", (_COLUMNS * step_x, rows * step_y), (40, 40, 40))
    draw = ImageDraw.Draw(sheet)
    for place, index in enumerate(chosen):
        slide = slides[int(index)]
        plain, outlined = pictures(slide)
        row, column = divmod(2 * place, _COLUMNS)
        x, y = column * step_x, row * step_y
        draw.text(
            (x + 2, y + 2), f"{slide.key}: {slide.tumour or 'no tumour'}, {slide.ratio:.3f}", fill=(255, 255, 255)
        )
        sheet.paste(plain, (x, y + _LEGEND))
        sheet.paste(outlined, (x + step_x, y + _LEGEND))
    return sheet


def pictures(slide: PlantedSlide, side: int = _SIDE) -> tuple[Image.Image, Image.Image]:
    """The slide at most ``side`` pixels long, plain and with the outline of the tumour."""
    from scipy import ndimage

    with require("openslide", "slides").OpenSlide(str(slide.path)) as opened:
        plain = opened.get_thumbnail((side, side)).convert("RGB")
    mask = np.asarray(Image.fromarray((slide.read_mask() == TUMOUR).astype(np.uint8) * 255).resize(plain.size)) > 127
    drawn = np.asarray(plain).copy()
    drawn[ndimage.binary_dilation(mask, iterations=2) & ~mask] = _OUTLINE
    return plain, Image.fromarray(drawn)

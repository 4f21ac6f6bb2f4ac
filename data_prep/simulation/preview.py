"""Pictures to look at: a scene with the outline of each finding's mask, and a sheet of many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_prep.simulation.anatomy import Mask

COLOURS = ((255, 90, 0), (0, 190, 255), (120, 230, 60), (255, 80, 200))
_LEGEND, _MARGIN, _COLUMNS = 16, 4, 4


def outlined(image_PP: NDArray[np.uint8], masks: Sequence[Mask], zoom: int = 2) -> Image.Image:
    """Return the image enlarged, with the outline of each mask in a colour of its own."""
    from scipy import ndimage

    large = np.repeat(np.repeat(image_PP, zoom, 0), zoom, 1)
    colour = np.stack([large] * 3, axis=-1)
    for number, mask in enumerate(masks):
        big = np.repeat(np.repeat(mask, zoom, 0), zoom, 1)
        colour[big & ~ndimage.binary_erosion(big)] = COLOURS[number % len(COLOURS)]
    return Image.fromarray(colour)


def contact_sheet(tiles: Sequence[tuple[str, NDArray[np.uint8], Sequence[Mask]]]) -> Image.Image:
    """Each scene twice, plain and outlined, under its title; two scenes a row."""
    side = 2 * len(tiles[0][1])
    cell_x, cell_y = side + _MARGIN, side + _LEGEND + _MARGIN
    rows = -(-2 * len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * cell_x, rows * cell_y))
    draw = ImageDraw.Draw(sheet)
    for number, (title, image, masks) in enumerate(tiles):
        row, column = divmod(2 * number, _COLUMNS)
        x, y = column * cell_x, row * cell_y
        draw.text((x + 2, y + 2), title, fill=(255, 255, 255))
        sheet.paste(outlined(image, []), (x, y + _LEGEND))
        sheet.paste(outlined(image, masks), (x + cell_x, y + _LEGEND))
    return sheet

"""A picture of what is read of a slide: tissue outlined, excluded area hatched out, tiles drawn, a scale bar."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from medvlp.slides.reader import Slide
from medvlp.slides.types import TileGrid, TissueMask

TISSUE, EXCLUDED, TILE = (0, 128, 60), (235, 140, 0), (40, 80, 220)
_BAR_UM = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def preview(slide: Slide, mask: TissueMask | None, grid: TileGrid | None = None, longest: int = 1200) -> Image.Image:
    """Draw a thumbnail with the tissue's outline (green), excluded area (orange), tiles (blue) and a scale bar.

    Args:
        slide: The slide.
        mask: Its tissue, or None.
        grid: Its tiles, or None.
        longest: Longer side of the picture, pixels.
    """
    rgb_hwc = slide.thumbnail(longest).copy()
    height, width = rgb_hwc.shape[:2]
    if mask is not None:
        size = (width, height)
        if mask.excluded_hw is not None and mask.excluded_hw.any():
            out_hw = np.asarray(Image.fromarray(mask.excluded_hw).resize(size, Image.Resampling.NEAREST))
            rgb_hwc[out_hw] = (0.4 * rgb_hwc[out_hw] + 0.6 * np.array(EXCLUDED)).astype(np.uint8)
        tissue_hw = np.asarray(Image.fromarray(mask.mask_hw).resize(size, Image.Resampling.NEAREST))
        rim_hw = tissue_hw & ~ndimage.binary_erosion(tissue_hw, iterations=2, border_value=1)
        rgb_hwc[rim_hw] = TISSUE
    image = Image.fromarray(rgb_hwc)
    draw = ImageDraw.Draw(image)
    if grid is not None:
        scale_x, scale_y = width / slide.size[0], height / slide.size[1]
        for x, y in grid.coords_NX.tolist():
            right, bottom = x + grid.patch_size_level0, y + grid.patch_size_level0
            draw.rectangle((x * scale_x, y * scale_y, right * scale_x - 1, bottom * scale_y - 1), outline=TILE)
    if slide.mpp is not None:
        _scale_bar(draw, slide.mpp * slide.size[0] / width, width, height)
    return image


def write_preview(path: Path, slide: Slide, mask: TissueMask | None, grid: TileGrid | None = None) -> Path:
    """Write :func:`preview` as a PNG file, whole or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        preview(slide, mask, grid).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _scale_bar(draw: ImageDraw.ImageDraw, um_per_pixel: float, width: int, height: int) -> None:
    """Draw the longest round length below a quarter of the width, with its size in words."""
    fitting = [um for um in _BAR_UM if um / um_per_pixel <= width / 4]
    if not fitting:
        return
    um = fitting[-1]
    length, left, top = um / um_per_pixel, 12, height - 18
    words = f"{um} um" if um < 1000 else f"{um // 1000} mm"
    draw.rectangle((left - 6, top - 22, left + max(length, 48) + 6, top + 12), fill=(255, 255, 255))
    draw.rectangle((left, top, left + length, top + 5), fill=(0, 0, 0))
    draw.text((left, top - 16), words, fill=(0, 0, 0))

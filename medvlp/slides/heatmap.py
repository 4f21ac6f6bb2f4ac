"""A heat map over a slide: the thumbnail with tile values laid on it, a scale bar and a colour bar.

Nothing in the picture names the slide. Shape legend: N tiles, X = 2 (x, y), h, w pixels of the thumbnail, c colours.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from medvlp.errors import DataError

COLOUR_MAP = "viridis"
"""Perceptually uniform, and readable without telling red from green."""

_BARS_UM = tuple(factor * 10**power for power in range(6) for factor in (1, 2, 5))
_DPI = 150
_MARGIN, _SIDE, _TOP, _BAR = 0.12, 0.95, 0.42, 0.16


def paint(
    value_N: ArrayLike, coords_NX: ArrayLike, side: int, slide_size: tuple[int, int], shape_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Lay tiles on a picture of the whole slide (h, w): each pixel is the mean of the tiles over its middle, else NaN.

    Args:
        value_N: Values of tiles.
        coords_NX: Top-left corners, level-0 pixels.
        side: Side of a tile, level-0 pixels.
        slide_size: (width, height) of the slide, level-0 pixels.
        shape_hw: (height, width) of the picture.

    Raises:
        DataError: If counts differ, or a value is not finite.
    """
    value_N, place_NX = np.asarray(value_N, dtype=np.float64), np.asarray(coords_NX, dtype=np.float64)
    if value_N.ndim != 1 or place_NX.shape != (len(value_N), 2) or side < 1:
        raise DataError(f"{value_N.shape} values, {place_NX.shape} coordinates, side {side}", item="heat map")
    if not np.isfinite(value_N).all():
        raise DataError("a value is not finite", item="heat map")
    height, width = shape_hw
    scale_X = np.array([slide_size[0] / width, slide_size[1] / height])
    limit_X = np.array([width, height])
    # pixel p is covered if its middle, (p + 1/2) * scale, lies in the tile
    begin_NX = np.clip(np.ceil(place_NX / scale_X - 0.5), 0, limit_X).astype(int)
    end_NX = np.clip(np.ceil((place_NX + side) / scale_X - 0.5), 0, limit_X).astype(int)
    sum_hw, count_hw = np.zeros(shape_hw), np.zeros(shape_hw)
    for value, (left, top), (right, bottom) in zip(value_N, begin_NX, end_NX, strict=True):
        sum_hw[top:bottom, left:right] += value
        count_hw[top:bottom, left:right] += 1
    out_hw = np.full(shape_hw, np.nan)
    np.divide(sum_hw, count_hw, out=out_hw, where=count_hw > 0)
    return out_hw


def bar_length(width_um: float) -> float:
    """Length of the scale bar: the largest 1, 2 or 5 times a power of ten below a quarter of the width, micrometres."""
    fitting = [um for um in _BARS_UM if um <= width_um / 4]
    return float(fitting[-1] if fitting else _BARS_UM[0])


def bar_text(um: float) -> str:
    """The length in words: millimetres from 1000 micrometres on."""
    return f"{um:g} µm" if um < 1000 else f"{um / 1000:g} mm"


def heat_map(
    thumbnail_hwc: NDArray[np.uint8],
    slide_size: tuple[int, int],
    coords_NX: ArrayLike,
    side: int,
    value_N: ArrayLike,
    *,
    label: str,
    level0_mpp: float | None = None,
    title: str = "",
    opacity: float = 0.55,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Image.Image:
    """Draw a heat map.

    Args:
        thumbnail_hwc: The whole slide, small.
        slide_size: (width, height) of the slide, level-0 pixels.
        coords_NX: Top-left corners of the tiles, level-0 pixels.
        side: Side of a tile, level-0 pixels.
        value_N: Values of tiles.
        label: What the values are, beside the colour bar.
        level0_mpp: Micrometres per level-0 pixel; None draws no scale bar.
        title: Words above; must not identify the slide.
        opacity: Of the colours over the thumbnail, 0 to 1.
        limits: Values at the two ends of the colour bar.

    Raises:
        DataError: As :func:`paint`, or if ``opacity`` is outside 0 to 1.
    """
    if not 0 <= opacity <= 1 or not limits[0] < limits[1]:
        raise DataError(f"opacity {opacity} and limits {limits} make no sense", item="heat map")
    value_hw = paint(value_N, coords_NX, side, slide_size, (thumbnail_hwc.shape[0], thumbnail_hwc.shape[1]))
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    colours, scale = colormaps[COLOUR_MAP], Normalize(*limits)
    blended_hwc = thumbnail_hwc / 255.0
    inside_hw = np.isfinite(value_hw)
    heat = colours(scale(value_hw[inside_hw]))[:, :3]
    blended_hwc[inside_hw] = (1 - opacity) * blended_hwc[inside_hw] + opacity * heat
    height, width = (side_px / _DPI for side_px in thumbnail_hwc.shape[:2])
    total_w, total_h = max(width + _SIDE, 3.2) + _MARGIN, max(height, 1.5) + _TOP + _MARGIN
    figure = Figure(figsize=(total_w, total_h), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((_MARGIN / total_w, _MARGIN / total_h, width / total_w, height / total_h))
    axes.imshow(blended_hwc, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#b5bac1")
    figure.text(_MARGIN / total_w, 1 - 0.14 / total_h, _plain(title), va="top", fontsize=9, color="#1c2430")
    bar_axes = figure.add_axes(((width + 2 * _MARGIN) / total_w, _MARGIN / total_h, _BAR / total_w, height / total_h))
    bar = figure.colorbar(ScalarMappable(scale, colours), cax=bar_axes)
    bar.set_label(_plain(label), fontsize=8, color="#1c2430")
    bar.ax.tick_params(labelsize=7.5, colors="#1c2430", length=2)
    if level0_mpp is not None:
        _draw_scale(axes, level0_mpp * slide_size[0], thumbnail_hwc.shape[1], thumbnail_hwc.shape[0])
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())


def png(image: Image.Image) -> bytes:
    """The picture as PNG, without metadata."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _draw_scale(axes: Any, width_um: float, width: int, height: int) -> None:
    um = bar_length(width_um)
    length = um / width_um * width
    left, bottom = 0.03 * width, height - 0.03 * width
    style = {"boxstyle": "square,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axes.text(left + length / 2, bottom - 9, bar_text(um), ha="center", va="bottom", fontsize=8, bbox=style)
    axes.plot([left, left + length], [bottom, bottom], color="white", linewidth=6, solid_capstyle="butt")
    axes.plot([left, left + length], [bottom, bottom], color="black", linewidth=3, solid_capstyle="butt")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _plain(text: str) -> str:
    """Keep matplotlib from reading formulas into a class name."""
    return text.replace("$", r"\$")

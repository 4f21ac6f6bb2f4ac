"""Which parts of a slide are tissue: saturation against a threshold, cleaned, without ink and folds if wanted.

Shape letters: h, w pixels of a thumbnail; hwc with colour last.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medvlp.config import Config
from medvlp.slides import shapes
from medvlp.slides.reader import Slide
from medvlp.slides.types import TissueMask

_BINS = 256
_COLOURED = 0.1
"""Hue is found where saturation is above this, less than any rule about hue asks for."""
_RED_INK = 0.75
"""Red ink is more saturated than this; eosin and blood are seldom."""


class TissueConfig(Config):
    """How tissue is told from glass; saturation and value are those of HSV, in [0, 1]."""

    method: Literal["otsu", "fixed", "none"] = Field(
        default="otsu", description="Threshold by Otsu's method, a fixed threshold, or everything counts as tissue."
    )
    mpp: float = Field(default=8.0, gt=0.0, le=200.0, description="Micrometres per pixel of the mask of a small slide.")
    coarsest_mpp: float = Field(
        default=16.0, gt=0.0, le=200.0, description="The same of a large slide, whose mask is longer than `longest`."
    )
    longest: int = Field(
        default=1024,
        ge=16,
        le=8192,
        description="Longer side of the mask where it turns coarser, and where the slide's resolution is unknown.",
    )
    max_longest: int = Field(default=8192, ge=16, le=32768, description="Longest side of a mask at any resolution.")
    threshold: float = Field(default=0.07, ge=0.0, le=1.0, description="Least saturation of tissue, method fixed.")
    min_saturation: float = Field(
        default=0.05, ge=0.0, le=1.0, description="Otsu's threshold is raised to this, so that empty glass stays empty."
    )
    max_saturation: float = Field(
        default=0.15, ge=0.0, le=1.0, description="Otsu's threshold is lowered to this, so that pale tissue is kept."
    )
    min_value: float = Field(default=0.08, ge=0.0, le=1.0, description="Darker pixels are unscanned area, not tissue.")
    median: int = Field(default=3, ge=1, le=31, description="Side of the median filter in mask pixels; 1 for none.")
    closing_um: float = Field(default=32.0, ge=0.0, description="Gaps up to this width are closed, micrometres.")
    min_area_um2: float = Field(default=20_000.0, ge=0.0, description="Smaller pieces are specks, square micrometres.")
    max_hole_um2: float = Field(default=20_000.0, ge=0.0, description="Smaller holes are filled, square micrometres.")
    min_area_share: float = Field(
        default=0.0005,
        ge=0.0,
        le=1.0,
        description="The two areas where the resolution is unknown, as share of the slide.",
    )
    pen: bool = Field(default=True, description="Take out blue, green, black and red ink.")
    folds: bool = Field(default=False, description="Take out folds: dark and saturated.")
    fold_value: float = Field(default=0.45, ge=0.0, le=1.0, description="Folds are darker than this.")
    fold_saturation: float = Field(default=0.5, ge=0.0, le=1.0, description="Folds are more saturated than this.")


def tissue_mask(slide: Slide, config: TissueConfig | None = None) -> TissueMask:
    """Find the tissue of a slide on a thumbnail.

    Args:
        slide: The slide; its resolution may be unknown, then sizes are shares of the slide.
        config: Threshold, cleaning, exclusions; the defaults if None.

    Raises:
        DataError: If the slide gives no thumbnail.
    """
    config = config or TissueConfig()
    rgb_hwc = slide.thumbnail(_side(slide, config))
    height, width = rgb_hwc.shape[:2]
    downsample = slide.size[0] / width, slide.size[1] / height
    if config.method == "none":
        return TissueMask(np.ones((height, width), dtype=bool), downsample, {}, "none")
    um = None if slide.mpp is None else slide.mpp * (downsample[0] + downsample[1]) / 2
    return _find(rgb_hwc, um, downsample, config)


def _side(slide: Slide, config: TissueConfig) -> int:
    """Longer side of the mask; on a large slide a whole fraction of a level, whose means are found much faster."""
    if slide.mpp is None:
        return config.longest
    whole = max(slide.size)
    fine, coarse = (round(whole * slide.mpp / mpp) for mpp in (config.mpp, config.coarsest_mpp))
    side = max(min(fine, config.longest), coarse)
    if fine > config.longest:
        wanted = whole / side
        below = max((level.downsample for level in slide.levels if level.downsample <= wanted), default=1.0)
        side = round(whole / (below * round(wanted / below)))
    return min(max(side, 16), config.max_longest)


def _find(
    rgb_hwc: NDArray[np.uint8], um: float | None, downsample: tuple[float, float], config: TissueConfig
) -> TissueMask:
    shape, reach = rgb_hwc.shape[:2], config.median // 2
    smooth_hw = np.empty(shape, dtype=np.float32)
    scanned_hw, ink_hw, fold_hw = (np.zeros(shape, dtype=bool) for _ in range(3))
    for rows in shapes.bands(len(rgb_hwc)):
        above = min(reach, rows.start)
        own = slice(above, above + rows.stop - rows.start)
        channels, saturation_hw, value_hw = _saturation_value(rgb_hwc[rows.start - above : rows.stop + reach])
        smooth_hw[rows] = shapes.median(saturation_hw, config.median)[own]
        saturation_hw, value_hw = saturation_hw[own], value_hw[own]
        scanned_hw[rows] = value_hw >= config.min_value
        if config.pen:
            red_hw, green_hw, blue_hw = (channel[own] for channel in channels)
            ink_hw[rows] = _ink_of(red_hw, green_hw, blue_hw, saturation_hw, value_hw)
        if config.folds:
            fold_hw[rows] = (value_hw < config.fold_value) & (saturation_hw > config.fold_saturation)
    excluded: dict[str, float] = {}
    ink_hw = _strokes(ink_hw) & scanned_hw
    fold_hw &= scanned_hw & ~ink_hw
    if config.method == "fixed":
        threshold, method = config.threshold, f"fixed {config.threshold:.4f}"
    else:
        # Ink and unscanned area have saturations of their own, which would draw the threshold away from tissue.
        counted_hw = scanned_hw & ~ink_hw
        found = otsu(smooth_hw if counted_hw.all() else smooth_hw[counted_hw])
        threshold = min(max(found, config.min_saturation), config.max_saturation)
        method = f"otsu {found:.4f}, used {threshold:.4f}"
    stained_hw = (smooth_hw > threshold) & scanned_hw
    tissue_hw = _clean(stained_hw, ~scanned_hw | ink_hw | fold_hw, um, config, excluded)
    for name, area_hw in (("pen", ink_hw), ("fold", fold_hw)):
        if area_hw.any():
            excluded[name] = float((stained_hw & area_hw).mean())
    return TissueMask(tissue_hw, downsample, excluded, method, stained_hw & (ink_hw | fold_hw))


def otsu(values: NDArray[np.floating]) -> float:
    """Return the threshold in [0, 1] that maximises the variance between the two sides (Otsu 1979), 0 for no values."""
    counts = np.zeros(_BINS)
    for part in np.array_split(values.ravel(), values.size // 2**17 + 1):
        counts += np.bincount(np.minimum(part * _BINS, _BINS - 1).astype(np.uint8), minlength=_BINS)
    if counts.sum() == 0:
        return 0.0
    centres = (np.arange(_BINS) + 0.5) / _BINS
    below, mass = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    return float((np.nanargmax(np.nan_to_num(between, nan=-1.0)) + 1) / _BINS)


def pen_marks(hue_hw: NDArray, saturation_hw: NDArray, value_hw: NDArray) -> NDArray[np.bool_]:
    """Return where a thumbnail shows ink: colours that haematoxylin (blue-violet) and eosin (pink) do not reach.

    Args:
        hue_hw: Degrees, 0 to 360.
        saturation_hw: 0 to 1.
        value_hw: 0 to 1.
    """
    return _strokes(_ink(hue_hw, saturation_hw, value_hw))


def _ink(hue: NDArray, saturation: NDArray, value: NDArray) -> NDArray[np.bool_]:
    cold = (hue >= 70) & (hue < 245)
    blue = (hue >= 200) & (saturation > 0.45)
    green = (hue < 200) & (saturation > 0.2)
    over_tissue = (saturation > 0.12) & (value < 0.5)
    red = ((hue < 12) | (hue > 350)) & (saturation > _RED_INK) & (value > 0.4)
    ink: NDArray[np.bool_] = (cold & (green | blue | over_tissue)) | _black(saturation, value) | red
    return ink


def _black(saturation: NDArray, value: NDArray) -> NDArray[np.bool_]:
    black: NDArray[np.bool_] = (value < 0.25) & (saturation < 0.35)
    return black


def _strokes(ink_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Strokes are wide and fade at their rims; single pixels are margin dye, pigment or noise."""
    return shapes.dilated(shapes.opened(ink_hw, 1), 2) if ink_hw.any() else ink_hw


def _saturation_value(rgb_hwc: NDArray[np.uint8]) -> tuple[list[NDArray[np.uint8]], NDArray, NDArray]:
    """Return the three channels, and saturation and value in [0, 1]."""
    channels = [np.ascontiguousarray(rgb_hwc[..., channel]) for channel in range(3)]
    high, low = (join(join(*channels[:2]), channels[2]) for join in (np.maximum, np.minimum))
    top = high.astype(np.float32)
    return channels, (high - low) / np.maximum(top, np.float32(1)), top / np.float32(255)


def _ink_of(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8], saturation: NDArray, value: NDArray
) -> NDArray[np.bool_]:
    """Return where there is ink. Hue costs most, so it is found only where it can matter: few pixels of a slide."""
    ink_hw: NDArray[np.bool_] = _black(saturation, value)
    lead = np.minimum(green, blue) < red  # else red is the least and the hue is cold or none
    high = np.maximum(green, blue)
    # Hue below 245 degrees with red in the middle: red leads green by at most a twelfth of the span.
    near = (red < high) & (12 * (red.astype(np.int16) - green) <= high.astype(np.int16) - np.minimum(green, red))
    maybe_hw = (saturation > _COLOURED) & (~lead | near | (saturation > _RED_INK))
    if maybe_hw.any():
        hue = _hue(red[maybe_hw], green[maybe_hw], blue[maybe_hw])
        ink_hw[maybe_hw] = _ink(hue, saturation[maybe_hw], value[maybe_hw])
    return ink_hw


def _hue(red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Hue in degrees of pixels that are not grey."""
    most = np.maximum(np.maximum(red, green), blue)
    spread = (most - np.minimum(np.minimum(red, green), blue)).astype(np.float32)
    r, g, b = (channel.astype(np.float32) for channel in (red, green, blue))
    warm, leafy = ((g - b) / spread) % 6, (b - r) / spread + 2
    return np.where(most == red, warm, np.where(most == green, leafy, (r - g) / spread + 4)) * np.float32(60)


def _clean(
    stained_hw: NDArray[np.bool_],
    not_tissue_hw: NDArray[np.bool_],
    um: float | None,
    config: TissueConfig,
    excluded: dict[str, float],
) -> NDArray[np.bool_]:
    """Close gaps, fill small holes, drop specks; ``not_tissue_hw`` stays out whatever is closed or filled."""
    if um is None:
        radius, min_area = 1, config.min_area_share * stained_hw.size
        max_hole = min_area
    else:
        radius = round(config.closing_um / um / 2)
        min_area, max_hole = config.min_area_um2 / um**2, config.max_hole_um2 / um**2
    tissue_hw = stained_hw
    if radius > 0:
        tissue_hw = shapes.closed(tissue_hw, radius)
    tissue_hw = tissue_hw | shapes.pieces(~tissue_hw, below=max_hole)
    tissue_hw = tissue_hw & ~not_tissue_hw
    specks_hw = shapes.pieces(tissue_hw, below=min_area)
    if specks_hw.any():
        excluded["speck"] = float(specks_hw.mean())
    return tissue_hw & ~specks_hw

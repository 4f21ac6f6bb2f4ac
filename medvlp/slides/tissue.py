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


class TissueConfig(Config):
    """How tissue is told from glass; saturation and value are those of HSV, in [0, 1]."""

    method: Literal["otsu", "fixed", "none"] = Field(
        default="otsu", description="Threshold by Otsu's method, a fixed threshold, or everything counts as tissue."
    )
    mpp: float = Field(default=8.0, gt=0.0, le=200.0, description="Micrometres per pixel of the mask.")
    longest: int = Field(
        default=1024, ge=16, le=8192, description="Longer side of the mask where the slide's resolution is unknown."
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
    longest = config.longest if slide.mpp is None else round(max(slide.size) * slide.mpp / config.mpp)
    rgb_hwc = slide.thumbnail(min(max(longest, 16), config.max_longest))
    height, width = rgb_hwc.shape[:2]
    downsample = slide.size[0] / width, slide.size[1] / height
    if config.method == "none":
        return TissueMask(np.ones((height, width), dtype=bool), downsample, {}, "none")
    um = None if slide.mpp is None else slide.mpp * (downsample[0] + downsample[1]) / 2
    return _find(rgb_hwc, um, downsample, config)


def _find(
    rgb_hwc: NDArray[np.uint8], um: float | None, downsample: tuple[float, float], config: TissueConfig
) -> TissueMask:
    shape, reach = rgb_hwc.shape[:2], config.median // 2
    smooth_hw = np.empty(shape, dtype=np.float32)
    scanned_hw, ink_hw, fold_hw = (np.zeros(shape, dtype=bool) for _ in range(3))
    for rows in shapes.bands(len(rgb_hwc)):
        above = min(reach, rows.start)
        own = slice(above, above + rows.stop - rows.start)
        saturation_hw, value_hw, hue_hw = _hsv(rgb_hwc[rows.start - above : rows.stop + reach])
        smooth_hw[rows] = shapes.median(saturation_hw, config.median)[own]
        saturation_hw, value_hw, hue_hw = saturation_hw[own], value_hw[own], hue_hw[own]
        scanned_hw[rows] = value_hw >= config.min_value
        if config.pen:
            ink_hw[rows] = _ink(hue_hw, saturation_hw, value_hw)
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
    black = (value < 0.25) & (saturation < 0.35)
    red = ((hue < 12) | (hue > 350)) & (saturation > 0.75) & (value > 0.4)
    ink: NDArray[np.bool_] = (cold & (green | blue | over_tissue)) | black | red
    return ink


def _strokes(ink_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Strokes are wide and fade at their rims; single pixels are margin dye, pigment or noise."""
    return shapes.dilated(shapes.opened(ink_hw, 1), 2) if ink_hw.any() else ink_hw


def _hsv(rgb_hwc: NDArray[np.uint8]) -> tuple[NDArray, NDArray, NDArray]:
    """Return saturation and value in [0, 1] and hue in degrees, which is 0 where saturation is below ``_COLOURED``."""
    channels = [np.ascontiguousarray(rgb_hwc[..., channel]) for channel in range(3)]
    high, low = (join(join(*channels[:2]), channels[2]) for join in (np.maximum, np.minimum))
    span = (high - low).astype(np.float32)
    top = high.astype(np.float32)
    saturation_hw = span / np.maximum(top, 1.0)
    hue_hw = np.zeros_like(top)
    coloured_hw = saturation_hw > _COLOURED
    if coloured_hw.any():
        red, green, blue = (channel[coloured_hw].astype(np.float32) for channel in channels)
        most, spread = top[coloured_hw], span[coloured_hw]
        hue = np.where(
            most == red,
            ((green - blue) / spread) % 6,
            np.where(most == green, (blue - red) / spread + 2, (red - green) / spread + 4),
        )
        hue_hw[coloured_hw] = hue * 60.0
    return saturation_hw, top / 255.0, hue_hw


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

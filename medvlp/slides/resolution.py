"""Micrometres per pixel: what the file states, what the caller gives, and when neither may be used.

Never derived from a nominal objective: scanners that call themselves 20x span 0.45 to 0.55 um per pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from medvlp.errors import DataError

PLAUSIBLE_MPP = (0.05, 20.0)
"""Values outside are a writer's defaults (72 dpi is 353, one pixel per cm is 10,000) and count as unknown."""
MAX_ANISOTROPY = 0.01
"""Relative difference of x and y above which pixels are not square."""
MAX_CONTRADICTION = 0.05
"""Relative difference of a given value and the metadata above which the slide is refused."""


@dataclass(frozen=True)
class Resolution:
    """Micrometres per level-0 pixel, where the value comes from, and why there is none."""

    mpp: float | None
    source: str
    note: str = ""


def settle(
    stated: tuple[float | None, float | None], given: float | None, item: Path, objective: float | None = None
) -> Resolution:
    """Choose the resolution of a slide.

    Args:
        stated: Micrometres per level-0 pixel along x and y by the metadata, None where they say nothing.
        given: What the caller says.
        item: What errors call the slide.
        objective: Nominal magnification by the metadata; only ever quoted.

    Raises:
        DataError: A given value that is implausible or contradicts the metadata, or pixels that are not square.
    """
    low, high = PLAUSIBLE_MPP
    if given is not None and not (math.isfinite(given) and low <= given <= high):
        raise DataError(f"mpp {given:g} is outside {low:g} to {high:g} micrometres per pixel", item=item)
    hint = "" if objective is None else f" (it names a {objective:g}x objective, which fixes no size)"
    usable = [value for value in stated if value is not None and math.isfinite(value) and low <= value <= high]
    if len(usable) < 2:
        said = [f"{value:g}" for value in stated if value is not None]
        note = f"the file states no usable micrometres per pixel{hint}"
        if said:
            note = f"the file's {' and '.join(said)} micrometres per pixel are implausible or incomplete{hint}"
        return Resolution(given, "unknown" if given is None else "given", note)
    x, y = usable
    if abs(x - y) > MAX_ANISOTROPY * max(x, y):
        raise DataError(
            f"pixels are not square: {x:g} um along x, {y:g} um along y",
            item=item,
            remedy="resample the slide to square pixels",
        )
    metadata = (x + y) / 2
    if given is not None and abs(given - metadata) > MAX_CONTRADICTION * metadata:
        raise DataError(
            f"mpp {given:g} was given, but the file states {metadata:g}",
            item=item,
            remedy="leave --mpp out, or correct the file's metadata",
        )
    return Resolution(metadata, "metadata")

"""tiatoolbox: ``SlidingWindowPatchExtractor`` with its mask ``otsu`` (8 um per pixel on this slide)."""

from __future__ import annotations

import tiatoolbox
from measure import MIN_TISSUE, MPP, TILE, Found, measure
from tiatoolbox.tools.patchextraction import get_patch_extractor
from tiatoolbox.wsicore.wsireader import WSIReader


def tool(path: str) -> Found:
    """Find tissue and tiles."""
    patches = get_patch_extractor(
        "slidingwindow",
        input_img=WSIReader.open(path),
        input_mask="otsu",
        patch_size=(TILE, TILE),
        resolution=MPP,
        units="mpp",
        min_mask_ratio=MIN_TISSUE,
        within_bound=True,
    )
    return Found(patches.coordinate_list[:, :2], lambda: patches.mask.img, lambda: iter(patches))


measure(tiatoolbox.__version__, tool)

"""tiatoolbox: its sliding window with the mask ``otsu`` (a threshold alone) or ``morphological`` (also cleaned)."""

from __future__ import annotations

import sys

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
try:
    import torchvision
except RuntimeError:  # its compiled part wants CUDA; nothing here does, but its import names two operators of that part
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

import tiatoolbox  # noqa: E402
from measure import MIN_TISSUE, MPP, TILE, Found, measure  # noqa: E402
from tiatoolbox.tools.patchextraction import get_patch_extractor  # noqa: E402
from tiatoolbox.wsicore.wsireader import OpenSlideWSIReader  # noqa: E402


def tool(path: str) -> Found:
    """Find tissue and tiles; ``WSIReader.open`` would take a file of this kind for a plain picture."""
    patches = get_patch_extractor(
        "slidingwindow",
        input_img=OpenSlideWSIReader(path),
        input_mask="morphological" if "--morphological" in sys.argv else "otsu",
        patch_size=(TILE, TILE),
        resolution=MPP,
        units="mpp",
        min_mask_ratio=MIN_TISSUE,
        within_bound=True,
    )
    return Found(patches.coordinate_list[:, :2], lambda: patches.mask.img, lambda: iter(patches))


measure(tiatoolbox.__version__, tool)

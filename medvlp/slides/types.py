"""What the slide rooms hand to each other: where tiles lie, where tissue is, what was computed of them.

All coordinates are (x, y) of a tile's top-left corner in level-0 pixels, x to the right, y down; all sizes are
(width, height). Shape letters: N tiles, D feature width, X = 2 (x, y), h, w pixels of a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TissueMask:
    """Where a slide holds tissue.

    Attributes:
        mask_hw: True where there is tissue.
        downsample: Level-0 pixels per mask pixel, along x and y.
        excluded: Share of the slide's area that was taken out again, by reason ("pen", "fold", "speck").
        method: The threshold rule used and its value, for manifests.
        excluded_hw: True where pen or fold was taken out, for pictures; None if nothing was looked for.
    """

    mask_hw: NDArray[np.bool_]
    downsample: tuple[float, float]
    excluded: dict[str, float] = field(default_factory=dict)
    method: str = ""
    excluded_hw: NDArray[np.bool_] | None = None

    @property
    def share(self) -> float:
        """Share of the slide's area that is tissue."""
        return float(self.mask_hw.mean()) if self.mask_hw.size else 0.0


@dataclass(frozen=True)
class TileGrid:
    """The tiles of one slide that are to be read, in rows from top to bottom, each row from left to right.

    Attributes:
        coords_NX: int64, level-0 top-left corners.
        tile_size: Side of a tile as the encoder sees it, pixels.
        mpp: Micrometres per pixel of such a tile.
        patch_size_level0: Side of the square read, level-0 pixels.
        step_level0: Distance of neighbouring tiles, level-0 pixels; less than ``patch_size_level0`` if tiles overlap.
        slide_size: (width, height) of the slide, level-0 pixels.
        level0_mpp: Micrometres per level-0 pixel.
        tissue_N: Share of each tile that is tissue.
    """

    coords_NX: NDArray[np.int64]
    tile_size: int
    mpp: float
    patch_size_level0: int
    step_level0: int
    slide_size: tuple[int, int]
    level0_mpp: float
    tissue_N: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.coords_NX)


@dataclass(frozen=True)
class SlideFeatures:
    """The tiles of one slide as vectors, whoever made them; what a file does not say is None, never guessed.

    Attributes:
        key: Name of the slide (the file's stem), or of the case.
        features_ND: float32.
        coords_NX: int64, level-0 top-left corners; None where the producer threw them away.
        patch_size_level0: Side of a tile, level-0 pixels.
        step_level0: Distance of neighbouring tiles, level-0 pixels.
        mpp: Micrometres per pixel of the tiles as the encoder saw them.
        level0_mpp: Micrometres per level-0 pixel.
        encoder: Name of the encoder.
        projected: Whether the vectors lie in the space shared with text.
        normalised: Whether they have unit length.
        producer: Which layout was read ("trident", "clam", "gigapath", "keep", "stamp", "pt", "medvlp").
        slide_size: (width, height) of the slide, level-0 pixels.
    """

    key: str
    features_ND: Tensor
    coords_NX: Tensor | None = None
    patch_size_level0: int | None = None
    step_level0: int | None = None
    mpp: float | None = None
    level0_mpp: float | None = None
    encoder: str | None = None
    projected: bool | None = None
    normalised: bool | None = None
    producer: str = "medvlp"
    slide_size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.features_ND)

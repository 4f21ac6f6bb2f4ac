"""Stain normalisation of tiles (Macenko et al. 2009), the stain vectors found by MONAI once per slide or per tile.

Shape letters: h, w pixels, c = 3 colours, n pixels, S = 2 stains (haematoxylin, eosin).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medvlp.config import Config, resolve_path
from medvlp.errors import DataError
from medvlp.io import require
from medvlp.slides.reader import Slide, UnreadableRegion
from medvlp.slides.types import TileGrid

_LIGHT = 240.0
"""Intensity of unstained glass; MONAI's value."""
_ABSORBING = 0.15
"""Optical density that every colour of a stained pixel exceeds; MONAI's value."""
_TARGET_cS = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
_TARGET_STRENGTH_S = np.array([1.9705, 1.0308])


class StainConfig(Config):
    """Whether and how the colours of tiles are brought to one stain."""

    method: Literal["none", "macenko"] = Field(default="none", description="No normalisation, or Macenko's.")
    fit: Literal["slide", "tile"] = Field(
        default="slide", description="Stains found once on tiles of the slide, or on every tile by itself."
    )
    reference: str | None = Field(
        default=None, description="An H&E image whose stains are the target; Macenko's published ones if absent."
    )
    fit_tiles: int = Field(default=32, ge=1, le=1000, description="Tiles of a slide on which its stains are found.")
    min_pixels: int = Field(default=2000, ge=10, description="Fewest stained pixels from which stains are found.")
    seed: int = Field(default=0, ge=0, description="Draws those tiles.")


class StainNormaliser:
    """Brings tiles to the target's stains; tiles for which that cannot be done are returned as they are and counted.

    Attributes:
        done: Tiles normalised.
        left: Tiles returned as they are.
        fitted: Whether stains of the slide were found.
    """

    def __init__(self, config: StainConfig) -> None:
        """Prepare the target.

        Raises:
            DataError: A reference image without enough stained pixels.
            MissingExtraError: Without MONAI.
        """
        self.config, self.done, self.left = config, 0, 0
        self._target_cS, self._target_strength_S = _TARGET_cS, _TARGET_STRENGTH_S
        self._own: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if config.method == "macenko":
            require("monai", "finetune")
        if config.method == "macenko" and config.reference is not None:
            from medvlp.data.image import read_image

            path: Path = resolve_path(config.reference)
            found = self._stains(np.asarray(read_image(path)))
            if found is None:
                raise DataError("too little of the reference is stained", item=path, remedy="choose an H&E image")
            self._target_cS, self._target_strength_S = found

    @property
    def fitted(self) -> bool:
        """Whether stains of the slide were found."""
        return self._own is not None

    def fit(self, tiles: Iterable[NDArray[np.uint8]]) -> StainNormaliser:
        """Find the stains of a slide on some of its tiles, each uint8 (h, w, 3), and return this object."""
        pixels = [tile_hwc.reshape(-1, 3) for tile_hwc in tiles]
        self._own = self._stains(np.concatenate(pixels)[None]) if pixels else None
        return self

    def __call__(self, rgb_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a tile, uint8 (h, w, 3), in the target's stains, or as it is."""
        if self.config.method == "none":
            return rgb_hwc
        own = self._own if self.config.fit == "slide" else self._stains(rgb_hwc)
        if own is None:
            self.left += 1
            return rgb_hwc
        self.done += 1
        stains_cS, strength_S = own
        density_cn = _density(rgb_hwc).reshape(-1, 3).T
        amount_Sn = np.linalg.pinv(stains_cS) @ density_cn
        amount_Sn *= (self._target_strength_S / strength_S)[:, None]
        out_nc = _LIGHT * np.exp(-(self._target_cS @ amount_Sn)).T
        return np.floor(out_nc + 0.5).clip(0, 255).astype(np.uint8).reshape(rgb_hwc.shape)

    def _stains(self, rgb_hwc: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return stain vectors (c, S) and the 99th percentile of each stain's amount, or None for too few pixels."""
        density_hwc = _density(rgb_hwc)
        if int((density_hwc > _ABSORBING).all(-1).sum()) < self.config.min_pixels:
            return None
        stain = require("monai.apps.pathology.transforms.stain.array", "finetune")
        try:
            stains_cS = np.asarray(stain.ExtractHEStains(tli=_LIGHT, beta=_ABSORBING)(rgb_hwc), dtype=np.float64)
            amount_Sn = np.linalg.pinv(stains_cS) @ density_hwc.reshape(-1, 3).T
        except (ValueError, np.linalg.LinAlgError):
            return None
        strength_S = np.percentile(amount_Sn, 99, axis=1)
        usable = np.isfinite(stains_cS).all() and np.linalg.cond(stains_cS) < 1e3 and (strength_S > 1e-3).all()
        return (stains_cS, strength_S) if usable else None


def fit_stain(slide: Slide, grid: TileGrid, config: StainConfig) -> StainNormaliser:
    """Return a normaliser for one slide, if so configured with stains found on random tiles of the grid."""
    normaliser = StainNormaliser(config)
    if config.method == "none" or config.fit == "tile":
        return normaliser
    chosen = np.random.default_rng(config.seed).permutation(len(grid))[: config.fit_tiles]
    tiles = []
    for x, y in grid.coords_NX[np.sort(chosen)].tolist():
        try:
            tiles.append(slide.square(x, y, grid.patch_size_level0, grid.tile_size))
        except UnreadableRegion:
            continue  # the job that reads all tiles counts it
    return normaliser.fit(tiles)


def _density(rgb_hwc: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return optical densities (Beer-Lambert), as MONAI computes them."""
    return -np.log(np.minimum(rgb_hwc.astype(np.float64) + 1.0, _LIGHT) / _LIGHT)

"""Where the tiles of a slide come from: cut and embedded here, or read from a feature file.

Shape legend: N tiles, D embedding size, X = 2 (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from medvlp.errors import DataError
from medvlp.io import sha256_file
from medvlp.zeroshot.classifier import to_numpy
from medvlp.zeroshot.slide_embed import embed_tiles
from medvlp.zeroshot.smoothing import Places, step_of

if TYPE_CHECKING:
    from medvlp.slides.reader import Slide


@dataclass(frozen=True)
class SlideTiles:
    """Tiles of a slide as unit vectors, with what the results say about where they came from.

    Attributes:
        feature_ND: Unit vectors.
        place_NX: Level-0 top-left corners.
        side: Side of a tile, level-0 pixels.
        step: Distance of neighbouring tiles, level-0 pixels.
        grid: How the slide was cut, for the results.
        tissue: What was found to be tissue, or None for tiles from a file.
        features: The file they come from, or None.
    """

    feature_ND: Tensor
    place_NX: Places
    side: int
    step: int
    grid: dict[str, Any]
    tissue: dict[str, Any] | None
    features: dict[str, Any] | None


def embedded(
    slide: Slide,
    model: Any,
    tile_size: int,
    target_mpp: float,
    overlap: int,
    min_tissue: float,
    batch: int,
    workers: int,
) -> SlideTiles:
    """Find tissue, cut it into tiles and embed them.

    Raises:
        DataError: If the slide's resolution is unknown, no tile holds enough tissue, or none can be read.
    """
    from medvlp.slides.grid import GridConfig, tile_grid
    from medvlp.slides.tissue import tissue_mask

    slide.require_mpp()
    mask = tissue_mask(slide)
    grid = tile_grid(
        slide, mask, GridConfig(tile_size=tile_size, mpp=target_mpp, overlap=overlap, min_tissue=min_tissue)
    )
    if len(grid) == 0:
        raise DataError(
            f"no tile holds enough tissue (tissue is {100 * mask.share:.2f}% of the slide)",
            item=slide.path,
            remedy="lower --min-tissue, use smaller tiles, or check the slide with a preview",
        )
    feature_ND, rows_N, ledger = embed_tiles(slide, grid, model, batch_size=batch, workers=workers)
    return SlideTiles(
        feature_ND,
        grid.coords_NX[rows_N],
        grid.patch_size_level0,
        grid.step_level0,
        _grid_entry(grid.tile_size, grid.mpp, grid.patch_size_level0, grid.step_level0, len(grid), ledger.kept),
        {
            "share": mask.share,
            "method": mask.method,
            "excluded": {reason: float(part) for reason, part in mask.excluded.items()},
        },
        None,
    )


def read(
    slide: Slide,
    path: Path,
    dim: int,
    mpp: float | None,
    producer: str | None,
    patch_size_level0: int | None,
    projected: bool | None,
) -> SlideTiles:
    """Read tiles that were embedded before; see ``medvlp.slides.features`` for the arguments.

    Raises:
        DataError: If the file says too little, or its vectors cannot be compared with texts of width ``dim``.
    """
    from medvlp.slides.features import for_zero_shot, read_features

    found = read_features(
        path, producer=producer, patch_size_level0=patch_size_level0, level0_mpp=mpp, slide_size=slide.size,
        projected=projected,
    )  # fmt: skip
    side = found.patch_size_level0
    if found.coords_NX is None or side is None:
        lacks = "coordinates" if found.coords_NX is None else "the size of its tiles"
        raise DataError(
            f"does not say {lacks}, so tiles cannot be placed on the slide",
            item=path.name,
            remedy="give the file that keeps coordinates, and --patch-size if it lacks the size",
        )
    place_NX = to_numpy(found.coords_NX).round().astype(np.int64)
    found = for_zero_shot(found, dim)
    step = found.step_level0 or step_of(place_NX) or side
    seen = None
    if found.mpp is not None and found.level0_mpp is not None:
        seen = round(side * found.level0_mpp / found.mpp)
    return SlideTiles(
        found.features_ND,
        place_NX,
        side,
        step,
        _grid_entry(seen, found.mpp, side, step, len(found), len(found)),
        None,
        {"producer": found.producer, "encoder": found.encoder, "sha256": sha256_file(path)},
    )


def _grid_entry(
    tile_size: int | None, mpp: float | None, side: int, step: int, num_tiles: int, num_scored: int
) -> dict[str, Any]:
    return {
        "tile_size": tile_size,
        "mpp": mpp,
        "patch_size_level0": side,
        "step_level0": step,
        "num_tiles": num_tiles,
        "num_scored": num_scored,
        "num_unreadable": num_tiles - num_scored,
        "coordinates": "top-left corner of a tile, level-0 pixels, x to the right, y down",
    }

"""The tiles of a slide through an image encoder, batch by batch; what cannot be read is counted.

Shape legend: N tiles, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from medvlp.errors import DataError
from medvlp.ledger import Ledger
from medvlp.zeroshot.classifier import with_progress

if TYPE_CHECKING:
    from medvlp.slides.reader import Slide
    from medvlp.slides.types import TileGrid

UNREADABLE = "pixels cannot be decoded"


class _Tiles(Dataset[tuple[int, NDArray[np.uint8] | None]]):
    """Tile number to pixels, None where they cannot be decoded; each worker opens the slide for itself."""

    def __init__(self, slide: Slide, grid: TileGrid) -> None:
        self.slide, self.grid = slide, grid

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, number: int) -> tuple[int, NDArray[np.uint8] | None]:
        from medvlp.slides.reader import UnreadableRegion

        x, y = self.grid.coords_NX[number].tolist()
        try:
            return number, self.slide.square(x, y, self.grid.patch_size_level0, self.grid.tile_size)
        except UnreadableRegion:
            return number, None


def embed_tiles(
    slide: Slide, grid: TileGrid, model: Any, *, batch_size: int = 64, workers: int = 0
) -> tuple[Tensor, NDArray[np.int64], Ledger]:
    """Embed every tile of a grid that can be read, with a progress bar on a terminal.

    Args:
        slide: The slide.
        grid: Its tiles.
        model: Anything with ``encode_image(list of PIL images) -> (B, D)``.
        batch_size: Tiles per forward pass.
        workers: Processes that read ahead; 0 reads in this one.

    Returns:
        Unit vectors (N, D), float32 on the CPU; the number of each one's tile in the grid; the tiles read and not.

    Raises:
        DataError: If the grid has no tile, none can be read, or the model gives a vector that is zero or not finite.
    """
    if len(grid) == 0:
        raise DataError("no tile holds enough tissue", item=slide.key, remedy="lower the least tissue share per tile")
    ledger = Ledger()
    parts, rows = [], []
    for numbers, images in with_progress(
        _batches(_Tiles(slide, grid), batch_size, workers, ledger), "embedding tiles", -(-len(grid) // batch_size)
    ):
        if not images:
            continue
        with torch.inference_mode():
            found_BD = model.encode_image(images)
        parts.append(found_BD.detach().float().cpu().clone())
        rows += numbers
    if not rows:
        raise DataError(f"none of {len(grid)} tiles can be read", item=slide.key, remedy="copy the file again")
    feature_ND = torch.cat(parts)
    norm_N = torch.linalg.vector_norm(feature_ND, dim=1)
    if len(feature_ND) != len(rows) or not bool((torch.isfinite(norm_N) & (norm_N > 0)).all()):
        raise DataError(
            "the model gave a vector that is zero or not finite", item=slide.key, remedy="check its weights"
        )
    return functional.normalize(feature_ND, dim=1), np.array(rows, dtype=np.int64), ledger


def _batches(
    tiles: _Tiles, batch_size: int, workers: int, ledger: Ledger
) -> Iterator[tuple[list[int], list[Image.Image]]]:
    loader: DataLoader[Any] = DataLoader(
        tiles,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        # a forked process would share the open file's position with this one
        multiprocessing_context="spawn" if workers else None,
    )
    for batch in loader:
        read = [(number, pixels) for number, pixels in batch if pixels is not None]
        ledger.keep(len(read))
        for number, pixels in batch:
            if pixels is None:
                ledger.drop(f"tile {number}", UNREADABLE)
        yield [number for number, _ in read], [Image.fromarray(pixels) for _, pixels in read]

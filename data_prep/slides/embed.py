"""The tiles of one slide through the encoder, and how busy that kept it.

Shape letters: N tiles, B tiles of a batch, D vector width.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.slides.encoder import TileEncoder
from medvlp.errors import ConfigError

_IN_FLIGHT = 3
"""Batches a GPU may have before it: enough never to wait, few enough to bound memory."""
_ON_DEVICE = 64
"""Batches of vectors that stay on the GPU before they are fetched."""


class Busy:
    """Runs batches and adds up the seconds the encoder computed."""

    def __init__(self, encoder: TileEncoder) -> None:
        self.encoder, self._seconds = encoder, 0.0
        self._events: deque[tuple[Any, Any]] = deque()

    def __call__(self, batch: list[Tensor]) -> Tensor:
        """Return vectors (B, D) on the encoder's device; on a GPU they may still be computed."""
        cuda = self.encoder.device.type == "cuda"
        batch_BCHW = torch.stack(batch)
        try:
            if not cuda:
                start = time.perf_counter()
                features_BD = self.encoder(batch_BCHW)
                self._seconds += time.perf_counter() - start
                return features_BD
            events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            batch_BCHW = batch_BCHW.pin_memory()
            events[0].record()
            features_BD = self.encoder(batch_BCHW)
            events[1].record()
        except torch.cuda.OutOfMemoryError:
            raise ConfigError(
                f"{len(batch)} tiles do not fit the GPU's memory", item="batch_size", remedy="choose a smaller one"
            ) from None
        self._events.append(events)
        self._settle(_IN_FLIGHT)
        return features_BD

    def seconds(self) -> float:
        """Return the seconds spent computing so far, all batches finished."""
        self._settle(0)
        return self._seconds

    def _settle(self, left: int) -> None:
        while len(self._events) > left:
            start, end = self._events.popleft()
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1000


def embed_tiles(
    tiles: Iterator[Tensor | None], busy: Busy, batch_size: int, after_batch: Callable[[int], None]
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Embed tiles in order, in batches of readable ones.

    Args:
        tiles: Preprocessed tiles; None for one that could not be read.
        busy: The encoder.
        batch_size: Tiles per batch.
        after_batch: Told the number of tiles read since the last call.

    Returns:
        Vectors (readable tiles, D), float32 on the CPU, and which of the N tiles they are.
    """
    readable: list[bool] = []
    batch: list[Tensor] = []
    device: list[Tensor] = []
    host: list[Tensor] = []
    told = 0
    for tile in tiles:
        readable.append(tile is not None)
        if tile is not None:
            batch.append(tile)
        if len(batch) == batch_size:
            device.append(busy(batch))
            batch = []
            after_batch(len(readable) - told)
            told = len(readable)
            if len(device) == _ON_DEVICE:
                host.append(torch.cat(device).cpu())
                device = []
    if batch:
        device.append(busy(batch))
    after_batch(len(readable) - told)
    if device:
        host.append(torch.cat(device).cpu())
    features_ND = torch.cat(host) if host else torch.zeros(0, 0)
    return features_ND, np.array(readable, dtype=bool)

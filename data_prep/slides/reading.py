"""Tiles read ahead by several workers and handed over in order, so that the encoder never waits for long.

Each worker keeps one open slide of its own. The order and the batches depend on the slides alone, not on the workers.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medvlp.data.transform import Preprocess
from medvlp.slides.reader import Slide, UnreadableRegion, open_slide

_CHUNK = 8
"""Tiles of one order to a worker."""

_Futures = deque[tuple[int, Future[list[NDArray[np.float32] | None]]]]

_own = threading.local()


@dataclass(frozen=True)
class Order:
    """A few tiles of one slide, for one worker."""

    path: Path
    mpp: float | None
    corners: tuple[tuple[int, int], ...]
    side_level0: int
    size: int
    preprocess: Preprocess


def read_tiles(order: Order) -> list[NDArray[np.float32] | None]:
    """Return the preprocessed tiles (C, H, W) of an order; None for one that cannot be decoded.

    Arrays, not tensors: those would share memory between processes through one open file each.
    """
    slide = _slide(order.path, order.mpp)
    tiles: list[NDArray[np.float32] | None] = []
    for x, y in order.corners:
        try:
            rgb_hwc = slide.square(x, y, order.side_level0, order.size)
        except UnreadableRegion:
            tiles.append(None)
        else:
            tiles.append(order.preprocess(Image.fromarray(rgb_hwc)).numpy())
    return tiles


def _slide(path: Path, mpp: float | None) -> Slide:
    """Return this worker's open slide, closing the one before."""
    held: tuple[Path, float | None, Slide] | None = getattr(_own, "held", None)
    if held is not None and held[:2] == (path, mpp):
        return held[2]
    if held is not None:
        held[2].close()
        _own.held = None
    slide = open_slide(path, mpp=mpp)
    _own.held = (path, mpp, slide)
    return slide


@contextmanager
def reader_pool(kind: str, num_workers: int) -> Iterator[Executor]:
    """Yield a pool of readers; orders not begun are dropped at the end."""
    pool: Executor
    if kind == "threads":
        pool = ThreadPoolExecutor(num_workers, "reader")
    else:
        import multiprocessing

        pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_start_process)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_process() -> None:
    """Use one thread per process, and end with the parent however it ends."""
    import multiprocessing
    from multiprocessing.connection import wait

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


class Ahead:
    """Reads the tiles of slides ahead of their use, over the border from one slide to the next.

    Args:
        pool: The readers.
        ahead: Tiles that may be read but not yet used.
    """

    def __init__(self, pool: Executor, ahead: int) -> None:
        self._pool, self._ahead, self._waiting = pool, ahead, 0
        self._queues: deque[tuple[_Futures, Iterator[Order]]] = deque()

    def add(self, orders: Iterator[Order]) -> None:
        """Queue a slide's orders behind those of the slides before."""
        self._queues.append((deque(), orders))
        self._fill()

    def tiles(self) -> Iterator[Tensor | None]:
        """Yield the tiles of the first queued slide in order; at the end, also an early one, the slide is forgotten."""
        futures, _ = self._queues[0]
        try:
            while self._fill() or futures:
                count, future = futures.popleft()
                self._waiting -= count
                yield from (None if tile is None else torch.from_numpy(tile) for tile in future.result())
        finally:
            for count, future in futures:
                future.cancel()
                self._waiting -= count
            self._queues.popleft()

    def _fill(self) -> bool:
        """Send orders while there is room, those of earlier slides first; say whether any was sent."""
        sent = False
        while self._waiting < self._ahead:
            following = ((futures, order) for futures, orders in self._queues if (order := next(orders, None)))
            found = next(following, None)
            if found is None:
                break
            futures, order = found
            futures.append((len(order.corners), self._pool.submit(read_tiles, order)))
            self._waiting += len(order.corners)
            sent = True
        return sent


def orders_of(
    path: Path, mpp: float | None, coords_NX: NDArray[np.int64], side_level0: int, size: int, preprocess: Preprocess
) -> Iterator[Order]:
    """Cut a slide's tiles into orders."""
    for start in range(0, len(coords_NX), _CHUNK):
        corners = tuple((int(x), int(y)) for x, y in coords_NX[start : start + _CHUNK])
        yield Order(path, mpp, corners, side_level0, size, preprocess)

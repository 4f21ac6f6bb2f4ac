"""Tiles read ahead by several workers and handed over in order, so that the encoder never waits for long.

Each worker keeps one open slide of its own. The order and the batches depend on the slides alone, not on the workers.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medvlp.data.transform import Preprocess
from medvlp.slides.reader import Slide, UnreadableRegion, open_slide

_CHUNK = 8
"""Tiles of one order to a worker."""

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


def read_tiles(order: Order) -> list[Tensor | None]:
    """Return the preprocessed tiles (C, H, W) of an order; None for one that cannot be decoded."""
    slide = _slide(order.path, order.mpp)
    tiles: list[Tensor | None] = []
    for x, y in order.corners:
        try:
            rgb_hwc = slide.square(x, y, order.side_level0, order.size)
        except UnreadableRegion:
            tiles.append(None)
        else:
            tiles.append(order.preprocess(Image.fromarray(rgb_hwc)))
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
        following: Gives the orders of the next slide if they are known by now, else None; called when there is room.
    """

    def __init__(self, pool: Executor, ahead: int, following: Callable[[], Iterator[Order] | None]) -> None:
        self._pool, self._ahead, self._following = pool, ahead, following
        self._queues: deque[tuple[deque[Future[list[Tensor | None]]], Iterator[Order]]] = deque()
        self._waiting = 0

    def add(self, orders: Iterator[Order]) -> None:
        """Queue a slide's orders behind those of the slides before."""
        self._queues.append((deque(), orders))
        self._fill()

    def tiles(self) -> Iterator[Tensor | None]:
        """Yield the tiles of the first queued slide in order, then forget it."""
        futures, _ = self._queues[0]
        while futures or self._fill(only_first=True):
            chunk = futures.popleft().result()
            self._waiting -= len(chunk)
            self._fill()
            yield from chunk
        self._queues.popleft()

    def _fill(self, only_first: bool = False) -> bool:
        """Send orders while there is room; say whether the first slide has any in work."""
        while self._waiting < self._ahead or (only_first and not self._queues[0][0]):
            for futures, orders in self._queues:
                order = next(orders, None)
                if order is not None:
                    futures.append(self._pool.submit(read_tiles, order))
                    self._waiting += len(order.corners)
                    break
            else:
                if only_first or (further := self._following()) is None:
                    break
                self._queues.append((deque(), further))
        return bool(self._queues and self._queues[0][0])


def orders_of(
    path: Path, mpp: float | None, coords_NX: np.ndarray, side_level0: int, size: int, preprocess: Preprocess
) -> Iterator[Order]:
    """Cut a slide's tiles into orders."""
    for start in range(0, len(coords_NX), _CHUNK):
        corners = tuple((int(x), int(y)) for x, y in coords_NX[start : start + _CHUNK])
        yield Order(path, mpp, corners, side_level0, size, preprocess)

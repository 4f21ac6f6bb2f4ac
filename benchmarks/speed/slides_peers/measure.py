"""What the scripts of this folder share; needs NumPy alone, so that it runs in any environment.

A script is called as ``python run_TOOL.py SLIDE RESULT.npz TILES [WORDS]`` and prints one line of JSON.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

TILE, MPP, MIN_TISSUE = 256, 0.5, 0.25


def peak_bytes() -> int:
    """Return the most memory this process has held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


class Found:
    """What a tool found on a slide.

    Attributes:
        coords: Level-0 corners (x, y) of the tiles.
        mask: Calling it gives the mask of the whole slide at any size, True where tissue is; not timed.
        tiles: Calling it gives the pixels of the tiles one after the other.
    """

    def __init__(self, coords: Any, mask: Callable[[], Any], tiles: Callable[[], Iterable[Any]]) -> None:
        self.coords, self.mask, self.tiles = coords, mask, tiles


def measure(version: str, tool: Callable[[str], Found]) -> None:
    """Time a tool on the slide of the command line: mask and tiles, then the pixels of the first tiles.

    Args:
        version: The tool's version.
        tool: Opens the slide, finds tissue and tiles.
    """
    slide, result, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
    start, cpu = time.perf_counter(), time.process_time()
    found = tool(slide)
    said = {
        "version": version,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": peak_bytes(),
    }
    coords = np.asarray(found.coords).reshape(-1, 2).astype(np.int64)
    wanted = min(wanted, len(coords))
    if wanted:
        start, cpu, count = time.perf_counter(), time.process_time(), 0
        for tile in itertools.islice(found.tiles(), wanted):
            if np.asarray(tile).shape[:2] != (TILE, TILE):
                raise ValueError(f"a tile has shape {np.asarray(tile).shape}")
            count += 1
        if count != wanted:
            raise ValueError(f"{count} of {wanted} tiles were read")
        said["tile_seconds"] = (time.perf_counter() - start) / count
        said["tile_cpu_seconds"] = (time.process_time() - cpu) / count
        said["read_peak_bytes"] = peak_bytes()
    np.savez_compressed(result, mask=np.asarray(found.mask()).astype(bool), coords=coords)
    print(json.dumps(said))

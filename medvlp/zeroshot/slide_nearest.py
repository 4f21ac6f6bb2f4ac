"""Which prompts of each class lie nearest to every tile: ``nearest_prompts.safetensors``, for a look at single tiles.

Shape legend: N tiles, K classes, P prompts of one class, D embedding size, R ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.zeroshot.classifier import Floats, to_numpy

NEAREST = "nearest_prompts.safetensors"
_RANKS = 3
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class NearestPrompts:
    """The nearest prompts of each class to every tile, nearest first.

    Attributes:
        prompt_NKR: int32, number of the prompt in the class's list in ``results.json``; -1 where it has fewer.
        cosine_NKR: float32, its cosine with the tile; 0 where there is none.
    """

    prompt_NKR: NDArray[np.int32]
    cosine_NKR: NDArray[np.float32]


def nearest_prompts(feature_ND: Any, prompt_vectors_K: Sequence[Floats], ranks: int = _RANKS) -> NearestPrompts:
    """Rank each class's prompts by their cosine with every tile; of equals the first in the list.

    Args:
        feature_ND: Unit vectors of tiles.
        prompt_vectors_K: Unit vectors (P, D) of the prompts, class by class.
        ranks: How many to keep per tile and class.
    """
    shape = (len(feature_ND), len(prompt_vectors_K), ranks)
    prompt_NKR, cosine_NKR = np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=np.float32)
    for begin in range(0, len(feature_ND), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        block_ND = to_numpy(feature_ND[rows])
        for k, prompt_PD in enumerate(prompt_vectors_K):
            cosine_NP = block_ND @ prompt_PD.T
            best_NR = np.argsort(-cosine_NP, axis=1, kind="stable")[:, :ranks]
            prompt_NKR[rows, k, : best_NR.shape[1]] = best_NR
            cosine_NKR[rows, k, : best_NR.shape[1]] = np.take_along_axis(cosine_NP, best_NR, axis=1)
    return NearestPrompts(prompt_NKR, cosine_NKR)


def write_nearest(path: Path, found: NearestPrompts) -> None:
    """Write the two tables; rows are in the order of ``tiles.parquet``."""
    from safetensors.numpy import save_file

    save_file({"prompt": found.prompt_NKR, "cosine": found.cosine_NKR}, path)


def read_nearest(path: Path, num_tiles: int, num_prompts_K: Sequence[int]) -> NearestPrompts:
    """Read what :func:`write_nearest` wrote.

    Args:
        path: The file.
        num_tiles: Tiles there must be.
        num_prompts_K: Prompts of each class.

    Raises:
        DataError: If it is damaged or of other tiles, classes or prompts.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    remedy = "run medvlp diagnose again"
    try:
        tables = load_file(path)
        found = NearestPrompts(tables["prompt"], tables["cosine"])
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"cannot be read ({error})", item=path, remedy=remedy) from None
    shape = found.prompt_NKR.shape
    fits = len(shape) == 3 and shape[:2] == (num_tiles, len(num_prompts_K)) and shape == found.cosine_NKR.shape
    limit_K1 = np.asarray(num_prompts_K)[:, None]
    if not fits or not ((found.prompt_NKR >= -1) & (found.prompt_NKR < limit_K1)).all():
        raise DataError("belongs to other tiles, classes or prompts", item=path, remedy=remedy)
    return found

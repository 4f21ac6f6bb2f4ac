"""How well two masks agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def dice(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Twice the common area over the sum of both areas (Dice 1945); NaN where the truth is empty.

    Args:
        truth: True where the class is; any shape.
        predicted: The same shape.
    """
    common, true, found = _areas(truth, predicted)
    return 2 * common / (true + found) if true else float("nan")


def iou(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Common area over the joint area (Jaccard 1912); NaN where the truth is empty, as for :func:`dice`.

    Args:
        truth: True where the class is; any shape.
        predicted: The same shape.
    """
    common, true, found = _areas(truth, predicted)
    return common / (true + found - common) if true else float("nan")


def _areas(truth: ArrayLike, predicted: ArrayLike) -> tuple[int, int, int]:
    """Pixels of both, of the truth, of the prediction."""
    true, found = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool)
    assert true.shape == found.shape, f"masks of shapes {true.shape} and {found.shape}"
    return int((true & found).sum()), int(true.sum()), int(found.sum())

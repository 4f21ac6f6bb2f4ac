"""How leaves look: visual factors that descend along the hierarchy, and the twin in which they do not.

Shape legend: L leaves, A shared ancestors, F factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]


def draw_factors(above_LA: NDArray[np.bool_], num_factors: int, inheritance: float, rng: np.random.Generator) -> Floats:
    """Draw the factors of all leaves.

    Every shared ancestor and every leaf draws a step in each factor. A leaf inherits the mean of its ancestors' steps
    (each counts once and all count the same, whatever their depth; divided by the root of their number, so that every
    leaf inherits the same variance). Two leaves then correlate as much as their ancestors overlap. Both parts are
    standardised over the leaves before they are mixed, which makes ``inheritance`` the share of variance that comes
    from ancestors.

    Args:
        above_LA: Which ancestor is above which leaf.
        num_factors: F.
        inheritance: Share of variance.
        rng: Source of the steps.

    Returns:
        (L, F), each factor with mean 0 and variance 1 over the leaves.
    """
    steps_AF = rng.standard_normal((above_LA.shape[1], num_factors))
    own_LF = rng.standard_normal((above_LA.shape[0], num_factors))
    number_L1 = np.maximum(above_LA.sum(1, keepdims=True), 1)
    inherited_LF = above_LA.astype(float) @ steps_AF / np.sqrt(number_L1)
    mixed_LF = np.sqrt(inheritance) * _standard(inherited_LF) + np.sqrt(1 - inheritance) * _standard(own_LF)
    return _standard(mixed_LF)


def exchange(group_L: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw whose looks each leaf gets in the twin world, (L,): an even permutation within seen, rare and unseen leaves.

    Within groups, so that the images of every split stay the very same. Averaged over draws, the looks of an unseen
    leaf are then equally like those of all seen leaves, whatever the hierarchy says.
    """
    source_L = np.arange(len(group_L))
    for group in np.unique(group_L):
        rows = np.flatnonzero(group_L == group)
        source_L[rows] = rng.permutation(rows)
    return source_L


def shown(factors_NF: Floats) -> Floats:
    """Map factors to (0, 1), evenly spread for normal ones: what a renderer turns into sizes and numbers."""
    return np.asarray(ndtr(factors_NF), dtype=np.float64)


def _standard(values_LF: Floats) -> Floats:
    spread = values_LF.std(0)
    return np.asarray((values_LF - values_LF.mean(0)) / np.where(spread > 0, spread, 1.0))

"""Whether a map of scores points at the marked place, without any threshold.

One map and one mask at a time; average over images with :func:`mean_over_images`, which skips undefined ones.
For masks see ``medvlp.metrics.overlap``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, mean_defined


def contrast_to_noise(score_map: ArrayLike, inside: ArrayLike, *, signed: bool = False) -> float:
    """Contrast-to-noise ratio, ``|m_in - m_out| / sqrt(v_in + v_out)`` (Boecking et al. 2022, BioViL, section 3.2).

    The means and variances are over the pixels inside and outside the mark.

    Args:
        score_map: Scores, any shape.
        inside: True where marked; the same shape.
        signed: Leave the difference its sign, so that a map that points away from the mark is negative.

    Returns:
        NaN where nothing or everything is marked, or where neither part varies.
    """
    inside_scores, outside_scores = _parts(score_map, inside)
    if len(inside_scores) == 0 or len(outside_scores) == 0:
        return float("nan")
    noise = np.sqrt(inside_scores.var() + outside_scores.var())
    # Equal numbers may have a variance of the last digit only.
    if noise <= 1e-12 * max(np.abs(inside_scores).max(), np.abs(outside_scores).max(), 1e-300):
        return float("nan")
    contrast = (inside_scores.mean() - outside_scores.mean()) / noise
    return float(contrast if signed else abs(contrast))


def pointing(score_map: ArrayLike, inside: ArrayLike) -> float:
    """Pointing game: whether the highest score lies inside the mark (Zhang et al. 2016, excitation backprop).

    Of several highest pixels the share inside counts, so a constant map scores the marked share of the area. There is
    no tolerance around the mark. NaN where nothing is marked.

    Args:
        score_map: Scores, any shape.
        inside: True where marked; the same shape.
    """
    inside_scores, outside_scores = _parts(score_map, inside)
    if len(inside_scores) == 0:
        return float("nan")
    highest = max(inside_scores.max(), outside_scores.max(initial=-np.inf))
    hits, misses = int((inside_scores == highest).sum()), int((outside_scores == highest).sum())
    return hits / (hits + misses)


def mean_over_images(value_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Mean of a value per image (overlap, contrast, pointing) over those where it is defined; NaN where none is."""
    return mean_defined(np.asarray(value_N, dtype=np.float64), weight)


def _parts(score_map: ArrayLike, inside: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    scores, marked = np.asarray(score_map, dtype=np.float64), np.asarray(inside, dtype=bool)
    assert scores.shape == marked.shape, f"map of shape {scores.shape}, mark of shape {marked.shape}"
    assert bool(np.isfinite(scores).all()), "scores have to be finite"
    return scores[marked], scores[~marked]

"""From the tiles of one slide to one number per class: the published poolings as pure functions.

Shape legend: N tiles, K classes, D embedding size.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.zeroshot.classifier import Floats, softmax, to_numpy

KEEP_SCALE = 10.0
"""Multiplier of cosines of the published KEEP pipelines, whatever the model learned."""

_ROWS = 16384


def tile_cosines(feature_ND: Any, class_KD: Any) -> Floats:
    """Cosines (N, K) of unit tile vectors and unit class vectors, in blocks of tiles.

    Raises:
        DataError: If there is no tile, widths differ, or a value is not finite.
    """
    class_KD = to_numpy(class_KD)
    if len(feature_ND) == 0 or feature_ND.shape[1] != class_KD.shape[1]:
        raise DataError(
            f"tiles of shape {tuple(feature_ND.shape)} do not meet class vectors of width {class_KD.shape[1]}",
            item="tiles",
            remedy="use features of the model that encodes the texts, projected into their space",
        )
    parts = [to_numpy(feature_ND[row : row + _ROWS]) @ class_KD.T for row in range(0, len(feature_ND), _ROWS)]
    return checked(np.concatenate(parts))


def checked(value_NK: Any) -> Floats:
    """Return a table of at least one tile and class as float64.

    Raises:
        DataError: If it is empty, has another shape, or holds a value that is not finite.
    """
    value_NK = to_numpy(value_NK)
    if value_NK.ndim != 2 or 0 in value_NK.shape:
        raise DataError(f"expected (tiles, classes), got the shape {value_NK.shape}", item="tiles")
    bad_N = ~np.isfinite(value_NK).all(1)
    if bad_N.any():
        raise DataError(
            f"{int(bad_N.sum())} of {len(bad_N)} tiles are not finite, the first is tile {int(bad_N.argmax())}",
            item="tiles",
            remedy="check the model's weights or the feature file",
        )
    return value_NK


def tile_probabilities(cosine_NK: Any, scale: float = KEEP_SCALE) -> Floats:
    """Probabilities (N, K) of every tile: softmax of ``scale`` times cosine.

    Args:
        cosine_NK: Cosines of tiles and class vectors.
        scale: Multiplier; KEEP's fixed 10, or the model's own (``medvlp.zeroshot.classifier.scale_of``).
    """
    return softmax(scale * checked(cosine_NK))


def tumour_probability(probability_NK: Any, normal: int) -> Floats:
    """Probability (N,) of the best class that is not normal against the normal one: their softmax, the rest left out.

    With two classes this is the probability of the other class. With more, it is above 1/2 exactly where the answer
    of the tile is not normal; the sum over all other classes would be above 1/2 on tiles that show nothing at all.
    """
    probability_NK = checked(probability_NK)
    other_N = np.delete(probability_NK, normal, axis=1).max(1)
    return other_N / (other_N + probability_NK[:, normal])


def tumour_ratio(probability_NK: Any, normal: int, threshold: float = 0.5) -> float:
    """Share of tiles whose :func:`tumour_probability` is above ``threshold`` (KEEP's slide score for detection).

    Args:
        probability_NK: Tile probabilities.
        normal: Column of the normal class.
        threshold: Fixed beforehand, or fitted on development slides.
    """
    return float((tumour_probability(probability_NK, normal) > threshold).mean())


def answered_shares(value_NK: Any) -> Floats:
    """Share of tiles whose largest value is in each class (K,); a tie goes to the class that comes first."""
    value_NK = checked(value_NK)
    return np.bincount(value_NK.argmax(1), minlength=value_NK.shape[1]) / len(value_NK)


def most_frequent(
    share_K: Floats, mean_K: Floats, normal: int | None, compat: Literal["keep"] | None = None
) -> tuple[int, bool]:
    """Class of a slide from the shares of its tiles, with whether the shares alone left a tie.

    The most frequent class that is not normal; of equals the one of larger mean, then the first. A slide whose tiles
    are all normal is normal.

    Args:
        share_K: Share of tiles per class.
        mean_K: Mean value per class, which breaks ties.
        normal: Column of the normal class, or None if there is none.
        compat: ``keep`` answers as the published scripts do: the first of equals, so a slide whose tiles are all
            normal gets the first class that is not.
    """
    other = [k for k in range(len(share_K)) if k != normal]
    best = max(share_K[k] for k in other)
    if compat == "keep":
        return next(k for k in other if share_K[k] == best), best == 0
    if best == 0 and normal is not None:
        return normal, False
    tied = [k for k in other if share_K[k] == best]
    return max(tied, key=lambda k: (mean_K[k], -k)), len(tied) > 1


def top_k_mean(cosine_NK: Any, k: int) -> tuple[Floats, int]:
    """Mean of the ``k`` largest cosines of each class (MI-Zero), and how many were taken: never more than N.

    Raises:
        DataError: If ``k`` is below 1.
    """
    cosine_NK = checked(cosine_NK)
    if k < 1:
        raise DataError(f"top-k needs at least one tile, not {k}", item="k", remedy="use k of 1 or more")
    used = min(k, len(cosine_NK))
    return np.sort(cosine_NK, axis=0)[::-1][:used].mean(0), used


def mean_pool(cosine_NK: Any) -> Floats:
    """Mean cosine of each class (K,)."""
    return checked(cosine_NK).mean(0)


def log_sum_exp_pool(cosine_NK: Any, scale: float = KEEP_SCALE) -> Floats:
    """Log of the mean of exp(scale * cosine), over scale (K,): between mean and maximum, whatever the number of tiles.

    Raises:
        DataError: If ``scale`` is not above 0.
    """
    if not scale > 0:
        raise DataError(f"log-sum-exp needs a scale above 0, not {scale}", item="scale")
    cosine_NK = checked(cosine_NK)
    top_K = cosine_NK.max(0)
    return top_K + np.log(np.exp(scale * (cosine_NK - top_K)).mean(0)) / scale


def tumour_margin(score_K: Floats, normal: int | None) -> float | None:
    """Best score of a class that is not normal minus the normal one's; None without a normal class."""
    if normal is None:
        return None
    return float(np.delete(score_K, normal).max() - score_K[normal])


def segment(probability_N: Any, threshold: float) -> NDArray[np.bool_]:
    """Which tiles or cells are called tumour: probability above a threshold fixed or fitted on development slides."""
    value_N = to_numpy(probability_N)
    if not np.isfinite(value_N).all():
        raise DataError("a probability is not finite", item="tiles")
    return value_N > threshold

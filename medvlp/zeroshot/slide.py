"""The answer for a whole slide from its tiles: one rule, its thresholds, and where they come from.

Shape legend: N tiles, K classes, S slides, X = 2 (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from medvlp.config import Config
from medvlp.errors import ConfigError, DataError
from medvlp.metrics import classification, curves
from medvlp.zeroshot import slide_pooling as pooling
from medvlp.zeroshot.classifier import Floats, refuse_test
from medvlp.zeroshot.smoothing import cells, smooth, smooth_as_keep, step_of

Method = Literal["tumour_ratio", "ratio_with_normal", "top_k", "mean", "lse"]
METHODS: tuple[Method, ...] = get_args(Method)
RATIOS: tuple[Method, ...] = ("tumour_ratio", "ratio_with_normal")
TRIED_K = (1, 5, 10, 50, 100)


class SlideRule(Config):
    """How the tiles of a slide become its answer, and where the numbers in the rule come from."""

    method: Method = Field(
        "tumour_ratio",
        description="Share of tumour tiles; shares with the normal class; top-k mean; mean; log-sum-exp.",
    )
    k: int = Field(50, ge=1, description="Tiles per class for top_k; a smaller slide uses all it has.")
    threshold: float = Field(0.5, ge=0, le=1, description="A tile is tumour above this probability.")
    slide_threshold: float | None = Field(
        None, description="A slide is tumour at or above this tumour score; none: no such cut was fitted."
    )
    smoothing: Literal["none", "centred", "keep"] = Field(
        "none", description="Average each tile with its neighbours first, or as KEEP's scripts do."
    )
    radius: int = Field(1, ge=0, le=50, description="Neighbours to each side for centred smoothing, grid steps.")
    scale: float | None = Field(10.0, gt=0, description="Multiplier of cosines; none takes the model's own.")
    compat: Literal["keep"] | None = Field(
        None, description="keep: a slide whose tiles are all normal gets the first class, as published."
    )
    source: Literal["fixed", "development"] = Field("fixed", description="Where k and the thresholds come from.")
    split: str | None = Field(None, description="The split they were fitted on.")
    num_slides: int | None = Field(None, ge=1, description="Slides they were fitted on.")

    @model_validator(mode="after")
    def _origin_fits(self) -> SlideRule:
        if (self.source == "development") != (self.split is not None):
            raise ValueError("a fitted rule names its split, a fixed one names none")
        if self.split is not None and self.split.strip().lower() == "test":
            raise ValueError("nothing may be fitted on the test split")
        return self

    def with_changes(self, **changes: Any) -> SlideRule:
        """Return the rule with some fields changed, checked again."""
        return SlideRule.model_validate(self.model_dump() | changes)


@dataclass(frozen=True)
class SlideScore:
    """The answer for one slide.

    Attributes:
        method: How it was made.
        score_K: Score of each class: shares of tiles for ratios, else pooled cosines.
        decision: Column of the answer.
        tie: Whether the scores alone left it open; it then went to the larger mean probability, then the first class.
        tumour_score: For ranking slides: the tumour ratio, or the best other class minus the normal one; None
            without a normal class.
        used_k: Tiles per class that top-k took.
    """

    method: Method
    score_K: Floats
    decision: int
    tie: bool
    tumour_score: float | None
    used_k: int | None = None


def tile_values(
    cosine_NK: Any, rule: SlideRule, *, scale: float | None = None, coords_NX: Any = None, step: float | None = None
) -> tuple[Floats, Floats]:
    """Cosines and probabilities (N, K) of tiles, smoothed as the rule says.

    Args:
        cosine_NK: Cosines of tiles and class vectors.
        rule: Scale and smoothing.
        scale: The model's own multiplier, for a rule without one.
        coords_NX: Where the tiles lie, level-0 pixels; needed for smoothing.
        step: Distance of neighbouring tiles, level-0 pixels; the smallest distance found if not given.

    Raises:
        DataError: If smoothing lacks coordinates, or a value is not finite.
        ConfigError: If the rule has no scale and none is given.
    """
    chosen = rule.scale if rule.scale is not None else scale
    if chosen is None:
        raise ConfigError("the rule takes the model's own scale, but none was given", item="scale")
    cosine_NK = pooling.checked(cosine_NK)
    if rule.smoothing != "none":
        if coords_NX is None:
            raise DataError("no coordinates, so tiles cannot be smoothed", item="coords", remedy="use smoothing none")
        step = step_of(coords_NX) if step is None else step
        if step is not None and rule.smoothing == "centred":
            cosine_NK = smooth(cosine_NK, coords_NX, step, rule.radius)
        elif step is not None:
            cosine_NK = smooth_as_keep(cosine_NK, coords_NX, round(step))
    return cosine_NK, pooling.tile_probabilities(cosine_NK, chosen)


def score_slide(
    cosine_NK: Any,
    rule: SlideRule,
    normal: int | None = None,
    *,
    scale: float | None = None,
    coords_NX: Any = None,
    step: float | None = None,
) -> SlideScore:
    """Score one slide by a rule.

    Args:
        cosine_NK: Cosines of its tiles and the class vectors.
        rule: The rule.
        normal: Column of the normal class, or None if there is none.
        scale: See :func:`tile_values`.
        coords_NX: See :func:`tile_values`.
        step: See :func:`tile_values`.

    Raises:
        DataError: If there are fewer than two classes, no tile, or a value that is not finite.
    """
    cosine_NK, probability_NK = tile_values(cosine_NK, rule, scale=scale, coords_NX=coords_NX, step=step)
    num_classes = cosine_NK.shape[1]
    if num_classes < 2 or (normal is not None and not 0 <= normal < num_classes):
        raise DataError(f"{num_classes} classes, normal is number {normal}", item="classes", remedy="give two or more")
    mean_K = probability_NK.mean(0)
    if rule.method in RATIOS:
        share_K = pooling.answered_shares(probability_NK)
        ratio = None if normal is None else pooling.tumour_ratio(probability_NK, normal, rule.threshold)
        if rule.method == "ratio_with_normal":
            decision, tie = _largest(share_K, mean_K)
        else:
            decision, tie = pooling.most_frequent(share_K, mean_K, normal, rule.compat)
        score = SlideScore(rule.method, share_K, decision, tie, ratio)
    else:
        used = None
        if rule.method == "top_k":
            score_K, used = pooling.top_k_mean(cosine_NK, rule.k)
        elif rule.method == "mean":
            score_K = pooling.mean_pool(cosine_NK)
        else:
            score_K = pooling.log_sum_exp_pool(cosine_NK, rule.scale or scale or pooling.KEEP_SCALE)
        decision, tie = _largest(score_K, mean_K)
        score = SlideScore(rule.method, score_K, decision, tie, pooling.tumour_margin(score_K, normal), used)
    return _cut(score, rule, normal, mean_K)


def _largest(score_K: Floats, mean_K: Floats) -> tuple[int, bool]:
    tied = np.flatnonzero(score_K == score_K.max()).tolist()
    return max(tied, key=lambda k: (mean_K[k], -k)), len(tied) > 1


def _cut(score: SlideScore, rule: SlideRule, normal: int | None, mean_K: Floats) -> SlideScore:
    """Apply a fitted cut: normal below it, the best class that is not normal from it on."""
    if rule.slide_threshold is None or normal is None or score.tumour_score is None:
        return score
    decision, tie = normal, False
    if score.tumour_score >= rule.slide_threshold:
        others = [k for k in range(len(mean_K)) if k != normal]
        best, tie = _largest(score.score_K[others], mean_K[others])
        decision = others[best]
    return SlideScore(score.method, score.score_K, decision, tie, score.tumour_score, score.used_k)


def fit_rule(
    cosines: Sequence[Any],
    target_S: Sequence[int],
    split: str,
    rule: SlideRule | None = None,
    *,
    normal: int | None = None,
    specificity: float = 0.95,
    tried_k: Sequence[int] = TRIED_K,
    scale: float | None = None,
    coords: Sequence[Any] | None = None,
    steps: Sequence[float] | None = None,
) -> SlideRule:
    """Choose k (top_k only) and the slide threshold on development slides; everything else stays as it is.

    k is the one of best balanced accuracy among those tried (the first of equals). The slide threshold,
    with a normal class, is the lowest that keeps ``specificity`` on the normal slides; it is left open if there are
    no normal slides.

    Args:
        cosines: Cosines (N, K) of every slide.
        target_S: True class of every slide.
        split: Name of the split the slides come from.
        rule: What to start from.
        normal: Column of the normal class.
        specificity: Specificity to keep.
        tried_k: Values of k to choose from; a single one is kept.
        scale: The model's own multiplier, for a rule without one.
        coords: Coordinates (N, 2) of every slide, for smoothing.
        steps: Grid steps of every slide, for smoothing.

    Raises:
        DataError: If the split is called test, or there is no slide.
    """
    refuse_test(split)
    rule = SlideRule() if rule is None else rule
    if len(cosines) == 0 or len(cosines) != len(target_S):
        raise DataError(f"{len(cosines)} slides with {len(target_S)} classes", item=split, remedy="label every slide")
    target = np.asarray(target_S, dtype=np.int64)
    open_rule = rule.with_changes(slide_threshold=None)

    def scores(chosen: SlideRule) -> list[SlideScore]:
        return [
            score_slide(
                cosine_NK,
                chosen,
                normal,
                scale=scale,
                coords_NX=None if coords is None else coords[s],
                step=None if steps is None else steps[s],
            )
            for s, cosine_NK in enumerate(cosines)
        ]

    if rule.method == "top_k":
        num_classes = np.shape(cosines[0])[1]
        tried = [open_rule.with_changes(k=k) for k in tried_k]
        right = [
            float(classification.balanced_accuracy(target, [found.decision for found in scores(one)], num_classes))
            for one in tried
        ]
        open_rule = tried[int(np.argmax(right))]
    threshold = float("nan")
    if normal is not None:
        tumour_S = np.array([found.tumour_score for found in scores(open_rule)], dtype=np.float64)
        threshold = curves.threshold_at_specificity(target != normal, tumour_S, specificity)
    return open_rule.with_changes(
        slide_threshold=None if np.isnan(threshold) else threshold,
        source="development",
        split=split,
        num_slides=len(cosines),
    )


def fit_segmentation(probability: Sequence[Any], truth: Sequence[Any], split: str) -> float:
    """The threshold of highest Dice over all tiles of development slides together (the strictest of equals).

    Args:
        probability: Probability of tumour of the tiles or cells (N,) of every slide.
        truth: True where the tile or cell is tumour, same shapes.
        split: Name of the split the slides come from.

    Returns:
        A threshold for ``medvlp.zeroshot.slide_pooling.segment``, which calls what is above it.

    Raises:
        DataError: If the split is called test, shapes differ, or no tile is tumour.
    """
    refuse_test(split)
    if not probability or [np.shape(one) for one in probability] != [np.shape(one) for one in truth]:
        raise DataError("probabilities and truths differ in number", item=split, remedy="give both for every tile")
    fitted = curves.threshold_at_best_f1(np.concatenate(truth), np.concatenate(probability))
    if np.isnan(fitted):
        raise DataError("no tile is tumour, so no threshold can be fitted", item=split)
    return float(np.nextafter(fitted, -np.inf))


def segmentation(
    probability_N: Any,
    coords_NX: Any,
    patch: int,
    step: int,
    *,
    threshold: float,
    slide_size: tuple[int, int],
    shape_hw: tuple[int, int],
) -> NDArray[np.bool_]:
    """A mask over the whole slide (h, w): where the mean of the tiles over a cell is above a threshold.

    Args:
        probability_N: Probability of tumour of every tile.
        coords_NX: Where the tiles lie, level-0 pixels; they may overlap.
        patch: Side of a tile, level-0 pixels.
        step: Distance of neighbouring tiles, level-0 pixels.
        threshold: Fixed beforehand, or of :func:`fit_segmentation`.
        slide_size: (width, height) of the slide, level-0 pixels.
        shape_hw: (height, width) of the mask.
    """
    from medvlp.slides.heatmap import paint

    found = cells(probability_N, coords_NX, patch, min(step, patch))
    called_M = pooling.segment(found.value_MK, threshold)
    painted_hw = paint(called_M.astype(np.float64), found.coords_MX, found.side, slide_size, shape_hw)
    return np.nan_to_num(painted_hw) > 0.5  # nearest cell: cells do not overlap

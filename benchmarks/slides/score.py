"""Scores of every slide by every pooling, with and without smoothing; fitted is on development slides alone.

The harness scores slides by the same functions (``benchmarks.harness.protocols``).

Shape legend: N tiles, K prompted classes, J answers (tumour classes, then normal), D embedding size, T thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.slides.config import SlidesBenchmarkConfig
from benchmarks.slides.embed import Tiles
from medvlp.model import DualEncoder
from medvlp.zeroshot.classifier import class_vectors, scale_of, to_numpy
from medvlp.zeroshot.prompts import PromptSet
from medvlp.zeroshot.slide import METHODS, RATIOS, TRIED_K, SlideRule, SlideScore, fit_rule, score_slide, tile_values
from medvlp.zeroshot.slide_pooling import tile_cosines, tumour_probability

Floats = NDArray[np.float64]
Smoothing = Literal["none", "centred"]
SMOOTHINGS: tuple[Smoothing, ...] = ("none", "centred")
MEAN_EMBEDDING = "mean_embedding"
POOLINGS = (*METHODS, MEAN_EMBEDDING)
THRESHOLDS = np.round(np.arange(0.02, 1.0, 0.02), 2)
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Asked:
    """What slides are asked.

    Attributes:
        prompts: Prompts of all K classes.
        tumours: The tumour classes among them, in the same order; the others are normal.
    """

    prompts: PromptSet
    tumours: tuple[str, ...]

    @classmethod
    def of(cls, prompts: PromptSet, tumours: Sequence[str]) -> Asked:
        """Put the tumour classes into the order of the prompts."""
        return cls(prompts, tuple(name for name in prompts.classes if name in tumours))

    @property
    def normal(self) -> int | None:
        """Column of the normal answer, or None where every class is a tumour."""
        return len(self.tumours) if len(self.tumours) < len(self.prompts.classes) else None

    def merge(self, value_NK: Floats, total: bool = False) -> Floats:
        """Values (N, J): tumour classes as they are, then normal: the largest (or the sum) of the normal tissues."""
        normal_K = np.array([name not in self.tumours for name in self.prompts.classes])
        if not normal_K.any():
            return value_NK
        normal_NK = value_NK[:, normal_K]
        merged_N1 = normal_NK.sum(1, keepdims=True) if total else normal_NK.max(1, keepdims=True)
        return np.concatenate([value_NK[:, ~normal_K], merged_N1], axis=1)

    def truth(self, one: Tiles) -> int:
        """Column of the true answer."""
        return len(self.tumours) if one.slide.tumour is None else self.tumours.index(one.slide.tumour)


def slide_cosines(model: DualEncoder, tiles: Sequence[Tiles], prompts: PromptSet) -> list[tuple[Floats, Floats]]:
    """Cosines (N, K) of every tile of each slide, and those of its mean embedding (1, K)."""
    class_KD = class_vectors(model, prompts)
    out = []
    for one in tiles:
        with torch.no_grad():
            out.append(pooled_cosines(to_numpy(model.project_image(torch.from_numpy(one.features_NI))), class_KD))
    return out


def pooled_cosines(tile_ND: Floats, class_KD: Floats) -> tuple[Floats, Floats]:
    """Cosines (N, K) of unit vectors of the tiles of a slide, and those of their mean embedding (1, K)."""
    mean_1D = tile_ND.mean(0, keepdims=True)
    mean_1D /= np.linalg.norm(mean_1D)
    return tile_cosines(tile_ND, class_KD), tile_cosines(mean_1D, class_KD)


def score_model(
    config: SlidesBenchmarkConfig, model: DualEncoder, tiles: Sequence[Tiles], asked: Asked
) -> dict[str, Any]:
    """Return the record of one model on one set: every pooling and the areas that Dice needs."""
    cosines = slide_cosines(model, tiles, asked.prompts)
    tile_cosines_NJ, mean_cosines_1J = ([asked.merge(pair[place]) for pair in cosines] for place in (0, 1))
    return _record(config, asked, tiles, tile_cosines_NJ, mean_cosines_1J, scale_of(model), POOLINGS)


def score_probabilities(
    config: SlidesBenchmarkConfig, tiles: Sequence[Tiles], probabilities: Sequence[Floats], asked: Asked
) -> dict[str, Any]:
    """As :func:`score_model` for tile probabilities (N, K) that come from no cosine; by tumour ratio alone."""
    merged = log_probabilities(asked, probabilities)
    return _record(config, asked, tiles, merged, merged, 1.0, RATIOS)


def log_probabilities(asked: Asked, probabilities: Sequence[Floats]) -> list[Floats]:
    """Logarithms (N, J) of the answers' probabilities: at scale 1 a softmax gives the probabilities back."""
    return [np.log(asked.merge(probability_NK, total=True) + _SMALLEST) for probability_NK in probabilities]


def _record(
    config: SlidesBenchmarkConfig,
    asked: Asked,
    tiles: Sequence[Tiles],
    by_tile: Sequence[Floats],
    by_mean: Sequence[Floats],
    scale: float,
    poolings: Sequence[str],
) -> dict[str, Any]:
    parts = {part: [row for row, one in enumerate(tiles) if one.slide.part == part] for part in ("dev", "test")}
    normal = len(asked.tumours)
    target = [asked.truth(one) for one in tiles]
    methods = {}
    for pooling in poolings:
        for smoothing in SMOOTHINGS if pooling != MEAN_EMBEDDING else SMOOTHINGS[:1]:
            rule = rule_of(pooling, config.threshold, smoothing, config.radius, scale)
            values = by_mean if pooling == MEAN_EMBEDDING else by_tile
            methods[f"{pooling}|{smoothing}"] = score_method(
                config.specificity, rule, values, tiles, parts, target, normal
            )
    areas = {
        smoothing: areas_of(
            rule_of("tumour_ratio", config.threshold, smoothing, config.radius, scale), by_tile, tiles, parts, normal
        )
        for smoothing in SMOOTHINGS
    }
    return {
        "target": {part: [target[row] for row in rows] for part, rows in parts.items()},
        "slides": {part: [tiles[row].slide.key for row in rows] for part, rows in parts.items()},
        "scale": scale,
        "methods": methods,
        "areas": areas,
    }


def rule_of(pooling: str, threshold: float, smoothing: Smoothing, radius: int, scale: float) -> SlideRule:
    """The rule of a pooling; that of the mean embedding is applied to a slide's one embedding."""
    return SlideRule(
        method="mean" if pooling == MEAN_EMBEDDING else pooling,  # type: ignore[arg-type]
        threshold=threshold,
        smoothing=smoothing,
        radius=radius,
        scale=scale,
    )


def score_method(
    specificity: float,
    rule: SlideRule,
    values: Sequence[Floats],
    tiles: Sequence[Tiles],
    parts: Mapping[str, Sequence[int]],
    target: Sequence[int],
    normal: int | None,
    tried_k: Sequence[int] = TRIED_K,
) -> dict[str, Any]:
    """Score every slide by a rule whose k and cut come from the slides of part ``dev`` alone.

    Args:
        specificity: What the cut keeps on development slides.
        rule: Pooling, smoothing, scale.
        values: Values (N, J) of the tiles of each slide, or (1, J) of its mean embedding.
        tiles: Where the tiles lie.
        parts: Numbers of the slides of each part; without development slides there is no cut.
        target: True column of each slide.
        normal: Column of the normal answer, or None.
        tried_k: Of which k of top-k the best on development slides is taken.

    Returns:
        ``k`` and ``cut``; per part ``score`` (NaN without a normal answer), ``answer``, and ``kind``: the best tumour
        class, whether or not the slide was called normal, -1 if no tile speaks for any.
    """
    place: dict[int, dict[str, Any]] = {
        row: {"coords_NX": tiles[row].coords_NX, "step": tiles[row].step} if len(values[row]) > 1 else {}
        for part in parts.values()
        for row in part
    }
    dev = parts["dev"]
    fitted = rule
    if dev:
        fitted = fit_rule(
            [values[row] for row in dev],
            [target[row] for row in dev],
            "dev",
            rule,
            normal=normal,
            specificity=specificity,
            tried_k=tried_k,
            coords=None if not place[dev[0]] else [tiles[row].coords_NX for row in dev],
            steps=None if not place[dev[0]] else [tiles[row].step for row in dev],
        )
    open_rule = fitted.with_changes(slide_threshold=None)
    out: dict[str, Any] = {"k": fitted.k, "cut": fitted.slide_threshold}
    for part, rows in parts.items():
        found = [score_slide(values[row], open_rule, normal, **place[row]) for row in rows]
        out[part] = {
            "score": [float(one.tumour_score if one.tumour_score is not None else np.nan) for one in found],
            "answer": [one.decision for one in found],
            "kind": [_kind(one, normal) for one in found],
        }
    return out


def _kind(found: SlideScore, normal: int | None) -> int:
    """The best tumour class, whether or not the slide was called normal; -1 if no tile speaks for any."""
    tumour_J = found.score_K if normal is None else np.delete(found.score_K, normal)
    if found.method in RATIOS and tumour_J.max() == 0:
        return -1
    return int(tumour_J.argmax())


def areas_of(
    rule: SlideRule, values: Sequence[Floats], tiles: Sequence[Tiles], parts: Mapping[str, Sequence[int]], normal: int
) -> dict[str, Any]:
    """What Dice needs at :data:`THRESHOLDS` and, last, the rule's own, in tiles of area.

    Only tissue counts, so a tile at the rim of the tissue weighs as much as the tissue it holds.

    Returns:
        Per part and slide: ``hit`` and ``called`` (T + 1), ``truth``, ``everything`` (tumour inside tiles), ``tissue``.
    """
    out: dict[str, Any] = {}
    for part, rows in parts.items():
        hit, called = [], []
        for row in rows:
            one = tiles[row]
            probability_N = tumour_probability(
                tile_values(values[row], rule, coords_NX=one.coords_NX, step=one.step)[1], normal
            )
            called_TN = probability_N[None] > np.append(THRESHOLDS, rule.threshold)[:, None]
            hit.append((called_TN @ one.tumour_N).tolist())
            called.append((called_TN @ one.tissue_N).tolist())
        out[part] = {
            "hit": hit,
            "called": called,
            "truth": [tiles[row].tumour_area for row in rows],
            "everything": [float(tiles[row].tumour_N.sum()) for row in rows],
            "tissue": [float(tiles[row].tissue_N.sum()) for row in rows],
        }
    return out

"""Scores of every slide by every pooling, with and without smoothing; fitted is on development slides alone.

Shape legend: N tiles, K prompted classes, J answers (tumour classes, then normal), D embedding size, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from medvlp.zeroshot.slide import METHODS, RATIOS, SlideRule, SlideScore, fit_rule, score_slide, tile_values
from medvlp.zeroshot.slide_pooling import tile_cosines, tumour_probability

Floats = NDArray[np.float64]
SMOOTHINGS: tuple[Literal["none", "centred"], ...] = ("none", "centred")
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

    def merge(self, value_NK: Floats, total: bool = False) -> Floats:
        """Values (N, J): tumour classes as they are, then normal: the largest (or the sum) of the normal tissues."""
        normal_K = np.array([name not in self.tumours for name in self.prompts.classes])
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
            tile_ND = to_numpy(model.project_image(torch.from_numpy(one.features_NI)))
        mean_1D = tile_ND.mean(0, keepdims=True)
        mean_1D /= np.linalg.norm(mean_1D)
        out.append((tile_cosines(tile_ND, class_KD), tile_cosines(mean_1D, class_KD)))
    return out


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
    merged = [np.log(asked.merge(probability_NK, total=True) + _SMALLEST) for probability_NK in probabilities]
    return _record(config, asked, tiles, merged, merged, 1.0, RATIOS)


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
            rule = SlideRule(
                method="mean" if pooling == MEAN_EMBEDDING else pooling,  # type: ignore[arg-type]
                threshold=config.threshold,
                smoothing=smoothing,
                radius=config.radius,
                scale=scale,
            )
            values = by_mean if pooling == MEAN_EMBEDDING else by_tile
            methods[f"{pooling}|{smoothing}"] = _one(config, rule, values, tiles, parts, target, normal)
    areas = {
        smoothing: _areas(
            config,
            SlideRule(smoothing=smoothing, radius=config.radius, scale=scale),
            by_tile,
            tiles,
            parts,
            normal,
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


def _one(
    config: SlidesBenchmarkConfig,
    rule: SlideRule,
    values: Sequence[Floats],
    tiles: Sequence[Tiles],
    parts: dict[str, list[int]],
    target: Sequence[int],
    normal: int,
) -> dict[str, Any]:
    place: dict[int, dict[str, Any]] = {
        row: {"coords_NX": tiles[row].coords_NX, "step": tiles[row].step} if len(values[row]) > 1 else {}
        for part in parts.values()
        for row in part
    }
    dev = parts["dev"]
    fitted = fit_rule(
        [values[row] for row in dev],
        [target[row] for row in dev],
        "dev",
        rule,
        normal=normal,
        specificity=config.specificity,
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


def _kind(found: SlideScore, normal: int) -> int:
    """The best tumour class, whether or not the slide was called normal; -1 if no tile speaks for any."""
    tumour_J = np.delete(found.score_K, normal)
    if found.method in RATIOS and tumour_J.max() == 0:
        return -1
    return int(tumour_J.argmax())


def _areas(
    config: SlidesBenchmarkConfig,
    rule: SlideRule,
    values: Sequence[Floats],
    tiles: Sequence[Tiles],
    parts: dict[str, list[int]],
    normal: int,
) -> dict[str, Any]:
    """What Dice needs at every threshold, in tiles of area: called and right, called, truly tumour.

    Only tissue counts, so a tile at the rim of the tissue weighs as much as the tissue it holds.
    """
    out: dict[str, Any] = {}
    for part, rows in parts.items():
        hit, called = [], []
        for row in rows:
            one = tiles[row]
            probability_N = tumour_probability(
                tile_values(values[row], rule, coords_NX=one.coords_NX, step=one.step)[1], normal
            )
            called_TN = probability_N[None] > np.append(THRESHOLDS, config.threshold)[:, None]
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

"""Dice of tumour outlines at tile resolution: at the preset threshold, a development one, and the oracle on test.

Shape legend: R seeds, N slides with tumour, T thresholds (the preset one comes last).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.slides import arms
from benchmarks.slides.config import SlidesBenchmarkConfig
from benchmarks.slides.score import SMOOTHINGS
from medvlp.metrics import bootstrap

Floats = NDArray[np.float64]
EVERYTHING = "every tile called tumour"


def outlines(
    config: SlidesBenchmarkConfig, records: Mapping[str, Sequence[Mapping[str, Any]]], keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean Dice over the test slides with tumour, per arm and smoothing, and of calling everything tumour.

    One threshold serves all slides. That of development slides is the one of best mean Dice there.

    Args:
        config: Preset threshold and draws.
        records: Per arm, one record per seed.
        keys: All test slides, in order.
    """
    out = []
    for arm in (name for name in records if name != arms.START):
        for smoothing in SMOOTHINGS:
            pairs = [dice_of(record["areas"][smoothing][part]) for record in records[arm] for part in ("dev", "test")]
            dev_RNT, test_RNT = np.stack(pairs[::2]), np.stack(pairs[1::2])
            chosen_R = np.nanmean(dev_RNT, axis=1)[:, :-1].argmax(1)
            own_RN = np.stack([test_NT[:, t] for test_NT, t in zip(test_RNT, chosen_R, strict=True)])
            out.append(
                {
                    "arm": arm,
                    "title": arms.TITLES[arm],
                    "smoothed": smoothing != SMOOTHINGS[0],
                    "preset": _entry(config, test_RNT[:, :, -1].mean(0), keys),
                    "development": _entry(config, own_RN.mean(0), keys),
                    "oracle": float(np.nanmean(test_RNT, axis=1)[:, :-1].max(1).mean()),
                }
            )
    areas = records[arms.TRAINED][0]["areas"][SMOOTHINGS[0]]["test"]
    everything_N = dice_of_everything(areas)
    floor = _entry(config, everything_N, keys)
    out.append(
        {"arm": "everything", "title": EVERYTHING, "smoothed": False, "preset": floor, "development": floor,
         "oracle": floor["value"]}
    )  # fmt: skip
    return out


def dice_of(areas: Mapping[str, Any]) -> Floats:
    """Dice (N, T) from the areas of one part (``benchmarks.slides.score.areas_of``); NaN for slides without tumour."""
    return _ratio(np.asarray(areas["hit"]), np.asarray(areas["called"]), np.asarray(areas["truth"])[:, None])


def dice_of_everything(areas: Mapping[str, Any]) -> Floats:
    """Dice (N,) of calling every tile tumour; NaN for slides without tumour."""
    return _ratio(np.asarray(areas["everything"]), np.asarray(areas["tissue"]), np.asarray(areas["truth"]))


def _ratio(hit: Floats, called: Floats, truth: Floats) -> Floats:
    total = called + truth
    return np.where((truth > 0) & (total > 0), 2 * hit / np.where(total > 0, total, 1), np.nan)


def _entry(config: SlidesBenchmarkConfig, dice_N: Floats, keys: Sequence[str]) -> dict[str, float | None]:
    positive = np.flatnonzero(~np.isnan(dice_N))
    value_N = dice_N[positive]

    def mean(weight_SN: Any) -> Any:
        return value_N.mean() if weight_SN is None else (weight_SN @ value_N) / weight_SN.sum(1)

    found = bootstrap.intervals({"dice": mean}, [keys[row] for row in positive], config.num_draws)["dice"]
    return {name: None if np.isnan(value) else float(value) for name, value in
            (("value", found.value), ("low", found.low), ("high", found.high))}  # fmt: skip

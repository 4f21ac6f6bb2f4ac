"""What a set's scores have to beat: luck, and answers that see less than the image.

``histogram``: logistic regression on grey or colour histograms of training images, no shapes. ``prior map``: the mean
mask of the class in training, whatever the image. Luck in retrieval is the exact expectation of a random order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.protocols.grounding import fit_threshold, mean_masks, resized, values
from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.floors import colour_classifier, colour_features

if TYPE_CHECKING:
    from benchmarks.objectives.sets import Prepared
    from medvlp.data.pairs import PairsSplit

FLOOR = "histograms, prior maps"


def floor_answers(prepared: Prepared) -> dict[str, Any]:
    """Return what the floors say, in the form of :func:`benchmarks.objectives.ask.answer`."""
    out: dict[str, Any] = {"scores": {"seen": histogram(prepared)}}
    if prepared.marked:
        means, parts = mean_masks(prepared.marked["train"]), prepared.marked
        maps = {
            part: [resized(means.get(item.label, means[""]), item.mask.shape) for item in parts[part]]
            for part in ("dev", "test")
        }
        threshold, _ = fit_threshold(maps["dev"], [item.mask for item in parts["dev"]], "dev")
        found = values(maps["test"], [item.mask for item in parts["test"]], threshold)
        listed = {name: [None if math.isnan(v) else float(v) for v in value_N] for name, value_N in found.items()}
        out["grounding"] = {"threshold": threshold, **listed}
        out["area"] = [float(item.mask.mean()) for item in parts["test"]]
    return out


def histogram(prepared: Prepared) -> list[list[float | None]]:
    """Return the probability of each class (N, K) by histograms alone; null for one that training does not show."""
    train = prepared.store.split("train")
    refuse_test(train.name)
    known = _states(prepared, train)
    train_MF, test_NF = (_features(split) for split in (train, prepared.test))
    score_NK = np.full((len(test_NF), len(prepared.labels)), np.nan)
    for column in range(len(prepared.labels)):
        truth_M = known[:, column]
        mentioned_M = truth_M >= 0
        if len(set(truth_M[mentioned_M].tolist())) == 2:
            fitted = colour_classifier().fit(train_MF[mentioned_M], truth_M[mentioned_M])
            score_NK[:, column] = fitted.predict_proba(test_NF)[:, 1]
    return [[None if math.isnan(value) else float(value) for value in row] for row in score_NK]


def _states(prepared: Prepared, split: PairsSplit) -> Any:
    """1 present, 0 absent, -1 not known, of each image and class, as the runs are told."""
    place = {entity.name: number for number, entity in enumerate(prepared.entities.entities)}
    columns = [place[label] for label in prepared.labels]
    label_MQ = np.stack([prepared.entities.of(key).label_Q.numpy() for key in split.keys])[:, columns]
    return np.where(np.isin(label_MQ, (0, 1)), label_MQ, -1)


def _features(split: PairsSplit) -> Any:
    return np.stack([colour_features(split[row].image) for row in range(len(split))])

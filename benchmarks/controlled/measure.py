"""Scores of one trained arm on a world's test images, by ``medvlp.metrics`` alone.

Shape legend: N test images, L leaves, K leaves of one group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp.metrics.classification import accuracy, balanced_accuracy
from medvlp.metrics.curves import auroc
from medvlp.metrics.hierarchy import (
    ancestor_credit,
    ancestor_overlap,
    climbs,
    hierarchical_accuracy,
    hierarchical_f1,
    mistake_distance,
)
from medvlp.zeroshot.classifier import refuse_test, softmax
from medvlp.zeroshot.floors import colour_features

if TYPE_CHECKING:
    from benchmarks.controlled.world import World
    from medvlp.knowledge.graph import DiseaseGraph

Floats = NDArray[np.float64]
SEEN, RARE, UNSEEN = GROUPS = ("seen", "rare", "unseen")


def macro_auroc(target_N: NDArray[np.int64], score_NK: Floats, classes: list[int]) -> tuple[float, dict[int, float]]:
    """Return the mean one-against-all AUROC over some classes, and each one's.

    Args:
        target_N: Column of the true class.
        score_NK: Scores of all classes.
        classes: Columns that count; every image takes part.
    """
    each = {k: float(auroc((target_N == k).astype(int), score_NK[:, k])) for k in classes}
    return float(np.mean(list(each.values()))) if each else float("nan"), each


def score(
    cosine_NL: Floats, scale: float, target_N: NDArray[np.int64], world: World, sub: DiseaseGraph
) -> dict[str, Any]:
    """Return every score of one arm.

    ``unseen_alone``: images of unseen leaves told apart among the unseen leaves only. ``seen``, ``rare`` and
    ``unseen``: images of that group among all leaves; AUROC there is over all test images, the mean over the group's
    leaves. Hierarchy scores use the real sub-graph for every arm.

    Args:
        cosine_NL: Cosines of test images with all leaves' class vectors.
        scale: Multiplier of cosines.
        target_N: Number of each image's true leaf.
        world: The world.
        sub: The real sub-graph.
    """
    group_L = np.asarray(world.group_L)
    probability_NL = softmax(scale * cosine_NL.astype(np.float64))
    out: dict[str, Any] = {}
    unseen_K = np.flatnonzero(group_L == UNSEEN)
    if len(unseen_K) > 1:
        rows = np.flatnonzero(np.isin(target_N, unseen_K))
        target = np.searchsorted(unseen_K, target_N[rows])
        alone_NK = softmax(scale * cosine_NL[np.ix_(rows, unseen_K)].astype(np.float64))
        mean, each = macro_auroc(target, alone_NK, list(range(len(unseen_K))))
        opaque_K = np.asarray(world.opaque_L)[unseen_K]
        out["unseen_alone"] = {
            "auroc": mean,
            "balanced_accuracy": float(balanced_accuracy(target, alone_NK.argmax(1), len(unseen_K))),
            "auroc_opaque": _mean([each[k] for k in np.flatnonzero(opaque_K).tolist()]),
            "auroc_transparent": _mean([each[k] for k in np.flatnonzero(~opaque_K).tolist()]),
            "auroc_by_leaf": {world.leaves[unseen_K[k]]: value for k, value in each.items()},
        }
    predicted_N = probability_NL.argmax(1)
    node_L = sub.indices(world.leaves)
    credit_LL, overlap_LL = ancestor_credit(sub.closure, node_L), ancestor_overlap(sub.closure, node_L)
    climb_LL = climbs(sub.parents, world.leaves)
    for group in GROUPS:
        members = np.flatnonzero(group_L == group)
        rows = np.flatnonzero(np.isin(target_N, members))
        if len(rows) == 0:
            continue
        pair = target_N[rows], predicted_N[rows]
        out[group] = {
            "auroc": macro_auroc(target_N, probability_NL, members.tolist())[0],
            "accuracy": float(accuracy(*pair)),
            "hierarchical_accuracy": float(hierarchical_accuracy(*pair, credit_LL)),
            "hierarchical_f1": float(hierarchical_f1(*pair, overlap_LL)),
            "climbs": float(mistake_distance(*pair, climb_LL)),
        }
    return out


def colour_floor(world: World, said_N: list[str]) -> dict[str, Any]:
    """Return AUROC of colours alone on seen and rare leaves: logistic regression on what training captions say.

    Args:
        world: The world.
        said_N: Concept that each training image's captions name.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    refuse_test("train")
    colour_NF = {part: _colours(world, part) for part in ("train", "test")}
    known = [row for row, concept in enumerate(said_N) if concept in world.leaves]
    label = np.array([world.leaves.index(said_N[row]) for row in known])
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
    fitted.fit(colour_NF["train"][known], label)
    target_N = world.leaf_N[world.split_N == "test"]
    score_NL = np.zeros((len(target_N), len(world.leaves)))
    score_NL[:, fitted.classes_] = fitted.predict_proba(colour_NF["test"])
    predicted_N = score_NL.argmax(1)
    out = {}
    for group in (SEEN, RARE):
        members = np.flatnonzero(np.asarray(world.group_L) == group)
        rows = np.isin(target_N, members)
        if rows.any():
            out[group] = {
                "auroc": macro_auroc(target_N, score_NL, members.tolist())[0],
                "accuracy": float(accuracy(target_N[rows], predicted_N[rows])),
            }
    return out


def _colours(world: World, part: str) -> Floats:
    from PIL import Image

    images = world.images_N[world.split_N == part]
    return np.stack([colour_features(Image.fromarray(image)) for image in images]).astype(np.float64)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")

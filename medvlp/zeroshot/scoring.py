"""All scores of one system on one task, on the samples as they are and on every bootstrap draw.

Shape legend: N images, K classes, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.errors import DataError
from medvlp.metrics import bootstrap, calibration, classification, curves, hierarchy
from medvlp.metrics._weighted import nanmean_columns
from medvlp.zeroshot.classifier import fit_thresholds
from medvlp.zeroshot.task import Hierarchy, Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spec:
    """How a metric is named and read."""

    title: str
    unit: str = "fraction"
    higher_is_better: bool = True


SPECS: dict[str, Spec] = {
    "accuracy": Spec("Accuracy"),
    "balanced_accuracy": Spec("Balanced accuracy"),
    "auroc": Spec("AUROC"),
    "average_precision": Spec("Average precision"),
    "f1_macro": Spec("F1, macro"),
    "f1_weighted": Spec("F1, weighted"),
    "sensitivity_at_specificity": Spec("Sensitivity, threshold from development split"),
    "specificity_reached": Spec("Specificity reached at that threshold"),
    "roc_point_sensitivity": Spec("Sensitivity, best point on this ROC curve (optimistic)"),
    "ece": Spec("Expected calibration error", higher_is_better=False),
    "hierarchical_accuracy": Spec("Hierarchical accuracy"),
    "equal_or_ancestor_accuracy": Spec("Right or an ancestor of right"),
    "mistake_distance": Spec("Distance of mistakes in the graph", "edges", higher_is_better=False),
}
SINGLE = tuple(SPECS)
MULTI = ("auroc", "average_precision", "f1_macro", "sensitivity_at_specificity", "specificity_reached",
         "roc_point_sensitivity", "ece")  # fmt: skip
PER_CLASS = ("sensitivity", "precision", "f1", "auroc", "average_precision", "roc_point_sensitivity")


@dataclass(frozen=True)
class Thresholds:
    """Per-class thresholds and the split they were fitted on."""

    split: str
    num: int
    specificity: float
    at_specificity_K: tuple[float, ...]
    at_best_f1_K: tuple[float, ...]


@dataclass(frozen=True)
class System:
    """A system's probabilities on the evaluated split, and on the development split where there is one.

    Attributes:
        name: Short name; ``model`` is the one under test, others are floors.
        description: One sentence.
        probability_NK: None where the system could not run.
        development_MK: Same for the development split, to fit thresholds.
        skipped: Why it could not run.
    """

    name: str
    description: str
    probability_NK: Floats | None = None
    development_MK: Floats | None = None
    skipped: str | None = None


def fit(task: Task, probability_NK: Any, specificity: float) -> Thresholds:
    """Fit thresholds on a development task; refuses a split named test (:class:`DataError`)."""
    at_specificity = fit_thresholds(task.target_NK, probability_NK, task.split, specificity=specificity)
    at_best_f1 = fit_thresholds(task.target_NK, probability_NK, task.split, specificity=None)
    return Thresholds(task.split, len(task), specificity, tuple(at_specificity), tuple(at_best_f1))


def scores(
    task: Task,
    probability_NK: Floats,
    weight: ArrayLike | None = None,
    *,
    thresholds: Thresholds | None = None,
    places: Hierarchy | None = None,
    specificity: float = 0.95,
) -> dict[str, Floats]:
    """Return every metric as (S,), and ``class.<metric>`` as (S, K); undefined ones are NaN.

    Args:
        task: The truth.
        probability_NK: The system's probabilities.
        weight: Bootstrap weights (S, N); None is one set of ones.
        thresholds: Fitted on another split; without them what needs a threshold is NaN.
        places: Hierarchy of the classes; without it hierarchy metrics are NaN.
        specificity: For the optimistic point on the ROC curve.

    Raises:
        DataError: If probabilities are misshapen or not finite.
    """
    if probability_NK.shape != task.target_NK.shape:
        raise DataError(f"{probability_NK.shape} probabilities for {task.target_NK.shape}", item=task.split)
    if not np.isfinite(probability_NK).all():
        raise DataError("probabilities are not finite", item=task.split, remedy="check the model's weights")
    weight_SN = np.ones((1, len(task))) if weight is None else np.atleast_2d(np.asarray(weight, dtype=np.float64))
    out: dict[str, Floats] = {}
    per_class: dict[str, list[Floats]] = {}
    num_sets, nan = len(weight_SN), float("nan")
    for k in range(len(task.classes)):
        true_N, score_N = task.target_NK[:, k], probability_NK[:, k]
        threshold = nan if thresholds is None else thresholds.at_specificity_K[k]
        found = {
            "auroc": curves.auroc(true_N, score_N, weight_SN),
            "average_precision": curves.average_precision(true_N, score_N, weight_SN),
            "roc_point_sensitivity": curves.roc_point_sensitivity(true_N, score_N, specificity, weight_SN),
            "sensitivity_at_specificity": curves.sensitivity(true_N, score_N, threshold, weight_SN),
            "specificity_reached": curves.specificity(true_N, score_N, threshold, weight_SN),
        }
        if task.mode == "multi":
            found |= _called(true_N, score_N, nan if thresholds is None else thresholds.at_best_f1_K[k], weight_SN)
        for name, value_S in found.items():
            per_class.setdefault(f"class.{name}", []).append(value_S)
    out |= {name: np.stack(values, axis=1) for name, values in per_class.items()}
    columns = list(task.columns)
    for name in ("auroc", "average_precision", "roc_point_sensitivity", "sensitivity_at_specificity",
                 "specificity_reached"):  # fmt: skip
        out[name] = nanmean_columns(out[f"class.{name}"][:, columns])
    if task.mode == "multi":
        out["f1_macro"] = nanmean_columns(out["class.f1"][:, columns])
        gaps = [_calibration(task.target_NK[:, k], probability_NK[:, k], weight_SN) for k in columns]
        out["ece"] = nanmean_columns(np.stack(gaps, axis=1))
        return out
    target_N, answer_N, num = task.target_N, probability_NK.argmax(1), len(task.classes)
    by_class = classification.class_scores(target_N, answer_N, num, weight_SN)
    out |= {f"class.{name}": by_class[name] for name in ("sensitivity", "precision", "f1")}
    out["accuracy"] = classification.accuracy(target_N, answer_N, weight_SN)
    out["balanced_accuracy"] = nanmean_columns(by_class["sensitivity"])
    out["f1_macro"] = nanmean_columns(by_class["f1"])
    out["f1_weighted"] = classification.f1(target_N, answer_N, num, "weighted", weight_SN)
    out["ece"] = _calibration(target_N == answer_N, probability_NK.max(1), weight_SN)
    undefined = np.full(num_sets, nan)
    hierarchical = ("hierarchical_accuracy", "equal_or_ancestor_accuracy", "mistake_distance")
    if places is None:
        return out | dict.fromkeys(hierarchical, undefined)
    out[hierarchical[0]] = hierarchy.hierarchical_accuracy(target_N, answer_N, places.credit_KK, weight_SN)
    out[hierarchical[1]] = hierarchy.hierarchical_accuracy(target_N, answer_N, places.above_KK, weight_SN)
    out[hierarchical[2]] = hierarchy.mistake_distance(target_N, answer_N, places.distance_KK, weight_SN)
    return out


def _calibration(right_N: Any, confidence_N: Floats, weight_SN: Floats) -> Floats:
    """Calibration error; rounding may put a probability a hair outside [0, 1]."""
    return calibration.expected_calibration_error(right_N, np.clip(confidence_N, 0.0, 1.0), weight_SN)


def _called(true_N: Any, score_N: Floats, threshold: float, weight_SN: Floats) -> dict[str, Floats]:
    """Scores of one yes/no question at a threshold; NaN if there is none."""
    if np.isnan(threshold):
        return dict.fromkeys(("sensitivity", "precision", "f1"), np.full(len(weight_SN), np.nan))
    by_class = classification.class_scores(true_N.astype(int), (score_N >= threshold).astype(int), 2, weight_SN)
    return {name: by_class[name][:, 1] for name in ("sensitivity", "precision", "f1")}


@dataclass(frozen=True)
class Scored:
    """Plain values of a system and their bootstrap distributions (S,) or (S, K), on draws shared by all systems."""

    system: System
    thresholds: Thresholds | None
    value: Mapping[str, Floats]
    draws: Mapping[str, Floats]

    def interval(self, name: str, num_cases: int, level: float, column: int | None = None) -> bootstrap.Interval:
        """Value with its percentile interval, of a metric or of one class."""
        value, draws = self.value[name][0], self.draws[name]
        if column is not None:
            value, draws = value[column], draws[:, column]
        return bootstrap.interval(float(value), draws, num_cases, level)

    def difference(self, other: Scored, name: str, num_cases: int, level: float) -> bootstrap.Interval:
        """Paired difference to another system on the same draws."""
        value = float(self.value[name][0] - other.value[name][0])
        return bootstrap.interval(value, self.draws[name] - other.draws[name], num_cases, level)


def score_systems(
    task: Task,
    development: Task | None,
    systems: Sequence[System],
    *,
    places: Hierarchy | None,
    specificity: float,
    num_draws: int,
    seed: int,
) -> list[Scored]:
    """Score every system that ran, all on the same bootstrap draws of cases."""
    ready = []
    for system in systems:
        if system.probability_NK is None:
            continue
        fitted = None
        if development is not None and len(development) > 0 and system.development_MK is not None:
            fitted = fit(development, system.development_MK, specificity)
        ready.append((system, system.probability_NK, fitted))
    options: dict[str, Any] = {"places": places, "specificity": specificity}
    values = [scores(task, probability, thresholds=fitted, **options) for _, probability, fitted in ready]
    parts: list[dict[str, list[Floats]]] = [{name: [] for name in value} for value in values]
    for weight_SN in bootstrap.draw_weights(task.cases, num_draws, seed):
        for part, (_, probability, fitted) in zip(parts, ready, strict=True):
            for name, drawn in scores(task, probability, weight_SN, thresholds=fitted, **options).items():
                part[name].append(drawn)
    return [
        Scored(
            system,
            fitted,
            value,
            {name: np.concatenate(blocks) if blocks else value[name][:0] for name, blocks in part.items()},
        )
        for (system, _, fitted), value, part in zip(ready, values, parts, strict=True)
    ]

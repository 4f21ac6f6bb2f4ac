"""What stands beside the scores of a zero-shot system: per class, trust, subgroups, wording, shifted images.

Shape legend: N scored images, M development images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.harness.groups import by_group
from benchmarks.harness.outcome import Floats
from medvlp.data.shifts import GREY_SHIFTS, SHIFTS, is_grey, shift_image
from medvlp.errors import DataError
from medvlp.metrics import bootstrap, calibration, classification, conformal, curves, hedging, robustness, selective
from medvlp.metrics import sensitivity as wording
from medvlp.metrics._weighted import nanmean_columns
from medvlp.zeroshot import results, trust
from medvlp.zeroshot.questions import Questions
from medvlp.zeroshot.scoring import Scored, System
from medvlp.zeroshot.task import Hierarchy, Task, build_hierarchy

if TYPE_CHECKING:
    from benchmarks.harness.task import TaskConfig
    from medvlp.knowledge.graph import DiseaseGraph

_CURVE_POINTS = 50
_MISS, _WANTED_ACCURACY = 0.1, 0.9


def standing(
    config: TaskConfig,
    asked: Questions,
    scored: Scored,
    system: System,
    graph: DiseaseGraph | None,
    *,
    lead: str,
    num_draws: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Return the sections that every system has."""
    task = asked.task
    assert system.probability_NK is not None
    out: dict[str, Any] = {
        "per_class": results.class_entries(scored, task, level),
        "confusion_matrix": results.plot_data(task, system.probability_NK)["confusion_matrix"],
        "classes": list(task.classes),
    }
    if scored.thresholds is not None:
        out["thresholds"] = {
            "split": scored.thresholds.split,
            "num": scored.thresholds.num,
            "at_specificity": scored.thresholds.at_specificity_K,
            "at_best_f1": scored.thresholds.at_best_f1_K,
        }
    if task.mode == "single":
        out["trust"] = _trust(asked, system, graph, num_draws, level, seed)
    if config.subgroups is not None:
        statistic = lead_statistic(task, system.probability_NK, lead)
        out["subgroups"] = {
            "metric": lead,
            "columns": by_group(config.subgroups, task.keys, task.cases, statistic, num_draws, level, seed),
        }
    return out


def lead_statistic(task: Task, probability_NK: Floats, lead: str) -> Callable[[Any], Any]:
    """Return the leading metric as a function of weights."""
    if lead == "balanced_accuracy":
        answer_N, num = probability_NK.argmax(1), len(task.classes)

        def balanced(weight: Any) -> Any:
            weight_SN = np.ones((1, len(task))) if weight is None else weight
            found = nanmean_columns(classification.class_scores(task.target_N, answer_N, num, weight_SN)["sensitivity"])
            return found[0] if weight is None else found

        return balanced
    assert lead == "auroc", lead

    def auroc(weight: Any) -> Any:
        weight_SN = np.ones((1, len(task))) if weight is None else weight
        found = [curves.auroc(task.target_NK[:, k], probability_NK[:, k], weight_SN) for k in task.columns]
        mean_S = nanmean_columns(np.stack(found, axis=1))
        return mean_S[0] if weight is None else mean_S

    return auroc


def hierarchy(graph: DiseaseGraph, asked: Questions) -> Hierarchy | None:
    """Return the places of the classes in a graph; None where fewer than two have one."""
    return build_hierarchy(graph, asked.task.classes, asked.concepts)


def _trust(
    asked: Questions, system: System, graph: DiseaseGraph | None, num_draws: int, level: float, seed: int
) -> dict[str, Any]:
    """Calibration before and after a temperature, abstention, conformal sets, answers higher up; fitted on development.

    Without a development part only what needs no fitting is given.
    """
    task, development = asked.task, asked.development
    probability_NK, development_MK = system.probability_NK, system.development_MK
    assert probability_NK is not None
    target_N, loss_N = task.target_N, (task.target_N != probability_NK.argmax(1)).astype(np.float64)
    coverage_T, risk_T, _ = selective.risk_coverage_curve(loss_N, probability_NK.max(1))
    keep = np.unique(np.linspace(0, len(coverage_T) - 1, min(len(coverage_T), _CURVE_POINTS)).round().astype(int))
    out: dict[str, Any] = {
        "risk_coverage": {"coverage": coverage_T[keep], "risk": risk_T[keep]},
        "fitted_on": None if development is None else {"split": development.split, "num": len(development)},
    }
    statistics = {"ece_before": _calibration(target_N, probability_NK)}
    if development is not None and development_MK is not None and len(development) > 0:
        temperature, reason = 1.0, None
        try:
            temperature = trust.fit_temperature(development.target_N, development_MK, development.split)
        except DataError as error:
            reason = error.problem
        out["temperature"] = {"value": temperature, "reason": reason}
        tempered_NK = trust.tempered(probability_NK, temperature)
        statistics |= {
            "ece_after": _calibration(target_N, tempered_NK),
            "brier_after": lambda weight: calibration.brier(target_N, tempered_NK, weight),
        }
        quantile = trust.fit_conformal(development.target_N, development_MK, development.split, miss=_MISS)
        set_NK = conformal.prediction_sets(conformal.nonconformity(probability_NK), quantile)
        statistics |= {
            "conformal_coverage": lambda weight: conformal.set_coverage(target_N, set_NK, weight),
            "conformal_size": lambda weight: conformal.set_size(set_NK, weight),
            "conformal_single": lambda weight: conformal.single_share(set_NK, weight),
        }
        out["conformal"] = {
            "wanted_coverage": 1 - _MISS,
            "quantile": float(quantile),
            "coverage_by_class": conformal.class_coverage(target_N, set_NK),
        }
        if graph is not None and hierarchy(graph, asked) is not None:
            out["answer_at_parent"] = _at_parent(
                asked, graph, tempered_NK, trust.tempered(development_MK, temperature), development
            )
    found = bootstrap.intervals(statistics, task.cases, num_draws, seed, level)
    out["values"] = {name: told(one) for name, one in found.items()}
    return out


def _calibration(target_N: Any, probability_NK: Floats) -> Callable[[Any], Any]:
    right_N, confidence_N = target_N == probability_NK.argmax(1), np.clip(probability_NK.max(1), 0.0, 1.0)
    return lambda weight: calibration.expected_calibration_error(right_N, confidence_N, weight)


def _at_parent(
    asked: Questions, graph: DiseaseGraph, probability_NK: Floats, development_MK: Floats, development: Task
) -> dict[str, Any]:
    """Accuracy against specificity of answers given as far down as their mass allows (``medvlp.metrics.hedging``)."""
    task = asked.task
    node_K = [next((graph.index(c) for c in asked.concepts[label] if c in graph), -1) for label in task.classes]
    where = hedging.places(graph.closure, node_K)
    curve = hedging.accuracy_specificity_curve(task.target_N, probability_NK, where, trust.HEDGES)
    threshold = trust.fit_hedging(
        development.target_N, development_MK, where, development.split, accuracy=_WANTED_ACCURACY
    )
    answer_N = hedging.deepest_above(probability_NK, where, threshold)
    return {
        "thresholds": list(trust.HEDGES),
        **curve,
        "chosen": {
            "threshold": threshold,
            "wanted_accuracy": _WANTED_ACCURACY,
            "answered": float(hedging.answered(answer_N)),
            "accuracy": float(hedging.accuracy_of_answered(task.target_N, answer_N, where)),
            "specificity": float(hedging.specificity_of_answers(task.target_N, answer_N, where)),
        },
    }


def sensitivity(task: Task, answers: Sequence[Floats], lead: str) -> dict[str, Any]:
    """Return how the leading score moves when each class has one prompt of its pool, drawn at random."""
    spread = wording.prompt_spread([float(lead_statistic(task, answer_NK, lead)(None)) for answer_NK in answers])
    out = {
        "metric": lead,
        "low": spread.low,
        "median": spread.median,
        "high": spread.high,
        "num_draws": spread.num_draws,
        "num_undefined": spread.num_undefined,
    }
    if task.mode == "single":
        out["agreement"] = float(wording.agreement(np.stack([answer_NK.argmax(1) for answer_NK in answers])))
    return out


def shifts(
    asked: Questions,
    answer: Callable[[list[Image.Image]], Floats],
    *,
    most: int,
    lead: str,
    num_draws: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Score shifted copies of some scored images: five severities of each shift, all on the same images and draws."""
    task = asked.task
    chosen = np.arange(len(task))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng([seed, 2]).choice(len(chosen), most, replace=False))
    split = asked.store.split(task.split)
    images = [split[int(row)].image.convert("RGB") for row in task.rows_N[chosen]]
    part = Task(
        task.split,
        task.classes,
        task.mode,
        task.rows_N[chosen],
        task.target_NK[chosen],
        tuple(task.keys[i] for i in chosen),
        tuple(task.cases[i] for i in chosen),
        task.columns,
        task.ledger,
    )
    plain = lead_statistic(part, answer(images), lead)
    names = GREY_SHIFTS if any(is_grey(image) for image in images) else SHIFTS
    out: dict[str, Any] = {"metric": lead, "num": len(chosen), "num_cases": part.num_cases, "shifts": {}}
    for name in names:
        scores = {0: plain}
        for severity in range(1, 6):
            shifted = [
                shift_image(image, name, severity, key=key) for image, key in zip(images, part.keys, strict=True)
            ]
            scores[severity] = lead_statistic(part, answer(shifted), lead)
        found = robustness.robustness(scores, part.cases, num_draws, seed, level)
        out["shifts"][name] = {
            "score": {severity: told(value) for severity, value in found.score.items()},
            "mean_drop": told(found.mean_drop),
        }
    return out


def told(found: bootstrap.Interval) -> dict[str, float]:
    """Return an interval as a row of a record."""
    return {"value": found.value, "low": found.low, "high": found.high}

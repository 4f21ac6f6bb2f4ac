"""The scores of a zero-shot system: those of ``medvlp evaluate``, and sums over the hierarchy and over confidences.

Shape legend: N images, K classes, S draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.outcome import Floats, Metric
from medvlp.metrics import bootstrap, calibration, hierarchy, selective
from medvlp.zeroshot import results
from medvlp.zeroshot.questions import Questions
from medvlp.zeroshot.scoring import MULTI, SINGLE, SPECS, Scored, System, score_systems
from medvlp.zeroshot.task import Task, build_hierarchy

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

LEAD = {"single": "balanced_accuracy", "multi": "auroc"}
_CHANCE = {"auroc": 0.5}
_MORE: dict[str, tuple[str, str, bool]] = {
    "brier": ("Brier score", "squared error", False),
    "aurc": ("Area under the risk-coverage curve", "fraction", False),
    "hierarchical_precision": ("Hierarchical precision", "fraction", True),
    "hierarchical_recall": ("Hierarchical recall", "fraction", True),
    "hierarchical_f1": ("Hierarchical F1", "fraction", True),
    "climb_of_mistakes": ("Mistakes: edges from the truth up to the common ancestor", "edges", False),
}


def score(
    asked: Questions,
    system: System,
    graph: DiseaseGraph | None,
    *,
    lead: str,
    specificity: float,
    num_draws: int,
    seed: int,
) -> tuple[Scored, tuple[Metric, ...]]:
    """Return a system's scores, the leading one first, all on the draws of ``seed``."""
    task = asked.task
    places = build_hierarchy(graph, task.classes, asked.concepts)
    (scored,) = score_systems(
        task,
        asked.development,
        [system],
        places=places,
        specificity=specificity,
        num_draws=num_draws,
        seed=seed,
    )
    entries = results.metric_entries(scored, task, 0.95, places)
    found = {
        entry["name"]: Metric(
            name=entry["name"],
            title=entry["title"],
            value=float(scored.value[entry["name"]][0]),
            draw_S=scored.draws[entry["name"]],
            n=len(task),
            num_cases=task.num_cases,
            higher_is_better=SPECS[entry["name"]].higher_is_better,
            unit=entry["unit"],
            chance=_chance(entry["name"], task),
            reason=entry["reason"],
        )
        for entry in entries
    }
    assert set(found) == set(SINGLE if task.mode == "single" else MULTI)
    assert system.probability_NK is not None
    statistics = more(asked, system.probability_NK, graph)
    drawn = bootstrap.draws(statistics, task.cases, num_draws, seed)
    for name, statistic in statistics.items():
        title, unit, higher = _MORE[name]
        value = float(statistic(None))
        reason = "no mistake between two classes that the graph connects" if np.isnan(value) else None
        found[name] = Metric(name, title, value, drawn[name], len(task), task.num_cases, higher, unit, None, reason)
    return scored, (found.pop(lead), *found.values())


def more(asked: Questions, probability_NK: Floats, graph: DiseaseGraph | None) -> dict[str, Callable[[Any], Any]]:
    """Return what ``medvlp evaluate`` does not have; hierarchical scores only where classes have places."""
    task = asked.task
    if task.mode != "single":
        columns = list(task.columns)

        def brier(weight: Any) -> Any:
            parts = [calibration.binary_brier(task.target_NK[:, k], probability_NK[:, k], weight) for k in columns]
            return np.mean(parts, axis=0)

        return {"brier": brier}
    target_N, answer_N = task.target_N, probability_NK.argmax(1)
    out: dict[str, Callable[[Any], Any]] = {
        "brier": partial(calibration.brier, target_N, probability_NK),
        "aurc": partial(selective.aurc, (target_N != answer_N).astype(np.float64), probability_NK.max(1)),
    }
    if graph is None or build_hierarchy(graph, task.classes, asked.concepts) is None:
        return out
    where = [next((c for c in asked.concepts[label] if c in graph), None) for label in task.classes]
    node_K = [-1 if place is None else graph.index(place) for place in where]
    shared_KK = hierarchy.ancestor_overlap(graph.closure, node_K)
    climb_KK = hierarchy.climbs(graph.parents, where)
    return out | {
        "hierarchical_precision": partial(hierarchy.hierarchical_precision, target_N, answer_N, shared_KK),
        "hierarchical_recall": partial(hierarchy.hierarchical_recall, target_N, answer_N, shared_KK),
        "hierarchical_f1": partial(hierarchy.hierarchical_f1, target_N, answer_N, shared_KK),
        "climb_of_mistakes": partial(hierarchy.mistake_distance, target_N, answer_N, climb_KK),
    }


def _chance(name: str, task: Task) -> float | None:
    return 1 / len(task.classes) if name == "balanced_accuracy" else _CHANCE.get(name)

"""The results file: every number with its interval, n and floors, checked against a published schema.

NaN never reaches the file: an undefined value is ``null`` with the reason beside it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medvlp.errors import DataError
from medvlp.metrics import classification, curves
from medvlp.metrics.bootstrap import Interval
from medvlp.zeroshot.scoring import MULTI, PER_CLASS, SINGLE, SPECS, Scored, System
from medvlp.zeroshot.task import Hierarchy, Task

FORMAT = "medvlp-results-1"
SCHEMA = Path(__file__).with_name("results.schema.json")
_MAX_CURVE_POINTS = 200
_PACKAGES = ("medvlp", "torch", "numpy", "timm", "transformers", "open_clip_torch", "scikit-learn")


def number(value: float) -> float | None:
    """Return a JSON number, ``null`` for NaN."""
    return None if np.isnan(value) else float(value)


def metric_entries(scored: Scored, task: Task, level: float, places: Hierarchy | None) -> list[dict[str, Any]]:
    """Return every metric of a system as ``{name, title, value, low, high, n, num_cases, unit, reason}``."""
    names = SINGLE if task.mode == "single" else MULTI
    out = []
    for name in names:
        found = scored.interval(name, task.num_cases, level)
        reason = _reason(name, scored, task, places) if np.isnan(found.value) else None
        out.append(_entry(name, found, len(task), task.num_cases) | {"reason": reason})
    return out


def class_entries(scored: Scored, task: Task, level: float) -> list[dict[str, Any]]:
    """Return one row per class: counts and every per-class metric with its interval."""
    rows = []
    for k, label in enumerate(task.classes):
        cases = {case for case, true in zip(task.cases, task.target_NK[:, k], strict=True) if true}
        metrics = {name: _interval(scored.interval(f"class.{name}", task.num_cases, level, k)) for name in PER_CLASS}
        rows.append(
            {"label": label, "num": int(task.target_NK[:, k].sum()), "num_cases": len(cases), "metrics": metrics}
        )
    return rows


def floor_entries(
    model: Scored,
    floors: Sequence[Scored],
    skipped: Sequence[System],
    task: Task,
    level: float,
    places: Hierarchy | None,
) -> list[dict[str, Any]]:
    """Return each floor's metrics and the model's paired lead over it (positive: the model is better)."""
    out = []
    for floor in floors:
        entries = metric_entries(floor, task, level, places)
        for entry in entries:
            lead = model.difference(floor, entry["name"], task.num_cases, level)
            if not SPECS[entry["name"]].higher_is_better:
                lead = Interval(-lead.value, -lead.high, -lead.low, lead.num_draws)
            entry["lead"] = _interval(lead)
        out.append(_floor(floor.system, entries))
    return out + [_floor(system, []) for system in skipped]


def _floor(system: System, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": system.name, "description": system.description, "skipped": system.skipped, "metrics": entries
    }  # fmt: skip


def _entry(name: str, found: Interval, num: int, num_cases: int) -> dict[str, Any]:
    spec = SPECS[name]
    return {
        "name": name, "title": spec.title, "unit": spec.unit, "higher_is_better": spec.higher_is_better,
        "n": num, "num_cases": num_cases, **_interval(found),
    }  # fmt: skip


def _interval(found: Interval) -> dict[str, Any]:
    return {"value": number(found.value), "low": number(found.low), "high": number(found.high)}


def _reason(name: str, scored: Scored, task: Task, places: Hierarchy | None) -> str:
    if name in ("hierarchical_accuracy", "equal_or_ancestor_accuracy", "mistake_distance"):
        if places is None:
            return "no graph was given, or fewer than two classes have a concept in it"
        return "no mistake between two classes that the graph connects"
    thresholded = {"sensitivity_at_specificity", "specificity_reached"} | (
        {"f1_macro"} if task.mode == "multi" else set()
    )
    if name in thresholded and scored.thresholds is None:
        return "no labelled development split to fit a threshold on"
    present_K = task.target_NK.any(0)
    return f"the split lacks positive or negative samples ({int(present_K.sum())} of {len(present_K)} classes occur)"


def plot_data(task: Task, probability_NK: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the numbers behind the plots: ROC and PR points of each class, and the confusion matrix."""
    roc, precision_recall = {}, {}
    for k, label in enumerate(task.classes):
        true_N = task.target_NK[:, k]
        if 0 < true_N.sum() < len(true_N):
            roc[label] = _thinned(*curves.roc_curve(true_N, probability_NK[:, k]))
            precision, recall = curves.precision_recall_curve(true_N, probability_NK[:, k])
            precision_recall[label] = _thinned(recall, precision)
    matrix = None
    if task.mode == "single":
        count = classification.confusion_matrix(task.target_N, probability_NK.argmax(1), len(task.classes))
        matrix = count.astype(int).tolist()
    return {"roc": roc, "precision_recall": precision_recall, "confusion_matrix": matrix}


def _thinned(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> list[list[float]]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_CURVE_POINTS)).round().astype(int))
    return [np.round(x[keep], 5).tolist(), np.round(y[keep], 5).tolist()]


def weights_digest(model: Any) -> str | None:
    """Sha256 over names and bytes of all weights, the identity of a model wherever it was loaded from.

    For what is no torch module its own ``digest``, or None.
    """
    if not isinstance(model, nn.Module):
        return getattr(model, "digest", None)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(dtype=_bytes()).numpy().tobytes())
    return digest.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


def versions() -> dict[str, str]:
    """Return versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """Return the command line, with the program's name only."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@cache
def schema(path: Path = SCHEMA) -> dict[str, Any]:
    """Return the JSON schema of ``results.json``."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def validate(results: Any, item: object = "results.json", path: Path = SCHEMA) -> None:
    """Check a results file against the schema.

    Raises:
        DataError: Naming the first place that does not fit.
    """
    import jsonschema

    error = next(iter(jsonschema.Draft202012Validator(schema(path)).iter_errors(results)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "top level"
        raise DataError(f"does not fit the results schema at {place}: {error.message[:200]}", item=item)

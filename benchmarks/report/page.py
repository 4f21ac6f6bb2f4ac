"""The leaderboard as one HTML page without scripts or outside requests, from its JSON and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.plots import forest
from benchmarks.report.sections import sections

TEMPLATE = Path(__file__).with_name("page.html.j2")
_MOST_METRICS = 7


def render(found: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        found: What :func:`benchmarks.report.leaderboard.leaderboard` returned.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(number=score_text, interval=interval_text, signed=signed_text)
    page.filters.update(short=short_digest, plus=plus_text, p=p_text)
    models = list(dict.fromkeys(r["name"] for q in found["questions"] for r in q["rows"] if r["kind"] == "model"))
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        models=models,
        overview=[_overview(question, models) for question in found["questions"]],
        questions=[_shown(question) for question in found["questions"]],
        counts=_counts(found),
    )


def _overview(question: Mapping[str, Any], models: list[str]) -> dict[str, Any]:
    """One line of the first table: the leading metric of every model beside its best floor."""
    rows = {row["name"]: row for row in question["rows"] if row["kind"] == "model"}
    cells: list[dict[str, Any]] = []
    for name in models:
        row = rows.get(name)
        metric = row["metrics"][0] if row is not None and row["metrics"] else None
        told = "not asked" if row is None else row["skipped"] or "n/a"
        cells.append({"metric": metric, "lead": None if row is None else row["lead"], "told": told})
    floors = [row for row in question["rows"] if row["kind"] == "floor" and row["metrics"]]
    known = [row for row in floors if row["metrics"][0]["value"] is not None]
    sign = 1 if question["metrics"] and question["metrics"][0]["higher_is_better"] else -1
    best = max(known, key=lambda row: sign * row["metrics"][0]["value"], default=None)
    systems = [row for row in question["rows"] if row["kind"] == "system" and row["metrics"]]
    told = [*(cell["metric"] for cell in cells), *(row["metrics"][0] for row in (*systems, *known))]
    first = next((metric for metric in told if metric), None)
    return {
        "anchor": anchor(question),
        "title": question["task"]["title"],
        "protocol": question["protocol"].replace("_", " "),
        "variant": question["variant"],
        "metric": question["metrics"][0]["title"] if question["metrics"] else "",
        "n": None if first is None else first["n"],
        "num_cases": None if first is None else first["num_cases"],
        "cells": cells,
        "systems": systems,
        "floor": best,
    }


def _shown(question: Mapping[str, Any]) -> dict[str, Any]:
    """A question with the metrics that fit into a table, the others below it, its plot and its details."""
    scored = [row for row in question["rows"] if row["metrics"]]
    leaks = {line: row["leaks"]["state"] for row in scored if row["leaks"] for line in row["leaks"]["lines"]}
    return {
        **question,
        "anchor": anchor(question),
        "plot": forest(question),
        "wide": question["metrics"][:_MOST_METRICS],
        "rest": question["metrics"][_MOST_METRICS:],
        "scored": scored,
        "skipped": [row for row in question["rows"] if row["skipped"] is not None],
        "leak_lines": leaks,
        "limits": sorted({limit for row in scored if row["kind"] != "floor" for limit in row["limits"]}),
        "details": [(row, sections(row["details"])) for row in scored if row["details"] and row["kind"] != "floor"],
    }


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    verdicts = [row["lead"]["verdict"] for q in found["questions"] for row in q["rows"] if row["lead"] is not None]
    return {name: verdicts.count(name) for name in ("better", "unclear", "worse", "unknown")}


def anchor(question: Mapping[str, Any]) -> str:
    """A name for links within the page."""
    return f"{question['name']}-{question['protocol']}-{question['variant']}"


def score_text(value: float | None) -> str:
    """Three digits, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"


def interval_text(entry: Mapping[str, Any]) -> str:
    """``[low, high]``, empty where there is none."""
    return "" if entry["low"] is None else f"[{entry['low']:.3f}, {entry['high']:.3f}]"


def signed_text(entry: Mapping[str, Any]) -> str:
    """A signed difference with its interval."""
    if entry["value"] is None:
        return "n/a"
    text = f"{entry['value']:+.3f}"
    return text if entry["low"] is None else f"{text} [{entry['low']:+.3f}, {entry['high']:+.3f}]"


def plus_text(value: float | None) -> str:
    """A signed number, or n/a."""
    return "n/a" if value is None else f"{value:+.3f}"


def p_text(value: float | None) -> str:
    """A p value; none is ever zero."""
    return "n/a" if value is None else "< .001" if value < 0.001 else f"{value:.3f}"


def short_digest(value: str | None) -> str:
    """The first 12 digits of a digest."""
    return "none" if value is None else value[:12]

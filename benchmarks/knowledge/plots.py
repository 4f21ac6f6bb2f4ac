"""Forest plots of the knowledge table as SVG data URIs, drawn from its JSON and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.knowledge.measure import TITLES
from medvlp.zeroshot.plots import COLOURS, _style, _uri

_INK, _SOFT, _BAND = "#1c2430", "#8a929c", "#e3e6ea"
_ROW, _HEAD = 0.235, 0.62
_FLOOR_LINES = {"prior": ":", "colour-histogram": "--"}


def score_plot(question: Mapping[str, Any]) -> str:
    """Draw one question: each arm's leading score with its interval, its seeds as ticks, floors as lines."""
    lead = question["metrics"][0]
    rows = [row for row in question["rows"] if row["metrics"][lead]["value"] is not None]
    figure, axes = _panel(len(rows))
    for position, row in enumerate(rows):
        score = row["metrics"][lead]
        colour = COLOURS[1] if row["arm"].endswith("permuted") else COLOURS[0]
        colour = _SOFT if row["seen"].startswith("no (") else colour
        _line(axes, score, position, colour)
        axes.plot(score["by_seed"], [position] * len(score["by_seed"]), "|", color=colour, markersize=8, alpha=0.7)
    for name, found in question["floors"].items():
        if "metrics" in found and found["metrics"][lead]["value"] is not None:
            axes.axvline(
                found["metrics"][lead]["value"], color=_INK, linewidth=1.1, linestyle=_FLOOR_LINES.get(name, "-.")
            )
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(TITLES[lead], fontsize=8.5)
    return _uri(figure)


def difference_plot(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Draw one comparison over all questions: differences with intervals, on a band of what could not be detected.

    Args:
        rows: Name of the question, and the difference.
    """
    shown = [(name, row) for name, row in rows if row["low"] is not None]
    figure, axes = _panel(len(shown))
    axes.axvline(0, color=_INK, linewidth=1)
    most = 0.05
    for position, (_, row) in enumerate(shown):
        if row["smallest"] is not None:
            axes.barh(position, 2 * row["smallest"], left=-row["smallest"], height=0.82, color=_BAND, zorder=0)
        certain = row["p_holm"] is not None and row["p_holm"] <= 0.05
        _line(axes, row, position, COLOURS[0] if certain else _SOFT)
        most = max(most, abs(row["low"]), abs(row["high"]))
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_xlim(-1.05 * most, 1.05 * most)
    axes.set_xlabel("difference of the leading score", fontsize=8.5)
    return _uri(figure)


def _panel(num_rows: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, _HEAD + _ROW * max(1, num_rows)), layout="constrained")
    axes = figure.add_subplot()
    _style(axes)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(num_rows - 0.4, -0.6)
    return figure, axes


def _line(axes: Any, found: Mapping[str, Any], position: int, colour: str) -> None:
    if found["low"] is not None:
        axes.plot([found["low"], found["high"]], [position] * 2, color=colour, linewidth=2.2, alpha=0.8)
    axes.plot(found["value"], position, "o", color=colour, markersize=5.5)

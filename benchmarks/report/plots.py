"""Plots of the leaderboard as SVG data URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.zeroshot.plots import COLOURS, DASHES, _figure, _short, _style, _uri

_INK, _GREY = "#1c2430", "#8a929c"
_ROW, _HEAD = 0.26, 0.7
_MAX_LINES = 8


def forest(question: Mapping[str, Any]) -> str | None:
    """Every system's leading score with its interval; models in blue, floors in grey. None without any score."""
    from matplotlib.figure import Figure

    rows = [row for row in question["rows"] if row["metrics"] and row["metrics"][0]["value"] is not None]
    if not rows:
        return None
    figure = Figure(figsize=(6.6, _HEAD + _ROW * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    _style(axes)
    axes.grid(visible=False, axis="y")
    for position, row in enumerate(rows):
        found, colour = row["metrics"][0], COLOURS[0] if row["kind"] != "floor" else _GREY
        if found["low"] is not None:
            axes.plot([found["low"], found["high"]], [position] * 2, color=colour, linewidth=2.2, alpha=0.8)
        axes.plot(found["value"], position, "o" if row["kind"] != "floor" else "D", color=colour, markersize=5.5)
        if len(found["by_seed"]) > 1:
            axes.plot(found["by_seed"], [position] * len(found["by_seed"]), "|", color=colour, markersize=9, alpha=0.7)
    chance = rows[0]["metrics"][0]["chance"]
    if chance is not None:
        axes.axvline(chance, color=_INK, linewidth=1.1, linestyle=":")
    axes.set_yticks(range(len(rows)), [_short(_called(row), 44) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    metric = question["metrics"][0]
    if metric["unit"] == "fraction":
        axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(metric["title"], fontsize=8.5)
    return _uri(figure)


def lines_plot(lines: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Lines of points ``[x, y]`` with a legend, at most eight of them."""
    figure, axes = _figure(4.6, 3.2)
    for position, (name, points) in enumerate(list(lines.items())[:_MAX_LINES]):
        x, y = [point[0] for point in points], [point[1] for point in points]
        axes.plot(x, y, label=_short(name), color=COLOURS[position], linestyle=DASHES[position % 4], linewidth=1.7)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=7.5)
    return _uri(figure)


def _called(row: Mapping[str, Any]) -> str:
    return f"{row['name']} of {row['of']}" if row["of"] else str(row["name"])

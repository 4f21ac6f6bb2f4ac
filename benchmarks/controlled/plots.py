"""Curves over the levels of the world and the primary differences, as SVG, drawn from the table's JSON alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from benchmarks.controlled.config import BASE
from benchmarks.controlled.table import METRICS, PRIMARY
from medvlp.zeroshot.plots import COLOURS, DASHES, _style

_ORDER = ("real", "permuted", "none")
_RARE = "rare.auroc"


def curves(table: Mapping[str, Any], axis: str) -> str | None:
    """Draw scores on unseen (upper row) and rare leaves (lower) over one axis, one column per method.

    Args:
        table: From :func:`benchmarks.controlled.table.build`.
        axis: Name of the axis.

    Returns:
        The SVG, or None where fewer than two of its levels are there.
    """
    config = table["config"]
    key = config["axes"][axis]["key"]
    place = {BASE: config["world"][key]}
    place |= {name: level["world"][key] for name, level in config["levels"].items() if level["axis"] == axis}
    rows = [row for row in table["rows"] if row["level"] in place]
    if len({row["level"] for row in rows}) < 2:
        return None
    methods = [name for name in config["methods"] if any(row["method"] == name for row in rows)]
    figure = _figure(2.5 * len(methods) + 0.4, 4.6)
    panels = figure.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False)
    for column, method in enumerate(methods):
        for line, metric in enumerate((PRIMARY, _RARE)):
            axes = panels[line][column]
            _style(axes)
            for kind in _ORDER:
                own = [row for row in rows if row["method"] == method and row["knowledge"] == kind]
                points = sorted((place[row["level"]], row["metrics"][metric]) for row in own if _has(row, metric))
                _line(axes, points, kind)
            if column == 0:
                axes.set_ylabel(METRICS[metric], fontsize=8)
        panels[0][column].set_title(config["methods"][method]["title"], fontsize=9)
        panels[1][column].set_xlabel(config["axes"][axis]["title"], fontsize=8)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=3)
    return _svg(figure)


def forest(table: Mapping[str, Any]) -> str | None:
    """Draw the primary differences with intervals and seeds, the twin's below each in grey; None without intervals."""
    rows = [row for row in table["primary"] if row["low"] is not None]
    if not rows:
        return None
    twins = {(row["method"], row["contrast"]): row for row in table["levels_differences"] if row["level"] == "twin"}
    figure = _figure(6.4, 0.9 + 0.42 * len(rows))
    axes = figure.add_subplot()
    _style(axes)
    axes.axvline(0, color="#1c2430", linewidth=1)
    for position, row in enumerate(rows):
        _bar(axes, row, position, COLOURS[0])
        axes.plot(row["by_seed"], [position] * len(row["by_seed"]), "|", color=COLOURS[0], markersize=7, alpha=0.6)
        twin = twins.get((row["method"], row["contrast"]))
        if twin is not None and twin["low"] is not None:
            _bar(axes, twin, position + 0.3, "#8a929c")
    titles = {name: method["title"] for name, method in table["config"]["methods"].items()}
    axes.set_yticks(range(len(rows)), [f"{titles[row['method']]}, {row['contrast']}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"difference of {METRICS[PRIMARY]}; blue: base world, grey: twin", fontsize=8)
    return _svg(figure)


def _has(row: Mapping[str, Any], metric: str) -> bool:
    return row["metrics"][metric]["value"] is not None


def _line(axes: Any, points: list[tuple[float, Mapping[str, Any]]], kind: str) -> None:
    if not points:
        return
    style = _ORDER.index(kind)
    x, y = [point[0] for point in points], [point[1] for point in points]
    axes.plot(
        x, [mean["value"] for mean in y], DASHES[style], color=COLOURS[style], marker="o", markersize=4, label=kind
    )
    if all(mean["low"] is not None for mean in y):
        low, high = [mean["low"] for mean in y], [mean["high"] for mean in y]
        axes.fill_between(x, low, high, color=COLOURS[style], alpha=0.13, linewidth=0)


def _bar(axes: Any, row: Mapping[str, Any], position: float, colour: str) -> None:
    axes.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2.2, alpha=0.8)
    axes.plot(row["value"], position, "o", color=colour, markersize=5)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "medvlp", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()

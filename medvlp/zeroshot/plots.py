"""The report's plots as SVG pictures, drawn from the numbers in ``results.json`` and nothing else.

Colours are Okabe and Ito's, which stay apart for colour-blind readers; each line also has its own dash.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":")
_MAX_CURVES = 8
_MAX_CELLS_WITH_TEXT = 16
_MAX_CLASSES_IN_MATRIX = 40
_GREY = "#5b6470"


def curve_plot(curves: dict[str, list[list[float]]], kind: str, area: dict[str, float | None]) -> str:
    """Return a data URI with one curve per class.

    Args:
        curves: Points ``[x, y]`` per class.
        kind: ``roc`` or ``precision_recall``.
        area: Number shown in the legend per class; the first eight classes by it are drawn where there are more.
    """
    figure, axes = _figure(4.4, 4.5)
    shown = sorted(curves, key=lambda label: -(area.get(label) or 0.0))[:_MAX_CURVES]
    for position, label in enumerate(shown):
        value = area.get(label)
        text = _short(label) if value is None else f"{_short(label)} ({value:.2f})"
        style: dict[str, Any] = {"color": COLOURS[position], "linestyle": DASHES[position % 4], "linewidth": 1.8}
        x, y = curves[label]
        axes.plot(x, y, label=text, drawstyle="default" if kind == "roc" else "steps-pre", **style)
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color="#b5bac1", linewidth=1, zorder=0)
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
    else:
        axes.set_xlabel("sensitivity (recall)")
        axes.set_ylabel("precision")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_aspect("equal")
    if shown:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return _uri(figure)


def confusion_plot(matrix: list[list[int]], classes: list[str]) -> str | None:
    """Return a data URI of the confusion matrix, shaded by share of the true class; None for too many classes."""
    count = np.array(matrix, dtype=float)
    if len(classes) > _MAX_CLASSES_IN_MATRIX:
        return None
    share = count / np.maximum(count.sum(1, keepdims=True), 1)
    side = min(9.0, max(4.4, 2.4 + 0.4 * len(classes)))
    figure, axes = _figure(side, side)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = [_short(label) for label in classes]
    axes.set_xticks(range(len(classes)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(classes) <= _MAX_CELLS_WITH_TEXT:
        for i, j in np.ndindex(*count.shape):
            tone = "white" if share[i, j] > 0.55 else "#1c2430"
            axes.text(j, i, f"{int(count[i, j])}", ha="center", va="center", color=tone, fontsize=9)
    return _uri(figure)


def floors_plot(rows: list[tuple[str, list[tuple[str, dict[str, Any]]]]]) -> str | None:
    """Return a data URI with one panel per metric: every system's value and interval on one line each.

    Args:
        rows: Metric title and ``(system, {value, low, high})`` pairs, the model first.
    """
    rows = [(title, [(name, v) for name, v in systems if v["value"] is not None]) for title, systems in rows]
    rows = [(title, systems) for title, systems in rows if systems]
    if not rows:
        return None
    from matplotlib.figure import Figure

    height = 0.55 + sum(0.42 + 0.27 * len(systems) for _, systems in rows)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    panels = figure.subplots(
        len(rows), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [len(systems) for _, systems in rows]}
    )[:, 0]
    for axes, (title, systems) in zip(panels, rows, strict=True):
        for position, (_, found) in enumerate(systems):
            colour = COLOURS[0] if position == 0 else _GREY
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [position] * 2, color=colour, linewidth=2.4, alpha=0.75)
            axes.plot(
                found["value"], position, "o" if position == 0 else "D", color=colour, markersize=7 - position % 2
            )
        axes.set_yticks(range(len(systems)), [name for name, _ in systems])
        axes.set_ylim(len(systems) - 0.4, -0.6)
        axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color="#1c2430")
        _style(axes)
        axes.grid(visible=False, axis="y")
    panels[-1].set_xlim(-0.01, 1.01)
    return _uri(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: Any) -> None:
    axes.grid(visible=True, color="#e7eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors="#1c2430", length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b5bac1")


def _short(label: str, most: int = 28) -> str:
    text = label.replace("_", " ").replace("$", r"\$")
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _uri(figure: Any) -> str:
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "medvlp", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()

"""Plots of counts for the pages about data and retrieval, in the style of the report's other plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from medvlp.zeroshot.plots import COLOURS, DASHES, _figure, _short, _uri

_MAX_BARS = 40
_LINE = 0.3  # inches per bar


def bars_plot(counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return a data URI with one horizontal bar per class, parted by split; None without classes.

    Args:
        counts: Rows by split, then by class; the forty largest classes are drawn where there are more.
    """
    classes = sorted({label for by_class in counts.values() for label in by_class})
    total = {label: sum(by_class.get(label, 0) for by_class in counts.values()) for label in classes}
    shown = sorted(classes, key=lambda label: (-total[label], label))[:_MAX_BARS]
    if not shown:
        return None
    figure, axes = _figure(7.2, 0.9 + _LINE * len(shown))
    left_K = np.zeros(len(shown))
    for (split, by_class), colour in zip(counts.items(), COLOURS, strict=False):
        width_K = np.array([by_class.get(label, 0) for label in shown], dtype=float)
        axes.barh(range(len(shown)), width_K, left=left_K, color=colour, height=0.72, label=split)
        left_K += width_K
    for position, label in enumerate(shown):
        axes.text(left_K[position], position, f" {total[label]:,}", va="center", fontsize=8.5, color="#1c2430")
    axes.set_yticks(range(len(shown)), [_short(label, 40) for label in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, left_K.max() * 1.12)
    axes.set_xlabel("images")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside lower right", ncols=3, frameon=False, fontsize=8.5)
    return _uri(figure)


def histogram_plot(values: ArrayLike, label: str) -> str:
    """Return a data URI with a histogram of whole numbers."""
    values_N = np.asarray(values)
    low, high = int(values_N.min()), int(values_N.max())
    figure, axes = _figure(5.4, 2.6)
    edges = np.arange(low, high + 2) - 0.5 if high - low < 40 else np.linspace(low - 0.5, high + 0.5, 41)
    axes.hist(values_N, bins=edges.tolist(), color=COLOURS[0])
    axes.set_xlabel(label)
    axes.set_ylabel("texts")
    axes.grid(visible=False, axis="x")
    return _uri(figure)


def recall_plot(curves: Mapping[str, Sequence[float]], title: str) -> str:
    """Return a data URI with recall at each k from 1, one line per system; the first is the model."""
    figure, axes = _figure(4.6, 4.0)
    for position, (name, recall_K) in enumerate(curves.items()):
        colour = COLOURS[0] if position == 0 else ("#5b6470" if position == 1 else COLOURS[position])
        k = np.arange(1, len(recall_K) + 1)
        axes.plot(k, recall_K, color=colour, linestyle=DASHES[position % 4], linewidth=1.8, label=name)
    axes.set_xlabel("k")
    axes.set_ylabel("recall at k")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color="#1c2430")
    figure.legend(loc="outside lower center", frameon=False, fontsize=8.5, ncols=3)
    return _uri(figure)

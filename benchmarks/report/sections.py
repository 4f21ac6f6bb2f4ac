"""What a protocol says beside its scores, in whatever shape: facts, tables, curves, told apart by their form alone.

====================================  ===========
a mapping of names to numbers, texts  facts
a list of such mappings               a table
a mapping of names to ``[x, y]``s     a plot
a mapping of these                    each of them
====================================  ===========
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report.plots import lines_plot

_MOST_ROWS = 60


@dataclass(frozen=True)
class Section:
    """One piece of a system's details; exactly one of the three is filled."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    plot: str | None = None
    left_out: int = 0


def sections(details: Mapping[str, Any], title: str = "") -> list[Section]:
    """Lay out nested details, outermost name first; empty ones are left out."""
    out: list[Section] = []
    facts = {name: value for name, value in details.items() if _is_scalar(value)}
    if facts:
        out.append(Section(title, facts=tuple((_spaced(name), _text(value)) for name, value in facts.items())))
    lines = {name: value for name, value in details.items() if _is_line(value)}
    if lines:
        out.append(Section(title, plot=lines_plot({_spaced(name): value for name, value in lines.items()})))
    for name, value in details.items():
        below = f"{title} · {_spaced(name)}" if title else _spaced(name)
        if isinstance(value, Mapping):
            out += sections(value, below)
        elif isinstance(value, list) and value and name not in lines:
            if all(isinstance(row, Mapping) for row in value):
                out.append(_table(below, value))
            else:
                out.append(Section(below, facts=(("values", ", ".join(_text(one) for one in value[:_MOST_ROWS])),)))
    return out


def _table(title: str, rows: list[Mapping[str, Any]]) -> Section:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    body = tuple(tuple(_text(row.get(name)) for name in columns) for row in rows[:_MOST_ROWS])
    left_out = max(0, len(rows) - _MOST_ROWS)
    return Section(title, columns=tuple(_spaced(name) for name in columns), rows=body, left_out=left_out)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _is_line(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(
            isinstance(point, list)
            and len(point) == 2
            and all(isinstance(one, int | float) and not isinstance(one, bool) for one in point)
            for point in value
        )
    )


def _text(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        if set(value) >= {"value", "low", "high"}:
            bounds = "" if value["low"] is None else f" [{_text(value['low'])}, {_text(value['high'])}]"
            return _text(value["value"]) + bounds
        return ", ".join(f"{_spaced(name)} {_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    return str(value)


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")

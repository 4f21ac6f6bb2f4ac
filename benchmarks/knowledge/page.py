"""The table as one HTML page without outside requests, made from its JSON and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.knowledge.config import FLOOR
from benchmarks.knowledge.measure import TITLES
from benchmarks.knowledge.plots import difference_plot, score_plot
from benchmarks.knowledge.table import POOLED, _floor_cell, _plain_number, _range

TEMPLATE = Path(__file__).with_name("page.html.j2")


def render(table: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        table: What :func:`benchmarks.knowledge.table.build` returned.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(range=_range, floor=_floor_cell, number=_plain_number)
    comparisons = []
    for comparison in table["config"]["comparisons"]:
        wanted = (comparison["first"], comparison["second"])
        rows = [
            (_named(question), row)
            for question in table["questions"]
            for row in question["differences"]
            if (row["first"], row["second"]) == wanted
        ]
        pooled = [
            (f"mean over {row['over']}", row) for row in table["pooled"] if (row["first"], row["second"]) == wanted
        ]
        first, second = (
            f"the better {FLOOR}" if name == FLOOR else table["config"]["arms"][name]["title"] for name in wanted
        )
        if rows:
            told = {"title": f"{first} − {second}", "asks": comparison["asks"], "rows": [*rows, *pooled]}
            comparisons.append({**told, "plot": difference_plot(told["rows"])})
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        table=table,
        titles=TITLES,
        pooled_title=TITLES[POOLED],
        comparisons=comparisons,
        plots=[score_plot(question) for question in table["questions"]],
        counts=counts(table),
        named=_named,
    )


def counts(table: Mapping[str, Any]) -> dict[str, int]:
    """Count verdicts: differences found after correction, before it only, and not found."""
    rows = [*(row for question in table["questions"] for row in question["differences"]), *table["pooled"]]
    found = [row for row in rows if row["verdict"] in ("higher", "lower")]
    unsure = [row for row in rows if row["verdict"].endswith("after correction")]
    return {"all": len(rows), "found": len(found), "unsure": len(unsure), "none": len(rows) - len(found) - len(unsure)}


def _named(question: Mapping[str, Any]) -> str:
    return f"{question['title']}: {question['about']}"

"""The leaderboard as JSON: every score with interval, n and command, every model's lead over its best floor.

The best floor of a model is the one with the best value of the question's leading metric; that choice looks at the
scored split, in the floors' favour. p values of all leads are corrected together (Holm 1979), and so are those of all
differences between models.
"""

from __future__ import annotations

import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.gather import Group, Row, gather, read_records
from medvlp.metrics.bootstrap import interval
from medvlp.metrics.paired import Difference, Measured, difference, holm
from medvlp.zeroshot.results import command, number, versions

FORMAT = "medvlp-leaderboard-1"


def leaderboard(out: Path) -> dict[str, Any]:
    """Return everything the page and the CSV show, from the records below ``out``.

    Raises:
        DataError: If there are no records, or some do not belong together.
    """
    records = read_records(out)
    groups = gather(records)
    leads = [(group, row, *found) for group in groups for row in group.rows if (found := _lead(group, row))]
    lead_p = holm([gap.p_value for *_, gap in leads])
    pairs = [
        (group, first, second, _directed(group, first, second))
        for group in groups
        for first, second in combinations([row for row in group.rows if row.kind == "model"], 2)
        if group.metrics and _leading(group) in first.measured and _leading(group) in second.measured
    ]
    pair_p = holm([gap.p_value for *_, gap in pairs])
    lead_of = {
        (id(group), row.name): {"floor": floor.name, **_difference(gap, p)}
        for (group, row, floor, gap), p in zip(leads, lead_p, strict=True)
    }
    pairs_of: dict[int, list[dict[str, Any]]] = {}
    for (group, first, second, gap), p in zip(pairs, pair_p, strict=True):
        told = {"first": first.name, "second": second.name, **_difference(gap, p)}
        pairs_of.setdefault(id(group), []).append(told)
    failed = [record for _, record in records if record["failed"] is not None]
    return {
        "format": FORMAT,
        "title": next((str(record["title"]) for _, record in records if record.get("title")), "Benchmark"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "num_records": len(records),
        "questions": [
            {
                "name": group.name,
                "protocol": group.label,
                "variant": group.variant,
                "task": group.task,
                "metrics": [_plain(metric) for metric in group.metrics],
                "rows": [_row(row, lead_of.get((id(group), row.name))) for row in group.rows],
                "pairs": pairs_of.get(id(group), []),
            }
            for group in groups
        ],
        "failed": [
            {
                "task": f"{record['task']['name']}.{record['task']['label']}",
                "system": record["system"]["name"],
                "reason": record["failed"],
                "command": record["command"],
            }
            for record in failed
        ],
        "versions": versions(),
        "command": command(),
    }


def _leading(group: Group) -> str:
    return str(group.metrics[0]["name"])


def _lead(group: Group, row: Row) -> tuple[Row, Difference] | None:
    """The floor that is hardest to beat, and the row's lead over it (positive: better)."""
    if row.kind == "floor" or not group.metrics or _leading(group) not in row.measured:
        return None
    name = _leading(group)
    floors = [floor for floor in group.floors_of(row.name) if name in floor.measured]
    if not floors:
        return None
    sign = _sign(group)
    best = max(floors, key=lambda floor: sign * floor.measured[name].value)
    return best, _directed(group, row, best)


def _directed(group: Group, first: Row, second: Row) -> Difference:
    name, sign = _leading(group), _sign(group)
    ones = [_times(row.measured[name], sign) for row in (first, second)]
    return difference(ones[0], ones[1])


def _sign(group: Group) -> int:
    return 1 if group.metrics[0]["higher_is_better"] else -1


def _times(measured: Measured, sign: int) -> Measured:
    return Measured(sign * measured.by_seed_R, sign * measured.draw_S, measured.num_cases)


def _difference(found: Difference, p_holm: float) -> dict[str, Any]:
    return {
        "value": number(found.value),
        "low": number(found.low),
        "high": number(found.high),
        "p": number(found.p_value),
        "p_holm": number(p_holm),
        "verdict": verdict(found, p_holm),
    }


def verdict(found: Difference, p_holm: float) -> str:
    """Say what a difference shows: ``better``, ``worse``, ``unclear``, or ``unknown`` without an interval."""
    if np.isnan(found.low):
        return "unknown"
    if not np.isnan(p_holm) and p_holm < 0.05 and (found.low > 0 or found.high < 0):
        return "better" if found.value > 0 else "worse"
    return "unclear"


def _plain(metric: dict[str, Any]) -> dict[str, Any]:
    return {key: metric[key] for key in ("name", "title", "unit", "higher_is_better")}


def _row(row: Row, lead: dict[str, Any] | None) -> dict[str, Any]:
    first = row.records[0]
    return {
        "name": row.name,
        "kind": row.kind,
        "of": row.of,
        "title": first["system"]["title"],
        "source": first["system"]["source"],
        "weights_sha256": first["system"]["weights_sha256"],
        "skipped": row.skipped,
        "seeds": [record["seed"] for record in row.records],
        "metrics": [] if row.skipped is not None else [_metric(row, metric) for metric in first["metrics"]],
        "lead": lead,
        "prompts": first["prompts"],
        "details": first["details"],
        "limits": sorted({limit for record in row.records for limit in record["limits"]}),
        "leaks": first["leaks"],
        "seconds": number(sum(record["seconds"] for record in row.records)),
        "commands": [record["command"] for record in row.records],
    }


def _metric(row: Row, metric: dict[str, Any]) -> dict[str, Any]:
    """A metric over all seeds; a single seed keeps the record's own interval."""
    shown = {key: metric[key] for key in ("name", "n", "num_cases", "chance", "reason")}
    found = row.measured.get(metric["name"])
    if found is None:
        return {**shown, "value": None, "low": None, "high": None, "by_seed": []}
    if len(row.records) == 1:
        bounds = {key: metric[key] for key in ("low", "high")}
    else:
        of_mean = interval(found.value, found.draw_S, found.num_cases)
        bounds = {"low": number(of_mean.low), "high": number(of_mean.high)}
    return {**shown, "value": number(found.value), **bounds, "by_seed": [number(v) for v in found.by_seed_R]}

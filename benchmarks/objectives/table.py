"""The table as JSON and as Markdown: scores with intervals and floors, costs, and what knowledge gains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.knowledge.statistics import verdict
from benchmarks.objectives.config import ObjectiveTableConfig, TableSet
from benchmarks.objectives.measure import Measurer, Score, measured, scores_of
from benchmarks.objectives.run import Done
from benchmarks.objectives.sets import Prepared
from benchmarks.objectives.texts import START, PreparedTexts, text_facts
from data_prep.simulation.simulate import WARNING
from medvlp import __version__
from medvlp.metrics.paired import ALPHA, Difference, Measured, difference, holm

FORMAT = "medvlp-objective-table-2"
MARK = "objectives"
REAL = "real"
COSTS = {
    "processor_seconds_per_step": "processor seconds per step",
    "seconds_per_step": "seconds per step",
    "peak_mib": "peak MiB",
    "steps": "steps",
    "texts": "texts seen",
}
_FIELDS = ("value", "low", "high", "standard_error", "smallest", "p_value")
_LOOKS = ("auroc", "recall", "mrr")


def build(config: ObjectiveTableConfig, done: Mapping[str, Done]) -> dict[str, Any]:
    """Return the whole table as JSON values; what is not there yet is left out, numbers not defined are null."""
    sets = [_set(config, name, one) for name, one in done.items()]
    differences = [row for one in sets for row in one["differences"]]
    for row, corrected in zip(differences, holm([_float(row["p_value"]) for row in differences]), strict=True):
        found = Difference(*(_float(row[name]) for name in _FIELDS))
        row["p_holm"] = _number(corrected)
        row["verdict"] = verdict(found, corrected)
        same = all(value is not None and value > 0 for value in row["by_seed"])
        row["gain"] = "yes" if row["verdict"] == "higher" and same else "no"
        if row["num_seeds"] < min(2, len(config.seeds)):
            row["gain"] = "one seed"
    return {
        "format": FORMAT,
        "version": __version__,
        "config": config.model_dump(mode="json"),
        "num_differences": len(differences),
        "sets": sets,
    }


def _set(config: ObjectiveTableConfig, name: str, done: Done) -> dict[str, Any]:
    prepared, scores = done.prepared, scores_of(done.prepared)
    measure = Measurer(done, config.num_draws)
    known = {
        title: {score.name: measured(score, [record], config.num_draws) for score in scores}
        for title, record in done.floors.items()
    }
    rows, differences = [], []
    for method in config.methods_of(name):
        title = config.title_of(name, method)
        against: dict[str, tuple[tuple[int, ...], Callable[[Score], Measured | None]]] = {}
        for arm in config.arms:
            if seeds := measure.seeds(config, method, arm):
                rows.append(_row(measure, title, method, arm, seeds, scores))
            if arm != REAL:
                both = measure.seeds(config, method, REAL, arm)
                against[arm] = both, partial(measure, method=method, arm=arm, seeds=both)
        if START in known:  # a control can also do harm, which is no gain of the knowledge
            against[START] = measure.seeds(config, method, REAL), lambda score: known[START][score.name]
        for control, (seeds, second) in against.items():
            if seeds:
                differences += _gains(config, measure, title, method, control, seeds, scores, second)
    floors = {title: {name: _score(found) for name, found in of.items()} for title, of in known.items()}
    texts = isinstance(prepared, PreparedTexts)
    return {
        "set": name,
        "title": config.texts[name].title if texts else config.sets[name].title,
        **(text_facts(prepared) if isinstance(prepared, PreparedTexts) else _facts(prepared, config.sets[name])),
        "scores": [
            {"name": s.name, "title": s.title, "num": len(s.cases), "num_cases": len(set(s.cases)), "chance": s.chance}
            for s in scores
        ],
        "floors": floors,
        "rows": rows,
        "differences": differences,
    }


def _facts(prepared: Prepared, settings: TableSet) -> dict[str, Any]:
    return {
        "warning": WARNING if settings.simulation is not None else None,
        "notes": [],
        "data_sha256": prepared.store.digest,
        "entities_sha256": prepared.entities.digest,
        "num_train": len(prepared.store.split("train")),
        "unit": "images",
        "classes": list(prepared.labels),
    }


def _row(
    measure: Measurer,
    title: str,
    method: str,
    arm: str,
    seeds: tuple[int, ...],
    scores: Sequence[Score],
) -> dict[str, Any]:
    records = [measure.done.records[method, arm, seed] for seed in seeds]
    costs = {key: [record["cost"][key] for record in records] for key in COSTS}
    return {
        "method": method,
        "title": title,
        "arm": arm,
        "num_seeds": len(seeds),
        "by": records[0]["by"],
        "scores": {score.name: _score(measure(score, method, arm, seeds)) for score in scores},
        # the first run of a process encodes texts that later ones remember, so the middle one is told
        "cost": {key: None if None in found else float(np.median(found)) for key, found in costs.items()},
    }


def _gains(
    config: ObjectiveTableConfig,
    measure: Measurer,
    title: str,
    method: str,
    control: str,
    seeds: tuple[int, ...],
    scores: Sequence[Score],
    of_control: Callable[[Score], Measured | None],
) -> list[dict[str, Any]]:
    """Real minus a control on every judged score, over the seeds that both have."""
    out = []
    for score in scores:
        if score.name not in config.compare:
            continue
        first, second = measure(score, method, REAL, seeds), of_control(score)
        if first is not None and second is not None:
            out.append(
                {
                    "method": method,
                    "title": title,
                    "score": score.name,
                    "score_title": score.title,
                    "control": control,
                    "num_seeds": len(seeds),
                    "by_seed": [_number(v) for v in (first.by_seed_R - second.by_seed_R).tolist()],
                    **{name: _number(getattr(difference(first, second), name)) for name in _FIELDS},
                }
            )
    return out


def _score(found: Measured | None) -> dict[str, Any] | None:
    if found is None or math.isnan(found.value):
        return None
    interval = found.interval()
    return {
        "value": _number(interval.value),
        "low": _number(interval.low),
        "high": _number(interval.high),
        "by_seed": [_number(value) for value in found.by_seed_R.tolist()],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def markdown(table: Mapping[str, Any]) -> str:
    """Return scores, costs and gains of every set as Markdown."""
    config = table["config"]
    lines = [
        f"Each cell: mean over the seeds {', '.join(map(str, config['seeds']))} [95 % interval from "
        f"{config['num_draws']:,} draws of test cases, the same for all]. {table['num_differences']} differences are "
        f"judged, corrected by Holm's rule over all of them; a gain stays above zero at {ALPHA} and is "
        "above zero in every seed.",
    ]
    for one in table["sets"]:
        lines += _of_set(one, len(config["seeds"]))
    return "\n".join(lines).strip() + "\n"


def _of_set(one: Mapping[str, Any], num_seeds: int) -> list[str]:
    scores = one["scores"]
    used = [s for s in scores if any(row["scores"][s["name"]] is not None for row in one["rows"])]
    looks = [s for s in used if s["name"].startswith(_LOOKS)]
    others = [s for s in used if s not in looks]
    counted = ", ".join(f"{s['title']}: {s['num']}" for s in used if s["name"] in ("auroc", "recall_at_5", "pointing"))
    head = f"{one['num_train']} training {one['unit']}; {counted}, {used[0]['num_cases'] if used else 0} cases."
    warning = f" {one['warning'][:1].upper()}{one['warning'][1:]}." if one["warning"] else ""
    warning += "".join(f" {note}" for note in one["notes"])
    out = ["", f"### {one['title']}", "", f"{head}{warning}", "", *_scores(one, looks, {}, num_seeds), ""]
    costs = {key: COSTS[key] for key in ("processor_seconds_per_step", "peak_mib", "steps", "texts")}
    return [*out, *_scores(one, others, costs, num_seeds), "", *_judged(one)]


def _scores(
    one: Mapping[str, Any], columns: Sequence[Mapping[str, Any]], costs: Mapping[str, str], num_seeds: int
) -> list[str]:
    head = ["objective", "knowledge", *(s["title"] for s in columns), *costs.values()]
    lines = [_line(head), "|---" * len(head) + "|"]
    luck = ["" if s["chance"] is None else f"{s['chance']:.3f}" for s in columns]
    lines.append(_line(["luck", "", *luck, *("" for _ in costs)]))
    for title, found in one["floors"].items():
        lines.append(_line([title, "", *(_range(found.get(s["name"])) for s in columns), *("" for _ in costs)]))
    for row in one["rows"]:
        values = [_range(row["scores"][s["name"]]) for s in columns]
        arm = row["arm"] if row["num_seeds"] == num_seeds else f"{row['arm']} ({row['num_seeds']} of {num_seeds} seeds)"
        lines.append(_line([row["title"], arm, *values, *(_cost(key, row["cost"][key]) for key in costs)]))
    return lines


def _judged(one: Mapping[str, Any]) -> list[str]:
    """One line per objective and score: both controls beside one another."""
    if not one["differences"]:
        return []
    controls = list(dict.fromkeys(row["control"] for row in one["differences"]))
    head = ["objective", "score"]
    for control in controls:
        head += [f"{REAL} − {control}", "smallest detectable", "gain", "verdict"]
    lines = [_line(head), "|---" * len(head) + "|"]
    by_score: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in one["differences"]:
        by_score.setdefault((row["title"], row["score_title"]), {})[row["control"]] = row
    for (title, score), found in by_score.items():
        cells = [title, score]
        for control in controls:
            known = found.get(control)
            if known is None:
                cells += ["", "", "", ""]
                continue
            smallest = "" if known["smallest"] is None else f"{known['smallest']:.3f}"
            cells += [_range(known, sign=True), smallest, known["gain"], known["verdict"]]
        lines.append(_line(cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cost(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if "seconds" in key else f"{value:,.0f}"


def _range(score: Mapping[str, Any] | None, sign: bool = False) -> str:
    if score is None or score["value"] is None:
        return ""
    form = "+.3f" if sign else ".3f"
    if score["low"] is None:
        return f"{score['value']:{form}}"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"

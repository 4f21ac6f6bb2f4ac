"""The table as JSON and as Markdown: intervals, floors, and differences with their detectable size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.knowledge.config import FLOOR, KnowledgeTableConfig
from benchmarks.knowledge.measure import TITLES, Question, Scores, questions
from benchmarks.knowledge.run import Answered
from benchmarks.knowledge.statistics import verdict
from medvlp import __version__
from medvlp.metrics.paired import ALPHA, Difference, Measured, difference, holm, mean_difference

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

FORMAT = "medvlp-knowledge-table-1"
MARK = "table"
POOLED = "auroc"
UNTRAINED = "no (untrained)"
_POOLS = {True: "all sets whose class names were seen", False: "all sets of held-out classes alone"}


def build(config: KnowledgeTableConfig, answers: Mapping[str, Answered], graph: DiseaseGraph) -> dict[str, Any]:
    """Return the whole table as JSON values; numbers that are not defined are null."""
    asked = [found for answered in answers.values() for found in questions(answered, graph, config.num_draws)]
    told = [_question(config, question) for question in asked]
    pooled = _pooled(config, asked)
    differences = [*(row for question in told for row in question["differences"]), *pooled]
    for row, corrected in zip(differences, holm([_float(row["p_value"]) for row in differences]), strict=True):
        row["p_holm"] = _number(corrected)
        row["verdict"] = verdict(Difference(*(_float(row[name]) for name in _FIELDS)), corrected)
    return {
        "format": FORMAT,
        "version": __version__,
        "graph_sha256": graph.digest,
        "sets_sha256": {name: answered.prepared.store.digest for name, answered in answers.items()},
        "prompts_sha256": {name: answered.prepared.prompts.digest for name, answered in answers.items()},
        "config": config.model_dump(mode="json"),
        "seeds": config.seeds,
        "num_draws": config.num_draws,
        "num_differences": len(differences),
        "seconds": {name: {arm: value for arm, value in found.seconds.items()} for name, found in answers.items()},
        "questions": told,
        "pooled": pooled,
    }


_FIELDS = ("value", "low", "high", "standard_error", "smallest", "p_value")


def _question(config: KnowledgeTableConfig, question: Question) -> dict[str, Any]:
    floor = question.best_floor()
    rows = []
    for name, arm in config.arms.items():
        row: dict[str, Any] = {"arm": name, "title": arm.title, "seen": question.seen if arm.trained else UNTRAINED}
        row["metrics"] = _scores(question.arms[name], question.metrics)
        if floor is not None:
            lead = difference(question.arms[name][question.lead], _known(question.floors[floor])[question.lead])
            row["lead"] = {"over": floor, **_plain(lead)}
        rows.append(row)
    differences = []
    for comparison in config.comparisons:
        first = question.arms[comparison.first][question.lead]
        if comparison.second != FLOOR:
            second, title = question.arms[comparison.second][question.lead], config.arms[comparison.second].title
        elif floor is not None:
            second, title = _known(question.floors[floor])[question.lead], f"{floor} floor"
        else:
            continue
        differences.append(
            {
                "first": comparison.first,
                "second": comparison.second,
                "title": f"{config.arms[comparison.first].title} − {title}",
                "asks": comparison.asks,
                **_plain(difference(first, second)),
            }
        )
    return {
        "set": question.set_name,
        "title": config.sets[question.set_name].title,
        "about": question.about,
        "seen": question.seen,
        "classes": list(question.classes),
        "num": question.num,
        "num_cases": question.num_cases,
        "unit": "near-duplicate cluster (optimistic)" if question.optimistic else "case",
        "metrics": list(question.metrics),
        "dropped": dict(question.dropped),
        "rows": rows,
        "floors": {
            name: {"reason": found} if isinstance(found, str) else {"metrics": _scores(found, question.metrics)}
            for name, found in question.floors.items()
        },
        "differences": differences,
    }


def _pooled(config: KnowledgeTableConfig, asked: Sequence[Question]) -> list[dict[str, Any]]:
    """Average each comparison of two arms over sets, on AUROC, where there are two sets or more."""
    out = []
    for seen, title in _POOLS.items():
        chosen = [q for q in asked if q.seen_classes is seen and POOLED in q.metrics]
        for comparison in config.comparisons if len(chosen) > 1 else ():
            if comparison.second == FLOOR:
                continue
            pairs = [(q.arms[comparison.first][POOLED], q.arms[comparison.second][POOLED]) for q in chosen]
            first, second = config.arms[comparison.first].title, config.arms[comparison.second].title
            out.append(
                {
                    "over": title,
                    "sets": [q.set_name for q in chosen],
                    "first": comparison.first,
                    "second": comparison.second,
                    "title": f"{first} − {second}",
                    "asks": comparison.asks,
                    **_plain(mean_difference(pairs)),
                }
            )
    return out


def _known(found: Scores | str) -> Scores:
    assert not isinstance(found, str)
    return found


def _scores(scores: Scores, metrics: Sequence[str]) -> dict[str, Any]:
    return {metric: _score(scores[metric]) for metric in metrics}


def _score(measured: Measured) -> dict[str, Any]:
    found = measured.interval()
    return {
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "by_seed": [_number(value) for value in measured.by_seed_R],
    }


def _plain(found: Difference) -> dict[str, Any]:
    return {name: _number(getattr(found, name)) for name in _FIELDS}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def markdown(table: Mapping[str, Any]) -> str:
    """Return both tables as Markdown: scores, then differences."""
    seeds, draws = len(table["seeds"]), table["num_draws"]
    chance = ALPHA * table["num_differences"]
    lines = [
        f"Scores: mean over {seeds} seeds [95 % interval, {draws:,} draws of cases], then each seed. "
        "Floors are on the leading score, and the lead is over the better one.",
        "",
        "| set, question | arm | class names seen in training | images (cases) | classes | leading score | by seed "
        "| other scores | prior | colour histogram + regression | lead over the better floor |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for question in table["questions"]:
        lead, *others = question["metrics"]
        unit = ", optimistic" if "optimistic" in question["unit"] else ""
        floors = [_floor_cell(found, lead) for found in question["floors"].values()]
        for row in question["rows"]:
            beside = "; ".join(f"{TITLES[name]} {_range(row['metrics'][name])}" for name in others)
            by_seed = " ".join(_plain_number(value) for value in row["metrics"][lead]["by_seed"])
            cells = [
                f"{question['title']}: {question['about']}",
                row["title"],
                row["seen"],
                f"{question['num']} ({question['num_cases']}{unit})",
                str(len(question["classes"])) if question["classes"] else "–",
                f"{TITLES[lead]} {_range(row['metrics'][lead])}",
                by_seed,
                beside or "–",
                *floors,
                _range(row["lead"], sign=True) if "lead" in row else "n/a",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Differences on the leading score, paired on the same cases. Smallest detectable: 2.80 × standard error. Of "
        f"{table['num_differences']} differences about {chance:.0f} would leave zero outside its interval by chance "
        "alone, so a verdict holds only after Holm's correction over all of them.",
        "",
        "| set, question | difference | value | smallest detectable | verdict |",
        "|---|---|---|---|---|",
    ]
    for question in table["questions"]:
        lead = TITLES[question["metrics"][0]]
        for row in question["differences"]:
            lines.append(f"| {question['title']}: {question['about']}, {lead} {_difference_cells(row)}")
    lines += [
        f"| mean over {row['over']} ({len(row['sets'])}), {TITLES[POOLED]} {_difference_cells(row)}"
        for row in table["pooled"]
    ]
    return "\n".join(lines) + "\n"


def _difference_cells(row: Mapping[str, Any]) -> str:
    smallest = "n/a" if row["smallest"] is None else f"{row['smallest']:.3f}"
    return f"| {row['title']} | {_range(row, sign=True)} | {smallest} | {row['verdict']} |"


def _floor_cell(found: Mapping[str, Any], lead: str) -> str:
    return f"n/a: {found['reason']}" if "reason" in found else _range(found["metrics"][lead])


def _range(score: Mapping[str, Any], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    if score["value"] is None:
        return "n/a"
    if score["low"] is None:
        return f"{score['value']:{form}}"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"


def _plain_number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"

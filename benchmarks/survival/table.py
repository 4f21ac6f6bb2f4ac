"""The table of the survival benchmark: concordance by arm with intervals, and paired differences to the floor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.survival.config import SurvivalBenchmarkConfig
from benchmarks.survival.run import Cell
from medvlp.finetune.survival_scores import Scores, as_json, mean_scores, score

MARK = "survival"
LEVEL = 0.95


def build(config: SurvivalBenchmarkConfig, cells: Iterable[Cell]) -> Iterator[dict[str, Any]]:
    """Yield the rows as JSON values, anew after every cell."""
    rows: list[dict[str, Any]] = []
    floors: dict[tuple[str, str], Scores] = {}
    for cell in cells:
        scores = mean_scores([score(run, config.num_draws, config.seed, config.horizon) for run in cell.runs])
        key = (cell.cohort, cell.endpoint)
        if cell.arm == config.floor:
            floors[key] = scores
        lead = None if cell.arm == config.floor or key not in floors else scores.difference(floors[key], LEVEL)
        rows.append(
            {
                "cohort": cell.cohort,
                "endpoint": cell.endpoint,
                "arm": cell.arm,
                "num_cases": sum(len(fold.cases) for fold in cell.runs[0]),
                "num_events": int(sum(fold.event_N.sum() for fold in cell.runs[0])),
                "repeats": len(cell.runs),
                "concordance": as_json(scores.mean(LEVEL)),
                "uno_concordance": scores.uno,
                "folds": scores.value_F.tolist(),
                "to_floor": None if lead is None else as_json(lead),
                "seconds": cell.seconds,
            }
        )
        yield {"metric": "concordance", "level": LEVEL, "horizon": config.horizon, "rows": rows}


def markdown(config: SurvivalBenchmarkConfig, table: dict[str, Any]) -> str:
    """Return the table as Markdown, as printed and as kept in the docs."""
    lines = [
        f"Harrell's concordance, mean over {len(table['rows'][0]['folds'])} folds; 95 % intervals resample the "
        f"held-out cases within each fold ({config.num_draws} draws), and repetitions where there are several; the "
        "chance of a single training is left out. Uno's concordance counts events up to "
        f"{config.horizon:g} months. The last column is the difference to "
        f'"{config.arms[config.floor].title}" on the same draws. A constant risk has 0.5 by definition.',
        "",
        "| cohort, endpoint (cases, events) | model | concordance | by fold | Uno's | to the floor |",
        "|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        title = f"{config.cohorts[row['cohort']].title}, {row['endpoint'].upper()}"
        runs = f", mean of {row['repeats']}" if row["repeats"] > 1 else ""
        by_fold = " ".join(f"{value:.3f}" for value in row["folds"])
        told = "–" if row["to_floor"] is None else f"{_range(row['to_floor'], sign=True)} {verdict(row['to_floor'])}"
        lines.append(
            f"| {title} ({row['num_cases']}, {row['num_events']}) | {config.arms[row['arm']].title}{runs} "
            f"| {_range(row['concordance'])} | {by_fold} | {row['uno_concordance']:.3f} | {told} |"
        )
    return "\n".join(lines) + "\n"


def verdict(lead: dict[str, float]) -> str:
    """Say what an interval of a difference says."""
    if lead["low"] > 0:
        return "better"
    return "worse" if lead["high"] < 0 else "no difference detected"


def _range(found: dict[str, float], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{found['value']:{form}} [{found['low']:{form}}, {found['high']:{form}}]"

"""The fine-tuning table, recomputed from the predictions of every run: scores, floors, paired differences.

A value is the mean over seeds; its 95 % interval resamples test cases and seeds together, and the difference of two
starts is taken on the same draws of both. Shape legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from benchmarks.finetune.config import FinetuneTableConfig
from benchmarks.finetune.run import STARTS, Cell
from medvlp.data.pairs import PairsStore
from medvlp.finetune.classify import build_tasks
from medvlp.finetune.config import Classification
from medvlp.finetune.few_shot import mean_over_seeds
from medvlp.io import read_json
from medvlp.zeroshot.scoring import Scored, System, score_systems
from medvlp.zeroshot.task import Task

METRIC = "balanced_accuracy"
LEVEL = 0.95
_STORED = ("balanced_accuracy", "auroc")


def build(config: FinetuneTableConfig, cells: Iterable[Cell], out: Path) -> Iterator[dict[str, Any]]:
    """Yield rows, floors and differences as JSON values, anew after every cell, so that an unfinished table is seen."""
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    tasks: dict[str, Task] = {}
    first: dict[tuple[str, str], Scored] = {}
    for cell in cells:
        if cell.set not in tasks:
            store = PairsStore.load(out / "pairs" / cell.set)
            task = Classification(data="", classes=config.sets[cell.set].classes)
            tasks[cell.set] = build_tasks(task, store)["test"]
        test = tasks[cell.set]
        scored = _score(cell, test, config.num_draws)
        rows.append(_row(config, cell, scored, test))
        key = (cell.set, cell.method)
        if cell.start == "start":
            first[key] = scored
        else:
            lead = scored.difference(first[key], METRIC, test.num_cases, LEVEL)
            differences.append(
                {
                    "set": cell.set,
                    "method": cell.method,
                    "start": cell.start,
                    **_interval(lead),
                    "verdict": verdict(lead),
                }
            )
        yield {"metric": METRIC, "rows": rows, "differences": differences, "summary": summary(differences)}


def _score(cell: Cell, test: Task, num_draws: int) -> Scored:
    parts = []
    for folder in cell.folders:
        for path in sorted((folder / "results").glob("predictions-seed-*.parquet")):
            system = System("model", "", probabilities(path, test))
            options: dict[str, Any] = {"places": None, "specificity": 0.95, "num_draws": num_draws, "seed": 0}
            parts += score_systems(test, None, [system], **options)
    return mean_over_seeds(parts, 0)


def probabilities(path: Path, test: Task) -> NDArray[np.float64]:
    """Return a run's predictions (N, K), whose keys and classes must be those of the task, in order."""
    table = pyarrow.parquet.read_table(path)
    assert table.column("key").to_pylist() == list(test.keys), path
    return np.stack([table.column(f"probability: {label}").to_numpy() for label in test.classes], axis=1)


def _row(config: FinetuneTableConfig, cell: Cell, scored: Scored, test: Task) -> dict[str, Any]:
    results = [read_json(folder / "results" / "results.json") for folder in cell.folders]
    fits = [fit for result in results for fit in result["fits"]]
    floors = {
        floor["name"]: float(np.mean([_value(other["floors"], floor["name"]) for other in results]))
        for floor in results[0]["floors"]
        if floor["skipped"] is None
    }
    return {
        "set": cell.set,
        "method": cell.method,
        "start": cell.start,
        "num": len(test),
        "num_cases": test.num_cases,
        "num_train": results[0]["task"]["num_train"][0],
        "num_fits": len(fits),
        "trained_share": float(np.mean([fit["trained_share"] for fit in fits])),
        **{name: _interval(scored.interval(name, test.num_cases, LEVEL)) for name in _STORED},
        "floors": floors,
    }


def _value(floors: list[dict[str, Any]], name: str) -> float:
    (floor,) = [floor for floor in floors if floor["name"] == name]
    (entry,) = [entry for entry in floor["metrics"] if entry["name"] == METRIC]
    return float(entry["value"])


def _interval(found: Any) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def verdict(lead: Any) -> str:
    """Say what an interval of a difference says."""
    if lead.low > 0:
        return "better"
    return "worse" if lead.high < 0 else "no difference detected"


def summary(differences: list[dict[str, Any]]) -> str:
    """Answer the question of the table in one sentence per start."""
    out = []
    for start in [name for name in STARTS if name != "start"]:
        found = [row for row in differences if row["start"] == start]
        if not found:
            continue
        counts = {word: sorted({row["set"] for row in found if row["verdict"] == word}) for word in ("better", "worse")}
        num_sets = len({row["set"] for row in found})
        told = [
            f"{word} than the start encoder with some method on {len(sets)} of {num_sets} sets"
            + (f" ({', '.join(sets)})" if sets else "")
            for word, sets in counts.items()
        ]
        out.append(f"The {STARTS[start]}, is {' and '.join(told)}.")
    return " ".join(out)


def markdown(config: FinetuneTableConfig, table: dict[str, Any]) -> str:
    """Return the table as Markdown, as printed and as kept in the docs."""
    lead = {(row["set"], row["method"], row["start"]): row for row in table["differences"]}
    lines = [
        "Balanced accuracy on the test part, mean over fits, 95 % intervals over cases and seeds; the last column is "
        "the difference to the same method from the start encoder, on the same draws.",
        "",
        "| set (n test) | method | start | learns | train images, fits | balanced accuracy | colour floor | to start |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        found = lead.get((row["set"], row["method"], row["start"]))
        told = "–" if found is None else f"{_range(found, sign=True)} {found['verdict']}"
        floor = row["floors"].get("colour-histogram")
        share = 100 * row["trained_share"]
        lines.append(
            f"| {config.sets[row['set']].title} ({row['num']}) | {config.methods[row['method']].title} "
            f"| {STARTS[row['start']]} | {share:.3g} % | {row['num_train']}, {row['num_fits']} "
            f"| {_range(row[METRIC])} | {'–' if floor is None else format(floor, '.3f')} | {told} |"
        )
    return "\n".join([*lines, "", table["summary"]]) + "\n"


def _range(score: dict[str, float], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"

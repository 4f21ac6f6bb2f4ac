"""The tables: retrieval of the main arm, arms beside each other, and the tile encoder before and after stage 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mstar import scores, teaching
from benchmarks.mstar.cases import Made, make
from benchmarks.mstar.config import MstarBenchmarkConfig
from benchmarks.mstar.run import arms
from medvlp.io import write_json, write_text

MAIN, FLOOR = "transformer", "mean"


def judge(config: MstarBenchmarkConfig, out: Path) -> dict[str, Any]:
    """Run everything and write ``results.json`` and ``table.md`` into ``out``; return the table."""
    made = make(config, out / "cases")
    found = build(config, made, arms(config, made, out), teaching.teach(config, made, out))
    write_json(out / "results.json", found)
    write_text(out / "table.md", markdown(found))
    return found


def build(
    config: MstarBenchmarkConfig,
    made: Made,
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    taught: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Turn records into scores with intervals."""
    keys = next(iter(records.values()))[0]["cases"]
    bands_C = np.array([made.cases[key]["bands"] for key in keys])
    found: dict[str, Any] = {
        "cases": {
            name: sum(case["split"] == name for case in made.cases.values()) for name in ("train", "dev", "test")
        },
        "tiles": config.relation.grid**2,
        "seeds": config.seeds,
        "in_bands": int(bands_C.sum()),
        "arms": {},
        "teaching": teaching.summarise(taught, config.num_draws),
        "config": config.model_dump(mode="json"),
    }
    for arm, of_arm in records.items():
        found["arms"][arm] = {
            "retrieval": scores.retrieval(of_arm, keys, config.num_draws),
            "bands": scores.arrangement(of_arm, bands_C, keys, config.num_draws),
        }
        if arm != FLOOR and FLOOR in records:
            found["arms"][arm]["above_mean"] = scores.difference(of_arm, records[FLOOR], keys, config.num_draws)
    return found


def markdown(table: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    counts = table["cases"]
    lines = [
        f"{counts['train']} cases for training, {counts['test']} for testing, {table['tiles']} tiles each, "
        f"{len(table['seeds'])} seeds; 95 % intervals by case.",
        "",
    ]
    for arm in (MAIN, "shuffled pairs"):
        if arm in table["arms"]:
            lines += [f"Retrieval, {arm}:", "", *_retrieval(table["arms"][arm]["retrieval"]), ""]
    lines += [
        "| arm | slide-report R@5 | slide-genes R@5 | report-genes R@5 | R@5 above mean pooling | bands AUROC |",
        "|---|---|---|---|---|---|",
    ]
    for arm, found in table["arms"].items():
        cells = [
            _pair(found["retrieval"], *pair) for pair in (("slide", "report"), ("slide", "genes"), ("report", "genes"))
        ]
        lead = "" if "above_mean" not in found else _cell(found["above_mean"], sign=True)
        lines.append(f"| {arm} | {' | '.join(cells)} | {lead} | {_cell(found['bands'])} |")
    if table["teaching"]:
        images = table["teaching"]["images"]
        lines += [
            "",
            f"Tile encoder, kinds of {images['held_out']} held-out images ({images['kinds']} kinds) by neighbours:",
            "",
            "| encoder | balanced accuracy | against before |",
            "|---|---|---|",
        ]
        for name, found in table["teaching"].items():
            if name != "images":
                lead = "" if "difference" not in found else _cell(found["difference"], sign=True)
                lines.append(f"| {name} | {_cell(found['accuracy'])} | {lead} |")
    return "\n".join(lines) + "\n"


def _retrieval(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "| query to gallery | R@1 | chance | R@5 | chance | median rank | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    for direction, values in found.items():
        chance = values["chance"]
        lines.append(
            f"| {direction} | {_cell(values['recall@1'])} | {chance['recall@1']:.3f} | {_cell(values['recall@5'])} "
            f"| {chance['recall@5']:.3f} | {_cell(values['median_rank'], digits=1)} | {chance['median_rank']:.0f} |"
        )
    return lines


def _pair(found: Mapping[str, Any], left: str, right: str) -> str:
    values = [found[f"{a} to {b}"]["recall@5"]["value"] for a, b in ((left, right), (right, left))]
    return f"{np.mean(values):.3f}"


def _cell(value: Mapping[str, float], *, digits: int = 3, sign: bool = False) -> str:
    shape = f"{'+' if sign else ''}.{digits}f"
    return f"{value['value']:{shape}} [{value['low']:{shape}}, {value['high']:{shape}}]"

"""``medvlp report``: JSON, then CSV and page from that JSON and nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report.leaderboard import leaderboard
from benchmarks.report.page import render
from medvlp.io import write_json, write_text

COLUMNS = (
    "task", "protocol", "variant", "split", "system", "kind", "of", "metric", "value", "low", "high", "n", "num_cases",
    "chance", "seeds", "best_floor", "lead", "lead_low", "lead_high", "p_holm", "verdict", "reason", "prompts_sha256",
    "question_sha256", "weights_sha256", "leaks", "command",
)  # fmt: skip


def build(out: Path, to: Path | None = None) -> Path:
    """Write ``leaderboard.json``, ``leaderboard.csv`` and ``leaderboard.html``.

    Args:
        out: Folder of a benchmark, with ``records/``.
        to: Folder to write into; ``out`` by default.

    Returns:
        The page.

    Raises:
        DataError: If there are no records, or some do not belong together.
    """
    found = leaderboard(out)
    folder = out if to is None else to
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "leaderboard.json", found)
    write_text(folder / "leaderboard.csv", to_csv(found))
    page = folder / "leaderboard.html"
    write_text(page, render(found))
    return page


def to_csv(found: dict[str, Any]) -> str:
    """Return one line per task, system and metric."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_lines(found))
    return stream.getvalue()


def _lines(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for question in found["questions"]:
        task = question["task"]
        for row in question["rows"]:
            shared = {
                "task": question["name"],
                "protocol": question["protocol"],
                "variant": question["variant"],
                "split": task["split"],
                "system": row["name"],
                "kind": row["kind"],
                "of": row["of"],
                "seeds": " ".join(map(str, row["seeds"])),
                "prompts_sha256": (row["prompts"] or {}).get("digest"),
                "question_sha256": task["digest"],
                "weights_sha256": row["weights_sha256"],
                "leaks": (row["leaks"] or {}).get("state"),
                "command": " && ".join(row["commands"]),
            }
            if row["skipped"] is not None:
                yield {**shared, "reason": row["skipped"]}
            for position, metric in enumerate(row["metrics"]):
                line = {**shared, "metric": metric["name"]}
                line |= {key: metric[key] for key in ("value", "low", "high", "n", "num_cases", "chance", "reason")}
                if position == 0 and row["lead"] is not None:
                    lead = row["lead"]
                    line |= {"best_floor": lead["floor"], "lead": lead["value"], "lead_low": lead["low"]}
                    line |= {"lead_high": lead["high"], "p_holm": lead["p_holm"], "verdict": lead["verdict"]}
                yield line

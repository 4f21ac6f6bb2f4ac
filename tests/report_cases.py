"""A folder of reports small enough to prepare at once."""

from __future__ import annotations

import csv
from pathlib import Path

FINDINGS = ["effusion", "pneumothorax", "edema", "nodule", "atelectasis", "pneumonia"]
SIDES = ["left", "right"]
WORDS = ["small", "large", "mild", "old", "new", "faint", "dense", "round"]


def rows(count: int = 40) -> list[dict[str, str]]:
    """Reports of two or three sentences: one that others share, one about a side, perhaps an impression.

    The last two hold the same sentences, the one before them a single sentence, and one says nothing.
    """
    out = []
    for number in range(count - 4):
        one, other = FINDINGS[number % 6], FINDINGS[(number // 2 + 1) % 6]
        side, word = SIDES[number % 2], WORDS[number // 6 % 8]
        findings = f"No {other}. {word.capitalize()} {side} {one} number {number}."
        impression = f"Possible {one} of the {side} lower lobe, case {number}." if number % 2 else ""
        codes = f"{one.capitalize()}/{side};Lung" if number % 3 else "normal"
        out.append({"uid": f"patient-{number}", "findings": findings, "impression": impression, "codes": codes})
    out.append(
        {"uid": "patient-single", "findings": "Large right nodule alone.", "impression": "", "codes": "No Indexing"}
    )
    out.append(
        {"uid": "patient-silent", "findings": "Compared and told by telephone.", "impression": "", "codes": "normal"}
    )
    for number in range(2):
        same = {"findings": "No effusion. Faint scar.", "impression": "Scar at the left apex.", "codes": "normal"}
        out.append({"uid": f"patient-same-{number}", **same})
    return out


def write_table(file: Path, count: int = 40) -> Path:
    """Write the reports as a table."""
    table = rows(count)
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return file


def source(file: Path) -> dict:
    """Return a configuration of kind ``reports`` that reads it."""
    texts = {"findings": "FINDINGS", "impression": "IMPRESSION"}
    return {"kind": "reports", "source": {"name": "table", "file": str(file), "key": "uid", "texts": texts}}


def write_reports(folder: Path, count: int = 40) -> Path:
    """Prepare the reports."""
    from data_prep.reports.config import ReportsConfig
    from data_prep.reports.prepare import prepare

    folder.parent.mkdir(parents=True, exist_ok=True)
    file = write_table(folder.with_suffix(".csv"), count)
    return prepare(ReportsConfig.model_validate(source(file)), folder, already_deidentified=True)

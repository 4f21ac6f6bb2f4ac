"""How well the rules read sentences and reports that were labelled apart from them: assertion, side, sections.

Example: python -m benchmarks.reports.gold tests/text/assertion_gold.jsonl tests/text/sections_gold.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from benchmarks.common.marks import put_between
from data_prep.text.assertion import Assertion, assertions
from data_prep.text.laterality import sides
from data_prep.text.sections import SectionKind, split_sections
from medvlp.errors import DataError, MedvlpError

_LEVEL = 0.95
_SAME = {  # kinds that the labels do not tell apart
    SectionKind.history: "indication",
    SectionKind.family_history: "indication",
    SectionKind.addendum: "other",
    SectionKind.header: "other",
    SectionKind.recommendation: "other",
    SectionKind.closing: "other",
    SectionKind.body: "findings",
}


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports.gold", description=__doc__)
    parser.add_argument("mentions", type=Path, help="JSON lines: text, span, assertion, side")
    parser.add_argument("reports", type=Path, help="JSON lines: text, sections as [name, start, end]")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the tables between the page's marks")
    arguments = parser.parse_args()
    try:
        text = markdown(read(arguments.mentions), read(arguments.reports))
        if arguments.write_docs is not None:
            put_between(arguments.write_docs, "gold", text)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def read(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines.

    Raises:
        DataError: If the file is missing, or a line is no JSON object.
    """
    try:
        items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"no JSON lines ({type(error).__name__})", item=path, remedy="name another file") from None
    if not items or not all(isinstance(item, dict) for item in items):
        raise DataError("holds no objects", item=path, remedy="write one JSON object per line")
    return items


def confusion(mentions: Iterable[dict[str, Any]]) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Return (label, answer) counts of assertion and of side."""
    asserted: Counter[tuple[str, str]] = Counter()
    sided: Counter[tuple[str, str]] = Counter()
    for item in mentions:
        span = [(int(item["span"][0]), int(item["span"][1]))]
        asserted[item["assertion"], str(assertions(item["text"], span)[0])] += 1
        side = sides(item["text"], span)[0]
        sided[item["side"] or "none", "none" if side is None else str(side)] += 1
    return asserted, sided


def section_letters(reports: Iterable[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return, per section name, how many of its letters and digits the rules put there, and how many there are."""
    found: dict[str, tuple[int, int]] = {}
    for item in reports:
        text, of_letter = item["text"], {}
        for section in split_sections(item["text"]):
            name = _SAME.get(section.kind, str(section.kind))
            of_letter.update(dict.fromkeys(range(section.start, section.end), name))
        for name, start, end in item["sections"]:
            letters = [i for i in range(start, end) if text[i].isalnum()]
            right, total = found.get(name, (0, 0))
            found[name] = (right + sum(of_letter.get(i) == name for i in letters), total + len(letters))
    return found


def halves(items: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the items by the parity of the number at the end of their id; those without one are even."""
    found: dict[str, list[dict[str, Any]]] = {"odd": [], "even": []}
    for item in items:
        found["odd" if str(item.get("id", ""))[-1:] in set("13579") else "even"].append(item)
    return found


def markdown(mentions: list[dict[str, Any]], reports: list[dict[str, Any]]) -> str:
    """Return the tables as Markdown: assertion, side and sections by half, then the confusion of each half."""
    lines = [
        "Shares that are right, with 95 % Wilson intervals over mentions; sections by letters, without intervals.",
        "",
    ]
    names = sorted({name for item in reports for name, *_ in item["sections"]})
    lines += [
        f"| ids | mentions | assertion | floor: always present | side | floor: never a side | reports "
        f"| {' | '.join(names)} |",
        f"|---|---|---|---|---|---|---|{'---|' * len(names)}",
    ]
    tables: list[str] = []
    of_reports = halves(reports)
    for half, items in halves(mentions).items():
        asserted, sided = confusion(items)
        letters = section_letters(of_reports[half])
        shown = (letters.get(name, (0, 0)) for name in names)
        present = sum(n for (label, _), n in asserted.items() if label == Assertion.present)
        sideless = sum(n for (label, _), n in sided.items() if label == "none")
        lines.append(
            f"| {half} | {len(items)} | {_share(_right(asserted), len(items))} | {_part(present, len(items))} "
            f"| {_share(_right(sided), len(items))} | {_part(sideless, len(items))} | {len(of_reports[half])} "
            f"| {' | '.join(_part(right, total) for right, total in shown)} |"
        )
        tables += ["", *_confusion_table(half, asserted)]
    return "\n".join(lines + tables) + "\n"


def _confusion_table(half: str, asserted: Counter[tuple[str, str]]) -> list[str]:
    kinds = [str(kind) for kind in Assertion]
    lines = [
        f"| labelled, {half} ids | {' | '.join(f'read as {kind}' for kind in kinds)} | recall |",
        f"|---|{'---|' * len(kinds)}---|",
    ]
    for label in kinds:
        counts = [asserted[label, answer] for answer in kinds]
        lines.append(f"| {label} | {' | '.join(map(str, counts))} | {_share(asserted[label, label], sum(counts))} |")
    return lines


def _right(counts: Counter[tuple[str, str]]) -> int:
    return sum(count for (label, answer), count in counts.items() if label == answer)


def _part(hits: int, total: int) -> str:
    return f"{hits / total:.3f}" if total else "–"


def _share(hits: int, total: int) -> str:
    if total == 0:
        return "–"
    interval = binomtest(hits, total).proportion_ci(_LEVEL, method="wilson")
    return f"{hits / total:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())

"""Recall and precision of de-identification on texts with planted identifiers, beside two floors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from data_prep.deid.spans import KINDS, Span
from data_prep.deid.text import ENGINE, Recogniser, find_identifiers
from medvlp.errors import DataError

Finder = Callable[[str], Sequence[Span]]
_LEVEL = 0.95
_LOOKS_LIKE_ANYTHING = re.compile(r"[\w'’.@:/+-]*(?:\d|[^\W\d_a-zß-öø-ÿ])[\w'’.@:/+-]*")


@dataclass(frozen=True)
class Planted:
    """A text, the places in it that identify somebody, and phrases that have to survive."""

    text: str
    spans: tuple[Span, ...]
    keep: tuple[str, ...]


def read_planted(path: Path) -> list[Planted]:
    """Read JSON lines of ``{"text", "spans": [[start, end, kind]], "keep": [phrase]}``.

    Raises:
        DataError: Absent, or a line that is not of this form, by its number.
    """
    if not path.is_file():
        raise DataError("file not found", item=path, remedy="check the path")
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            spans = tuple(sorted(Span(int(start), int(end), str(kind)) for start, end, kind in row["spans"]))
            planted = Planted(str(row["text"]), spans, tuple(row.get("keep", ())))
        except (ValueError, KeyError, TypeError):
            raise DataError(f"line {number} is not a planted text", item=path, remedy="see benchmarks/deid") from None
        if any(not 0 <= s.start < s.end <= len(planted.text) or s.kind not in KINDS for s in spans):
            raise DataError(f"line {number} has a place outside its text or an unknown kind", item=path)
        out.append(planted)
    return out


def share(hits: int, total: int) -> dict[str, Any]:
    """A share with its Wilson interval; None where there is nothing to count."""
    if total == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    interval = binomtest(hits, total).proportion_ci(_LEVEL, method="wilson")
    return {"value": hits / total, "low": float(interval.low), "high": float(interval.high), "n": total}


def score(texts: Sequence[Planted], find: Finder) -> dict[str, Any]:
    """Compare what is found with what was planted.

    Returns:
        By kind and for ``all``: ``covered`` (planted places of which every letter and digit was found), ``touched``
        (any character), ``strict`` (same borders and kind), ``precision`` (found places that touch a planted one of
        any kind); and ``keep``, the share of phrases still in the text.
    """
    counts = {kind: dict.fromkeys(("planted", "covered", "touched", "strict", "found", "right"), 0) for kind in KINDS}
    kept = phrases = 0
    for planted in texts:
        found = find(planted.text)
        taken = [False] * len(planted.text)
        for span in found:
            taken[span.start : span.end] = [True] * (span.end - span.start)
            counts[span.kind]["found"] += 1
            counts[span.kind]["right"] += any(span.start < true.end and true.start < span.end for true in planted.spans)
        for true in planted.spans:
            row = counts[true.kind]
            letters = [i for i in range(true.start, true.end) if planted.text[i].isalnum()]
            row["planted"] += 1
            row["covered"] += all(taken[i] for i in letters)
            row["touched"] += any(taken[i] for i in letters)
            row["strict"] += true in found
        left = "".join("\0" if hit else letter for letter, hit in zip(planted.text, taken, strict=True))
        kept += sum(phrase in left for phrase in planted.keep)
        phrases += len(planted.keep)
    counts["all"] = {name: sum(row[name] for row in counts.values()) for name in counts[KINDS[0]]}
    by_kind = {
        kind: {
            **{name: share(row[name], row["planted"]) for name in ("covered", "touched", "strict")},
            "precision": share(row["right"], row["found"]),
        }
        for kind, row in counts.items()
    }
    return {"num_texts": len(texts), "kinds": by_kind, "keep": share(kept, phrases)}


def nothing(text: str) -> list[Span]:
    """The floor that removes nothing."""
    return []


def anything(text: str) -> list[Span]:
    """The floor that removes every word with a digit or a capital."""
    return [Span(*match.span(), "name") for match in _LOOKS_LIKE_ANYTHING.finditer(text)]


def results(path: Path, recogniser: Recogniser | None = None) -> dict[str, Any]:
    """Score the rules and both floors on a file of planted texts."""
    texts = read_planted(path)
    rules = score(texts, lambda text: find_identifiers(text, recogniser))
    return {
        "texts": path.name,
        "engine": ENGINE,
        "rules": rules,
        "floors": {"every word with a digit or a capital": score(texts, anything), "nothing": score(texts, nothing)},
    }


def markdown(found: dict[str, Any]) -> str:
    """The table of a page."""
    lines = [
        f"{found['rules']['num_texts']} texts of `{found['texts']}`, engine {found['engine']}; 95 % Wilson intervals.",
        "",
        "| kind | planted | recall, every character | recall, any character | borders and kind | precision (found) |",
        "|---|---|---|---|---|---|",
    ]
    for kind, row in found["rules"]["kinds"].items():
        cells = [_cell(row[name]) for name in ("covered", "touched", "strict")]
        precision = f"{_cell(row['precision'])} ({row['precision']['n']})"
        lines.append(f"| {kind} | {row['covered']['n']} | {' | '.join(cells)} | {precision} |")
    keep = found["rules"]["keep"]
    lines += ["", f"Medical phrases that survive: {_cell(keep)} of {keep['n']}. Floors:", ""]
    lines += ["| floor | recall, every character | precision | phrases that survive |", "|---|---|---|---|"]
    for name, floor in found["floors"].items():
        row = floor["kinds"]["all"]
        lines.append(
            f"| remove {name} | {_cell(row['covered'])} | {_cell(row['precision'])} | {_cell(floor['keep'])} |"
        )
    return "\n".join(lines)


def _cell(value: dict[str, Any]) -> str:
    if value["value"] is None:
        return "–"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"

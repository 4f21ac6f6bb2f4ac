"""The table of the report benchmark, as printed and as kept in the docs."""

from __future__ import annotations

from typing import Any

MARK = "open-i"
TARGET = 0.03
_WAYS = {
    "triplets": "our triplets, asserted present",
    "triplets, uncertain too": "our triplets, present or uncertain",
    "words alone": "floor: the same words, whatever is said of them",
}


def markdown(results: dict[str, Any]) -> str:
    """Return the tables as Markdown: sums by half, then findings."""
    out = " and ".join(f"{count} left out ({reason})" for reason, count in results["left_out"].items())
    lines = [
        f"{results['num_reports']:,} reports, {results['num_normal']:,} of them coded normal and nothing else"
        f"{f'; {out}' if out else ''}. 95 % intervals over reports ({results['num_draws']:,} draws). "
        f"{results['reports_per_second']:.0f} reports a second on one core.",
        "",
        "| reports | read by | precision | recall | micro F1 | macro F1 | normal reports with any of the 30 | "
        "abnormal reports with any |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part, ways in results["sums"].items():
        for way, row in ways.items():
            alarms = f"{row['num_normal_alarms']} of {row['num_normal']:,}: {_percent(row['normal_alarm'])}"
            shown = f"{_range(row['micro_f1'])} | {_range(row['macro_f1'])}"
            lines.append(
                f"| {part} ({row['num']:,}) | {_WAYS[way]} | {row['precision'][0]:.3f} | {row['recall'][0]:.3f} "
                f"| {shown} | {alarms} | {_percent(row['abnormal_any'])} |"
            )
    share, _, high = results["sums"]["all"]["triplets"]["normal_alarm"]
    met = (
        f"met, though the interval ends at {high:.1%}"
        if share < TARGET <= high
        else "met"
        if high < TARGET
        else "not met"
    )
    lines += [
        "",
        f"Wanted: fewer than {TARGET:.0%} of the normal reports with any finding asserted; "
        f"{met}. Floors: never asserting anything gives 0 % and recall 0; always asserting "
        "everything gives 100 % and recall 1.",
        "",
        "| finding (MeSH) | coded | precision | recall | F1 | F1 of the words alone | F1 of always |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["findings"]:
        lines.append(
            f"| {row['name']} | {row['num_coded']} | {_range(row['precision'])} | {_range(row['recall'])} "
            f"| {_range(row['f1'])} | {row['words_alone'][2]:.3f} | {row['always_f1']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _range(values: list[float]) -> str:
    value, low, high = values
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _percent(values: list[float]) -> str:
    value, low, high = (100 * number for number in values)
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"

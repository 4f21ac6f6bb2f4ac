"""The results as Markdown, printed and kept in the docs."""

from __future__ import annotations

from typing import Any

from benchmarks.linking.ncbi import MENTION_TITLES, OURS, PEERS, TITLES

_SPEED_TITLES = {
    "exact": "exact tier, all names of the graph",
    PEERS["light"]: "scispaCy's linker alone, spans given, light index",
    f"{PEERS['light']}_texts": "scispaCy's linker behind a small recogniser, light index",
    PEERS["own"]: "scispaCy's linker alone, spans given, its own index",
    f"{PEERS['own']}_texts": "scispaCy's linker behind a small recogniser, its own index",
    "full": "ours, all tiers, diseases and findings",
}


def markdown(table: dict[str, Any]) -> str:
    """Return the table of a task."""
    return _roco(table) if table["task"] == "roco" else _ncbi(table)


def _ncbi(table: dict[str, Any]) -> str:
    fitted = table["fitted"]
    lines = [
        f"Links of the {table['num_mentions']} given mentions in {table['num_documents']} development abstracts "
        f"(95 % intervals over abstracts). Ceiling, mentions whose ids the graph has: {_range(table['ceiling'])}.",
        "",
        "| linker | right | right of those linked | linked | right, nearest ancestor's ids allowed |",
        "|---|---|---|---|---|",
    ]
    for name, row in table["links"].items():
        rest = "– | – | –"
        if "linked" in row:
            rest = f"{row['precision']:.3f} | {row['linked']:.3f} | {_range(row['accuracy_with_ancestors'])}"
        lines.append(f"| {TITLES[name]} | {_range(row['accuracy'])} | {rest} |")
    lines += ["", "| difference of right links, paired | |", "|---|---|"]
    lines += [
        f"| {_short(row['first'])} − {_short(row['second'])} | {_range(row, sign=True)} |"
        for row in table["differences"]
    ]
    lines += ["", "| mentions found | precision | recall | F1, same span | F1, overlap |", "|---|---|---|---|---|"]
    for name, row in table["mentions"].items():
        strict, overlap = row["strict"], row["overlap"]
        lines.append(
            f"| {MENTION_TITLES[name]} | {strict['precision']['value']:.3f} | {strict['recall']['value']:.3f} "
            f"| {_range(strict['f1'])} | {_range(overlap['f1'])} |"
        )
    lines += [
        "",
        "| speed, one process each | abstracts per second | per processor second "
        "| exact tier against it (processor time) | start, s | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    exact = table["speeds"]["exact"]["documents_per_processor_second"]
    for name, title in _SPEED_TITLES.items():
        if row := table["speeds"].get(name):
            ratio = f"{exact / row['documents_per_processor_second']:.1f} ×"
            speed = f"{row['documents_per_second']:.0f} | {row['documents_per_processor_second']:.0f} | {ratio}"
            lines.append(f"| {title} | {speed} | {row['start_seconds']:.0f} | {row['peak_mb']:.0f} |")
    for kind, row in table["indexes"].items():
        lines += [
            "",
            f"scispaCy's {kind} index (M = {row['M']}, efConstruction = {row['efConstruction']}) of {row['names']:,} "
            f"names took {row['processor_seconds']:.0f} processor seconds ({row['seconds']:.0f} s with "
            f"{row['threads']} threads); it finds {row['finds_itself']:.3f} of the names themselves "
            "(1 if the search were exact).",
        ]
    proposals = "off" if fitted["proposal_threshold"] > 1 else f"{fitted['proposal_threshold']:.2f}"
    lines += [
        "",
        f"Fitted on {table['num_training_documents']} training abstracts: NIL threshold {fitted['nil_threshold']:.3f}, "
        f"encoder's share {fitted['encoder_weight']:.2f}, proposed mentions {proposals}, {fitted['dropped']} names "
        f"dropped, {fitted['names']} learnt, ties go to {' > '.join(fitted['prefer']) or 'the first source'}.",
    ]
    return "\n".join(lines) + "\n"


def _roco(table: dict[str, Any]) -> str:
    lines = [
        f"{table['num_captions']:,} captions with {table['num_ids']:,} CUIs; tiers: {', '.join(table['tiers'])}; "
        "95 % intervals over captions.",
        "",
        "| | share of the given CUIs |",
        "|---|---|",
        f"| ceiling: CUIs that the graph has | {_range(table['ceiling'])} |",
        f"| found | {_range(table['recall'])} |",
        f"| found, of those that the graph has | {_range(table['recall_of_reachable'])} |",
    ]
    return "\n".join(lines) + "\n"


def _short(name: str) -> str:
    return {OURS: "ours", PEERS["own"]: f"{TITLES[PEERS['light']]} (its own index)"}.get(name, TITLES[name])


def _range(score: dict[str, float], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"

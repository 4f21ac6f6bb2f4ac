"""A page about prepared reports: highlighted mentions by what is said of them, with concept, side and place.

One HTML file without scripts or outside requests. Report text is shown only if asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import parquet

from data_prep.reports.tables import MENTIONS
from data_prep.text.assertion import Assertion
from data_prep.text.laterality import Side
from data_prep.text.mentions import Mention
from data_prep.text.sections import SectionKind, split_sections
from medvlp.io import write_text
from medvlp.zeroshot.report import style

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

TEMPLATE = Path(__file__).with_name("preview.html.j2")
NUM_SHOWN = 12
_NUM_LOOKED_AT = 2000
_LONGEST = 6000
MEANINGS = {
    Assertion.present: ("✓", "said to be there"),
    Assertion.absent: ("✕", "said not to be there"),
    Assertion.uncertain: ("?", "possible, suspected, or to be ruled out"),
    Assertion.historical: ("↺", "of the past"),
    Assertion.family: ("⚭", "of a relative, not the patient"),
}


@dataclass(frozen=True)
class Example:
    """One report of the page: its stored text and what was found in it."""

    text: str
    mentions: list[Mention]


def read_examples(folder: Path) -> list[Example]:
    """Return the first reports of a store with what was found in them, for the page to choose from."""
    with parquet.ParquetFile(folder / "reports.parquet") as file:
        reports = next(file.iter_batches(_NUM_LOOKED_AT, columns=["report", "text"])).to_pylist()
    mentions: dict[str, list[Mention]] = {report["report"]: [] for report in reports}
    last = reports[-1]["report"]
    with parquet.ParquetFile(folder / "mentions.parquet") as file:
        for batch in file.iter_batches(10_000):
            rows = batch.to_pylist()
            for row in rows:
                if row["report"] in mentions:
                    mentions[row["report"]].append(_mention(row))
            if rows and rows[-1]["report"] not in mentions and mentions[last]:
                break
    return [Example(report["text"], mentions[report["report"]]) for report in reports]


def _mention(row: dict[str, Any]) -> Mention:
    values = {name: row[name] for name in MENTIONS.names[1:]}
    values["semantic_types"], values["positions"] = tuple(row["semantic_types"]), tuple(row["positions"])
    values["assertion"], values["section"] = Assertion(row["assertion"]), SectionKind(row["section"])
    values["side"] = None if row["side"] is None else Side(row["side"])
    return Mention(**values)


def write_preview(
    page: Path,
    examples: Sequence[Example],
    counts: dict[str, Any],
    graph: DiseaseGraph | None,
    *,
    show_texts: bool = False,
    dry_run: bool = False,
) -> Path:
    """Write the page.

    Args:
        page: The file to write; replaced if it is there.
        examples: Reports to choose from; those with the most different assertions are shown.
        counts: What the job counted (:meth:`data_prep.reports.prepare.Counts.to_json`).
        graph: Says what the concepts are; None if none were linked.
        show_texts: Show the reports' (de-identified) texts; else what was found, in the vocabulary's words.
        dry_run: Say that the counts are those of a sample.
    """
    from jinja2 import Environment, StrictUndefined

    chosen = sorted(examples, key=lambda one: (-len({m.assertion for m in one.mentions}), -len(one.mentions)))[
        :NUM_SHOWN
    ]
    concepts = Counter(m.concept for one in chosen for m in one.mentions if m.concept is not None)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(
        page,
        environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
            style=style(),
            dry_run=dry_run,
            show_texts=show_texts,
            counts=counts,
            meanings=[(kind.value, *MEANINGS[kind], counts["assertions"].get(kind.value, 0)) for kind in Assertion],
            reports=[_shown(one) for one in chosen],
            concepts=[_concept(concept, count, graph, chosen) for concept, count in concepts.most_common()],
        ),
    )
    return page


def _concept(concept: str, count: int, graph: DiseaseGraph | None, chosen: Sequence[Example]) -> dict[str, Any]:
    names = [m.name for one in chosen for m in one.mentions if m.concept == concept]
    parents = (
        [graph.name(parent) for parent in graph.parents(concept)] if graph is not None and concept in graph else []
    )
    return {"id": concept, "name": names[0], "count": count, "parents": parents[:3]}


def _shown(example: Example) -> dict[str, Any]:
    text = example.text[:_LONGEST]
    sections = []
    for section in split_sections(text):
        pieces: list[dict[str, Any]] = []
        place = section.start
        for mention in sorted(example.mentions, key=lambda mention: mention.start):
            if mention.start < place or mention.end > section.end:
                continue
            pieces.append({"text": text[place : mention.start], "mention": None})
            pieces.append({"text": text[mention.start : mention.end], "mention": _row(mention)})
            place = mention.end
        pieces.append({"text": text[place : section.end].rstrip(), "mention": None})
        sections.append({"heading": section.heading or None, "pieces": pieces})
    return {
        "sections": sections,
        "cut": len(example.text) > _LONGEST,
        "rows": [_row(mention) for mention in example.mentions],
    }


def _row(mention: Mention) -> dict[str, Any]:
    symbol, _ = MEANINGS[mention.assertion]
    place = (mention.anatomy or "").replace("_", " ")
    return {
        "name": mention.name,
        "assertion": mention.assertion.value,
        "symbol": symbol,
        "side": mention.side.value if mention.side is not None else None,
        "place": place or None,
        "concept": mention.concept,
        "section": mention.section.value.replace("_", " "),
    }

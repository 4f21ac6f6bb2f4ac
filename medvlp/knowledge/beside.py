"""The counts of graph stores beside those that the KEEP paper gives for its disease graph, with what explains the gap.

KEEP (arXiv 2412.13126): 11,454 diseases with 139,143 attributes = 14,303 definitions + 15,938 hypernym relations +
108,902 synonyms; built on the Disease Ontology, enriched with UMLS through its cross-references; no builder released.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvlp.knowledge import store
from medvlp.knowledge.store import IS_A, Tables

DISEASE_TYPES = frozenset(
    {
        "Congenital Abnormality",
        "Acquired Abnormality",
        "Injury or Poisoning",
        "Pathologic Function",
        "Disease or Syndrome",
        "Mental or Behavioral Dysfunction",
        "Cell or Molecular Dysfunction",
        "Anatomical Abnormality",
        "Neoplastic Process",
        "Diseases",
    }
)
"""Semantic types that are diseases in the narrow sense (findings and symptoms are not), and MeSH's own tree of them."""


@dataclass(frozen=True)
class Counts:
    """What one graph, or its diseases alone, holds. Synonyms are all names but the preferred one of each concept."""

    title: str
    concepts: int
    synonyms: int
    definitions: int
    hypernyms: int

    @property
    def attributes(self) -> int:
        """Definitions, hypernym relations and synonyms together, as KEEP counts them."""
        return self.definitions + self.hypernyms + self.synonyms


KEEP = Counts("KEEP (paper)", concepts=11_454, synonyms=108_902, definitions=14_303, hypernyms=15_938)


def count(title: str, tables: Tables, concepts: frozenset[str] | None = None) -> Counts:
    """Count a graph, or only what belongs to some of its concepts (hypernyms: both ends)."""

    def within(concept: str) -> bool:
        return concepts is None or concept in concepts

    edges = zip(*(tables.edges[name].to_pylist() for name in ("head", "relation", "tail")), strict=True)
    names = zip(tables.names["concept"].to_pylist(), tables.names["kind"].to_pylist(), strict=True)
    return Counts(
        title,
        concepts=len(tables.concepts) if concepts is None else len(concepts),
        synonyms=sum(kind != "preferred" and within(concept) for concept, kind in names),
        definitions=sum(within(concept) for concept in tables.definitions["concept"].to_pylist()),
        hypernyms=sum(kind == IS_A and within(head) and within(tail) for head, kind, tail in edges),
    )


def diseases(tables: Tables) -> frozenset[str]:
    """Return the concepts with a disease type."""
    kinds = tables.concepts["semantic_types"].to_pylist()
    return frozenset(
        concept
        for concept, types in zip(tables.concepts["id"].to_pylist(), kinds, strict=True)
        if not DISEASE_TYPES.isdisjoint(types)
    )


def table(folders: Sequence[Path]) -> str:
    """Return a Markdown table of the stores beside KEEP, and below it what the differences come from.

    Raises:
        GraphError: A folder that is no graph store.
    """
    columns, reasons = [KEEP], []
    for folder in folders:
        tables, manifest = store.read(folder)
        whole, chosen = count(folder.name, tables), diseases(tables)
        columns.append(whole)
        if 0 < len(chosen) < whole.concepts:
            columns.append(count(f"{folder.name}, diseases", tables, chosen))
        repeated = _dropped(manifest.get("dropped"), "name that differs from another of the concept by case")
        reasons += ["", *_reasons(columns[-1], tables, chosen or None, repeated)]
    lines = [
        f"| | {' | '.join(column.title for column in columns)} |",
        f"|---|{'---:|' * len(columns)}",
        *(
            f"| {label} | {' | '.join(f'{getattr(column, key):,}' for column in columns)} |"
            for label, key in (
                ("concepts", "concepts"),
                ("synonyms", "synonyms"),
                ("definitions", "definitions"),
                ("hypernym relations", "hypernyms"),
                ("attributes (sum of the three)", "attributes"),
            )
        ),
        f"| synonyms per concept | {' | '.join(f'{c.synonyms / max(c.concepts, 1):.1f}' for c in columns)} |",
    ]
    return "\n".join([*lines, *reasons])


def _dropped(account: Any, reason: str) -> int:
    """Sum the counts of a reason (by its first words) in the ledgers of a manifest."""
    if not isinstance(account, dict):
        return 0
    own = sum(n for name, n in account.items() if name.startswith(reason) and isinstance(n, int))
    return own + sum(_dropped(part, reason) for part in account.values())


def _reasons(counted: Counts, tables: Tables, concepts: frozenset[str] | None, repeated: int) -> list[str]:
    def by_source(data: str, column: str, skip: str | None = None) -> Counter[str]:
        rows = getattr(tables, data).to_pylist()
        return Counter(
            "UMLS" if row["source"].startswith("UMLS/") else row["source"]
            for row in rows
            if (concepts is None or row[column] in concepts) and (skip is None or row["kind"] != skip)
        )

    def told(found: Counter[str]) -> str:
        return ", ".join(f"{name} {number:,}" for name, number in found.most_common(6)) or "none"

    def gap(key: str) -> str:
        return f"{getattr(counted, key) - getattr(KEEP, key):+,}"

    synonyms = by_source("names", "concept", "preferred")
    linked = sum(
        row["cui"] is not None and (concepts is None or row["id"] in concepts)
        for row in tables.concepts.select(["id", "cui"]).to_pylist()
    )
    umls = (
        "names of UMLS are among them"
        if synonyms["UMLS"]
        else "no name of UMLS is among them (a licence is needed), where KEEP took most of its synonyms"
    )
    return [
        f"{counted.title} against KEEP:",
        f"- concepts {gap('concepts')}: {told(by_source('concepts', 'id'))}; KEEP took the Disease Ontology alone,"
        " from another release.",
        f"- synonyms {gap('synonyms')}: {told(synonyms)}; {umls}. {linked:,} of {counted.concepts:,} concepts have a"
        " UMLS identifier, the only way by which UMLS can add to them. Names that differ by case only count once here"
        f" ({repeated:,} left out of the whole graph); KEEP's published sample counts them each time.",
        f"- definitions {gap('definitions')}: {told(by_source('definitions', 'concept'))}; KEEP has the Disease"
        " Ontology's and those of UMLS.",
        f"- hypernym relations {gap('hypernyms')}: {told(by_source('edges', 'head'))}; KEEP has the is_a lines of its"
        " release of the Disease Ontology.",
    ]

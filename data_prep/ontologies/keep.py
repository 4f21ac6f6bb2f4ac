"""Reads KEEP's graph file as an ontology source, so that it can be merged with others and counted."""

from __future__ import annotations

from pathlib import Path

from data_prep.ontologies.terms import Ontology, Term, clean, read_text
from medvlp.knowledge.keep_json import parse_keep
from medvlp.ledger import Ledger


def read(path: Path, ledger: Ledger, *, repair: bool = False) -> Ontology:
    """Read one file; commas removed by ``repair`` are counted, the labels of definitions become their source."""
    concepts, num_repairs = parse_keep(read_text(path), path, repair=repair)
    for _ in range(num_repairs):
        ledger.drop(path.name, "trailing comma removed")
    terms = {
        concept: Term(
            id=concept,
            name=" ".join(entry.name.split()),
            names=[(text, "exact") for text in clean(entry.synonyms)],
            definitions=[text for _, text in entry.definitions],
            definition_labels=[label for label, _ in entry.definitions],
            parents=entry.parents,
        )
        for concept, entry in concepts.items()
    }
    return Ontology(terms)

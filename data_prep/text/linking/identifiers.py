"""Which identifiers of other vocabularies a concept of the graph stands for: its own, its merged ones, its xrefs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph


def identifiers(graph: DiseaseGraph, prefixes: Sequence[str]) -> list[frozenset[str]]:
    """Return for each row of the graph the CURIEs with one of these prefixes (``MESH``, ``OMIM``, ``UMLS``)."""
    wanted = tuple(f"{prefix}:" for prefix in prefixes)
    found: list[set[str]] = [{concept} for concept in graph.ids]
    for alias, concept in graph.aliases().items():
        found[graph.index(concept)].add(alias)
    concepts = graph.tables.concepts
    for row, (cui, xrefs) in enumerate(zip(concepts["cui"].to_pylist(), concepts["xrefs"].to_pylist(), strict=True)):
        found[row].update(xrefs)
        if cui:
            found[row].add(f"UMLS:{cui.removeprefix('UMLS:')}")
    return [frozenset(curie for curie in curies if curie.startswith(wanted)) for curies in found]

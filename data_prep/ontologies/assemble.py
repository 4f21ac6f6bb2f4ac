"""Turns joined ontologies into the tables of the graph store, with source and licence beside every string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from data_prep.ontologies.config import GraphConfig, Source
from data_prep.ontologies.merge import Classes, acyclic_edges, aliases_of
from data_prep.ontologies.terms import Ontology, Term
from medvlp.knowledge.names import KINDS, Name, deduplicate, fold
from medvlp.knowledge.store import IS_A, SCHEMAS, Tables
from medvlp.ledger import Ledger


def assemble(ontologies: Sequence[Ontology], config: GraphConfig, classes: Classes, ledger: Ledger) -> Tables:
    """Build the five tables.

    A class keeps the id and preferred name of its first source; the ids of the others become aliases, their preferred
    names ``xref_merge`` names. Strings that differ by case or spacing only are kept once, the earliest source first.

    Args:
        ontologies: By falling priority.
        config: Their configurations, in the same order, and which hierarchy to follow.
        classes: Which concepts are one.
        ledger: Counts duplicate strings and edges that would make a cycle.
    """
    sources = config.sources
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    for number, ontology in enumerate(ontologies):
        for concept in ontology.terms:
            members = classes.of((number, concept))
            if min(members) != number:
                continue
            if sources[number].enrich:
                ledger.drop(concept, "concept of an enriching source that joins no earlier one")
            else:
                _concept(concept, members, ontologies, sources, rows, ledger)
    live = {row["id"] for row in rows["concepts"]}
    rows["aliases"] = _aliases(ontologies, classes, live)
    rows["edges"] = _edges(ontologies, config, classes, live, ledger)
    return Tables(**{name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in SCHEMAS.items()})


def _concept(
    concept: str,
    members: dict[int, str],
    ontologies: Sequence[Ontology],
    sources: Sequence[Source],
    rows: dict[str, list[dict[str, Any]]],
    ledger: Ledger,
) -> None:
    terms = [(sources[n], ontologies[n].terms[members[n]]) for n in sorted(members)]
    names: list[Name] = []
    definitions: dict[str, dict[str, str]] = {}
    for position, (source, term) in enumerate(terms):
        own = (source.id, source.licence)
        first, *others = term.name_origins or [own] * (1 + len(term.names))
        names.append(Name(term.name, "xref_merge" if position else "preferred", *first))
        ordered = sorted(zip(term.names, others, strict=True), key=lambda name: KINDS.index(name[0][1]))
        names.extend(Name(text, kind, *origin) for (text, kind), origin in ordered)
        labels = [(f"{source.id}/{label}", source.licence) for label in term.definition_labels]
        origins = term.definition_origins or labels or [own] * len(term.definitions)
        for (origin, licence), text in zip(origins, term.definitions, strict=True):
            row = {"concept": concept, "text": text, "source": origin, "licence": licence}
            if fold(text):
                definitions.setdefault(fold(text), row)
    kept = deduplicate(names)
    for _ in range(len(names) - len(kept)):
        ledger.drop(concept, "name that differs from another of the concept by case only")
    rows["names"] += [
        {"concept": concept, "text": n.text, "kind": n.kind, "source": n.source, "licence": n.licence} for n in kept
    ]
    rows["definitions"] += definitions.values()
    rows["concepts"].append(_row(concept, terms))


def _row(concept: str, terms: Sequence[tuple[Source, Term]]) -> dict[str, Any]:
    merged = [term.id for _, term in terms if term.id != concept]
    xrefs = list(dict.fromkeys([x for _, term in terms for x in term.xrefs if x != concept] + merged))
    given = [[source.semantic_type] if source.semantic_type else term.semantic_types for source, term in terms]
    return {
        "id": concept,
        "name": terms[0][1].name,
        "semantic_types": list(dict.fromkeys(kind for kinds in given for kind in kinds)),
        "cui": next((x.removeprefix("UMLS:") for x in [concept, *xrefs] if x.startswith("UMLS:")), None),
        "source": terms[0][0].id,
        "xrefs": xrefs,
    }


def _aliases(ontologies: Sequence[Ontology], classes: Classes, live: set[str]) -> list[dict[str, str]]:
    found: dict[str, dict[str, str]] = {}

    def add(alias: str, concept: str, reason: str) -> None:
        if alias not in live and concept in live:
            found.setdefault(alias, {"alias": alias, "concept": concept, "reason": reason})

    for number, ontology in enumerate(ontologies):
        for concept in ontology.terms:
            add(concept, classes.representative((number, concept)), "merged")
        for old, new in aliases_of(ontology).items():
            reason = "replaced_by" if old in ontology.replaced else "alt_id"
            add(old, classes.representative((number, new)), reason)
    return [found[alias] for alias in sorted(found)]


def _edges(
    ontologies: Sequence[Ontology], config: GraphConfig, classes: Classes, live: set[str], ledger: Ledger
) -> list[dict[str, str]]:
    is_a: dict[tuple[str, str], str] = {}
    others: dict[tuple[str, str, str], str] = {}
    for number, (ontology, source) in enumerate(zip(ontologies, config.sources, strict=True)):
        for term in ontology.terms.values():
            head = classes.representative((number, term.id))
            if head not in live:
                continue  # counted where the concept was left out
            follows = config.hierarchy == "union" or min(classes.of((number, term.id))) == number
            for parent in term.parents:
                if not follows:
                    ledger.drop(f"{term.id} is_a {parent}", "parent in a later source than the concept's first")
                    continue
                tail = classes.representative((number, parent))
                if tail in live:
                    is_a.setdefault((head, tail), term.edge_origins.get((IS_A, parent), source.id))
                else:
                    ledger.drop(f"{term.id} is_a {parent}", "parent left out with its enriching source")
            for relation, target in term.relations:
                if relation not in source.relations and source.relations != ["*"]:
                    continue
                if target in ontology.terms and (tail := classes.representative((number, target))) in live:
                    others.setdefault((head, relation, tail), term.edge_origins.get((relation, target), source.id))
                else:
                    ledger.drop(f"{term.id} {relation} {target}", "relation to a term that is not kept")
    pairs = list(is_a)
    kept, closing = acyclic_edges(pairs)
    for position in closing:
        ledger.drop(" is_a ".join(pairs[position]), "edge that would make a cycle after the merge")
    rows = [{"head": pairs[i][0], "relation": IS_A, "tail": pairs[i][1], "source": is_a[pairs[i]]} for i in kept]
    return rows + [{"head": h, "relation": r, "tail": t, "source": origin} for (h, r, t), origin in others.items()]

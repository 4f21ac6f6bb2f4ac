"""Reads OBO 1.2/1.4 files with obonet's parser and adds the checks it leaves to the caller."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

from data_prep.ontologies.terms import Ontology, Term, clean, read_text, xref
from medvlp.errors import GraphError
from medvlp.io import require
from medvlp.ledger import Ledger

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(.*)', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": " ", "t": " ", "W": " "}
SCOPES = {"EXACT": "exact", "NARROW": "narrow", "BROAD": "broad", "RELATED": "related"}
DISCARDED = ("obsolete", "deprecated", "exclude")


def read(path: Path, ledger: Ledger) -> Ontology:
    """Read one file; obsolete terms are counted and their successors kept as aliases.

    Raises:
        GraphError: Not OBO, a term without an id, or an id given twice (with both lines).
    """
    text = read_text(path)
    parser = require("obonet.read", "ontologies")
    logging.getLogger("obonet.read").setLevel(logging.ERROR)  # what it would warn of is an error here
    try:
        _, stanzas, _, header = parser.get_sections(io.StringIO(text))
    except ValueError as error:
        raise GraphError(
            f"not an OBO file ({str(error).splitlines()[-1][:80]!r})",
            item=path,
            remedy="check the path and the format name",
        ) from None
    if not stanzas:
        raise GraphError("not an OBO file (no [Term] in it)", item=path, remedy="check the path and the format name")
    ontology = Ontology({}, version=str(header.get("data-version") or header.get("date") or ""))
    seen: set[str] = set()
    for stanza in stanzas:
        concept = stanza.get("id")
        if not concept:
            raise GraphError("a [Term] has no id", item=path, remedy="give it an id or remove it")
        if concept in seen:
            raise GraphError(_twice(text, concept), item=path, remedy="keep one of the two terms")
        seen.add(concept)
        if stanza.get("is_obsolete") == "true":
            _obsolete(concept, stanza, ontology, ledger)
        elif not (stanza.get("name") or "").strip():
            ledger.drop(concept, "term without a name")
        else:
            ontology.terms[concept] = _term(concept, stanza, ledger)
    return ontology


def _twice(text: str, concept: str) -> str:
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.split(" !")[0].split() == ["id:", concept]]
    return f"the id {concept} occurs twice (lines {' and '.join(map(str, lines[:2]))})"


def _obsolete(concept: str, stanza: dict[str, Any], ontology: Ontology, ledger: Ledger) -> None:
    successors = stanza.get("replaced_by", [])
    ontology.obsolete.add(concept)
    for old in [concept, *stanza.get("alt_id", [])] if len(successors) == 1 else []:
        ontology.replaced[old] = successors[0]
    ledger.drop(concept, "obsolete term, replaced" if len(successors) == 1 else "obsolete term")


def _term(concept: str, stanza: dict[str, Any], ledger: Ledger) -> Term:
    definitions = [_quoted(value)[0] for value in _list(stanza.get("def"))]
    synonyms = [_synonym(value, concept, ledger) for value in stanza.get("synonym", [])]
    references = [xref(_ESCAPE.sub(_unescape, value), ledger, concept) for value in stanza.get("xref", [])]
    relations = [tuple(value.split()[:2]) for value in stanza.get("relationship", []) if len(value.split()) >= 2]
    return Term(
        id=concept,
        name=" ".join(_ESCAPE.sub(_unescape, stanza["name"]).split()),
        names=[synonym for synonym in synonyms if synonym is not None],
        definitions=clean(definitions),
        parents=[value.split()[0] for value in stanza.get("is_a", []) if value],
        relations=[(relation, target) for relation, target in relations],
        xrefs=[reference for reference in references if reference is not None],
        alt_ids=list(stanza.get("alt_id", [])),
    )


def _list(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[1])


def _quoted(value: str) -> tuple[str, str]:
    """Part ``"text" rest`` into the unescaped text and the rest; both empty if nothing is quoted."""
    match = _QUOTED.match(value)
    return (_ESCAPE.sub(_unescape, match[1]), match[2]) if match else ("", "")


def _synonym(value: str, concept: str, ledger: Ledger) -> tuple[str, str] | None:
    text, rest = _quoted(value)
    text = " ".join(text.split())
    words = rest.partition("[")[0].split()
    if not text:
        ledger.drop(concept, "synonym line that cannot be read")
        return None
    if any(word.lower().startswith(DISCARDED) for word in words[1:]):
        ledger.drop(concept, "synonym marked obsolete")
        return None
    return text, SCOPES.get(words[0] if words else "RELATED", "related")

"""Reads the tabular list of ICD-10-CM (XML): chapters, sections, categories and codes with their inclusion terms."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from data_prep.ontologies.terms import Ontology, Term, clean, read_text
from medvlp.errors import GraphError
from medvlp.ledger import Ledger

_PREFIX = "ICD10CM"


def read(path: Path, ledger: Ledger) -> Ontology:
    """Read chapters (``ICD10CM:CHAPTER-2``), sections (``ICD10CM:C00-C14``) and codes (``ICD10CM:C00.1``).

    Inclusion terms are what a code is used for, often narrower than its title, so they count as ``narrow`` names.
    Seventh characters (initial or later encounter, ...) are no concepts of their own and are not spelled out.

    Raises:
        GraphError: Not XML (with the line), a document type in it, not this list, or a code given twice.
    """
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise GraphError("has a document type, which the tabular list has not", item=path, remedy="check the path")
    try:
        root = ElementTree.fromstring(text.encode())  # noqa: S314
    except ElementTree.ParseError as error:
        problem = error.msg.partition(":")[0]
        raise GraphError(f"not valid XML ({problem})", item=f"{path}:{error.position[0]}") from None
    ontology = Ontology({}, version=root.findtext("version", "").strip())
    for chapter in root.iter("chapter"):
        top = _add(f"CHAPTER-{chapter.findtext('name', '').strip()}", chapter, None, ontology, path, ledger)
        for section in chapter.iter("section"):
            code = section.get("id", "")  # a section of one category has that category's code, as in "B99"
            block = _add(code if "-" in code else f"{code}-{code}", section, top, ontology, path, ledger)
            for entry in section.findall("diag"):
                _code(entry, block or top, ontology, path, ledger)
    if not ontology.terms:
        raise GraphError("not the tabular list of ICD-10-CM (no chapter)", item=path, remedy="check the format name")
    return ontology


def _code(entry: ElementTree.Element, parent: str | None, ontology: Ontology, path: Path, ledger: Ledger) -> None:
    own = _add(entry.findtext("name", "").strip(), entry, parent, ontology, path, ledger)
    for below in entry.findall("diag"):
        _code(below, own or parent, ontology, path, ledger)


def _add(
    code: str, entry: ElementTree.Element, parent: str | None, ontology: Ontology, path: Path, ledger: Ledger
) -> str | None:
    """Add one entry below its parent and return its id; None, and a count, where it has no code or no name."""
    concept = f"{_PREFIX}:{code}"
    names = clean([entry.findtext("desc", "")])
    if not code or not names:
        ledger.drop(concept, "term without a name")
        return None
    name = re.sub(r"\s*\([A-Z]\w\w(-[A-Z]\w\w)?\)$", "", names[0])  # chapters and sections end with their codes
    if concept in ontology.terms:
        raise GraphError(f"the code {code} occurs twice", item=path, remedy="keep one of the two entries")
    inclusion = clean(note.text or "" for note in entry.findall("inclusionTerm/note"))
    ontology.terms[concept] = Term(
        concept, name, [(text, "narrow") for text in inclusion], parents=[] if parent is None else [parent]
    )
    return concept

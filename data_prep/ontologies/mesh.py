"""Reads MeSH headings from a table with tree numbers and turns the numbers into a multi-parent hierarchy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from data_prep.ontologies.terms import Ontology, Term, clean, read_text
from medvlp.errors import GraphError
from medvlp.ledger import Ledger

CATEGORIES = {
    "A": "Anatomy",
    "B": "Organisms",
    "C": "Diseases",
    "D": "Chemicals and Drugs",
    "E": "Analytical, Diagnostic and Therapeutic Techniques, and Equipment",
    "F": "Psychiatry and Psychology",
    "G": "Phenomena and Processes",
    "H": "Disciplines and Occupations",
    "I": "Anthropology, Education, Sociology, and Social Phenomena",
    "J": "Technology, Industry, and Agriculture",
    "K": "Humanities",
    "L": "Information Science",
    "M": "Named Groups",
    "N": "Health Care",
    "V": "Publication Characteristics",
    "Z": "Geographicals",
}


def read(path: Path, ledger: Ledger, roots: Sequence[str] = ()) -> Ontology:
    """Read rows ``id, heading, entry terms by |, tree numbers by |`` (further columns are ignored).

    A heading's parents are the headings one step up from each of its tree numbers.

    Args:
        path: Tab-separated file without a header line.
        ledger: Counts headings outside ``roots``.
        roots: Tree letters (``C``) or numbers (``F03``); headings without a number below one of them are left out,
            and only the numbers below one of them make parents.

    Raises:
        GraphError: A row with fewer than four columns (with its line), an id given twice, or a root without headings.
    """
    ontology = Ontology({})
    rows: list[tuple[Term, list[str]]] = []
    owner: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, row in enumerate(csv.reader(read_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        if len(row) < 4:
            raise GraphError("row has fewer than 4 columns", item=f"{path}:{line}", remedy="check the format name")
        concept, name = f"MESH:{row[0]}", " ".join(row[1].split())
        if concept in lines:
            raise GraphError(f"the id {concept} occurs twice (lines {lines[concept]} and {line})", item=path)
        lines[concept] = line
        numbers = [number for number in row[3].split("|") if number and _inside(number, roots)]
        if not name or (roots and not numbers):
            ledger.drop(concept, "term outside the roots" if name else "term without a name")
            continue
        types = sorted({CATEGORIES.get(number[0], number[0]) for number in numbers})
        names = [(text, "exact") for text in clean(row[2].split("|"))]
        rows.append((Term(concept, name, names, semantic_types=types), numbers))
        owner.update(dict.fromkeys(numbers, concept))
    for root in roots:
        if not any(_inside(number, [root]) for number in owner):
            raise GraphError("no heading below this tree number", item=f"{path}: {root}", remedy="check roots")
    for term, numbers in rows:
        above = [number.rpartition(".")[0] for number in numbers]
        term.parents = [owner[number] for number in above if number in owner and owner[number] != term.id]
        for number in above:
            if number and number not in owner and _inside(number, roots):
                ledger.drop(f"{term.id} below {number}", "tree number without a heading")
        ontology.terms[term.id] = term
    return ontology


def _inside(number: str, roots: Sequence[str]) -> bool:
    return not roots or any(
        number == root or number.startswith(f"{root}.") or (len(root) == 1 and number[0] == root) for root in roots
    )

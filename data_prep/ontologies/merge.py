"""Decides which concepts of different ontologies are the same, and shows every pair it would not join.

Two concepts are joined only one to one: if either side has a second candidate in the other ontology, none is joined
and the conflict is counted. A joined class holds at most one concept of each ontology; where candidates contend for
a place in it, those that also share a name go first.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from data_prep.ontologies.acyclic import cut_cycles
from data_prep.ontologies.config import GraphConfig
from data_prep.ontologies.terms import Ontology, Term, follow
from medvlp.knowledge.names import normalise
from medvlp.ledger import Ledger

Member = tuple[int, str]
"""A concept of one source: (number of the source, id)."""


class Classes:
    """Disjoint classes of members, each with at most one member per source."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._class: dict[Member, dict[int, str]] = {member: dict([member]) for member in members}

    def of(self, member: Member) -> dict[int, str]:
        """Return the class of a member as {source number: id}."""
        return self._class[member]

    def join(self, a: Member, b: Member) -> bool:
        """Join two classes; False if that would put two concepts of one source together."""
        one, two = self._class[a], self._class[b]
        if one is two:
            return True
        if one.keys() & two.keys():
            return False
        one.update(two)
        for member in two.items():
            self._class[member] = one
        return True

    def representative(self, member: Member) -> str:
        """Return the id that stands for the class: that of its first source."""
        members = self._class[member]
        return members[min(members)]


def join_equivalent(ontologies: Sequence[Ontology], config: GraphConfig) -> tuple[Classes, Counter[str], Ledger]:
    """Join the concepts of several ontologies: equal ids, then single cross-references, then shared keys.

    Args:
        ontologies: By falling priority.
        config: ``merge_xrefs`` and ``merge_keys``.

    Returns:
        The classes, the number of joins by reason, and the conflicts, all of them by name (each pair of candidates
        counts once).
    """
    classes = Classes((n, concept) for n, ontology in enumerate(ontologies) for concept in ontology.terms)
    joined: Counter[str] = Counter()
    conflicts = Ledger(max_examples=sys.maxsize)
    stages = ["same id", *(["cross-reference"] if config.merge_xrefs else []), *config.merge_keys]
    for stage in stages:
        pairs = [
            (supported, (one, a), (two, b))
            for one, two in combinations(range(len(ontologies)), 2)
            for supported, a, b in _single(stage, ontologies, one, two, classes, conflicts)
        ]
        for _, a_member, b_member in sorted(pairs, key=lambda pair: not pair[0]):
            if classes.join(a_member, b_member):
                joined[stage] += 1
            else:
                conflicts.drop(f"{a_member[1]} = {b_member[1]}", f"{stage}: would join two concepts of one ontology")
    conflicts.keep(joined.total())
    return classes, joined, conflicts


def _single(
    stage: str, ontologies: Sequence[Ontology], one: int, two: int, classes: Classes, conflicts: Ledger
) -> list[tuple[bool, str, str]]:
    """Return (do they share a name, id, id) for each pair in which both sides have no other candidate."""
    if stage == "same id":
        pairs = _same_ids(ontologies[one], ontologies[two])
    elif stage == "cross-reference":
        pairs = _direct(ontologies[one], ontologies[two])
    else:
        pairs = _shared(ontologies[one], ontologies[two], f"{stage}:")
    pairs = [(a, b) for a, b in pairs if two not in classes.of((one, a)) and one not in classes.of((two, b))]
    degree_a, degree_b = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    found = []
    for a, b in pairs:
        if degree_a[a] > 1 or degree_b[b] > 1:
            conflicts.drop(f"{a} = {b}", f"{stage}: several candidates")
        else:
            shared = _names(ontologies[one].terms[a]) & _names(ontologies[two].terms[b])
            found.append((bool(shared), a, b))
    return found


def _names(term: Term) -> set[str]:
    return {normalise(text) for text in (term.name, *(text for text, _ in term.names))}


def aliases_of(ontology: Ontology) -> dict[str, str]:
    """Return old ids (alternative and replaced ones) with the live term each leads to; ids still in use stay out."""
    found = {old: term.id for term in ontology.terms.values() for old in term.alt_ids}
    found |= {old: follow(old, ontology.replaced) for old in ontology.replaced}
    return {old: new for old, new in found.items() if new in ontology.terms and old not in ontology.terms}


def _same_ids(one: Ontology, two: Ontology) -> list[tuple[str, str]]:
    """Pairs with one id, or where one's id is an old id of the other."""
    pairs = [(concept, concept) for concept in one.terms if concept in two.terms]
    pairs += [(new, old) for old, new in aliases_of(one).items() if old in two.terms]
    pairs += [(old, new) for old, new in aliases_of(two).items() if old in one.terms]
    return list(dict.fromkeys(pairs))


def _direct(one: Ontology, two: Ontology) -> list[tuple[str, str]]:
    """Pairs in which one side names the other among its cross-references."""
    old_one, old_two = aliases_of(one), aliases_of(two)
    pairs: dict[tuple[str, str], None] = {}
    for term in one.terms.values():
        for reference in term.xrefs:
            target = old_two.get(reference, reference)
            if target in two.terms:
                pairs[term.id, target] = None
    for term in two.terms.values():
        for reference in term.xrefs:
            target = old_one.get(reference, reference)
            if target in one.terms:
                pairs[target, term.id] = None
    return list(pairs)


def _shared(one: Ontology, two: Ontology, prefix: str) -> list[tuple[str, str]]:
    """Pairs that share a cross-reference with this prefix."""
    holders: dict[str, list[str]] = {}
    for term in two.terms.values():
        for reference in term.xrefs:
            if reference.startswith(prefix):
                holders.setdefault(reference, []).append(term.id)
    pairs = [(t.id, other) for t in one.terms.values() for reference in t.xrefs for other in holders.get(reference, ())]
    return list(dict.fromkeys(pairs))


def acyclic_edges(edges: Sequence[tuple[str, str]]) -> tuple[list[int], list[int]]:
    """Part edges into those to keep and those that would close a cycle of the edges kept before them.

    Args:
        edges: (child, parent), by falling priority.

    Returns:
        Positions kept and positions left out, self-loops among the latter; see :func:`cut_cycles`.
    """
    row_of: dict[str, int] = {}
    for head, tail in edges:
        row_of.setdefault(head, len(row_of))
        row_of.setdefault(tail, len(row_of))
    heads = np.array([row_of[head] for head, _ in edges], dtype=np.int64)
    tails = np.array([row_of[tail] for _, tail in edges], dtype=np.int64)
    kept, dropped, _ = cut_cycles(heads, tails, len(row_of))
    return kept.tolist(), dropped.tolist()

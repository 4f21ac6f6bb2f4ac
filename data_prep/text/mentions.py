"""Mentions of a report: sections, sentences, links, findings, assertion, side and anatomy in one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from data_prep.text.assertion import Assertion, assert_sentence, section_assertion
from data_prep.text.laterality import Side, side_sentence, side_words
from data_prep.text.phrases import Match, Token, token_span, tokenise
from data_prep.text.relation import Relation, window_relation
from data_prep.text.sections import SectionKind, split_sections
from data_prep.text.sentences import sentences
from data_prep.text.triplets.vocabulary import Vocabulary, load_vocabulary

if TYPE_CHECKING:
    from data_prep.text.linking import Link
    from medvlp.knowledge.graph import DiseaseGraph


class Linker(Protocol):
    """Whatever finds concepts in a text."""

    def link(self, text: str) -> list[Link]:
        """Return the concepts a text names, in order of place."""


class GraphLinker:
    """The exact linker on one graph: ``link(text)`` for :func:`annotate`.

    Args:
        graph: Its concepts are linked.
        exclude: Concepts that are not, with all that lies below them.
    """

    def __init__(self, graph: DiseaseGraph, exclude: Sequence[str] = ()) -> None:
        self.graph = graph
        self.excluded = frozenset(concept for root in exclude for concept in (root, *graph.descendants(root)))

    def link(self, text: str) -> list[Link]:
        """Return the concepts of the graph that the text names."""
        from data_prep.text.linking import link

        return [found for found in link(text, self.graph) if found.concept not in self.excluded]


@dataclass(frozen=True)
class Mention:
    """A span of a text that names something, and what the text says about it: ``text_of_report[start:end] == text``.

    Attributes:
        concept: Id in the graph, None where no name of the graph is there.
        name: The concept's preferred name where the linker knows it, else the finding's id or the words.
        score: The linker's; 1 for a finding of the vocabulary alone.
        tier: Which part of the linker found it; ``vocabulary`` for a finding alone.
        anatomy: Regions of the vocabulary it is said to be at, joined by ``"; "``.
        sentence: Number of its sentence in the text.
        finding: Id in the vocabulary, None for a concept that it does not have.
        positions: Positions of the vocabulary, sides resolved; ``("unspecified",)`` if no place is said.
    """

    start: int
    end: int
    text: str
    concept: str | None
    name: str
    semantic_types: tuple[str, ...]
    score: float
    tier: str
    assertion: Assertion
    side: Side | None
    anatomy: str | None
    section: SectionKind
    sentence: int
    finding: str | None = None
    positions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A mention before its sentence is read: a link, a finding, or both at one place."""

    start: int
    end: int
    link: Link | None
    finding: str | None


def annotate(
    text: str,
    linker: Linker | None,
    *,
    vocabulary: Vocabulary | None = None,
    relation: Relation = window_relation,
) -> list[Mention]:
    """Return what a report mentions, in order of place.

    Args:
        text: A report, or any text.
        linker: Finds concepts; None for the findings of the vocabulary alone.
        vocabulary: Its findings and regions; by default ``radiology``.
        relation: Relates findings to regions: :func:`~data_prep.text.relation.window_relation` or a
            :class:`~data_prep.text.relation.DependencyRelation`.
    """
    words = vocabulary if vocabulary is not None else load_vocabulary("radiology")
    links = linker.link(text) if linker is not None else []
    graph: DiseaseGraph | None = getattr(linker, "graph", None)
    mentions: list[Mention] = []
    number = -1
    for section in split_sections(text):
        for start, end in sentences(text, section.start, section.end):
            number += 1
            tokens = tokenise(text, start, end)
            inside = [link for link in links if start <= link.start and link.end <= end]
            if inside:  # what a side says is in `side`; as a concept of its own it says nothing
                of_sides = {(word.start, word.end) for word in side_words(tokens)}
                inside = [link for link in inside if (link.start, link.end) not in of_sides]
            findings = words.finding_phrases.longest(tokens)
            if inside or findings:
                found = _merge(inside, findings)
                mentions += _read(text, tokens, found, words, relation, graph, section.kind, number)
    return mentions


def _merge(links: Sequence[Link], findings: Sequence[Match[str]]) -> list[_Found]:
    """One entry per place: a link and a finding of the same thing are one mention, of the longer span."""
    best: dict[tuple[int, int], Link] = {}
    for link in links:  # a name of several concepts: the highest score, then the smallest id
        key = (link.start, link.end)
        if key not in best or (-link.score, link.concept) < (-best[key].score, best[key].concept):
            best[key] = link
    open_links = sorted(best.values(), key=lambda link: (link.start - link.end, link.start))
    used: set[tuple[int, int]] = set()
    result = []
    for match in sorted(findings, key=lambda match: (match.start - match.end, match.start)):
        over = [link for link in open_links if link.start < match.end and match.start < link.end]
        named = [link for link in over if _names(link, match)]
        if not named:
            used.update((link.start, link.end) for link in over)
            result.append(_Found(match.start, match.end, None, match.value))
        elif (named[0].start, named[0].end) not in used:
            used.update((link.start, link.end) for link in over)
            start, end = min(match.start, named[0].start), max(match.end, named[0].end)
            result.append(_Found(start, end, named[0], match.value))
    taken = [(found.start, found.end) for found in result]
    for link in open_links:
        if all(link.end <= start or end <= link.start for start, end in taken):
            taken.append((link.start, link.end))
            result.append(_Found(link.start, link.end, link, None))
    return sorted(result, key=lambda found: (found.start, found.end))


def _names(link: Link, finding: Match[str]) -> bool:
    """Whether a link names what a finding is: by all of its words, or by its last ones."""
    return link.end == finding.end or (link.start <= finding.start and finding.end <= link.end)


def _read(
    text: str,
    tokens: Sequence[Token],
    found: Sequence[_Found],
    words: Vocabulary,
    relation: Relation,
    graph: DiseaseGraph | None,
    section: SectionKind,
    sentence: int,
) -> list[Mention]:
    spans = [token_span(tokens, one.start, one.end) for one in found]
    regions = words.region_phrases.longest(tokens)
    related = relation(text, tokens, spans, [(region.first, region.last) for region in regions])
    places = [(region.start, region.end) for region in regions] + [(one.start, one.end) for one in found]
    side_of = side_sentence(tokens, places)
    said_of = assert_sentence(tokens, [(one.start, one.end) for one in found])
    mentions: list[Mention] = []
    before: list[int] = []
    for one, own_side, said, numbers in zip(found, side_of[len(regions) :], said_of, related, strict=True):
        if numbers and numbers == before and _is_elsewhere(one.finding, [regions[n].value for n in numbers], words):
            numbers = []  # "pleural effusion or consolidation": shared by the joint, but not its place
        before = numbers
        names = list(dict.fromkeys(regions[number].value for number in numbers))
        finding = one.finding
        if finding is not None:
            finding = words.refined(finding, names)
            default = words.findings[finding].region
            names = names or ([default] if default is not None else [])
        sides = {side_of[number] for number in numbers} - {None} or ({own_side} - {None})
        side = Side.bilateral if len(sides) > 1 else next(iter(sides), None)
        at = [(regions[number].value, side_of[number] or own_side) for number in numbers]
        at = at or [(name, own_side) for name in names]
        positions = dict.fromkeys(p for region, of_it in at for p in words.places(region, of_it))
        link = one.link
        mentions.append(
            Mention(
                start=one.start,
                end=one.end,
                text=text[one.start : one.end],
                concept=link.concept if link is not None else None,
                name=_name(link, finding, graph, text[one.start : one.end]),
                semantic_types=_types(link, finding, words),
                score=link.score if link is not None else 1.0,
                tier=getattr(link, "tier", "exact") if link is not None else "vocabulary",
                assertion=said if said is not Assertion.present else section_assertion(section),
                side=side,
                anatomy="; ".join(names) or None,
                section=section,
                sentence=sentence,
                finding=finding,
                positions=_most_exact(tuple(positions), words) or words.places(None, None),
            )
        )
    return mentions


def _is_elsewhere(finding: str | None, regions: Sequence[str], words: Vocabulary) -> bool:
    """Whether a finding has a region of its own that has nothing to do with these."""
    default = words.findings[finding].region if finding is not None else None
    if default is None:
        return False
    own = words.places(default, None)
    there = [place for region in regions for place in words.places(region, None)]
    return not any(a == b or words.contains(a, b) or words.contains(b, a) for a in own for b in there)


def _most_exact(positions: tuple[str, ...], words: Vocabulary) -> tuple[str, ...]:
    """Leave out what contains another of the positions."""
    return tuple(p for p in positions if not any(words.contains(p, other) for other in positions))


def _name(link: Link | None, finding: str | None, graph: DiseaseGraph | None, words: str) -> str:
    if link is not None and graph is not None:
        return graph.name(link.concept)
    return finding.replace("_", " ") if finding is not None else words


def _types(link: Link | None, finding: str | None, words: Vocabulary) -> tuple[str, ...]:
    of_link: tuple[str, ...] = getattr(link, "semantic_types", ())
    return of_link or ((words.semantic_type(finding),) if finding is not None else ())

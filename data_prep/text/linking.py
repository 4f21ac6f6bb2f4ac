"""Concept linking by exact normalised name: the longest name of the graph that starts at each word wins.

A token trie over every name of the graph; matching is linear in the text. Tokens are what is left between
the spaces of :func:`medvlp.knowledge.names.normalise`, so "Type-2 Diabetes" finds "type 2 diabetes".
"""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medvlp.knowledge.names import normalise

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?;]\s|\n")
MIN_LETTERS = 3


@dataclass(frozen=True)
class Link:
    """A span of the text that names a concept: ``text[start:end]``; exact matches score 1."""

    start: int
    end: int
    concept: str
    text: str
    score: float


@dataclass
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    concepts: list[str] = field(default_factory=list)


_INDEXES: weakref.WeakKeyDictionary[DiseaseGraph, _Node] = weakref.WeakKeyDictionary()


def link(text: str, graph: DiseaseGraph) -> list[Link]:
    """Find the concepts a text names.

    Matches start and end at word boundaries, never cross the end of a sentence, and never overlap: at each word the
    longest name wins. A name shared by several concepts gives one link per concept, those for which it is the
    preferred name alone if there are any. Names of fewer than three letters ("PE", "MI") are not linked.

    Args:
        text: Any text; offsets refer to it unchanged.
        graph: Its index is built at the first call and kept as long as the graph lives.

    Returns:
        Links in order of position.
    """
    root = _INDEXES.get(graph)
    if root is None:
        root = _INDEXES[graph] = _index(graph)
    tokens, spans = _tokenise(text)
    starts = {i for i in range(1, len(spans)) if _SENTENCE_END.search(text, spans[i - 1][1], spans[i][0])}
    links: list[Link] = []
    position = 0
    while position < len(tokens):
        length, concepts = _longest(root, tokens, position, starts)
        if length == 0:
            position += 1
            continue
        start, end = spans[position][0], spans[position + length - 1][1]
        links.extend(Link(start, end, concept, text[start:end], 1.0) for concept in concepts)
        position += length
    return links


def _tokenise(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Normalise word by word, so that each normalised token keeps its offsets in the text."""
    tokens: list[str] = []
    spans: list[tuple[int, int]] = []
    for word in _WORD.finditer(text):
        for token in normalise(word.group()).split():
            tokens.append(token)
            spans.append(word.span())
    return tokens, spans


def _index(graph: DiseaseGraph) -> _Node:
    preferred: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for concept in graph.ids:
        for name in graph.names(concept):
            target = preferred if name.kind == "preferred" else others
            if name.kind in ("preferred", "exact", "xref_merge"):
                target.setdefault(name.text, []).append(concept)
    root = _Node()
    for names in (preferred, others):
        found: dict[tuple[str, ...], list[str]] = {}
        for text, concepts in names.items():
            key = tuple(_tokenise(text)[0])
            if sum(map(len, key)) >= MIN_LETTERS:
                found.setdefault(key, []).extend(concepts)
        for key, concepts in found.items():
            node = root
            for token in key:
                node = node.children.setdefault(token, _Node())
            if not node.concepts:
                node.concepts = sorted(set(concepts))
    return root


def _longest(root: _Node, tokens: list[str], position: int, starts: set[int]) -> tuple[int, list[str]]:
    """Length in tokens and concepts of the longest name at ``position``; ``starts`` are sentences' first tokens."""
    node: _Node | None = root
    length, concepts = 0, []
    for offset in range(position, len(tokens)):
        if offset > position and offset in starts:
            break
        node = node.children.get(tokens[offset]) if node is not None else None
        if node is None:
            break
        if node.concepts:
            length, concepts = offset - position + 1, node.concepts
    return length, concepts

"""Learning from annotated training texts: what to link to nothing, which names mislead, which names the graph lacks.

Nothing here may see the texts on which a linker is scored; a split named test is refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.text.linking import abbreviations
from data_prep.text.linking.config import Fitted
from data_prep.text.linking.identifiers import identifiers
from data_prep.text.linking.linker import Linker
from data_prep.text.linking.links import resolve
from data_prep.text.linking.words import key
from medvlp.errors import DataError
from medvlp.io import sha256_json

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

NEVER = 2.0
THRESHOLDS = (NEVER, 0.97, 0.94, 0.91, 0.88, 0.85, 0.8)
_MIN_PRECISION = 0.5
_SAMPLE = 80


@dataclass(frozen=True)
class Mention:
    """An annotated mention: its span and the CURIEs it is linked to, all of which it means (none: not in the graph)."""

    start: int
    end: int
    ids: frozenset[str]


@dataclass(frozen=True)
class Document:
    """A text with all its mentions."""

    key: str
    text: str
    mentions: tuple[Mention, ...]


class Truth:
    """Compares concepts of the graph with annotated identifiers.

    Attributes:
        ids_of: For each row of the graph the identifiers it stands for.
        rows_of: For each identifier the rows that stand for it.
    """

    def __init__(self, graph: DiseaseGraph, ids_of: Sequence[frozenset[str]]) -> None:
        self.graph = graph
        self.ids_of = list(ids_of)
        self.rows_of: dict[str, list[int]] = defaultdict(list)
        for row, curies in enumerate(self.ids_of):
            for curie in curies:
                self.rows_of[curie].append(row)

    @classmethod
    def of(cls, graph: DiseaseGraph, documents: Sequence[Document]) -> Truth:
        """Use the vocabularies that occur in the annotation."""
        curies = {curie for document in documents for mention in document.mentions for curie in mention.ids}
        return cls(graph, identifiers(graph, sorted({curie.partition(":")[0] for curie in curies})))

    def with_ancestors(self) -> Truth:
        """Return the lenient form: a concept without an identifier has those of its nearest ancestors with one."""
        ids_of = list(self.ids_of)
        for row, curies in enumerate(self.ids_of):
            level = {row}
            while not curies and level:
                level = {self.graph.index(up) for below in level for up in self.graph.parents(self.graph.ids[below])}
                curies = frozenset(curie for above in level for curie in self.ids_of[above])
            ids_of[row] = curies
        return Truth(self.graph, ids_of)

    def right(self, rows: Sequence[int], ids: frozenset[str]) -> bool:
        """Tell whether the concepts together stand for all the ids, and each of them for one."""
        return (
            bool(rows)
            and all(self.ids_of[row] & ids for row in rows)
            and ids <= {curie for row in rows for curie in self.ids_of[row]}
        )

    def reachable(self, ids: frozenset[str]) -> bool:
        """Tell whether the graph has a concept for each of the ids."""
        return bool(ids) and all(curie in self.rows_of for curie in ids)


def fit(linker: Linker, documents: Sequence[Document], *, split: str) -> Fitted:
    """Fit a linker that has not been fitted to annotated texts.

    - Names are dropped that, where they occur, are no mention more often than not.
    - Names are learnt from mentions that the linker's names do not cover: one concept must be meant most of the time.
    - The share of the encoder and the NIL threshold give the best F1 on the given mentions without an exact name
      (a wrong link is a false positive and a false negative, no link a false negative).
    - Where concepts of several sources share a name, the source wins that is right most often.
    - The threshold for proposed mentions gives the best F1 of mentions.

    Args:
        linker: Its tiers are fitted.
        documents: Training texts with all their mentions.
        split: What part of the data they are; a name with "test" in it is refused.

    Raises:
        DataError: A test split, no annotated mention, or a linker that has been fitted already.
    """
    if "test" in split.casefold():
        raise DataError("a linker is never fitted on a test split", item=split, remedy="use the training part")
    if linker.fitted is not None:
        raise DataError("the linker has been fitted already", item="fitted", remedy="leave `fitted` empty")
    if not any(document.mentions for document in documents):
        raise DataError("no annotated mention", item=split, remedy="give texts with mentions")
    truth = Truth.of(linker.graph, documents)
    weight, nil_threshold = _fit_choice(linker, documents, truth)
    dropped = _misleading(linker, documents)
    return Fitted(
        graph=linker.graph.digest,
        tiers=linker.config.tiers,
        documents=len(documents),
        nil_threshold=nil_threshold,
        proposal_threshold=_fit_proposals(linker, documents, dropped),
        encoder_weight=weight,
        prefer=_preferred_sources(linker, documents, truth),
        dropped=dropped,
        names=_missing_names(linker, documents, truth),
    )


def _misleading(linker: Linker, documents: Sequence[Document]) -> list[str]:
    """Keys of names whose occurrences are seldom annotated; one that shares a mention's span counts as annotated."""
    annotated: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for document in documents:
        gold = {(mention.start, mention.end) for mention in document.mentions}
        for link in {(link.start, link.end): link for link in linker.named(document.text)}.values():
            seen[key(link.text)] += 1
            annotated[key(link.text)] += (link.start, link.end) in gold
    return sorted(name for name, count in seen.items() if annotated[name] / count < _MIN_PRECISION)


def _missing_names(linker: Linker, documents: Sequence[Document], truth: Truth) -> list[tuple[str, str]]:
    """(concept, name) pairs of mentions that no name of the graph covers or whose name means another concept."""
    meant: dict[str, Counter[frozenset[str]]] = defaultdict(Counter)
    spelt: dict[str, str] = {}
    for document in documents:
        defined = abbreviations.find(document.text)
        for mention in document.mentions:
            text = document.text[mention.start : mention.end]
            if text not in defined:
                meant[key(text)][mention.ids] += 1
                spelt.setdefault(key(text), text)
    names: list[tuple[str, str]] = []
    for name in sorted(meant):
        (ids, count), text = meant[name].most_common(1)[0], spelt[name]
        if not name or len(ids) != 1 or 2 * count <= meant[name].total() or not truth.reachable(ids):
            continue
        exact = [c.row for c in linker.candidates([text])[0] if c.tier == "exact"]
        if exact and truth.right(exact[:1], ids):
            continue
        names.append((linker.graph.ids[_nearest_concept(linker, text, truth.rows_of[next(iter(ids))])], text))
    return names


def _nearest_concept(linker: Linker, text: str, rows: Sequence[int]) -> int:
    """Of the concepts with an annotated identifier, the one among the mention's candidates that ranks first."""
    ranked = [candidate.row for candidate in linker.candidates([text])[0]]
    return min(rows, key=lambda row: (ranked.index(row) if row in ranked else len(ranked), row))


def _fit_choice(linker: Linker, documents: Sequence[Document], truth: Truth) -> tuple[float, float]:
    """Encoder share and NIL threshold; both fitted on the mentions that no exact name covers."""
    if not linker.uses_nearest:
        return 0.0, 0.0
    mentions: Counter[tuple[str, frozenset[str]]] = Counter()
    for document in documents:
        spans = [(mention.start, mention.end) for mention in document.mentions]
        for mention, pieces in zip(document.mentions, linker.written_out(document.text, spans), strict=True):
            if len(pieces) == 1:
                mentions[pieces[0], mention.ids] += 1
    texts = sorted({text for text, _ in mentions})
    found = dict(zip(texts, linker.candidates(texts), strict=True))
    open_ = {pair: n for pair, n in mentions.items() if not any(c.tier == "exact" for c in found[pair[0]])}
    best = (-1.0, 0.0, 0.0)
    for weight in WEIGHTS if linker.mixes else (None,):
        firsts = []
        for (text, ids), count in open_.items():
            mixed = found[text] if weight is None else [candidate.mixed(weight) for candidate in found[text]]
            if mixed:
                first = min(mixed, key=linker.order)
                firsts.append((first.score, truth.right([first.row], ids), count))
        f1, threshold = _best_threshold(firsts, sum(open_.values()))
        if f1 > best[0]:
            best = (f1, weight or 0.0, threshold)
    return best[1], best[2]


def _best_threshold(firsts: list[tuple[float, bool, int]], total: int) -> tuple[float, float]:
    """Best F1 = 2 right / (linked + all) of (score, right, count), and its threshold, half way to the next score."""
    if not firsts:
        return 0.0, 1.0
    score_M, right_M, count_M = (np.array(column) for column in zip(*firsts, strict=True))
    order_M = np.argsort(-score_M, kind="stable")
    score_M = score_M[order_M]
    f1_M = 2 * np.cumsum((right_M * count_M)[order_M]) / (np.cumsum(count_M[order_M]) + total)
    last_of_score = np.append(score_M[1:] != score_M[:-1], True)
    place = int(np.argmax(np.where(last_of_score, f1_M, -1.0)))
    below = score_M[place + 1] if place + 1 < len(score_M) else 0.0
    return float(f1_M[place]), round(float((score_M[place] + below) / 2), 4)


def _fit_proposals(linker: Linker, documents: Sequence[Document], dropped: Sequence[str]) -> float:
    """Threshold of best F1 of mention spans, from a sample of the texts; NEVER where proposals do not help."""
    if not (linker.uses_nearest and linker.config.propose):
        return NEVER
    misleading = set(dropped)
    sample = sorted(documents, key=lambda document: sha256_json(document.key))[:_SAMPLE]
    counts = dict.fromkeys(THRESHOLDS, np.zeros(3, dtype=int))
    for document in sample:
        gold = {(mention.start, mention.end) for mention in document.mentions}
        found = [link for link in linker.named(document.text) if key(link.text) not in misleading]
        proposed = linker.proposed(document.text, found, THRESHOLDS[-1])
        for threshold in THRESHOLDS:
            links = resolve([*found, *(link for link in proposed if link.score >= threshold)])
            spans = {(link.start, link.end) for link in links}
            counts[threshold] = counts[threshold] + [len(gold & spans), len(spans), len(gold)]
    f1 = {threshold: 2 * hit / max(1, found + wanted) for threshold, (hit, found, wanted) in counts.items()}
    return max(THRESHOLDS, key=lambda threshold: f1[threshold])


def _preferred_sources(linker: Linker, documents: Sequence[Document], truth: Truth) -> list[str]:
    """Prefixes of concept ids by how often they are right where concepts of several sources share a mention's name."""
    wins: Counter[str] = Counter()
    for document in documents:
        spans = [(mention.start, mention.end) for mention in document.mentions]
        for mention, pieces in zip(document.mentions, linker.written_out(document.text, spans), strict=True):
            tied = [c.row for c in linker.candidates(pieces)[0] if c.tier == "exact"] if len(pieces) == 1 else []
            sources = {linker.graph.ids[row].partition(":")[0] for row in tied}
            if len(sources) > 1:
                wins.update(dict.fromkeys(sources, 0))
                wins.update(
                    {linker.graph.ids[row].partition(":")[0] for row in tied if truth.right([row], mention.ids)}
                )
    return sorted(wins, key=lambda prefix: (-wins[prefix], prefix))

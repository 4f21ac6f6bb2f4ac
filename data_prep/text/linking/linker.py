"""The linker: exact names first, then resembling names, then the encoder's opinion; each tier can be used alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.text.linking import abbreviations, lexicon
from data_prep.text.linking.config import Fitted, LinkerConfig
from data_prep.text.linking.exact import ExactIndex
from data_prep.text.linking.fuzzy import FuzzyIndex
from data_prep.text.linking.lexicon import Owner
from data_prep.text.linking.links import Link, resolve
from data_prep.text.linking.lists import parts
from data_prep.text.linking.rerank import Reranker
from data_prep.text.linking.words import Words, key, read
from medvlp.config import load_as, resolve_path
from medvlp.errors import ConfigError, GraphError

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

_LONGEST_MENTION = 300
_WIDEST = 6
_MIN_NAMES_OF_HEAD = 3


@dataclass(frozen=True)
class Candidate:
    """A concept that a mention may mean.

    Attributes:
        row: Row in the graph.
        name: The concept's name that is nearest to the mention, normalised.
        similarity: Its resemblance to the mention, 1 if they are the same name.
        score: What candidates are ranked by.
        tier: What gave the score.
    """

    row: int
    name: str
    similarity: float
    score: float
    tier: str


class Linker:
    """Finds the concepts that a text names (:meth:`link`), or that given spans of it name (:meth:`link_spans`).

    The same graph, configuration and text give the same links in every process.
    """

    def __init__(
        self,
        graph: DiseaseGraph,
        config: LinkerConfig | None = None,
        *,
        fitted: Fitted | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        """Index the names of a graph; the fuzzy index and the encoder are made when they are first needed.

        Args:
            graph: Whose concepts are linked; ``config.graph`` is not read here.
            config: Tiers and rules; the default is the exact tier alone.
            fitted: What was learnt from training texts; by default what ``config.fitted`` names.
            reranker: By default the encoder that ``config.encoder`` names.

        Raises:
            ConfigError: The rerank tier without an encoder, or a fit made with another graph.
            GraphError: A semantic type that no concept has.
        """
        self.graph = graph
        self.config = config if config is not None else LinkerConfig()
        if fitted is None and self.config.fitted is not None:
            fitted = load_as(Fitted, resolve_path(self.config.fitted))
        if fitted is not None and fitted.graph != graph.digest:
            raise ConfigError("was fitted with another graph", item="fitted", remedy="fit the linker again")
        self.fitted = fitted
        self._reranker = reranker
        if "rerank" in self.config.tiers and reranker is None and self.config.encoder is None:
            raise ConfigError("the rerank tier needs a text encoder", item="encoder", remedy="name a stage-1 run")
        self._types = [tuple(types) for types in graph.tables.concepts["semantic_types"].to_pylist()]
        self._allowed = self._linkable()
        self._dropped = frozenset(fitted.dropped if fitted else ())
        extra = fitted.names if fitted else []
        self._lexicon = lexicon.build(graph, self._allowed, extra, min_letters=self.config.min_letters)
        self._exact = ExactIndex(self._lexicon, self.config.word_order)
        self._use_exact = "exact" in self.config.tiers
        self._use_nearest = "fuzzy" in self.config.tiers or "rerank" in self.config.tiers

    @classmethod
    def load(cls, config: LinkerConfig) -> Linker:
        """Open the graph that a configuration names and build its linker."""
        from medvlp.knowledge.graph import DiseaseGraph

        return cls(DiseaseGraph.load(resolve_path(config.graph)), config)

    # ------------------------------------------------------------------ linking

    def link(self, text: str) -> list[Link]:
        """Find and link the mentions of a text.

        Matches start and end at word boundaries, do not cross the end of a sentence, and do not overlap: the longest
        stays, then the best. Abbreviations that the text defines are linked as what they stand for.

        Args:
            text: Any text; offsets refer to it unchanged.

        Returns:
            Links in order of position; ``max_concepts`` at most for one span.
        """
        words = read(text)
        defined = abbreviations.find(text) if self.config.abbreviations else {}
        found = self._named(text, words) if self._use_exact else []
        found = [link for link in found if link.text not in defined]
        for definition in defined.values():
            long = text[definition.long_start : definition.long_end]
            for concept in self._decide([long])[0]:
                for start, end in abbreviations.uses(text, definition.short):
                    found.append(self._as_link(text, start, end, concept))
        found = resolve(found)
        if self._use_nearest and self.config.propose:
            found = resolve([*found, *self._proposed(text, words, found)])
        return found

    def link_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> list[list[Link]]:
        """Link given mentions: for each span its links, none where no concept is near enough.

        A span that lists several mentions ("breast and ovarian cancer") gives a link for each, all with its offsets.

        Raises:
            ValueError: A span outside the text, or one that ends before it starts.
        """
        for start, end in spans:
            if not 0 <= start <= end <= len(text):
                raise ValueError(f"span ({start}, {end}) does not lie in a text of {len(text)} characters")
        defined = abbreviations.find(text) if self.config.abbreviations else {}
        written = {short: text[found.long_start : found.long_end] for short, found in defined.items()}
        pieces = [self._pieces(abbreviations.expand(text[start:end], written)) for start, end in spans]
        decided = iter(self._decide([piece for several in pieces for piece in several]))
        links: list[list[Link]] = []
        for (start, end), several in zip(spans, pieces, strict=True):
            chosen = {found.row: found for _ in several for found in next(decided)}
            links.append([self._as_link(text, start, end, found) for found in chosen.values()])
        return links

    def candidates(self, mentions: Sequence[str]) -> list[list[Candidate]]:
        """Return for each mention the concepts it may mean, best first, ties in the order of the graph."""
        found = [self._exactly(mention) if self._use_exact else [] for mention in mentions]
        if self._use_nearest:
            open_ = [number for number, candidates in enumerate(found) if not candidates]
            for number, candidates in zip(open_, self._nearest([mentions[n] for n in open_]), strict=True):
                found[number] = candidates
        if "rerank" in self.config.tiers:
            found = self._reranked(mentions, found)
        return [sorted(candidates, key=self._order) for candidates in found]

    # ------------------------------------------------------------------ tiers

    def _named(self, text: str, words: Words) -> list[Link]:
        """Exact matches with their concepts, overlapping ones too."""
        links: list[Link] = []
        for match in self._exact.matches(words, text):
            if self._dropped and " ".join(words.keys[match.first : match.last + 1]) in self._dropped:
                continue
            start, end = words.starts[match.first], words.ends[match.last]
            candidates = [Candidate(o.row, o.surface, match.score, match.score, "exact") for o in match.owners]
            if len(candidates) > 1:
                if "rerank" in self.config.tiers:
                    candidates = self._reranked([text[start:end]], [candidates])[0]
                candidates = sorted(candidates, key=self._order)[: self.config.max_concepts]
            links.extend(self._as_link(text, start, end, candidate) for candidate in candidates)
        return links

    def _exactly(self, mention: str) -> list[Candidate]:
        words = read(mention)
        if " ".join(words.keys) in self._dropped:
            return []
        owners, score = self._exact.find(words, mention)
        return [Candidate(owner.row, owner.surface, score, score, "exact") for owner in owners]

    def _nearest(self, mentions: Sequence[str]) -> list[list[Candidate]]:
        """Concepts of the nearest names; a concept counts with its nearest."""
        keys = [key(mention[:_LONGEST_MENTION]) for mention in mentions]
        found: list[list[Candidate]] = []
        for names in self._fuzzy.nearest(keys, self.config.num_candidates):
            best: dict[int, Candidate] = {}
            for name, cosine in names:
                for owner in self._lexicon.names[name]:
                    if owner.row not in best:
                        best[owner.row] = Candidate(owner.row, owner.surface, cosine, cosine, "fuzzy")
            found.append(list(best.values()))
        return found

    def _reranked(self, mentions: Sequence[str], found: list[list[Candidate]]) -> list[list[Candidate]]:
        """Mix each candidate's resemblance with its cosine under the encoder, where there is a choice or a doubt."""
        weight = self._encoder_weight
        open_ = [
            number
            for number, candidates in enumerate(found)
            if len(candidates) > 1 or any(candidate.tier != "exact" for candidate in candidates)
        ]
        texts = [self._compared(candidate) for number in open_ for candidate in found[number]]
        self._encoder.prepare([*texts, *(mentions[number] for number in open_)])
        result = list(found)
        for number in open_:
            result[number] = []
            for candidate in found[number]:
                cosine = self._encoder.cosine(mentions[number], self._compared(candidate))
                score = (1 - weight) * candidate.similarity + weight * cosine
                result[number].append(Candidate(candidate.row, candidate.name, candidate.similarity, score, "rerank"))
        return result

    def _compared(self, candidate: Candidate) -> str:
        """The name the encoder sees: where all candidates share the mention's own name, the preferred one decides."""
        return self.graph.name(self.graph.ids[candidate.row]) if candidate.tier == "exact" else candidate.name

    def _decide(self, mentions: Sequence[str]) -> list[list[Candidate]]:
        """Best concepts of each mention; none below the NIL threshold."""
        threshold = self.fitted.nil_threshold if self.fitted else self.config.nil_threshold
        return [
            [c for c in candidates if c.tier == "exact" or c.score >= threshold][: self.config.max_concepts]
            for candidates in self.candidates(mentions)
        ]

    def _proposed(self, text: str, words: Words, links: Sequence[Link]) -> list[Link]:
        """Mentions that no name spells out: stretches that end in a word in which names often end."""
        threshold = self.fitted.proposal_threshold if self.fitted else self.config.proposal_threshold
        if threshold > 1:
            return []
        taken = [(link.start, link.end) for link in links]
        spans = [
            span
            for span in proposals(words, self._heads, self._vocabulary)
            if not any(start <= span[0] and span[1] <= end for start, end in taken)
            and not any(start < span[0] < end or start < span[1] < end for start, end in taken)
        ]
        decided = self.candidates([text[start:end] for start, end in spans])
        return [
            self._as_link(text, start, end, candidates[0])
            for (start, end), candidates in zip(spans, decided, strict=True)
            if candidates and candidates[0].tier != "exact" and candidates[0].score >= threshold
        ]

    # ------------------------------------------------------------------ inside

    def _pieces(self, mention: str) -> list[str]:
        if not self.config.lists or self._exact.find(read(mention), mention)[0]:
            return [mention]
        return parts(mention, lambda piece: bool(self._exact.find(read(piece), piece)[0]))

    def _as_link(self, text: str, start: int, end: int, found: Candidate) -> Link:
        score = round(min(found.score, 1.0), 4)
        return Link(start, end, self.graph.ids[found.row], text[start:end], score, self._types[found.row], found.tier)

    def _order(self, candidate: Candidate) -> tuple[float, float, int]:
        return -round(candidate.score, 4), -candidate.similarity, candidate.row

    def _linkable(self) -> frozenset[int]:
        """Rows of concepts that may be linked."""
        config, graph = self.config, self.graph
        known = {name for types in self._types for name in types}
        if unknown := sorted(set(config.semantic_types) - known):
            raise GraphError("no concept has this semantic type", item=unknown[0], remedy=f"use {sorted(known)[:20]}")
        left_out = {graph.index(concept) for concept in config.exclude if concept in graph}
        for concept in config.exclude_below:
            if concept in graph:
                left_out |= {graph.index(concept), *map(graph.index, graph.descendants(concept))}
        wanted = set(config.semantic_types)
        return frozenset(
            row for row, types in enumerate(self._types) if row not in left_out and (not wanted or wanted & set(types))
        )

    @property
    def _encoder_weight(self) -> float:
        if "fuzzy" not in self.config.tiers and "exact" not in self.config.tiers:
            return 1.0
        return self.fitted.encoder_weight if self.fitted else self.config.encoder_weight

    @cached_property
    def _fuzzy(self) -> FuzzyIndex:
        cache = None if self.config.cache is None else resolve_path(self.config.cache)
        return FuzzyIndex.cached(list(self._lexicon.names), cache)

    @cached_property
    def _encoder(self) -> Reranker:
        return self._reranker if self._reranker is not None else Reranker.load(str(self.config.encoder))

    @cached_property
    def _heads(self) -> frozenset[str]:
        ends = Counter(name.rpartition(" ")[2] for name in self._lexicon.names)
        return frozenset(word for word, count in ends.items() if count >= _MIN_NAMES_OF_HEAD and not word.isdigit())

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(word for name in self._lexicon.names for word in name.split(" "))


def proposals(words: Words, heads: frozenset[str], vocabulary: frozenset[str]) -> list[tuple[int, int]]:
    """Return spans of two to six words of one clause, all in the vocabulary, that end in one of the ``heads``."""
    spans: list[tuple[int, int]] = []
    for last, word in enumerate(words.keys):
        if word not in heads:
            continue
        for first in range(last - 1, max(-1, last - _WIDEST), -1):
            if words.clause[first] != words.clause[last] or words.keys[first] not in vocabulary:
                break
            spans.append((words.starts[first], words.ends[last]))
    return spans

"""The linker: exact names first, then resembling names, then the encoder's opinion; each tier can be used alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from data_prep.text.linking import abbreviations, lexicon
from data_prep.text.linking.abbreviations import Definition
from data_prep.text.linking.candidates import Candidate, agreement
from data_prep.text.linking.config import Fitted, LinkerConfig, Tier
from data_prep.text.linking.exact import ExactIndex
from data_prep.text.linking.fuzzy import FuzzyIndex
from data_prep.text.linking.lexicon import Lexicon, Owner
from data_prep.text.linking.links import Link, resolve
from data_prep.text.linking.lists import parts
from data_prep.text.linking.proposals import load_parser, noun_chunks, windows
from data_prep.text.linking.rerank import Reranker
from data_prep.text.linking.words import Words, key, read
from medvlp.config import load_as, resolve_path
from medvlp.errors import ConfigError, GraphError

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

_LONGEST_MENTION = 300
_LEAST_PROPOSED = 0.8
_MIN_NAMES_OF_HEAD = 3
_JOINERS = frozenset(["and", "or", "/", "-"])


class Linker:
    """Finds the concepts that a text names (:meth:`link`), or that given spans of it name (:meth:`link_spans`).

    The same graph, configuration and text give the same links in every process.

    Attributes:
        rows: Rows of the concepts that may be linked.
        uses_nearest: Whether a tier beyond the exact one is in use.
    """

    def __init__(
        self,
        graph: DiseaseGraph,
        config: LinkerConfig | None = None,
        *,
        fitted: Fitted | None = None,
        reranker: Reranker | None = None,
        names: Lexicon | None = None,
    ) -> None:
        """Index the names of a graph; the fuzzy index and the encoder are made when they are first needed.

        Args:
            graph: Whose concepts are linked; ``config.graph`` is not read here.
            config: Tiers and rules; the default is the exact tier alone.
            fitted: What was learnt from training texts; by default what ``config.fitted`` names.
            reranker: By default the encoder that ``config.encoder`` names.
            names: The graph's names; collected if not given.

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
        self.rows = self._linkable()
        self._dropped = frozenset(fitted.dropped if fitted else ())
        self._rank = {prefix: rank for rank, prefix in enumerate(fitted.prefer if fitted else ())}
        self._names = names if names is not None else lexicon.build(graph, self.config.min_letters)
        learnt = [(graph.index(concept), name) for concept, name in fitted.names] if fitted else []
        self._lexicon = self._names.extended(learnt) if learnt else self._names
        self._exact = ExactIndex(self._lexicon, self.config.word_order)
        self._use_exact = "exact" in self.config.tiers
        self.uses_nearest = "fuzzy" in self.config.tiers or "rerank" in self.config.tiers

    @classmethod
    def load(cls, config: LinkerConfig) -> Linker:
        """Open the graph that a configuration names and build its linker."""
        from medvlp.knowledge.graph import DiseaseGraph

        return cls(DiseaseGraph.load(resolve_path(config.graph)), config)

    def sibling(self, *, tiers: Sequence[Tier] | None = None, fitted: Fitted | None = None) -> Linker:
        """Return a linker with other tiers (default: the same) and another fit (default: none) on the same names."""
        config = self.config.model_copy(update={"fitted": None, "tiers": list(tiers or self.config.tiers)})
        reranker = self._encoder if "rerank" in config.tiers else None
        return Linker(self.graph, config, fitted=fitted, reranker=reranker, names=self._names)

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
        found = self.named(text)
        if self.uses_nearest and self.config.propose:
            found = resolve([*found, *self.proposed(text, found, self._proposal_threshold)])
        return found

    def named(self, text: str) -> list[Link]:
        """Return the links of names and of abbreviations that the text defines: :meth:`link` without proposals."""
        defined = abbreviations.find(text) if self.config.abbreviations else {}
        uses = {short: abbreviations.uses(text, short) for short in defined}
        words = read(text, *_long_forms(text, defined, uses))
        found = [link for link in self._matched(text, words) if link.text not in defined] if self._use_exact else []
        for short, definition in defined.items():
            long = text[definition.long_start : definition.long_end]
            for chosen in self._meant(long):
                found.extend(self._as_link(text, start, end, chosen) for start, end in uses[short])
        return resolve(found)

    def proposed(self, text: str, links: Sequence[Link], threshold: float) -> list[Link]:
        """Return links of mentions that no name spells out: noun chunks, or stretches that end as names often do.

        Args:
            text: The text.
            links: Those found so far; a proposal may contain one, not cut or repeat it.
            threshold: Least score.
        """
        if threshold > 1:
            return []
        spans = [
            (start, end)
            for start, end in self._proposable(text)
            if not any(link.start < end and start < link.end and not _wider(start, end, link) for link in links)
        ]
        near = self._nearest([text[start:end] for start, end in spans])
        chosen = [
            (span, candidates)
            for span, candidates in zip(spans, near, strict=True)
            if max((candidate.similarity for candidate in candidates), default=0.0) >= _LEAST_PROPOSED
        ]
        spans, found = [span for span, _ in chosen], [candidates for _, candidates in chosen]
        if "rerank" in self.config.tiers:
            found = self._reranked([text[start:end] for start, end in spans], found)
        firsts = [min(candidates, key=self.order) for candidates in found]
        return [
            self._as_link(text, *span, first)
            for span, first in zip(spans, firsts, strict=True)
            if first.score >= threshold
        ]

    def link_spans(self, text: str, spans: Sequence[tuple[int, int]]) -> list[list[Link]]:
        """Link given mentions: for each span its links, none where no concept is near enough.

        A span that lists several mentions ("breast and ovarian cancer") gives a link for each, all with its offsets.

        Raises:
            ValueError: A span outside the text, or one that ends before it starts.
        """
        for start, end in spans:
            if not 0 <= start <= end <= len(text):
                raise ValueError(f"span ({start}, {end}) does not lie in a text of {len(text)} characters")
        pieces = self.written_out(text, spans)
        decided = iter(self._decide([piece for several in pieces for piece in several], self._nil_threshold))
        links: list[list[Link]] = []
        for (start, end), several in zip(spans, pieces, strict=True):
            chosen = {found.row: found for _ in several for found in next(decided)}
            links.append([self._as_link(text, start, end, found) for found in chosen.values()])
        return links

    def written_out(self, text: str, spans: Sequence[tuple[int, int]]) -> list[list[str]]:
        """Return what is looked up for each span: abbreviations written out, lists taken apart."""
        defined = abbreviations.find(text) if self.config.abbreviations else {}
        long_forms = {short: text[found.long_start : found.long_end] for short, found in defined.items()}
        return [self._pieces(abbreviations.expand(text[start:end], long_forms)) for start, end in spans]

    def candidates(self, mentions: Sequence[str]) -> list[list[Candidate]]:
        """Return for each mention the concepts it may mean, best first, ties in the order of the graph."""
        found = [self._exactly(mention) if self._use_exact else [] for mention in mentions]
        if self.uses_nearest:
            open_ = [number for number, candidates in enumerate(found) if not candidates]
            for number, candidates in zip(open_, self._nearest([mentions[n] for n in open_]), strict=True):
                found[number] = candidates
        if "rerank" in self.config.tiers:
            found = self._reranked(mentions, found)
        return [sorted(candidates, key=self.order) for candidates in found]

    # ------------------------------------------------------------------ tiers

    def _matched(self, text: str, words: Words) -> list[Link]:
        """Exact matches with their concepts, overlapping ones too."""
        links: list[Link] = []
        for first, last, owners, score in self._exact.matches(words, text):
            if self._dropped and " ".join(words.keys[first : last + 1]) in self._dropped:
                continue
            owners = [owner for owner in owners if owner.row in self.rows]
            if not owners:
                continue
            start, end = words.starts[first], words.ends[last]
            if len(owners) == 1:  # by far the most: nothing to choose
                row = owners[0].row
                links.append(Link(start, end, self.graph.ids[row], text[start:end], score, self._types[row]))
            else:
                candidates = self._exact_candidates(owners, score)
                if "rerank" in self.config.tiers:
                    candidates = self._reranked([text[start:end]], [candidates])[0]
                best = sorted(candidates, key=self.order)[: self.config.max_concepts]
                links += [self._as_link(text, start, end, candidate) for candidate in best]
            if self.config.lists and last > first > 0 and self._after_joiner(text, words, first):
                links += self._joined(text, words, first, end)
        return links

    def _after_joiner(self, text: str, words: Words, first: int) -> bool:
        gap = text[words.ends[first - 1] : words.starts[first]]
        return words.keys[first - 1] in _JOINERS or (gap != " " and gap.strip() in _JOINERS)

    def _joined(self, text: str, words: Words, first: int, end: int) -> list[Link]:
        """A match that shares its last words with those before "and": both concepts, on the whole list."""
        known = cache(self._is_name)  # the last words are asked for again and again
        for before in range(first - 1, max(-1, first - 5), -1):
            if words.part_sentences(before, first):
                break
            start = words.starts[before]
            pieces = parts(text[start:end], known, shared=True)
            if len(pieces) > 1:
                found = [self._exactly(piece) for piece in pieces]
                return [self._as_link(text, start, end, min(several, key=self.order)) for several in found if several]
        return []

    def _exact_candidates(self, owners: Sequence[Owner], score: float) -> list[Candidate]:
        """Keep those that may be linked: after the best were chosen, as names compete over the whole graph."""
        return [Candidate(o.row, o.surface, score, "exact", score=score) for o in owners if o.row in self.rows]

    def _exactly(self, mention: str) -> list[Candidate]:
        return self._exact_candidates(*self._exact.find(mention))

    def _nearest(self, mentions: Sequence[str]) -> list[list[Candidate]]:
        """Concepts of the nearest names; a concept counts with its nearest."""
        keys = [key(mention[:_LONGEST_MENTION]) for mention in mentions]
        found: list[list[Candidate]] = []
        for mention, names in zip(keys, self._fuzzy.nearest(keys, self.config.num_candidates), strict=True):
            best: dict[int, Candidate] = {}
            for name, cosine in names:
                similarity = cosine * agreement(mention, name)
                for owner in self._lexicon.names[name]:
                    if owner.row in self.rows and (owner.row not in best or best[owner.row].similarity < similarity):
                        best[owner.row] = Candidate(owner.row, owner.surface, similarity, "fuzzy", score=similarity)
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
            cosines = [self._encoder.cosine(mentions[number], self._compared(candidate)) for candidate in found[number]]
            result[number] = [
                replace(candidate, cosine=cosine, tier="exact" if candidate.tier == "exact" else "rerank").mixed(weight)
                for candidate, cosine in zip(found[number], cosines, strict=True)
            ]
        return result

    def _compared(self, candidate: Candidate) -> str:
        """The name the encoder sees: where all candidates share the mention's own name, the preferred one decides."""
        return self.graph.name(self.graph.ids[candidate.row]) if candidate.tier == "exact" else candidate.name

    def _decide(self, mentions: Sequence[str], threshold: float) -> list[list[Candidate]]:
        """Best concepts of each mention: exact ones, or those that score at least ``threshold``."""
        return [
            [c for c in candidates if c.tier == "exact" or c.score >= threshold][: self.config.max_concepts]
            for candidates in self.candidates(mentions)
        ]

    # ------------------------------------------------------------------ inside

    def _proposable(self, text: str) -> list[tuple[int, int]]:
        if self.config.chunker is not None:
            return noun_chunks(self._parser, text)
        return windows(read(text), self._heads, self._vocabulary)

    def _meant(self, long: str) -> list[Candidate]:
        """Concepts of a long form as defined, or as completed to a name: "von Hippel-Lindau (VHL) disease"."""
        for name in (long, f"{long} disease", f"{long} syndrome"):
            if self._use_exact and (found := self._exactly(name)):
                return self.candidates([name])[0][: self.config.max_concepts] if len(found) > 1 else found
        return self._decide([long], self._proposal_threshold)[0] if self.uses_nearest else []

    def _pieces(self, mention: str) -> list[str]:
        return [mention] if not self.config.lists or self._is_name(mention) else parts(mention, self._is_name)

    def _is_name(self, mention: str) -> bool:
        return bool(self._exactly(mention))

    def _as_link(self, text: str, start: int, end: int, found: Candidate) -> Link:
        score = round(min(found.score, 1.0), 4)
        return Link(start, end, self.graph.ids[found.row], text[start:end], score, self._types[found.row], found.tier)

    def order(self, candidate: Candidate) -> tuple[float, float, int, int]:
        """Sort key of candidates: score, resemblance, preferred source, row."""
        prefix = self.graph.ids[candidate.row].partition(":")[0]
        return -round(candidate.score, 4), -candidate.similarity, self._rank.get(prefix, len(self._rank)), candidate.row

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
    def mixes(self) -> bool:
        """Whether resemblance and the encoder share the score of candidates: not where the encoder is alone."""
        return "rerank" in self.config.tiers and self.config.tiers != ["rerank"]

    @property
    def _nil_threshold(self) -> float:
        return self.fitted.nil_threshold if self.fitted else self.config.nil_threshold

    @property
    def _proposal_threshold(self) -> float:
        return self.fitted.proposal_threshold if self.fitted else self.config.proposal_threshold

    @property
    def _encoder_weight(self) -> float:
        if not self.mixes:
            return 1.0
        return self.fitted.encoder_weight if self.fitted else self.config.encoder_weight

    @cached_property
    def _fuzzy(self) -> FuzzyIndex:
        cache = None if self.config.cache is None else resolve_path(self.config.cache)
        names = self._lexicon.names
        linkable = [name for name, owners in names.items() if any(owner.row in self.rows for owner in owners)]
        return FuzzyIndex.cached(linkable, cache)

    @cached_property
    def _encoder(self) -> Reranker:
        return self._reranker if self._reranker is not None else Reranker.load(str(self.config.encoder))

    @cached_property
    def _parser(self) -> Any:
        return load_parser(str(self.config.chunker))

    @cached_property
    def _heads(self) -> frozenset[str]:
        ends = Counter(name.rpartition(" ")[2] for name in self._lexicon.names)
        return frozenset(word for word, count in ends.items() if count >= _MIN_NAMES_OF_HEAD and not word.isdigit())

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(word for name in self._lexicon.names for word in name.split(" "))


def _wider(start: int, end: int, link: Link) -> bool:
    return start <= link.start and link.end <= end and (start, end) != (link.start, link.end)


def _long_forms(
    text: str, defined: dict[str, Definition], uses: dict[str, list[tuple[int, int]]]
) -> tuple[list[tuple[int, int, list[str]]], list[tuple[int, int]]]:
    """What :func:`read` needs to read "VHL tumour" as "von Hippel-Lindau tumour" and to look past defining brackets."""
    replaced = []
    for short, definition in defined.items():
        keys = read(text[definition.long_start : definition.long_end]).keys
        if keys:
            replaced += [(start, end, keys) for start, end in uses[short]]
    return replaced, [definition.bracket for definition in defined.values()]

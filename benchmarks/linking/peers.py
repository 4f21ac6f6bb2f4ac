"""scispaCy on the same graph, the same names and the same spans: its candidate generator, and its linker for the speed.

Its index is built as scispaCy builds it, with one of two pairs of numbers: scispaCy's own, M = 100 and efConstruction =
2000 (``create_tfidf_ann_index`` of its ``candidate_generation``), or smaller ones that are built in seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.text.linking.lexicon import TRUSTED
from medvlp.errors import MissingExtraError
from medvlp.io import read_json, require, write_json

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

Spans = Sequence[tuple[int, int]]
INDEXES = {
    "light": {"M": 20, "efConstruction": 100, "post": 0},
    "own": {"M": 100, "efConstruction": 2000, "post": 0},
}
_SEARCH = {"efSearch": 200}
_NEIGHBOURS = 30
_ASKED, _SAME = 1000, 0.999
THRESHOLD = 0.7
"""Least similarity of scispaCy's linker by default."""


class SciSpacy:
    """scispaCy's abbreviation detector, candidate generator and linker on a knowledge base made of a graph.

    Attributes:
        generator: Its candidate generator.
        finds_itself: Share of a sample of names that its index finds for themselves; far below 1 the index is bad.
        built: Wall and processor seconds that building the index took, the threads and the number of names.
    """

    def __init__(
        self,
        graph: DiseaseGraph,
        rows: Collection[int],
        index_file: str | None = None,
        min_df: int = 10,
        recogniser: str | None = None,
        index: str = "light",
    ) -> None:
        """Build the knowledge base of the given concepts and its index.

        Args:
            graph: Concepts and names.
            rows: The concepts to take.
            index_file: Where the index is kept; it is built if it is not there.
            min_df: 3-grams of fewer names are left out; scispaCy's is 10.
            recogniser: An installed spaCy pipeline, of which the recogniser runs before the linker in :meth:`link`.
            index: Which of :data:`INDEXES`; a kept index must be of the same.

        Raises:
            MissingExtraError: If scispaCy or the recogniser is not installed.
        """
        require("scispacy", "nlp")
        nmslib, spacy = require("nmslib", "nlp"), require("spacy", "nlp")
        from scispacy.abbreviation import AbbreviationDetector
        from scispacy.candidate_generation import CandidateGenerator
        from scispacy.linking import EntityLinker
        from scispacy.linking_utils import Entity, KnowledgeBase
        from sklearn.feature_extraction.text import TfidfVectorizer

        entities = []
        for row in sorted(rows):
            concept = graph.ids[row]
            aliases = [name.text for name in graph.names(concept) if name.kind in TRUSTED]
            entities.append(Entity(concept, graph.name(concept), aliases, [], "defined"))
        base = KnowledgeBase(entities)
        names = sorted(base.alias_to_cuis)  # theirs come in the order of a set: another in every process
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), min_df=min_df, dtype=np.float32)
        vectors = vectorizer.fit_transform(names)
        filled = np.asarray(vectors.sum(axis=1) != 0).reshape(-1)
        found = nmslib.init(method="hnsw", space="cosinesimil_sparse", data_type=nmslib.DataType.SPARSE_VECTOR)
        found.addDataPointBatch(vectors[filled])
        self.built = _fill(found, INDEXES[index], int(filled.sum()), None if index_file is None else Path(index_file))
        found.setQueryTimeParams(_SEARCH)
        kept = [name for name, keep in zip(names, filled, strict=True) if keep]
        self.generator: Any = CandidateGenerator(found, vectorizer, kept, base)
        step = max(1, len(kept) // _ASKED)
        self.finds_itself = self._finds_itself(kept[::step])
        self._nlp = spacy.blank("en")
        self._recognise = self._nlp if recogniser is None else _load(spacy, recogniser)
        self._detector = AbbreviationDetector(self._nlp)
        self._linker = EntityLinker(candidate_generator=self.generator, k=_NEIGHBOURS)

    def _finds_itself(self, names: list[str]) -> float:
        """Share of names whose nearest neighbour is as near as the name itself: what the approximate index loses."""
        found = self.generator(names, _NEIGHBOURS)
        nearest = [max((max(c.similarities) for c in candidates), default=0.0) for candidates in found]
        return sum(similarity > _SAME for similarity in nearest) / len(names)

    def best(self, text: str, spans: Spans) -> list[tuple[str, float] | None]:
        """Return for each span the best candidate and its similarity, whatever it is; abbreviations written out."""
        doc = self._detector(self._nlp(text))
        long_forms = {(short.start_char, short.end_char): short._.long_form.text for short in doc._.abbreviations}
        mentions = [long_forms.get((start, end), text[start:end]) for start, end in spans]
        found: list[tuple[str, float] | None] = []
        for candidates in self.generator(mentions, _NEIGHBOURS):
            ranked = sorted(((c.concept_id, max(c.similarities)) for c in candidates), key=lambda pair: -pair[1])
            found.append(ranked[0] if ranked else None)
        return found

    def link(self, text: str, spans: Spans) -> int:
        """Run the pipe on a text; return how many mentions were linked.

        The mentions are the given ones, whatever the recogniser finds: a general one finds no diseases.
        """
        doc = self._detector(self._recognise(text))
        ents = [doc.char_span(start, end, label="mention", alignment_mode="expand") for start, end in spans]
        doc.ents = require("spacy.util", "nlp").filter_spans(ents)
        return sum(bool(ent._.kb_ents) for ent in self._linker(doc).ents)


def _fill(index: Any, numbers: dict[str, int], names: int, file: Path | None) -> dict[str, float]:
    """Read a kept index, or build it and keep it with a record of what that took; return the record."""
    record = None if file is None else file.with_name(f"{file.name}.json")
    if file is not None and record is not None and record.is_file():  # the record is written last: the index is whole
        index.loadIndex(str(file))
        return dict(read_json(record))
    wall, processor = time.perf_counter(), time.process_time()
    threads = os.cpu_count() or 1
    index.createIndex({**numbers, "indexThreadQty": threads}, print_progress=False)
    built = {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "threads": threads,
        "names": names,
    }
    if file is not None and record is not None:
        index.saveIndex(str(file))
        write_json(record, built)
    return built


def _load(spacy: Any, recogniser: str) -> Any:
    try:
        return spacy.load(recogniser, enable=["tok2vec", "ner"])
    except OSError:
        remedy = "pip install it, or set recogniser to null"
        raise MissingExtraError("no such spaCy pipeline is installed", item=recogniser, remedy=remedy) from None

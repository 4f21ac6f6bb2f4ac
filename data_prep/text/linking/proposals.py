"""Spans that may be mentions although no name spells them out: noun chunks, or windows by rule without a parser."""

from __future__ import annotations

from typing import Any

from data_prep.text.linking.words import Words
from medvlp.errors import MissingExtraError
from medvlp.io import require

_WIDEST = 6
_LEFT_OUT = frozenset(["DET", "PRON", "NUM", "PUNCT"])


def windows(words: Words, heads: frozenset[str], vocabulary: frozenset[str]) -> list[tuple[int, int]]:
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


def load_parser(model: str) -> Any:
    """Open an installed spaCy pipeline with a parser.

    Raises:
        MissingExtraError: If spaCy or the pipeline is not installed, or it has no parser.
    """
    spacy = require("spacy", "nlp")
    try:
        pipeline = spacy.load(model, exclude=["ner", "lemmatizer"])
    except OSError:
        raise MissingExtraError("no such spaCy pipeline is installed", item=model, remedy="pip install it") from None
    if "parser" not in pipeline.pipe_names:
        raise MissingExtraError("the spaCy pipeline has no parser", item=model, remedy="name another")
    return pipeline


def noun_chunks(parser: Any, text: str) -> list[tuple[int, int]]:
    """Return noun chunks without articles and numbers in front, and what is left of each without its first words."""
    spans: list[tuple[int, int]] = []
    for chunk in parser(text).noun_chunks:
        tokens = list(chunk)
        while tokens and tokens[0].pos_ in _LEFT_OUT:
            tokens = tokens[1:]
        tokens = tokens[-_WIDEST:]
        spans += [(token.idx, chunk.end_char) for token in tokens if token.pos_ not in _LEFT_OUT]
    return spans

"""A trained name recogniser beside the rules, where a spaCy model is installed."""

from __future__ import annotations

from collections.abc import Iterable

from data_prep.deid.text import Recogniser
from data_prep.deid.words import EPONYM_PHRASES, eponyms, is_common
from medvlp.errors import MissingExtraError
from medvlp.io import require

_CHUNK = 50_000


def spacy_recogniser(model: str = "en_core_web_sm") -> Recogniser:
    """Load a spaCy pipeline; of what it calls a person, eponyms and ordinary words are left alone.

    Raises:
        MissingExtraError: spaCy or the model is not installed.
    """
    spacy = require("spacy", "nlp")
    try:
        pipeline = spacy.load(model)
    except OSError:
        raise MissingExtraError(
            "the spaCy model is not installed", item=model, remedy="pip install a spaCy model, or leave --names out"
        ) from None
    return recogniser_of(pipeline)


def recogniser_of(pipeline: object) -> Recogniser:
    """A recogniser from any loaded spaCy pipeline with entities of label PERSON."""

    def recognise(text: str) -> Iterable[tuple[int, int]]:
        for offset in range(0, len(text), _CHUNK):
            for entity in pipeline(text[offset : offset + _CHUNK]).ents:  # type: ignore[operator]
                words = [word.strip(".,;:'’") for word in entity.text.split()]
                usual = any(is_common(word) or word.lower() in eponyms() for word in words)
                if entity.label_ == "PERSON" and words and not usual and not EPONYM_PHRASES.search(entity.text):
                    yield entity.start_char + offset, entity.end_char + offset

    return recognise

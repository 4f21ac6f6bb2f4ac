"""The settings of all protocols, as one union. A new protocol adds its file, and two lines here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchmarks.protocols import (
    concept_retrieval,
    linking,
    ner,
    retrieval,
    slide_classification,
    slide_segmentation,
    zero_shot,
)

ProtocolSettings = Annotated[
    zero_shot.Config
    | retrieval.Config
    | slide_classification.Config
    | slide_segmentation.Config
    | concept_retrieval.Config
    | linking.Config
    | ner.Config,
    Field(discriminator="name"),
]  # fmt: skip

MODULES = {
    "zero_shot": zero_shot,
    "retrieval": retrieval,
    "slide_classification": slide_classification,
    "slide_segmentation": slide_segmentation,
    "concept_retrieval": concept_retrieval,
    "linking": linking,
    "ner": ner,
}

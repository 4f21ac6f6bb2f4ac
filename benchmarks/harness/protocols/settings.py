"""The settings of all protocols, as one union. A new protocol adds its file, and two lines here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchmarks.harness.protocols import (
    concept_retrieval,
    consistency,
    few_shot,
    grounding,
    knn,
    linear_probe,
    linking,
    ner,
    prompt_tuning,
    retrieval,
    slide_classification,
    slide_segmentation,
    survival,
    zero_shot,
)

ProtocolSettings = Annotated[
    zero_shot.Config
    | retrieval.Config
    | linear_probe.Config
    | knn.Config
    | few_shot.Config
    | prompt_tuning.Config
    | grounding.Config
    | consistency.Config
    | survival.Config
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
    "linear_probe": linear_probe,
    "knn": knn,
    "few_shot": few_shot,
    "prompt_tuning": prompt_tuning,
    "grounding": grounding,
    "consistency": consistency,
    "survival": survival,
    "slide_classification": slide_classification,
    "slide_segmentation": slide_segmentation,
    "concept_retrieval": concept_retrieval,
    "linking": linking,
    "ner": ner,
}

"""A contrast of texts whose targets are degrees of kinship, so that relatives lie near one another in the text space.

The metric loss of stage 1 pushes every two concepts apart, a sibling as hard as a stranger. Here a text has to find
the texts of its concept first, those of siblings next, strangers last: cross entropy against soft targets
``exp(kinship / T)`` with logits ``cosine / T``, which is least where cosines are kinship up to a constant. Kinship is
the overlap of ancestor sets, ``medvlp.metrics.hierarchy.ancestor_credit``. Without a hierarchy only texts of the same
concept are positives.

Shape legend: M texts, n concepts, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import nn

from medvlp.metrics.hierarchy import ancestor_credit
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs
from medvlp.objectives.clip import contrast_rows

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.gather import Gather


class KinshipObjective(nn.Module):
    """The soft contrast of the texts of one step, in one process.

    Args:
        config: Settings.
        graph: Hierarchy, real or rewired; None knows equal concepts alone.
    """

    class Config(ObjectiveSettings):
        """Settings of the contrast by kinship."""

        name: Literal["kinship"] = Field("kinship", description="Selects the contrast by kinship.")
        temperature: float = Field(0.1, gt=0, description="Divisor of cosines and of kinship.")

    def __init__(self, config: KinshipObjective.Config, graph: DiseaseGraph | None) -> None:
        super().__init__()
        self.config = config
        self.credit_nn = None
        if graph is not None:
            self.credit_nn = torch.from_numpy(ancestor_credit(graph.closure, range(len(graph)))).float()

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"kinship": loss}``."""
        concept_M = batch.concept_B[batch.text_owner_M]
        itself_MM = torch.eye(len(concept_M), dtype=torch.bool)
        if self.credit_nn is None:
            weight_MM = (concept_M[:, None] == concept_M).float()
        else:
            weight_MM = torch.exp(self.credit_nn[concept_M][:, concept_M] / self.config.temperature)
        weight_MM = weight_MM.masked_fill(itself_MM, 0.0)
        total, count = contrast_rows(
            out.text_MD,
            out.text_MD,
            1 / self.config.temperature,
            lambda rows: weight_MM[rows],
            drop=lambda rows: itself_MM[rows],
        )
        return Losses({"kinship": self.config.weight * total / count.clamp(min=1)}, {})

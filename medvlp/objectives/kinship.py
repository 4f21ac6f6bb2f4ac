"""Contrast of texts whose targets are degrees of kinship, so that relatives lie near one another in the text space.

The metric loss of stage 1 pushes any two concepts apart, a sibling as hard as a stranger. Here a text has to find the
texts of its concept first, those of siblings next, strangers last: cross entropy against targets proportional to
``exp(kinship / T)`` with logits ``cosine / T``, which is least where cosines are kinship up to a constant. Kinship is
the overlap of ancestor sets (Kiritchenko et al. 2006), ``medvlp.metrics.hierarchy.ancestor_credit``, 1 for a concept
itself. No paper's; ``docs/controlled.md`` measures it beside the metric loss.

Shape legend: M texts of this rank, T texts of all ranks, U distinct concepts, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from medvlp.metrics.hierarchy import ancestor_credit
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.clip import contrast_rows, mean_over_ranks
from medvlp.objectives.gather import Gather
from medvlp.objectives.identity import Identity, Rows

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph


def kinship_loss(text_MD: Tensor, kinship_MM: Tensor, temperature: float) -> Tensor:
    """Mean over texts of the cross entropy against their kinship with all other texts.

    With ``w_ij = exp(k_ij / T)`` and ``p_i = softmax over j != i of (t_i . t_j / T)`` the loss of a text is
    ``- sum_j!=i w_ij log p_ij / sum_j!=i w_ij``.

    Args:
        text_MD: Unit vectors.
        kinship_MM: Kinship of the texts' concepts, 0 to 1; ``-inf`` for a pair that must not be a target.
        temperature: T, the divisor of cosines and of kinship.

    Returns:
        A scalar, 0 where no text has a target.
    """
    index = torch.arange(len(text_MD), device=text_MD.device)
    with full_precision(text_MD):
        weight_MM = (kinship_MM.to(text_MD) / temperature).exp().masked_fill(index[:, None] == index, 0.0)
        itself: Rows = lambda rows: index[rows, None] == index  # noqa: E731
        total, count = contrast_rows(text_MD, text_MD, 1 / temperature, lambda rows: weight_MM[rows], drop=itself)
        return total / count.clamp(min=1)


class KinshipObjective(nn.Module):
    """:func:`kinship_loss` over all ranks; a text's concept is that of the image or concept that owns it.

    Args:
        config: Settings.
        graph: Hierarchy, real or rewired; None knows equal groups alone.
    """

    class Config(ObjectiveSettings):
        """Settings of the contrast by kinship."""

        name: Literal["kinship"] = Field(default="kinship", description="Selects the contrast by kinship.")
        temperature: float = Field(default=0.3, gt=0, description="Divisor of cosines and of kinship.")

    needs = frozenset({"text_owner_M", "group_B"})

    def __init__(self, config: KinshipObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = KinshipObjective.Config() if config is None else config
        self.graph = graph

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"kinship": loss}`` and the share of texts without any target, which do not count."""
        identity, temperature = Identity(batch, gather, out.text_MD.device), self.config.temperature
        with full_precision(out.text_MD):
            text_MD = normalize(upcast(out.text_MD), dim=1)
            weight_MT = (self._kinship(identity).to(text_MD) / temperature).exp()
            weight_MT = weight_MT.masked_fill(identity.own_texts(slice(None)), 0.0)
            total, count = contrast_rows(
                text_MD, gather(text_MD), 1 / temperature, lambda rows: weight_MT[rows], drop=identity.own_texts
            )
            loss = mean_over_ranks(total, count, gather)
        return Losses({"kinship": self.config.weight * loss}, {"rows_without_target": 1 - count / len(text_MD)})

    def _kinship(self, identity: Identity) -> Tensor:
        """(M, T): kinship of the main concepts; of texts of one group 1, of one without a concept with others none."""
        same_MT = identity.text_to_text(slice(None)) | identity.own_texts(slice(None))
        if self.graph is None:
            return torch.where(same_MT, 0.0, float("-inf"))
        concept_T = identity.gather(identity.batch.concept_B.to(identity.device))[identity.all_owner]
        concept_U, place_T = torch.unique(concept_T, return_inverse=True)
        credit_UU = torch.from_numpy(ancestor_credit(self.graph.closure, concept_U.cpu().numpy())).to(identity.device)
        unknown_U = concept_U < 0
        credit_UU = credit_UU.masked_fill(unknown_U[:, None] | unknown_U, float("-inf"))
        own = slice(identity.gather.rank * len(identity.owner_M), (identity.gather.rank + 1) * len(identity.owner_M))
        return torch.where(same_MT, 1.0, credit_UU[place_T[own]][:, place_T])

"""Adaptive sparse pairwise loss: names, definitions and paths of one disease draw together (stage 1).

Shapes: N texts = G groups × M members, D size, R groups of this rank. Source: AdaSP (Zhou et al. 2023), as
used for knowledge encoders in KEP (Zhou et al. 2024) and KEEP (Zhou et al. 2026).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather
from medvlp.objectives.identity import Identity, group_size

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph


def adasp_loss(
    embedding: Tensor, group_size: int, temperature: float = 0.04, *, exclude: Tensor | None = None
) -> Tensor:
    """Contrast of groups whose positive lies adaptively between the hardest and the least hard one.

    With cosines s, T the temperature and LSE the log of the sum of exponentials, for group g:
    hardest positive ``Sh = -T LSE_ij(-s/T)``, least hard positive ``Sl = T LSE_i(-LSE_j(-s/T))``, negative
    to group h ``N_gh = T LSE_ij(s/T)``; weight ``w = 2 Sh Sl / (Sh + Sl)``, 0 where Sh < 0, without gradient;
    ``P = w Sh + (1 - w) Sl``; the loss is the mean over g of ``log(1 + sum_h exp((N_gh - P_g) / T))``.
    A row's cosine with itself takes part, as in the published computation.

    Args:
        embedding: (G·M, D), group after group; normalised here.
        group_size: M.
        temperature: T.
        exclude: (G, G) bool; True drops group h from the negatives of g; the diagonal is ignored.

    Returns:
        A scalar.

    Raises:
        ValueError: If the rows are no whole number of groups, or ``exclude`` has another shape.
    """
    _check(len(embedding), group_size, exclude)
    with full_precision(embedding):
        unit_ND = normalize(upcast(embedding), dim=1)
        return _adasp_rows(unit_ND, unit_ND, group_size, temperature, exclude, first_group=0).mean()


def _check(num_rows: int, group_size: int, exclude: Tensor | None) -> None:
    if group_size < 1 or num_rows == 0 or num_rows % group_size:
        raise ValueError(f"{num_rows} rows are no whole number of groups of {group_size}")
    num_groups = num_rows // group_size
    if exclude is not None and exclude.shape != (num_groups, num_groups):
        raise ValueError(f"exclude is {tuple(exclude.shape)}, expected {(num_groups, num_groups)}")


def _adasp_rows(
    row_ND: Tensor, column_ND: Tensor, size: int, temperature: float, exclude_RG: Tensor | None, first_group: int
) -> Tensor:
    """Loss of each row group (R,) against all column groups; row group r is column group first_group + r."""
    logits = (row_ND @ column_ND.T / temperature).reshape(len(row_ND) // size, size, -1, size)
    num_rows, _, num_groups, _ = logits.shape
    row = torch.arange(num_rows, device=logits.device)
    own_RMM = logits[row, :, first_group + row]
    softest_RM = -(-own_RMM).logsumexp(2)
    hard_R, least_hard_R = -(-softest_RM).logsumexp(1), softest_RM.logsumexp(1)
    weight_R = _harmonic_mean(hard_R.detach() * temperature, least_hard_R.detach() * temperature)
    positive_R = weight_R * hard_R + (1 - weight_R) * least_hard_R

    negative_RG = logits.logsumexp((1, 3)) - positive_R[:, None]
    if exclude_RG is not None:
        negative_RG = negative_RG.masked_fill(exclude_RG, float("-inf"))
    own_RG = torch.arange(num_groups, device=logits.device) == (first_group + row)[:, None]
    return negative_RG.masked_fill(own_RG, 0.0).logsumexp(1)


def _harmonic_mean(hard: Tensor, least_hard: Tensor) -> Tensor:
    """2ab/(a+b) where a > 0, else 0; b is never below a, so the divisor is safe exactly where it is used."""
    usable = hard > 0
    hard, least_hard = torch.where(usable, hard, 0.0), torch.where(usable, least_hard, 1.0)
    return 2 * hard * (least_hard / (hard + least_hard))


class KnowledgeMetricObjective(nn.Module):
    """:func:`adasp_loss` over all ranks, on texts whose group comes from the image or concept that owns them.

    Ids come in any order; groups must have equal numbers of texts and lie whole on one rank.

    Args:
        config: Settings.
        graph: Hierarchy for ``exclude_related``; None excludes by equal label or concept alone.
    """

    class Config(ObjectiveSettings):
        """Settings of the adaptive sparse pairwise loss."""

        name: Literal["knowledge_metric"] = Field(
            default="knowledge_metric", description="Selects the adaptive sparse pairwise loss."
        )
        temperature: float = Field(default=0.04, gt=0.0, description="Divisor of cosines.")
        exclude_related: bool = Field(
            default=False, description="Take equal and related concepts out of the negatives (not in the papers)."
        )

    needs = frozenset({"text_owner_M", "group_B"})

    def __init__(
        self, config: KnowledgeMetricObjective.Config | None = None, graph: DiseaseGraph | None = None
    ) -> None:
        super().__init__()
        self.config = KnowledgeMetricObjective.Config() if config is None else config
        self.graph = graph

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"knowledge_metric": loss}`` and the share of excluded group pairs.

        Raises:
            TrainingError: Naming the first group of another size, or split over ranks.
        """
        identity = Identity(batch, gather, out.text_MD.device)
        text_group_M = identity.group_B[identity.owner_M]
        size = group_size(gather(text_group_M), gather.world, "texts")
        order = text_group_M.argsort(stable=True)
        first_group = gather.rank * (len(order) // size)
        exclude = None
        if self.config.exclude_related:
            exclude = identity.related_groups(gather(text_group_M[order][::size]), self.graph)
        with full_precision(out.text_MD):
            unit_ND = normalize(upcast(out.text_MD)[order], dim=1)
            row_losses = _adasp_rows(unit_ND, gather(unit_ND), size, self.config.temperature, exclude, first_group)
        return Losses(
            {"knowledge_metric": self.config.weight * row_losses.mean()},
            {"excluded_share": row_losses.new_zeros(()) if exclude is None else exclude.float().mean()},
        )

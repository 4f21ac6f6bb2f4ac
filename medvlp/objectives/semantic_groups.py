"""Metric loss between semantic groups of images and texts, with false negatives taken out (stage 2 of KEEP).

Shapes: G groups of all ranks, R groups of this rank, M members of a group, B images, M texts, D size.
Source: Zhou et al. 2026 (KEEP) and the loss published with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.errors import TrainingError
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather
from medvlp.objectives.identity import Identity, group_size

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph

Variant = Literal["hp-hn", "hp-lhn", "lhp-hn", "lhp-lhn"]
Aggregate = Literal["mean", "sum"]
_VARIANTS = ("hp-hn", "hp-lhn", "lhp-hn", "lhp-lhn")


def group_metric_loss(
    similarity: Tensor,
    group_size: int,
    scale: Tensor | float,
    *,
    exclude: Tensor | None = None,
    variant: Variant = "lhp-hn",
    aggregate: Aggregate = "mean",
    compat: Literal["keep"] | None = None,
) -> Tensor:
    """Each group's positive score against its scores with all other groups, images to texts and back.

    With a = ``scale``, S the similarities, i the rows of group g and j the columns of g or h:

    - ``hp`` (hardest positive) ``P_g = -LSE_ij(-a S)``; ``lhp`` (least hard) ``P_g = LSE_i(-LSE_j(-a S))``
    - ``hn`` (hardest negative) ``N_gh = LSE_ij(a S)``; ``lhn`` (least hard) ``N_gh = -LSE_i(-LSE_j(a S))``
    - loss: mean over g of ``log(exp P_g + sum_{h != g} exp N_gh) - P_g``; then the same on the transpose.

    ``aggregate="mean"`` averages over members inside each logarithm instead of summing, which makes the
    temperature mean the same for every M: equal similarities give log G. A sum gives negatives a lead of
    log M² (log(1 + (G-1) M²)).

    Args:
        similarity: (G·M, G·M) cosines, images × texts, group after group.
        group_size: M.
        scale: Multiplier (already exponentiated).
        exclude: (G, G) bool; True drops the pair from the negatives; the diagonal is ignored.
        variant: Which positives and negatives.
        aggregate: Mean or sum over members inside the logarithms.
        compat: "keep" gives the published value: sums, and excluded similarities overwritten by -1.

    Returns:
        A scalar in float32 (float64 stays); 0 if no negative is left.

    Raises:
        ValueError: If a shape or an option does not fit.
    """
    num_rows, num_columns = similarity.shape
    if group_size < 1 or num_rows == 0 or num_rows != num_columns or num_rows % group_size:
        raise ValueError(f"similarity is {num_rows} x {num_columns}, no whole number of groups of {group_size}")
    num_groups = num_rows // group_size
    if exclude is not None and exclude.shape != (num_groups, num_groups):
        raise ValueError(f"exclude is {tuple(exclude.shape)}, expected {(num_groups, num_groups)}")
    if variant not in _VARIANTS or aggregate not in ("mean", "sum") or compat not in (None, "keep"):
        raise ValueError(f"unknown variant {variant!r}, aggregate {aggregate!r} or compat {compat!r}")
    with full_precision(similarity):
        blocks = upcast(similarity).reshape(num_groups, group_size, num_groups, group_size)
        transposed = None if exclude is None else exclude.T
        forth = _group_rows(blocks, 0, scale, exclude, variant, aggregate, compat)
        back = _group_rows(blocks.permute(2, 3, 0, 1), 0, scale, transposed, variant, aggregate, compat)
        return (forth.mean() + back.mean()) / 2


def _group_rows(
    similarity_RMGM: Tensor,
    first_group: int,
    scale: Tensor | float,
    exclude_RG: Tensor | None,
    variant: str,
    aggregate: str,
    compat: str | None,
) -> Tensor:
    """Loss of each row group (R,); row group r is column group first_group + r."""
    positive_kind, negative_kind = variant.split("-")
    mean = aggregate == "mean" and compat is None
    num_rows, _, num_groups, _ = similarity_RMGM.shape
    row = torch.arange(num_rows, device=similarity_RMGM.device)
    own_RG = torch.arange(num_groups, device=row.device) == (first_group + row)[:, None]
    if exclude_RG is not None and compat == "keep":
        similarity_RMGM = similarity_RMGM.masked_fill((exclude_RG & ~own_RG)[:, None, :, None], -1.0)
    logits = scale * similarity_RMGM

    own_RMM = logits[row, :, first_group + row]
    if positive_kind == "hp":
        positive_R = -_aggregate(-own_RMM, (1, 2), mean)
    else:
        positive_R = _aggregate(-_aggregate(-own_RMM, (2,), mean), (1,), mean)
    if negative_kind == "hn":
        negative_RG = _aggregate(logits, (1, 3), mean)
    else:
        negative_RG = -_aggregate(-_aggregate(logits, (3,), mean), (1,), mean)

    margin_RG = negative_RG - positive_R[:, None]
    if exclude_RG is not None and compat is None:
        margin_RG = margin_RG.masked_fill(exclude_RG, float("-inf"))
    return margin_RG.masked_fill(own_RG, 0.0).logsumexp(1)


def _aggregate(values: Tensor, dims: tuple[int, ...], mean: bool) -> Tensor:
    """Log of the sum, or of the mean, of exponentials over ``dims``."""
    num_terms = math.prod(values.shape[dim] for dim in dims)
    total = values.logsumexp(dims)
    return total - math.log(num_terms) if mean else total


class GroupObjective(nn.Module):
    """:func:`group_metric_loss` over all ranks, on ids in any order.

    Groups must have equal numbers of images and of texts, and lie whole on one rank. Two groups are no
    negatives of one another if they share a label (``normal`` with ``normal``) or if any concept of one is,
    or is an ancestor or descendant of, any concept of the other.

    Args:
        config: Settings.
        graph: Hierarchy that decides relatedness: real, permuted, or None (equal labels and concepts alone).
    """

    class Config(ObjectiveSettings):
        """Settings of the group metric loss."""

        name: Literal["semantic_groups"] = Field(
            default="semantic_groups", description="Selects the metric loss between semantic groups."
        )
        variant: Variant = Field(default="lhp-hn", description="Positive and negative: (least) hard each.")
        aggregate: Aggregate = Field(default="mean", description="Mean or sum over members inside the logarithms.")
        exclude: Literal["related", "none"] = Field(
            default="related", description="Which group pairs are taken out of the negatives."
        )
        compat: Literal["keep"] | None = Field(
            default=None, description="keep: the published computation; null: exclusion proper and all concepts."
        )

    needs = frozenset({"text_owner_M", "group_B", "concept_B"})

    def __init__(self, config: GroupObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = GroupObjective.Config() if config is None else config
        self.graph = graph

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"semantic_groups": loss}`` and the share of excluded group pairs.

        Raises:
            TrainingError: Naming the first group of another size, split over ranks, or without texts.
        """
        config, image_BD = self.config, out.images("semantic_groups")
        identity = Identity(batch, gather, image_BD.device)
        group_B, text_group_M = identity.group_B, identity.group_B[identity.owner_M]
        all_text_group = gather(text_group_M)
        num_images = group_size(identity.all_group, gather.world, "images")
        num_texts = group_size(all_text_group, gather.world, "texts")
        missing = identity.all_group[~torch.isin(identity.all_group, all_text_group)]
        if len(missing):
            raise TrainingError("has images but no text in the batch", item=f"group {int(missing[0])}")

        image_order, text_order = group_B.argsort(stable=True), text_group_M.argsort(stable=True)
        num_own = len(group_B) // num_images
        first_group = gather.rank * num_own
        exclude = None
        if config.exclude == "related":
            columns = gather(group_B[image_order][::num_images])
            exclude = identity.related_groups(columns, self.graph, published=config.compat == "keep")
        with full_precision(image_BD):
            image_BD, text_MD = upcast(image_BD)[image_order], upcast(out.text_MD)[text_order]
            to_text = (image_BD @ gather(text_MD).T).reshape(num_own, num_images, -1, num_texts)
            to_image = (text_MD @ gather(image_BD).T).reshape(num_own, num_texts, -1, num_images)
            losses = [
                _group_rows(
                    blocks, first_group, out.scale, exclude, config.variant, config.aggregate, config.compat
                ).mean()
                for blocks in (to_text, to_image)
            ]
        loss = torch.stack(losses).mean()
        share = loss.new_zeros(()) if exclude is None else exclude.float().mean()
        return Losses({"semantic_groups": config.weight * loss}, {"excluded_share": share})

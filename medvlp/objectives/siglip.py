"""Sigmoid contrast: every image-text pair is a yes/no question of its own.

Shapes: B images, M texts, D size. Source: Zhai et al. 2023 (SigLIP, eq. 1 and algorithm 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from medvlp.errors import TrainingError
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.clip import check_targets
from medvlp.objectives.gather import Gather
from medvlp.objectives.identity import Identity, Rows

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph


def sigmoid_loss(
    image_BD: Tensor,
    text_MD: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    positive_BM: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """``-1/B · sum_ij log sigmoid(z_ij (scale · s_ij + bias))``, z = 1 for positives and -1 otherwise.

    Args:
        image_BD: L2-normalised image embeddings.
        text_MD: L2-normalised text embeddings.
        scale: Multiplier of cosines.
        bias: Added to every logit (about -10 at the start, so that the many negatives begin near 0).
        positive_BM: True where image and text match; None matches text i with image i.
        chunk: Rows of logits held at a time, recomputed in the backward; None holds all.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit together.
    """
    check_targets(image_BD, text_MD, None, positive_BM)
    index = torch.arange(len(text_MD), device=text_MD.device)

    def positive(rows: slice) -> Tensor:
        return index[rows, None] == index if positive_BM is None else positive_BM[rows]

    with full_precision(image_BD):
        return sigmoid_rows(image_BD, text_MD, scale, bias, positive, chunk=chunk) / len(image_BD)


def sigmoid_rows(
    image_BD: Tensor,
    text_MD: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    positive: Rows,
    *,
    drop: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Sum of the pairwise losses of some images with all texts.

    Args:
        image_BD: Rows.
        text_MD: Columns.
        scale: Multiplier of cosines.
        bias: Added to every logit.
        positive: Bool block of a slice of rows.
        drop: (B, M) bool; True leaves out a pair that is not positive.
        chunk: Rows held at a time.
    """
    image_BD, text_MD = upcast(image_BD), upcast(text_MD)

    def block(rows: slice, part_RD: Tensor, all_MD: Tensor, factor: Tensor | float, shift: Tensor | float) -> Tensor:
        logits, match = factor * (part_RD @ all_MD.T) + shift, positive(rows).bool()
        loss = -logsigmoid(torch.where(match, logits, -logits))
        if drop is not None:
            loss = loss.masked_fill(drop[rows] & ~match, 0.0)
        return loss.sum()

    step = len(image_BD) if chunk is None else chunk
    sums = []
    for start in range(0, len(image_BD), step):
        rows = slice(start, start + step)
        inputs: tuple[Any, ...] = (rows, image_BD[rows], text_MD, scale, bias)
        sums.append(block(*inputs) if chunk is None else checkpoint(block, *inputs, use_reentrant=False))
    return torch.stack(sums).sum()


class SiglipObjective(nn.Module):
    """:func:`sigmoid_loss` over all ranks: the images of this rank against the texts of all.

    Args:
        config: Settings.
        graph: Hierarchy for ``exclude_related``; None excludes by equal label or concept alone.
    """

    class Config(ObjectiveSettings):
        """Settings of the sigmoid contrast."""

        name: Literal["siglip"] = Field(default="siglip", description="Selects the sigmoid (SigLIP) contrast.")
        positives: Literal["own", "text", "group"] = Field(
            default="own", description="An image's positives: its own texts, also equal texts, or its whole group's."
        )
        exclude_related: bool = Field(
            default=False, description="Leave out negative pairs with equal or related concepts."
        )
        chunk: int | None = Field(default=None, ge=1, description="Rows of logits held at a time; null holds all.")

    needs = frozenset({"text_owner_M", "group_B"})

    def __init__(self, config: SiglipObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = SiglipObjective.Config() if config is None else config
        self.graph = graph

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"siglip": loss}``.

        Raises:
            TrainingError: If the model has no logit bias, or gave no images.
        """
        image_BD, config = upcast(out.images("siglip")), self.config
        if out.bias is None:
            raise TrainingError(
                "needs a logit bias, which the model does not have",
                item="objective siglip",
                remedy="set model.logit_bias (-10 is usual)",
            )
        identity = Identity(batch, gather, image_BD.device)
        positive, _ = identity.positives(config.positives)
        with full_precision(image_BD):
            drop = identity.related(self.graph)[:, identity.all_owner] if config.exclude_related else None
            all_text = gather(upcast(out.text_MD))
            total = sigmoid_rows(image_BD, all_text, out.scale, out.bias, positive, drop=drop, chunk=config.chunk)
        return Losses({"siglip": config.weight * total / len(image_BD)}, {})

"""Softmax contrast (CLIP, InfoNCE) with several positives per row, soft targets, and bounded memory.

Shapes: B images, M texts, N texts of a text-only contrast, R rows (anchors), C columns (candidates), D size.
Sources: van den Oord et al. 2018 (eq. 4); Radford et al. 2021 (fig. 3); several positives as in Khosla et
al. 2020 (eq. 2, the mean outside the logarithm).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather
from medvlp.objectives.identity import Identity, Rows

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph


def info_nce(
    image_BD: Tensor,
    text_MD: Tensor,
    scale: Tensor | float,
    *,
    owner_M: Tensor | None = None,
    positive_BM: Tensor | None = None,
    target_BM: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Cross entropy of images against texts and of texts against images, averaged.

    The target of a row is uniform over its positives (the loss is the mean over positives of
    ``-log softmax``), or proportional to ``target_BM`` in that row (image side) or column (text side).
    Rows without a positive do not count. At most one of ``owner_M``, ``positive_BM`` and ``target_BM``
    is given; with none, text i belongs to image i.

    Args:
        image_BD: L2-normalised image embeddings.
        text_MD: L2-normalised text embeddings.
        scale: Multiplier of cosines.
        owner_M: Row of the image that each text belongs to.
        positive_BM: True where image and text match.
        target_BM: Non-negative soft targets.
        chunk: Rows of logits held at a time, recomputed in the backward; None holds all.

    Returns:
        A scalar, 0 if no row has a positive.

    Raises:
        ValueError: If shapes do not fit together, or more than one kind of target is given.
    """
    target_BM = check_targets(image_BD, text_MD, owner_M, positive_BM, target_BM)
    if target_BM is not None:
        dense_BM = target_BM
        to_text, to_image = (lambda rows: dense_BM[rows]), (lambda rows: dense_BM[:, rows].T)
    else:
        num_images = len(image_BD)
        owner = torch.arange(num_images, device=image_BD.device) if owner_M is None else owner_M
        index = torch.arange(num_images, device=image_BD.device)
        to_text, to_image = (lambda rows: index[rows, None] == owner), (lambda rows: owner[rows, None] == index)
    with full_precision(image_BD):
        image_sum, image_count = contrast_rows(image_BD, text_MD, scale, to_text, chunk=chunk)
        text_sum, text_count = contrast_rows(text_MD, image_BD, scale, to_image, chunk=chunk)
        return (image_sum / image_count.clamp(min=1) + text_sum / text_count.clamp(min=1)) / 2


def group_info_nce(embedding_ND: Tensor, group_N: Tensor, scale: Tensor | float, *, chunk: int | None = None) -> Tensor:
    """Contrast of texts with texts: the positives of a row are the other rows of its group, never itself.

    Args:
        embedding_ND: L2-normalised embeddings.
        group_N: Group id of each row, in any order.
        scale: Multiplier of cosines.
        chunk: Rows of logits held at a time; None holds all.

    Returns:
        A scalar, 0 if every group has one member.
    """
    index = torch.arange(len(group_N), device=group_N.device)
    itself: Rows = lambda rows: index[rows, None] == index  # noqa: E731
    same: Rows = lambda rows: (group_N[rows, None] == group_N) & ~itself(rows)  # noqa: E731
    with full_precision(embedding_ND):
        total, count = contrast_rows(embedding_ND, embedding_ND, scale, same, drop=itself, chunk=chunk)
        return total / count.clamp(min=1)


def contrast_rows(
    anchor_RD: Tensor,
    candidate_CD: Tensor,
    scale: Tensor | float,
    target: Rows,
    *,
    drop: Rows | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum of row-wise cross entropies and the number of rows that have a positive.

    Args:
        anchor_RD: Rows.
        candidate_CD: Columns.
        scale: Multiplier of cosines.
        target: Bool or non-negative target block of a slice of rows; each row is normalised here.
        drop: True where a candidate leaves the denominator; never applied to a positive.
        chunk: Rows held at a time.

    Returns:
        The summed loss and the count, both 0-dimensional.
    """
    anchor_RD, candidate_CD = upcast(anchor_RD), upcast(candidate_CD)
    num_rows = len(anchor_RD)
    step = num_rows if chunk is None else chunk

    def block(rows: slice, part_RD: Tensor, all_CD: Tensor, factor: Tensor | float) -> tuple[Tensor, Tensor]:
        logits = factor * (part_RD @ all_CD.T)
        weight = target(rows).to(logits.dtype)
        if drop is not None:
            logits = logits.masked_fill(drop(rows) & (weight == 0), float("-inf"))
        mass = weight.sum(1)
        valid = mass > 0
        weight = weight / torch.where(valid, mass, 1).unsqueeze(1)
        # Rows without a positive may have no candidate left at all; their -inf must not reach a gradient.
        logits = torch.where(valid.unsqueeze(1), logits, 0.0)
        attraction = (weight * logits.masked_fill(weight == 0, 0.0)).sum(1)
        loss = torch.where(valid, logits.logsumexp(1) - attraction, 0.0)
        return loss.sum(), valid.sum()

    sums, counts = [], []
    for start in range(0, num_rows, max(step, 1)):
        rows = slice(start, start + step)
        inputs: tuple[Any, ...] = (rows, anchor_RD[rows], candidate_CD, scale)
        total, count = block(*inputs) if chunk is None else checkpoint(block, *inputs, use_reentrant=False)
        sums.append(total)
        counts.append(count)
    return torch.stack(sums).sum(), torch.stack(counts).sum()


def mean_over_ranks(total: Tensor, count: Tensor, gather: Gather) -> Tensor:
    """Divide this rank's sum so that the mean over ranks of the results is the mean over all ranks' valid rows.

    Args:
        total: Summed loss of this rank's rows; see :func:`contrast_rows`.
        count: How many of them have a positive.
        gather: Collects the counts.
    """
    share = gather(count.reshape(1)).sum() / gather.world
    return total / share.clamp(min=1 / gather.world)


def check_targets(
    image_BD: Tensor,
    text_MD: Tensor,
    owner_M: Tensor | None,
    positive_BM: Tensor | None,
    target_BM: Tensor | None = None,
) -> Tensor | None:
    """Return the dense target matrix if one was given, after checking that all shapes fit.

    Raises:
        ValueError: Naming the shape or combination at fault.
    """
    if sum(given is not None for given in (owner_M, positive_BM, target_BM)) > 1:
        raise ValueError("give at most one of owner_M, positive_BM and target_BM")
    num_images, num_texts = len(image_BD), len(text_MD)
    if num_images == 0 or num_texts == 0:
        raise ValueError(f"a contrast needs at least one image and one text, got {num_images} and {num_texts}")
    dense = positive_BM if target_BM is None else target_BM
    if dense is not None and dense.shape != (num_images, num_texts):
        raise ValueError(f"the target matrix is {tuple(dense.shape)}, expected {(num_images, num_texts)}")
    if owner_M is not None and len(owner_M) != num_texts:
        raise ValueError(f"owner_M names {len(owner_M)} texts, but there are {num_texts}")
    if owner_M is None and dense is None and num_images != num_texts:
        raise ValueError(f"{num_images} images and {num_texts} texts need owner_M, positive_BM or target_BM")
    return dense


class ClipObjective(nn.Module):
    """:func:`info_nce` over all ranks; in text-only training, :func:`group_info_nce`.

    Args:
        config: Settings.
        graph: Hierarchy for ``exclude_related``; None excludes by equal label or concept alone.
    """

    class Config(ObjectiveSettings):
        """Settings of the softmax contrast."""

        name: Literal["clip"] = Field(default="clip", description="Selects the softmax (CLIP) contrast.")
        positives: Literal["own", "text", "group"] = Field(
            default="own", description="An image's positives: its own texts, also equal texts, or its whole group's."
        )
        exclude_related: bool = Field(
            default=False, description="Take pairs with equal or related concepts out of the negatives."
        )
        chunk: int | None = Field(default=None, ge=1, description="Rows of logits held at a time; null holds all.")

    needs = frozenset({"text_owner_M", "group_B"})

    def __init__(self, config: ClipObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = ClipObjective.Config() if config is None else config
        self.graph = graph

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"clip": loss}`` and the share of rows without a positive, which do not count."""
        config, identity = self.config, Identity(batch, gather, out.text_MD.device)
        text_MD = upcast(out.text_MD)
        with full_precision(text_MD):
            all_text = gather(text_MD)
            sides: list[tuple[Tensor, Tensor, Rows, Rows | None]]
            if out.image_BD is None:
                sides = [(text_MD, all_text, identity.text_to_text, identity.own_texts)]
            else:
                image_BD = upcast(out.image_BD)
                to_text, to_image = identity.positives(config.positives)
                sides = [(image_BD, all_text, to_text, None), (text_MD, gather(image_BD), to_image, None)]
            losses, lonely = [], []
            for side, (anchor, candidate, target, drop) in enumerate(sides):
                if config.exclude_related:
                    related = identity.related(self.graph, from_text=side == 1 or out.image_BD is None)
                    related = related[:, identity.all_owner] if side == 0 else related
                    drop = _either(drop, related)
                total, count = contrast_rows(anchor, candidate, out.scale, target, drop=drop, chunk=config.chunk)
                losses.append(mean_over_ranks(total, count, gather))
                lonely.append(1 - count / len(anchor))
        loss = torch.stack(losses).mean()
        return Losses({"clip": config.weight * loss}, {"rows_without_positive": torch.stack(lonely).mean()})


def _either(drop: Rows | None, related_RC: Tensor) -> Rows:
    if drop is None:
        return lambda rows: related_RC[rows]
    return lambda rows: drop(rows) | related_RC[rows]

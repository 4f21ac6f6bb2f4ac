"""Losses of slides, reports and gene expression, any of which may be missing, and of the self-taught tile encoder.

Shape legend: B cases of this rank, C cases of all ranks, M modalities (slide, report, genes), D embedding; T tiles of
S slides, N tiles in a batch of images, I width of tile features.
Source: Xu et al. 2025 (mSTAR). The paper fixes which rows meet in the contrast, how the triplet is mined, its margin,
and the weight of the similarity term; where it is silent, what stands here is ours and the result is "mSTAR-like":
distances between cases of unequal modalities, cosine as distance of the second stage, the decoder learned beside the
first, and the weights of the terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from medvlp.objectives.base import Losses, ObjectiveSettings, full_precision, upcast
from medvlp.objectives.clip import contrast_rows, mean_over_ranks
from medvlp.objectives.gather import Gather, LocalGather
from medvlp.objectives.identity import Rows

MODALITIES = ("slide", "report", "genes")
PAIRS = ((0, 1), (0, 2), (1, 2))
PAIR_NAMES = tuple(f"{MODALITIES[left]}_{MODALITIES[right]}" for left, right in PAIRS)
_LOCAL = LocalGather()


class Cases(Protocol):
    """What the objective reads of a batch: which modalities each case has, and its cancer (-1 if unknown)."""

    @property
    def present_BM(self) -> Tensor:
        """True where a case has the modality."""
        ...

    @property
    def cancer_B(self) -> Tensor:
        """Code of the cancer, int64."""
        ...


@dataclass(frozen=True)
class CaseOutputs:
    """What the model made of one rank's cases.

    Attributes:
        embedding_BMD: L2-normalised embeddings in the order of :data:`MODALITIES`; absent ones may hold anything.
        scale: Multiplier of cosines (already exponentiated and bounded).
        decoded_TI: Tile features as the decoder reads them off the slide encoder's tiles, or None.
        features_TI: The tile features themselves, or None.
        lengths_S: Tiles per slide, int64, or None.
    """

    embedding_BMD: Tensor
    scale: Tensor | float
    decoded_TI: Tensor | None = None
    features_TI: Tensor | None = None
    lengths_S: Tensor | None = None


def pair_contrast(
    left_BD: Tensor, right_BD: Tensor, both_B: Tensor, scale: Tensor | float, gather: Gather = _LOCAL
) -> tuple[Tensor, Tensor]:
    """Symmetric softmax contrast over the cases that have both modalities; the others are no candidates either.

    Args:
        left_BD: L2-normalised embeddings of one modality.
        right_BD: L2-normalised embeddings of the other, of the same cases.
        both_B: True where a case has both; elsewhere the embeddings may hold anything, NaN included.
        scale: Multiplier of cosines.
        gather: Collects the cases of all ranks.

    Returns:
        The mean of both directions (0 without a case), and the number of cases that took part, over all ranks.
    """
    left_BD, right_BD = _blank(upcast(left_BD), both_B), _blank(upcast(right_BD), both_B)
    with full_precision(left_BD):
        both_C = _gather_marks(both_B, gather)
        own_B = gather.rank * len(both_B) + torch.arange(len(both_B), device=both_B.device)
        case_C = torch.arange(len(both_C), device=both_B.device)
        target: Rows = lambda rows: (own_B[rows, None] == case_C) & both_C  # noqa: E731
        drop: Rows = lambda rows: ~both_C.expand(len(own_B[rows]), -1)  # noqa: E731
        means = []
        for anchor_BD, other_BD in ((left_BD, right_BD), (right_BD, left_BD)):
            total, count = contrast_rows(anchor_BD, gather(other_BD), scale, target, drop=drop)
            means.append(mean_over_ranks(total, count, gather))
        return torch.stack(means).mean(), both_C.sum()


def modality_contrast(
    embedding_BMD: Tensor,
    present_BM: Tensor,
    scale: Tensor | float,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    gather: Gather = _LOCAL,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted mean of :func:`pair_contrast` over slide-report, slide-genes and report-genes.

    A pair of modalities that fewer than two cases of the batch have both of teaches nothing and leaves the mean.

    Args:
        embedding_BMD: L2-normalised embeddings.
        present_BM: True where a case has the modality.
        scale: Multiplier of cosines.
        weights: Factors of the three pairs, in the order of :data:`PAIR_NAMES`.
        gather: Collects the cases of all ranks.

    Returns:
        The loss (0 if no pair has two cases), and per pair of modalities its loss and rows, detached, for the log.

    Raises:
        ValueError: If shapes do not fit together.
    """
    _check(embedding_BMD, present_BM)
    losses, shares = [], []
    report: dict[str, Tensor] = {}
    for (left, right), weight, name in zip(PAIRS, weights, PAIR_NAMES, strict=True):
        both_B = present_BM[:, left] & present_BM[:, right]
        loss, rows = pair_contrast(embedding_BMD[:, left], embedding_BMD[:, right], both_B, scale, gather)
        losses.append(loss)
        shares.append(weight * (rows >= 2).to(loss.dtype))
        report |= {f"{name}_loss": loss.detach(), f"{name}_rows": rows.detach()}
    share_P = torch.stack(shares)
    whole = share_P.sum()
    return (share_P * torch.stack(losses)).sum() / torch.where(whole > 0, whole, 1.0), report


def cancer_triplet(
    embedding_BMD: Tensor, present_BM: Tensor, cancer_B: Tensor, margin: float = 0.3, gather: Gather = _LOCAL
) -> tuple[Tensor, Tensor]:
    """Mean over anchors of ``max(0, d(anchor, farthest of its cancer) - d(anchor, nearest of another) + margin)``.

    ``d`` is the L2 distance of the joined embeddings. Between cases that lack something it runs over the modalities
    that both have, its square multiplied by M over their number, so that few modalities do not look near; two cases
    that share none are not compared. Cases of unknown cancer do not count, nor anchors without a positive or negative.

    Args:
        embedding_BMD: L2-normalised embeddings.
        present_BM: True where a case has the modality.
        cancer_B: Code of the cancer, -1 if unknown.
        margin: Wanted lead of the negative's distance.
        gather: Collects the cases of all ranks.

    Returns:
        The loss (0 if no anchor counts), and the number of anchors that count on this rank.

    Raises:
        ValueError: If shapes do not fit together.
    """
    _check(embedding_BMD, present_BM)
    embedding_BMD = _blank(upcast(embedding_BMD), present_BM)
    with full_precision(embedding_BMD):
        all_CMD, present_CM = gather(embedding_BMD), _gather_marks(present_BM, gather)
        cancer_C = gather(cancer_B)
        own_B = gather.rank * len(cancer_B) + torch.arange(len(cancer_B), device=cancer_B.device)
        itself_BC = own_B[:, None] == torch.arange(len(cancer_C), device=cancer_B.device)
        comparable_BC = (present_BM[:, None] & present_CM).any(-1) & (cancer_B[:, None] >= 0) & (cancer_C >= 0)
        same_BC = cancer_B[:, None] == cancer_C
        positive_BC, negative_BC = comparable_BC & same_BC & ~itself_BC, comparable_BC & ~same_BC
        with torch.no_grad():
            squared_BC = _squared_distances(embedding_BMD, present_BM, all_CMD, present_CM)
            farthest_B = squared_BC.masked_fill(~positive_BC, float("-inf")).argmax(1)
            nearest_B = squared_BC.masked_fill(~negative_BC, float("inf")).argmin(1)
        counts_B = positive_BC.any(1) & negative_BC.any(1)
        to_positive_B = _distance(embedding_BMD, present_BM, all_CMD[farthest_B], present_CM[farthest_B])
        to_negative_B = _distance(embedding_BMD, present_BM, all_CMD[nearest_B], present_CM[nearest_B])
        hinge_B = (to_positive_B - to_negative_B + margin).clamp(min=0)
        count = counts_B.sum()
        return mean_over_ranks(torch.where(counts_B, hinge_B, 0.0).sum(), count, gather), count


def decoder_loss(decoded_TI: Tensor, features_TI: Tensor, lengths_S: Tensor, gather: Gather = _LOCAL) -> Tensor:
    """Mean over slides of the mean over their tiles of ``1 - cos(decoded, features)``; no gradient to the features.

    Args:
        decoded_TI: Tile features as read off the slide encoder's tiles.
        features_TI: What they should be.
        lengths_S: Tiles per slide.
        gather: Collects the numbers of slides of all ranks.
    """
    decoded_TI, features_TI = upcast(decoded_TI), upcast(features_TI).detach()
    with full_precision(decoded_TI):
        lengths_S = lengths_S.to(decoded_TI.device)
        distance_T = 1 - cosine_similarity(decoded_TI, features_TI, dim=-1)
        share_T = (1 / lengths_S.to(distance_T.dtype)).repeat_interleave(lengths_S, output_size=len(distance_T))
        count = torch.tensor(len(lengths_S), device=decoded_TI.device)
        return mean_over_ranks((distance_T * share_T).sum(), count, gather)


def self_taught_loss(
    student_NI: Tensor, teacher_NI: Tensor, average_NI: Tensor, similarity: float = 0.6
) -> tuple[Tensor, Tensor]:
    """The two terms of stage 2: ``1 - cos(z, teacher)`` and ``similarity * (1 - cos(z, average))``, means over tiles.

    Args:
        student_NI: Features z of the tile encoder that learns.
        teacher_NI: What the frozen slide encoder makes of the same tiles, decoded; no gradient.
        average_NI: Features by the moving average of the tile encoder; no gradient. Keeps it from forgetting.
        similarity: Weight of the second term.
    """
    student_NI = upcast(student_NI)
    with full_precision(student_NI):
        taught = 1 - cosine_similarity(student_NI, upcast(teacher_NI).detach(), dim=-1).mean()
        kept = 1 - cosine_similarity(student_NI, upcast(average_NI).detach(), dim=-1).mean()
        return taught, similarity * kept


class MstarObjective(nn.Module):
    """Stage 1: contrast of present pairs, triplet between cancers, and the decoder that stage 2 needs."""

    class Config(ObjectiveSettings):
        """Weights of the terms and the triplet's margin; the weights are ours, the paper names none."""

        name: Literal["mstar"] = Field(default="mstar", description="Selects mSTAR's contrast and triplet.")
        slide_report: float = Field(default=1.0, ge=0.0, description="Weight of slides against reports.")
        slide_genes: float = Field(default=1.0, ge=0.0, description="Weight of slides against gene expression.")
        report_genes: float = Field(default=1.0, ge=0.0, description="Weight of reports against gene expression.")
        triplet: float = Field(default=1.0, ge=0.0, description="Weight of the triplet between cancers; 0 for none.")
        margin: float = Field(default=0.3, gt=0.0, description="Wanted lead of the other cancer's distance.")
        decoder: float = Field(
            default=1.0, ge=0.0, description="Weight of reading tile features off the slide encoder."
        )

        @property
        def pairs(self) -> tuple[float, float, float]:
            """Weights in the order of the pairs of modalities."""
            return self.slide_report, self.slide_genes, self.report_genes

    needs = frozenset({"present_BM", "cancer_B"})

    def __init__(self, config: MstarObjective.Config | None = None) -> None:
        super().__init__()
        self.config = MstarObjective.Config() if config is None else config

    def forward(self, out: CaseOutputs, batch: Cases, gather: Gather) -> Losses:
        """Return the weighted terms; losses and rows of each pair of modalities are reported."""
        config = self.config
        contrast, report = modality_contrast(out.embedding_BMD, batch.present_BM, out.scale, config.pairs, gather)
        terms = {"contrast": config.weight * contrast}
        if config.triplet > 0:
            triplet, anchors = cancer_triplet(
                out.embedding_BMD, batch.present_BM, batch.cancer_B, config.margin, gather
            )
            terms["triplet"] = config.weight * config.triplet * triplet
            report["triplet_rows"] = anchors
        if config.decoder > 0 and out.decoded_TI is not None:
            assert out.features_TI is not None
            assert out.lengths_S is not None
            decoder = decoder_loss(out.decoded_TI, out.features_TI, out.lengths_S, gather)
            terms["decoder"] = config.weight * config.decoder * decoder
        return Losses(terms, report)


def _blank(embedding: Tensor, present: Tensor) -> Tensor:
    """Put 0 where nothing is present, so that neither a value nor a gradient of it reaches others."""
    return torch.where(present.unsqueeze(-1), embedding, 0.0)


def _gather_marks(mark_B: Tensor, gather: Gather) -> Tensor:
    """Collect booleans as bytes, which every backend of torch.distributed carries."""
    return gather(mark_B.to(torch.uint8)).bool()


def _squared_distances(left_BMD: Tensor, left_BM: Tensor, right_CMD: Tensor, right_CM: Tensor) -> Tensor:
    """Squared distances (B, C) up to a constant factor, to choose by; what cannot be compared is 0."""
    squared_BC, shared_BC = left_BMD.new_zeros(()), left_BMD.new_zeros(())
    for modality in range(left_BMD.shape[1]):
        both_BC = left_BM[:, None, modality] & right_CM[:, modality]
        left_BD, right_CD = left_BMD[:, modality], right_CMD[:, modality]
        apart_BC = torch.cdist(left_BD, right_CD, compute_mode="donot_use_mm_for_euclid_dist")
        squared_BC = squared_BC + torch.where(both_BC, apart_BC.square(), 0.0)
        shared_BC = shared_BC + both_BC
    return squared_BC / shared_BC.clamp(min=1)


def _distance(left_BMD: Tensor, left_BM: Tensor, right_BMD: Tensor, right_BM: Tensor) -> Tensor:
    """Row by row the same distance (B,), with a finite gradient where it is 0."""
    both_BM = left_BM & right_BM
    squared_B = torch.where(both_BM, (left_BMD - right_BMD).square().sum(-1), 0.0).sum(-1)
    squared_B = squared_B * left_BM.shape[1] / both_BM.sum(-1).clamp(min=1)
    apart_B = squared_B > 0
    return torch.where(apart_B, torch.where(apart_B, squared_B, 1.0).sqrt(), 0.0)


def _check(embedding_BMD: Tensor, present_BM: Tensor) -> None:
    expected = (len(embedding_BMD), len(MODALITIES))
    if embedding_BMD.ndim != 3 or embedding_BMD.shape[:2] != expected or present_BM.shape != expected:
        shapes = f"{tuple(embedding_BMD.shape)} and {tuple(present_BM.shape)}"
        raise ValueError(
            f"expected (B, {len(MODALITIES)}, D) embeddings and (B, {len(MODALITIES)}) marks, got {shapes}"
        )

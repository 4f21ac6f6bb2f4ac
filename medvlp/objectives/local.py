"""Word-region contrast in the manner of GLoRIA and MGCA: each word looks at the places of an image.

Shapes: B images and M texts of this rank, A images and T texts of all ranks, N places of an image, L tokens of a text,
D embedding size, R rows, C columns.
Source: Huang et al. 2021 (GLoRIA), local contrast; Wang et al. 2022 (MGCA), the reason for the name of the family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.errors import TrainingError
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather
from medvlp.objectives.rows import global_rows, in_chunks, mean_over_ranks

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph


def word_region_scores(
    patch_BND: Tensor,
    word_MLD: Tensor,
    word_mask_ML: Tensor,
    *,
    temperatures: tuple[float, float] = (4.0, 5.0),
    compat: Literal["gloria"] | None = None,
    chunk: int | None = None,
) -> Tensor:
    """How well the words of each text find themselves among the places of each image.

    Word l sees ``c_l = sum_n softmax_n(temperature_1 w_l . x_n) x_n``; the score is the logarithm of the mean over
    real words of ``exp(temperature_2 cos(c_l, w_l))``, divided by temperature_2, so that length does not matter.

    Args:
        patch_BND: L2-normalised embeddings of places.
        word_MLD: L2-normalised embeddings of tokens.
        word_mask_ML: 1 or True on real tokens.
        temperatures: Sharpness of the attention, and of the mean over words.
        compat: ``gloria`` sums over words instead, as published: a longer text then scores higher.
        chunk: Texts at a time, recomputed in the backward; None takes all at once.

    Returns:
        Scores (B, M), 0 for a text without a real word.
    """
    patch_BND, word_MLD, real_ML = upcast(patch_BND), upcast(word_MLD), word_mask_ML.bool()
    attention, sharpness = temperatures

    def block(part_MLD: Tensor, real_ML: Tensor, place_BND: Tensor, gram_BNN: Tensor) -> Tensor:
        part_MLD = torch.where(real_ML[:, :, None], part_MLD, 0.0)
        likeness_MLBN = torch.einsum("mld,bnd->mlbn", part_MLD, place_BND)
        share_MLBN = (attention * likeness_MLBN).softmax(3)
        along_MLB = (share_MLBN * likeness_MLBN).sum(3)
        # The length of what is seen, by the products of places, spares the (M, L, B, D) vectors.
        square_MLB = (share_MLBN * torch.einsum("mlbn,bnk->mlbk", share_MLBN, gram_BNN)).sum(3)
        cosine_MLB = along_MLB / square_MLB.clamp(min=1e-16).sqrt()
        some_M = real_ML.any(1)
        # Texts without a word keep finite numbers, so that no NaN reaches a gradient.
        kept_ML = real_ML | ~some_M[:, None]
        total_MB = (sharpness * cosine_MLB).masked_fill(~kept_ML[:, :, None], float("-inf")).logsumexp(1)
        if compat is None:
            total_MB = total_MB - kept_ML.sum(1).to(total_MB.dtype).log()[:, None]
        return torch.where(some_M[:, None], total_MB / sharpness, 0.0)

    with full_precision(patch_BND):
        gram_BNN = patch_BND @ patch_BND.transpose(1, 2)
        return torch.cat(in_chunks(block, chunk, word_MLD, real_ML, shared=(patch_BND, gram_BNN))).T


def local_contrast(score_BM: Tensor, owner_M: Tensor, valid_M: Tensor, *, temperature3: float = 10.0) -> Tensor:
    """Cross entropy of scores both ways, averaged; the target of an image is uniform over its valid texts.

    Args:
        score_BM: See :func:`word_region_scores`.
        owner_M: Row of the image each text belongs to.
        valid_M: False for texts that count for nothing.
        temperature3: Multiplier of scores.

    Returns:
        A scalar, 0 without a valid text.
    """
    score_BM = upcast(score_BM)
    own_BM = torch.arange(len(score_BM), device=score_BM.device)[:, None] == owner_M
    with full_precision(score_BM):
        image_sum, image_count = score_rows(temperature3 * score_BM, own_BM, valid_M)
        all_B = torch.ones(len(score_BM), dtype=torch.bool, device=score_BM.device)
        text_sum, text_count = score_rows(temperature3 * score_BM.T, (own_BM & valid_M).T, all_B)
        return (image_sum / image_count.clamp(min=1) + text_sum / text_count.clamp(min=1)) / 2


def score_rows(logit_RC: Tensor, positive_RC: Tensor, kept_C: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over rows of the mean over kept positives of ``-log softmax`` among kept columns, and how many rows count.

    Args:
        logit_RC: Logits.
        positive_RC: True where row and column match.
        kept_C: False for columns that count for nothing.
    """
    positive_RC = positive_RC & kept_C
    count_R = positive_RC.sum(1)
    counted_R = count_R > 0
    logit_RC = logit_RC.masked_fill(~kept_C, float("-inf"))
    # A row that does not count may have no column left; its -inf must not reach a gradient.
    logit_RC = torch.where(counted_R[:, None], logit_RC, 0.0)
    attraction_R = torch.where(positive_RC, logit_RC, 0.0).sum(1) / count_R.clamp(min=1)
    loss_R = torch.where(counted_R, logit_RC.logsumexp(1) - attraction_R, 0.0)
    return loss_R.sum(), counted_R.sum()


class LocalObjective(nn.Module):
    """:func:`local_contrast` of :func:`word_region_scores` over all ranks; add ``clip`` for the global half.

    Args:
        config: Settings.
        graph: Not used.
    """

    class Config(ObjectiveSettings):
        """Settings; the defaults are GLoRIA's but for the mean over words."""

        name: Literal["local"] = Field(default="local", description="Selects the word-region contrast.")
        temperatures: tuple[float, float] = Field(
            default=(4.0, 5.0), description="Sharpness of the attention over places and of the mean over words."
        )
        temperature3: float = Field(default=10.0, gt=0.0, description="Multiplier of scores in the contrast.")
        compat: Literal["gloria"] | None = Field(
            default=None, description="gloria: sum over words, so that longer texts score higher."
        )
        chunk: int | None = Field(default=8, ge=1, description="Texts scored at a time; null takes all.")

    needs = frozenset({"text_owner_M"})
    reads = frozenset({"patches", "words", "valid"})

    def __init__(self, config: LocalObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = LocalObjective.Config() if config is None else config

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"local": loss}``; reported is the mean score of matching pairs.

        This rank scores its texts against all images; the columns of its own images are collected from all ranks.

        Raises:
            TrainingError: If the step gave no embeddings by place or by token.
        """
        config, patch_BND, word_MLD = self.config, out.patch_BND, out.word_MLD
        if patch_BND is None or word_MLD is None:
            missing = "places" if patch_BND is None else "tokens"
            raise TrainingError(f"needs embeddings of {missing}, which the step did not give", item="objective local")
        owner_M = batch.text_owner_M
        valid_M = torch.ones_like(owner_M, dtype=torch.bool) if batch.text_valid_M is None else batch.text_valid_M
        index_B = global_rows(len(patch_BND), gather, owner_M.device)
        all_patch_AND = gather(upcast(patch_BND))
        score_AM = word_region_scores(
            all_patch_AND, word_MLD, batch.token_mask_ML,
            temperatures=config.temperatures, compat=config.compat, chunk=config.chunk,
        )  # fmt: skip
        with full_precision(score_AM):
            logit_MA = config.temperature3 * score_AM.T
            own_MA = index_B[owner_M][:, None] == torch.arange(len(all_patch_AND), device=owner_M.device)
            text = score_rows(logit_MA, own_MA & valid_M[:, None], torch.ones_like(own_MA[0]))
            own_BT = index_B[:, None] == gather(index_B[owner_M])
            image = score_rows(gather(logit_MA)[:, index_B].T, own_BT, gather(valid_M))
            loss = (mean_over_ranks(*text, gather) + mean_over_ranks(*image, gather)) / 2
            match_MA = own_MA & valid_M[:, None]
            matching = (score_AM.detach().T * match_MA).sum() / match_MA.sum().clamp(min=1)
        return Losses({"local": config.weight * loss}, {"matching_score": matching})

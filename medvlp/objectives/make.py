"""MAKE: many texts of several aspects per image, patch-weighted sub-captions, weights by the ontology sentence.

Shapes: B images and M texts of this rank, A images and T texts of all ranks, N places of an image, S slots for texts
per image, D embedding size, R rows, C columns.
Source: MAKE (Yan et al., MICCAI 2025), multi-aspect contrast, fine-grained alignment, diagnosis-guided weights. The
formulas are those of the paper; the code released with it mixes up rows of texts and is not followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from medvlp.data.batch import ASPECTS
from medvlp.errors import TrainingError
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather, LocalGather
from medvlp.objectives.rows import global_rows, in_chunks, mean_over_ranks

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph

_LOCAL = LocalGather()


def guidance_weights(text_MD: Tensor, owner_M: Tensor, ontology_M: Tensor, sub_M: Tensor, valid_M: Tensor) -> Tensor:
    """Weight each sub-caption by its likeness to its image's ontology sentence; no gradient passes.

    For an image with exactly one valid ontology sentence ``o``, sub-caption k weighs ``softmax_k(t_o . t_k)`` over the
    largest of these, so that the nearest weighs 1.

    Args:
        text_MD: L2-normalised text embeddings.
        owner_M: Row of the image each text belongs to.
        ontology_M: True for ontology sentences.
        sub_M: True for sub-captions.
        valid_M: False for texts that count for nothing.

    Returns:
        (M,): 0 for invalid texts, 1 for texts that no ontology sentence judges.
    """
    with torch.no_grad(), full_precision(text_MD):
        text_MD = _valid_texts(text_MD, valid_M)
        num_images, slot_M = len(owner_M), torch.unique(owner_M, return_inverse=True)[1]  # no more owners than texts
        ontology_M = ontology_M & valid_M
        count_B = slot_M.new_zeros(num_images).index_add(0, slot_M, ontology_M.long())
        guide_BD = torch.zeros_like(text_MD).index_add(0, slot_M, text_MD * ontology_M[:, None])
        guided_M = sub_M & valid_M & (count_B == 1)[slot_M]
        likeness_M = (guide_BD[slot_M] * text_MD).sum(1)
        most_B = likeness_M.new_full((num_images,), float("-inf"))
        most_B = most_B.scatter_reduce(0, slot_M, likeness_M.masked_fill(~guided_M, float("-inf")), "amax")
        weight_M = torch.where(guided_M, likeness_M - most_B[slot_M], 0.0).exp()
        return weight_M * valid_M


def multi_aspect_loss(
    image_BD: Tensor,
    text_MD: Tensor,
    scale: Tensor | float,
    owner_M: Tensor,
    valid_M: Tensor,
    weight_M: Tensor,
    *,
    gather: Gather = _LOCAL,
    chunk: int | None = None,
) -> Tensor:
    """Contrast of images with all their texts, in which an image's texts are no negatives of one another.

    Texts against images: the mean over valid texts of ``-log softmax`` at the owner. Images against texts: for each
    valid text of an image ``-log(e^z / (e^z + sum of e^z' over valid texts of other images))``, averaged with the
    weights over the image's texts, then over images that have a valid text. Returned is the mean of both.

    Args:
        image_BD: L2-normalised image embeddings.
        text_MD: L2-normalised text embeddings.
        scale: Multiplier of cosines.
        owner_M: Row of the image each text belongs to.
        valid_M: False for texts that count for nothing.
        weight_M: Weight of each text among its image's; see :func:`guidance_weights`.
        gather: Collects other ranks' rows; owners stay rows of this rank.
        chunk: Rows of logits held at a time, recomputed in the backward; None holds all.

    Returns:
        A scalar, 0 without a valid text.
    """
    image_BD, text_MD = upcast(image_BD), _valid_texts(text_MD, valid_M)
    num_images = len(image_BD)
    with full_precision(image_BD):
        index_B = global_rows(num_images, gather, image_BD.device)
        my_owner_M = index_B[owner_M]
        to_image_M = _cross_entropy(text_MD, gather(image_BD), scale, my_owner_M, valid_M, None, chunk)
        text_loss = mean_over_ranks(to_image_M.sum(), valid_M.sum(), gather)
        other_B, has_other_B = _other_texts(
            image_BD, gather(text_MD), scale, index_B, gather(my_owner_M), gather(valid_M), chunk
        )
        own_M = scale * (image_BD[owner_M] * text_MD).sum(1)
        # Without another image's text the fraction is one and its loss nothing.
        behind_M = torch.where(has_other_B[owner_M], other_B[owner_M] - own_M, 0.0)
        loss_M = torch.where(has_other_B[owner_M], softplus(behind_M, threshold=40.0), 0.0)
        weight_M = torch.where(valid_M, upcast(weight_M).to(loss_M.dtype), 0.0)
        sum_B = loss_M.new_zeros(num_images).index_add(0, owner_M, weight_M * loss_M)
        mass_B = loss_M.new_zeros(num_images).index_add(0, owner_M, weight_M)
        mean_B = sum_B / torch.where(mass_B > 0, mass_B, 1.0)
        has_text_B = valid_M.new_zeros(num_images, dtype=torch.long).index_add(0, owner_M, valid_M.long()) > 0
        image_loss = mean_over_ranks(mean_B.sum(), has_text_B.sum(), gather)
        return (text_loss + image_loss) / 2


def local_loss(
    patch_BND: Tensor,
    text_MD: Tensor,
    scale: Tensor | float,
    owner_M: Tensor,
    valid_M: Tensor,
    sub_M: Tensor,
    weight_M: Tensor,
    *,
    threshold: float = 0.3,
    gather: Gather = _LOCAL,
    chunk: int | None = None,
) -> Tensor:
    """Contrast of each sub-caption's patches, weighted by their likeness to it, with all texts.

    Patch p of the owner weighs ``a_p = c_p`` where the cosine ``c_p`` with the sub-caption reaches the threshold, else
    0; ``a`` is brought to length one, the patches are summed, and the sum must find its sub-caption among all valid
    texts. A sub-caption that no patch reaches is left out.

    Args:
        patch_BND: L2-normalised embeddings of places.
        text_MD: L2-normalised text embeddings.
        scale: Multiplier of products.
        owner_M: Row of the image each text belongs to.
        valid_M: False for texts that count for nothing.
        sub_M: True for sub-captions.
        weight_M: Weight of each sub-caption in the mean; see :func:`guidance_weights`.
        threshold: Least cosine of a patch that takes part.
        gather: Collects other ranks' rows; owners stay rows of this rank.
        chunk: Rows of logits held at a time, recomputed in the backward; None holds all.

    Returns:
        A scalar, 0 if nothing is left.
    """
    patch_BND, text_MD = upcast(patch_BND), _valid_texts(text_MD, valid_M)
    with full_precision(patch_BND):
        row_K = (sub_M & valid_M).nonzero().squeeze(1)  # the only anchors; all valid texts are candidates
        region_KD, reached_K = patch_regions(patch_BND, text_MD[row_K], owner_M[row_K], threshold)
        place_K = global_rows(len(text_MD), gather, text_MD.device)[row_K]
        loss_K = _cross_entropy(region_KD, gather(text_MD), scale, place_K, reached_K, gather(valid_M), chunk)
        weight_K = torch.where(reached_K, upcast(weight_M)[row_K].to(loss_K.dtype), 0.0)
        return mean_over_ranks((weight_K * loss_K).sum(), weight_K.sum(), gather)


def patch_regions(patch_BND: Tensor, text_MD: Tensor, owner_M: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Sum the owner's patches for each text, weighted as :func:`local_loss` says.

    Returns:
        The sums (M, D), and whether any patch reaches the threshold (M,).
    """
    num_images, num_texts = len(patch_BND), len(text_MD)
    count_B = owner_M.new_zeros(num_images).index_add(0, owner_M, torch.ones_like(owner_M))
    most = int(count_B.max()) if num_texts else 0  # a size, which must be known on the host: once a step
    order_M = owner_M.argsort(stable=True)
    first_B = count_B.cumsum(0) - count_B
    slot_M = torch.empty_like(owner_M)
    slot_M[order_M] = torch.arange(num_texts, device=owner_M.device) - first_B[owner_M[order_M]]
    flat_M = owner_M * most + slot_M
    text_BSD = text_MD.new_zeros(num_images * most, text_MD.shape[1]).index_copy(0, flat_M, text_MD)
    cosine_BSN = text_BSD.view(num_images, most, text_MD.shape[1]) @ patch_BND.to(text_MD.dtype).transpose(1, 2)
    cosine_BSN = torch.where(cosine_BSN >= threshold, cosine_BSN, 0.0)
    square_BS1 = cosine_BSN.square().sum(2, keepdim=True)
    length_BS1 = torch.where(square_BS1 > 0, square_BS1, 1.0).sqrt()
    region_BSD = (cosine_BSN / length_BS1) @ patch_BND.to(text_MD.dtype)
    return region_BSD.flatten(0, 1)[flat_M], (square_BS1 > 0).flatten()[flat_M]


def _valid_texts(text_MD: Tensor, valid_M: Tensor) -> Tensor:
    """Zeros for invalid texts, so that nothing of them, NaN included, reaches a sum or a gradient."""
    return torch.where(valid_M[:, None], upcast(text_MD), 0.0)


def _other_texts(
    image_BD: Tensor,
    text_TD: Tensor,
    scale: Tensor | float,
    index_B: Tensor,
    owner_T: Tensor,
    valid_T: Tensor,
    chunk: int | None,
) -> tuple[Tensor, Tensor]:
    """Log of the summed exponentials over valid texts of other images (B,), and whether there are any."""

    def block(part_RD: Tensor, index_R: Tensor, factor: Tensor | float) -> tuple[Tensor, Tensor]:
        other_RT = (index_R[:, None] != owner_T) & valid_T
        some_R = other_RT.any(1)
        logit_RT = (factor * (part_RD @ text_TD.T)).masked_fill(~other_RT, float("-inf"))
        return torch.where(some_R[:, None], logit_RT, 0.0).logsumexp(1), some_R

    parts = in_chunks(block, chunk, image_BD, index_B, shared=(scale,))
    return torch.cat([total for total, _ in parts]), torch.cat([some for _, some in parts])


def _cross_entropy(
    anchor_RD: Tensor,
    candidate_CD: Tensor,
    scale: Tensor | float,
    target_R: Tensor,
    counted_R: Tensor,
    keep_C: Tensor | None,
    chunk: int | None,
) -> Tensor:
    """``-log softmax`` over kept candidates at the target, 0 for rows that do not count.

    The target of a row that counts is kept.
    """
    bias_C = torch.zeros_like(candidate_CD[:, 0])
    if keep_C is not None:
        keep_C = keep_C | ~keep_C.any()  # with no candidate no row counts, but -inf alone would give NaN gradients
        bias_C = bias_C.masked_fill(~keep_C, float("-inf"))

    def block(part_RD: Tensor, target_R: Tensor, counted_R: Tensor, factor: Tensor | float) -> Tensor:
        logit_RC = torch.addmm(bias_C, factor * part_RD, candidate_CD.T)  # spares a pass over (R, C) for the mask
        return torch.where(counted_R, cross_entropy(logit_RC, target_R, reduction="none"), 0.0)

    return torch.cat(in_chunks(block, chunk, anchor_RD, target_R, counted_R, shared=(scale,)))


class MakeObjective(nn.Module):
    """:func:`multi_aspect_loss` plus :func:`local_loss` over all ranks.

    Args:
        config: Settings.
        graph: Not used: the hierarchy speaks through the texts.
    """

    class Config(ObjectiveSettings):
        """Settings; the defaults are MAKE's."""

        name: Literal["make"] = Field(default="make", description="Selects MAKE's multi-aspect and local contrast.")
        multi_aspect: float = Field(default=1.0, ge=0.0, description="Weight of the contrast of images and texts.")
        local: float = Field(default=0.7, ge=0.0, description="Weight of the contrast of patches and sub-captions.")
        threshold: float = Field(
            default=0.3, ge=-1.0, le=1.0, description="Least cosine with a sub-caption of a patch that takes part."
        )
        guidance: bool = Field(default=True, description="Weigh sub-captions by likeness to the ontology sentence.")
        ontology: str = Field(default="ontology-path", description="Kind of texts that are ontology sentences.")
        sub_captions: list[str] = Field(
            default=["sentence"], min_length=1, description="Kinds of texts that are sub-captions."
        )
        chunk: int | None = Field(default=None, ge=1, description="Rows of logits held at a time; null holds all.")

        @model_validator(mode="after")
        def _sound(self) -> MakeObjective.Config:
            for kind in (self.ontology, *self.sub_captions):
                if kind not in ASPECTS:
                    raise ValueError(f"{kind} is no kind of text; use {', '.join(ASPECTS)}")
            if self.ontology in self.sub_captions:
                raise ValueError(f"{self.ontology} cannot be ontology sentence and sub-caption at once")
            if self.multi_aspect + self.local <= 0:
                raise ValueError("multi_aspect and local are both 0, so there is no loss")
            return self

    needs = frozenset({"text_owner_M", "text_aspect_M"})
    reads = frozenset({"patches", "valid"})

    def __init__(self, config: MakeObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = MakeObjective.Config() if config is None else config

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``make_aspects`` and ``make_local``; reported is how many texts count and how many find patches.

        Raises:
            TrainingError: If the step gave no images, no patches, or texts of unknown kinds.
        """
        config, image_BD, text_MD = self.config, out.images("make"), out.text_MD
        if out.patch_BND is None or batch.text_aspect_M is None:
            missing = "embeddings of places" if out.patch_BND is None else "kinds of texts"
            raise TrainingError(f"needs {missing}, which the step did not give", item="objective make")
        aspect_M, owner_M = batch.text_aspect_M, batch.text_owner_M
        valid_M = torch.ones_like(owner_M, dtype=torch.bool) if batch.text_valid_M is None else batch.text_valid_M
        ontology_M = aspect_M == ASPECTS.index(config.ontology)
        codes = torch.tensor([ASPECTS.index(kind) for kind in config.sub_captions], device=aspect_M.device)
        sub_M = torch.isin(aspect_M, codes) & valid_M
        weight_M = (
            guidance_weights(text_MD, owner_M, ontology_M, sub_M, valid_M)
            if config.guidance
            else valid_M.to(upcast(text_MD).dtype)
        )
        aspects = multi_aspect_loss(
            image_BD, text_MD, out.scale, owner_M, valid_M, weight_M, gather=gather, chunk=config.chunk
        )
        local = local_loss(
            out.patch_BND, text_MD, out.scale, owner_M, valid_M, sub_M, weight_M,
            threshold=config.threshold, gather=gather, chunk=config.chunk,
        )  # fmt: skip
        with torch.no_grad(), full_precision(text_MD):
            reached_M = patch_regions(upcast(out.patch_BND), upcast(text_MD), owner_M, config.threshold)[1]
        terms = {
            "make_aspects": config.weight * config.multi_aspect * aspects,
            "make_local": config.weight * config.local * local,
        }
        report = {
            "texts_per_image": valid_M.sum() / len(image_BD),
            "sub_captions_with_patches": (reached_M & sub_M).sum() / sub_M.sum().clamp(min=1),
        }
        return Losses(terms, report)

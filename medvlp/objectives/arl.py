"""ARL: align through entity vectors, reason by a knowledge stream, learn by masking whole entities, patches, matching.

Source: Chen et al. 2022 (ARL, arXiv 2209.07118); details the paper leaves open are those of its released code.
Shapes: B images and M texts of this rank, Q entities, G width of their vectors, L tokens, V vocabulary, N places of an
image, C numbers that a place holds, R pairs of an image and a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from medvlp.data.batch import PRESENT, UNCERTAIN
from medvlp.fusion.graph_attention import GraphAttention
from medvlp.fusion.knowledge_stream import KnowledgeFusion
from medvlp.fusion.place_decoder import PlaceDecoder
from medvlp.objectives.arl_heads import ArlHeads
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.clip import mean_over_ranks
from medvlp.objectives.gather import Gather
from medvlp.objectives.mentions import NO_TARGET
from medvlp.objectives.valid_contrast import valid_texts

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.context import Context


def align_loss(image_BG: Tensor, text_BG: Tensor, entity_QG: Tensor, label_BQ: Tensor) -> Tensor:
    """Mean of images' and of texts' binary cross entropy of the entities of the text (ARL, "align").

    Args:
        image_BG: Images in the space of the entity vectors, not normalised.
        text_BG: Their texts.
        entity_QG: Entity vectors.
        label_BQ: States as in :class:`medvlp.data.batch.Batch`: present is 1, absent and not mentioned 0, what is
            uncertain does not count.

    Returns:
        A scalar, 0 if nothing counts.
    """
    with full_precision(image_BG):
        sums = [_entity_sum(vector_BG, entity_QG, label_BQ) for vector_BG in (image_BG, text_BG)]
        return torch.stack([total / count.clamp(min=1) for total, count in sums]).mean()


def _entity_sum(vector_RG: Tensor, entity_QG: Tensor, label_RQ: Tensor) -> tuple[Tensor, Tensor]:
    logit_RQ = upcast(vector_RG) @ upcast(entity_QG).T
    target_RQ = (label_RQ == PRESENT).to(logit_RQ.dtype)
    loss_RQ = binary_cross_entropy_with_logits(logit_RQ, target_RQ, reduction="none")
    counts_RQ = label_RQ != UNCERTAIN
    return torch.where(counts_RQ, loss_RQ, 0.0).sum(), counts_RQ.sum()


def masked_token_loss(logit_MLV: Tensor, target_ML: Tensor) -> Tensor:
    """Mean cross entropy over the masked tokens (ARL, "learn").

    Args:
        logit_MLV: Logits of the vocabulary.
        target_ML: Id of each masked token, :data:`NO_TARGET` elsewhere.

    Returns:
        A scalar, 0 if none is masked.
    """
    with full_precision(logit_MLV):
        total, count = _class_sum(logit_MLV.flatten(0, 1), target_ML.flatten())
        return total / count.clamp(min=1)


def matching_loss(logit_R2: Tensor, match_R: Tensor) -> Tensor:
    """Mean cross entropy of whether image and text belong together (ARL, "learn").

    Args:
        logit_R2: Logits of no and yes.
        match_R: 1 or 0; :data:`NO_TARGET` for a pair that does not count.

    Returns:
        A scalar, 0 without pairs.
    """
    with full_precision(logit_R2):
        total, count = _class_sum(logit_R2, match_R)
        return total / count.clamp(min=1)


def _class_sum(logit_RV: Tensor, target_R: Tensor) -> tuple[Tensor, Tensor]:
    total = cross_entropy(upcast(logit_RV), target_R, ignore_index=NO_TARGET, reduction="sum")
    return total, (target_R != NO_TARGET).sum()


def masked_patch_loss(pred_BNC: Tensor, pixel_BNC: Tensor, masked_BN: Tensor, *, normalise: bool = True) -> Tensor:
    """Mean over masked places of the mean squared error of what they hold (ARL, "learn", after MAE).

    Args:
        pred_BNC: Predictions.
        pixel_BNC: What the places hold; no gradient passes.
        masked_BN: True on the places that count.
        normalise: Predict the deviations of each place from its own mean, over its own standard deviation.

    Returns:
        A scalar, 0 if no place counts.
    """
    with full_precision(pred_BNC):
        total, count = _patch_sum(pred_BNC, pixel_BNC, masked_BN, normalise)
        return total / count.clamp(min=1)


def _patch_sum(pred_BNC: Tensor, pixel_BNC: Tensor, masked_BN: Tensor, normalise: bool) -> tuple[Tensor, Tensor]:
    target_BNC = upcast(pixel_BNC)
    if normalise:
        target_BNC = target_BNC - target_BNC.mean(-1, keepdim=True)
        target_BNC = target_BNC / (target_BNC.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    error_BN = (upcast(pred_BNC) - target_BNC).square().mean(-1)
    return torch.where(masked_BN, error_BN, 0.0).sum(), masked_BN.sum()


class ArlObjective(nn.Module):
    """The four losses of this rank's images and texts.

    Args:
        config: Settings.
        graph: Hierarchy whose edges the entity vectors are passed along, and further names of the entities; None: no
            edges, bare names.
    """

    class Config(ObjectiveSettings):
        """Settings of ARL's losses."""

        name: Literal["arl"] = Field(default="arl", description="Selects ARL: align, reason and learn.")
        align: float = Field(default=1.0, ge=0.0, description="Factor of the alignment through entity vectors.")
        tokens: float = Field(default=1.0, ge=0.0, description="Factor of guessing masked tokens.")
        places: float = Field(default=1.0, ge=0.0, description="Factor of guessing what masked places hold.")
        matching: float = Field(default=0.1, ge=0.0, description="Factor of telling true pairs from false ones.")
        projection: Literal["model", "own"] = Field(
            default="model",
            description="What is aligned: the model's own embeddings times its scale, so that it answers zero-shot, or "
            "the output of two layers for this alone, as published.",
        )
        vectors: str | None = Field(
            default=None, description="Folder of `medvlp vectors` the entity vectors start from; random without it."
        )
        hops: int = Field(default=2, ge=0, description="Steps above an entity that further nodes are taken from.")
        attention: GraphAttention.Config = Field(
            default=GraphAttention.Config(), description="Graph attention over the entity vectors."
        )
        fusion: KnowledgeFusion.Config = Field(
            default=KnowledgeFusion.Config(), description="Layers that fuse words, places and entities."
        )
        decoder: PlaceDecoder.Config = Field(
            default=PlaceDecoder.Config(), description="Layers that guess what masked places hold."
        )
        reconstruct: Literal["pixels", "places"] = Field(
            default="pixels",
            description="What is guessed: pixels of places that are blanked in the image, or image tower outputs that "
            "are taken away, for a tower that runs once.",
        )
        normalise: bool = Field(default=True, description="Guess each place relative to its own mean and deviation.")
        mask_tokens: float = Field(default=0.15, gt=0, lt=1, description="Chance that a mention or token is masked.")
        mask_places: float = Field(default=0.75, gt=0, lt=1, description="Share of places that are masked.")

        @model_validator(mode="after")
        def _something_to_do(self) -> ArlObjective.Config:
            if self.align + self.tokens + self.places + self.matching <= 0:
                raise ValueError("all four factors are 0, so there is no loss")
            return self

    def __init__(self, config: ArlObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = config = ArlObjective.Config() if config is None else config
        self.graph = graph
        pixels = config.places > 0 and config.reconstruct == "pixels"
        self.needs = frozenset({"entity_label_BQ", "text_owner_M", "token_ids_ML"})
        self.needs |= {"image_BCHW"} if pixels else set()
        fuses, places = config.tokens + config.matching > 0, config.places > 0 and not pixels
        self.reads = frozenset({"valid"}) | ({"tokens"} if fuses or places else set())
        self.reads |= {"words"} if config.matching > 0 else set()
        self.heads: nn.Module | None = None

    def prepare(self, context: Context) -> None:
        """Build the heads; see :class:`medvlp.objectives.context.Context`."""
        self.heads = ArlHeads(self.config, context, self.graph)

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``arl_align``, ``arl_tokens``, ``arl_places`` and ``arl_matching``, those that have a factor."""
        config, made, image_BD = self.config, out.extra, out.images("arl")
        terms: dict[str, Tensor] = {}
        with full_precision(image_BD):
            if config.align > 0:
                terms["arl_align"] = config.align * self._align(out, batch, gather)
            if config.tokens > 0:
                sums = _class_sum(made["arl.token_KV"], made["arl.token_K"])
                terms["arl_tokens"] = config.tokens * mean_over_ranks(*sums, gather)
            if config.places > 0:
                hidden_BN = made["arl.hidden_BN"].bool()
                sums = _patch_sum(made["arl.place_BNC"], made["arl.held_BNC"], hidden_BN, config.normalise)
                terms["arl_places"] = config.places * mean_over_ranks(*sums, gather)
            if config.matching > 0:
                sums = _class_sum(made["arl.match_R2"], made["arl.match_R"])
                terms["arl_matching"] = config.matching * mean_over_ranks(*sums, gather)
        terms = {name: config.weight * term for name, term in terms.items()}
        return Losses(terms, {name: made[f"arl.{name}"] for name in ("mention_share", "vectors_share")})

    def _align(self, out: Outputs, batch: Batch, gather: Gather) -> Tensor:
        """:func:`align_loss` over all ranks; an image may have several texts."""
        label_BQ, entity_QG = batch.entity_label_BQ, out.extra["arl.entity_QG"]
        assert label_BQ is not None, "checked by needs"
        label_MQ = torch.where(valid_texts(batch)[:, None], label_BQ[batch.text_owner_M], UNCERTAIN)
        if self.config.projection == "own":
            image_BG, text_MG = out.extra["arl.image_BG"], out.extra["arl.text_MG"]
        else:
            entity_QG = normalize(upcast(entity_QG), dim=-1)
            image_BG, text_MG = (out.scale * upcast(unit) for unit in (out.images("arl"), out.text_MD))
        sums = [_entity_sum(image_BG, entity_QG, label_BQ), _entity_sum(text_MG, entity_QG, label_MQ)]
        return torch.stack([mean_over_ranks(total, count, gather) for total, count in sums]).mean()

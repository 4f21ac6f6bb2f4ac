"""In the manner of DeViDe: an image meets several descriptions of each entity at once.

Source: DeViDe (arXiv 2404.03618): faceted knowledge, a projection of many descriptions, and the losses
``L_bce + L_itc + L_tnc + alpha L_pta``. No code is public and the paper leaves forms open: they were decided here.
Shapes: B images and M texts of this rank, Q entities, E descriptions of all entities, N places, D embedding size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, normalize

from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT
from medvlp.errors import TrainingError
from medvlp.objectives.base import Losses, Outputs, full_precision, upcast
from medvlp.objectives.clip import mean_over_ranks
from medvlp.objectives.context import AskedTexts, AskingSettings, Context
from medvlp.objectives.gather import Gather
from medvlp.objectives.make import local_loss
from medvlp.objectives.medklip import state_targets
from medvlp.objectives.valid_contrast import Positives, valid_contrast, valid_texts

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.base import Seen


def many_description_scores(
    image_BD: Tensor, description_ED: Tensor, entity_E: Tensor, num_entities: int, *, temperature: float = 0.07
) -> Tensor:
    """Log-mean-exp over an entity's descriptions of their cosine with the image over the temperature.

    Args:
        image_BD: Unit vectors of images.
        description_ED: Unit vectors of descriptions.
        entity_E: Entity of each description; every entity has at least one.
        num_entities: Q.
        temperature: Divides cosines.

    Returns:
        Scores (B, Q).
    """
    with full_precision(image_BD):
        logit_BE = upcast(image_BD) @ upcast(description_ED).T / temperature
        index_BE = entity_E.expand(len(logit_BE), -1)
        most_BQ = logit_BE.new_full((len(logit_BE), num_entities), -torch.inf)
        most_BQ = most_BQ.scatter_reduce(1, index_BE, logit_BE.detach(), "amax")
        sum_BQ = torch.zeros_like(most_BQ).scatter_add(1, index_BE, (logit_BE - most_BQ.gather(1, index_BE)).exp())
        count_Q = torch.zeros_like(most_BQ[:1]).scatter_add(1, entity_E[None], torch.ones_like(logit_BE[:1]))
        return most_BQ + (sum_BQ / count_Q).log()


def entity_bce(score_BQ: Tensor, label_BQ: Tensor, bias: Tensor, *, uncertain: Tensor | float = 0.5) -> Tensor:
    """Mean binary cross entropy of ``score + bias`` over the mentioned pairs of image and entity.

    Args:
        score_BQ: Scores.
        label_BQ: States as in :class:`medvlp.data.batch.Batch`.
        bias: Added to the scores, one for all or (Q,).
        uncertain: Target of what is uncertain, one for all or (Q,).

    Returns:
        A scalar, 0 if nothing is mentioned.
    """
    with full_precision(score_BQ):
        total, count = _bce_sum(score_BQ, label_BQ, bias, uncertain)
        return total / count.clamp(min=1)


def _bce_sum(score_BQ: Tensor, label_BQ: Tensor, bias: Tensor, uncertain: Tensor | float) -> tuple[Tensor, Tensor]:
    logit_BQ = upcast(score_BQ) + bias
    target_BQ = state_targets(label_BQ, uncertain, logit_BQ.dtype)
    loss_BQ = binary_cross_entropy_with_logits(logit_BQ, target_BQ, reduction="none")
    mentioned_BQ = label_BQ != NOT_MENTIONED
    return torch.where(mentioned_BQ, loss_BQ, 0.0).sum(), mentioned_BQ.sum()


def text_knowledge_loss(
    text_MD: Tensor,
    description_ED: Tensor,
    entity_E: Tensor,
    label_BQ: Tensor,
    owner_M: Tensor,
    valid_M: Tensor,
    scale: Tensor | float,
) -> Tensor:
    """Contrast of texts with descriptions: present entities' against absent ones', all others left out.

    Args:
        text_MD: Unit vectors of texts.
        description_ED: Unit vectors of descriptions.
        entity_E: Entity of each description.
        label_BQ: States of the entities of each image.
        owner_M: Image of each text.
        valid_M: False for texts that count for nothing.
        scale: Multiplier of cosines.

    Returns:
        Mean over valid texts with a present entity, a scalar; 0 without any.
    """
    with full_precision(text_MD):
        total, count = _knowledge_sum(text_MD, description_ED, entity_E, label_BQ, owner_M, valid_M, scale)
        return total / count.clamp(min=1)


def _knowledge_sum(
    text_MD: Tensor,
    description_ED: Tensor,
    entity_E: Tensor,
    label_BQ: Tensor,
    owner_M: Tensor,
    valid_M: Tensor,
    scale: Tensor | float,
) -> tuple[Tensor, Tensor]:
    # What does not count is replaced, so that nothing of it, NaN included, reaches a gradient.
    logit_ME = scale * (torch.where(valid_M[:, None], upcast(text_MD), 0.0) @ upcast(description_ED).T)
    state_ME = label_BQ[owner_M][:, entity_E]
    present_ME, absent_ME = (state_ME == PRESENT) & valid_M[:, None], state_ME == ABSENT
    some_M1 = absent_ME.any(1, keepdim=True)
    against_ME = torch.where(some_M1, logit_ME.masked_fill(~absent_ME, float("-inf")), 0.0)
    loss_ME = -logsigmoid(logit_ME - against_ME.logsumexp(1, keepdim=True))
    count_M = present_ME.sum(1)
    loss_M = torch.where(present_ME & some_M1, loss_ME, 0.0).sum(1) / count_M.clamp(min=1)
    return loss_M.sum(), (count_M > 0).sum()


def with_knowledge(text_MD: Tensor, description_ED: Tensor, count: int, share: float, temperature: float) -> Tensor:
    """Retrieve for each text the nearest descriptions and add them, weighted by a softmax of their cosines.

    Args:
        text_MD: Unit vectors of texts.
        description_ED: Unit vectors of descriptions.
        count: Descriptions to retrieve.
        share: Factor of what is added.
        temperature: Divides cosines in the softmax.

    Returns:
        Unit vectors (M, D).
    """
    near_MK, place_MK = (text_MD @ description_ED.T).topk(min(count, len(description_ED)), 1)
    found_MD = ((near_MK / temperature).softmax(1)[:, :, None] * description_ED[place_MK]).sum(1)
    return normalize(text_MD + share * found_MD, dim=1)


class DevideObjective(nn.Module):
    """The four losses over all ranks.

    Args:
        config: Settings.
        graph: Not used: the entities bring their descriptions.
    """

    class Config(AskingSettings):
        """Settings of the losses in the manner of DeViDe."""

        name: Literal["devide"] = Field(default="devide", description="Selects many descriptions in DeViDe's manner.")
        descriptions: int | None = Field(
            default=None, ge=1, description="Descriptions of each entity; by default as many as the one with most has."
        )
        bce: float = Field(default=1.0, ge=0.0, description="Factor of the existence of entities (L_bce).")
        itc: float = Field(default=1.0, ge=0.0, description="Factor of the contrast of images and texts (L_itc).")
        tnc: float = Field(default=1.0, ge=0.0, description="Factor of texts against descriptions (L_tnc).")
        pta: float = Field(default=0.5, ge=0.0, description="Factor of patches against texts (alpha, L_pta).")
        temperature: float = Field(default=0.07, gt=0.0, description="Divides cosines of images and descriptions.")
        threshold: float = Field(default=0.3, description="Least cosine of a patch that stands for a text.")
        uncertain: Annotated[float, Field(ge=0, le=1)] = Field(
            default=0.5, description="Target of what a report calls uncertain."
        )
        retrieve: int = Field(
            default=0, ge=0, description="Descriptions added to each text in the contrast; 0 for none."
        )
        retrieved_share: float = Field(default=0.3, ge=0.0, description="Factor of what is added to a text.")
        projection: Literal["model", "own"] = Field(
            default="model",
            description="Descriptions go through the model's text head, so that classes are asked by them or by names, "
            "or through a layer of their own, which stays behind with the training.",
        )
        positives: Positives = Field(
            default="text", description="An image's positives in the contrast: its own texts, or equal texts too."
        )

    needs = frozenset({"entity_label_BQ", "text_owner_M", "group_B"})

    def __init__(self, config: DevideObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = DevideObjective.Config() if config is None else config
        self.reads = frozenset({"valid"}) | ({"patches"} if self.config.pta > 0 else set())
        self.heads: nn.Module | None = None

    def prepare(self, context: Context) -> None:
        """Build the heads; see :class:`medvlp.objectives.context.Context`."""
        self.heads = DevideHeads(self.config, context)

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``devide_bce``, ``devide_itc``, ``devide_tnc`` and ``devide_pta``, those that have a factor.

        Raises:
            TrainingError: If the step gave no images, or no patches although they have a factor.
        """
        config, image_BD = self.config, upcast(out.images("devide"))
        text_MD, label_BQ, owner_M = upcast(out.text_MD), batch.entity_label_BQ, batch.text_owner_M
        assert label_BQ is not None, "checked by needs"
        description_ED, entity_E = out.extra["devide.description_ED"], out.extra["devide.entity_E"]
        valid_M, terms = valid_texts(batch), {}
        with full_precision(image_BD):
            if config.bce > 0:
                score_BQ = many_description_scores(
                    image_BD, description_ED, entity_E, label_BQ.shape[1], temperature=config.temperature
                )
                sums = _bce_sum(score_BQ, label_BQ, out.extra["devide.bias_Q"], config.uncertain)
                terms["devide_bce"] = config.bce * mean_over_ranks(*sums, gather)
            if config.itc > 0:
                told_MD = text_MD
                if config.retrieve > 0:
                    told_MD = with_knowledge(
                        text_MD, description_ED, config.retrieve, config.retrieved_share, config.temperature
                    )
                terms["devide_itc"] = config.itc * valid_contrast(
                    image_BD, told_MD, out.scale, batch, gather, config.positives
                )
            if config.tnc > 0:
                sums = _knowledge_sum(text_MD, description_ED, entity_E, label_BQ, owner_M, valid_M, out.scale)
                terms["devide_tnc"] = config.tnc * mean_over_ranks(*sums, gather)
            if config.pta > 0:
                if out.patch_BND is None:
                    raise TrainingError("needs embeddings of places, which the step did not give", item="devide")
                every_M = torch.ones_like(valid_M)
                terms["devide_pta"] = config.pta * local_loss(
                    out.patch_BND, text_MD, out.scale, owner_M, valid_M, every_M, every_M.to(text_MD.dtype),
                    threshold=config.threshold, gather=gather,
                )  # fmt: skip
        terms = {name: config.weight * term for name, term in terms.items()}
        return Losses(terms, {"mentioned_share": (label_BQ != NOT_MENTIONED).float().mean()})


class DevideHeads(nn.Module):
    """The descriptions, the layer of their own where they have one, and a bias for each entity.

    Args:
        config: Settings.
        context: The run.

    Raises:
        ConfigError: If the run has no entities, or texts are encoded once by a tower that learns.
    """

    def __init__(self, config: DevideObjective.Config, context: Context) -> None:
        super().__init__()
        texts = context.entity_texts("devide", config.descriptions, config.aspects)
        self.entity_E: Tensor
        self.descriptions = AskedTexts(texts.flat, context, config.queries)
        own = config.projection == "own"
        self.layer = nn.Linear(context.text_width, context.embed_dim) if own else None
        self.register_buffer("entity_E", texts.entity_E, persistent=False)
        self.bias_Q = nn.Parameter(torch.zeros(len(texts.by_entity))) if config.bce > 0 else None

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Return the descriptions as unit vectors of the shared embedding."""
        description_ED = self.embed(self.descriptions(seen), seen.project_text)
        made = {"devide.description_ED": description_ED, "devide.entity_E": self.entity_E}
        return made if self.bias_Q is None else {**made, "devide.bias_Q": self.bias_Q * 1.0}

    def embed(self, feature_EI: Tensor, project_text: Callable[[Tensor], Tensor]) -> Tensor:
        """Return text tower outputs of descriptions as unit vectors (E, D); ``project_text`` is the model's."""
        if self.layer is None:
            return project_text(feature_EI)
        return normalize(self.layer(feature_EI).float(), dim=-1)

"""After ERNIE-ViL: words of what a report's triples say are hidden and recovered from the rest and the image.

Source: Yu et al. 2021 (ERNIE-ViL, AAAI), scene-graph prediction of objects, attributes and relations beside image-text
matching; a relation is hidden while its objects stay. The translation to reports was decided here: an object is a
finding, an attribute its side or severity, a relation its place or the words that say or deny it; the tower for regions
and the prediction of masked regions are left out, and a contrast of images and texts is added, which gives the dual
encoder.
Shapes: B images and M texts of this rank, L tokens, N places, R hidden tokens, V vocabulary, W width of the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from medvlp.data.batch import NODES
from medvlp.fusion.knowledge import CrossFusion
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather
from medvlp.objectives.node_masks import corrupt, draw_nodes, redraw, wrong_images
from medvlp.objectives.rows import mean_over_ranks
from medvlp.objectives.valid_contrast import Positives, valid_contrast

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.base import Seen
    from medvlp.objectives.context import Context

NOT_HIDDEN = -100


def node_losses(logit_MLV: Tensor, target_ML: Tensor, kind_ML: Tensor) -> Tensor:
    """Mean cross entropy of the hidden tokens of each kind of node.

    Args:
        logit_MLV: Logits over the vocabulary.
        target_ML: Hidden token, -100 where none is hidden.
        kind_ML: Place in :data:`medvlp.data.batch.NODES`; any other number counts for nothing.

    Returns:
        (3,): object, attribute, relation; 0 for a kind of which nothing is hidden.
    """
    with full_precision(logit_MLV):
        total_3, count_3 = _node_sums(logit_MLV, target_ML, kind_ML)
        return total_3 / count_3.clamp(min=1)


def _node_sums(logit_MLV: Tensor, target_ML: Tensor, kind_ML: Tensor) -> tuple[Tensor, Tensor]:
    target_R, logit_RV = target_ML.flatten(), upcast(logit_MLV).flatten(0, 1)
    hidden_R1 = (target_R != NOT_HIDDEN)[:, None]
    # What is not hidden is replaced, so that nothing of it, NaN included, reaches a gradient.
    loss_R = cross_entropy(torch.where(hidden_R1, logit_RV, 0.0), target_R, ignore_index=NOT_HIDDEN, reduction="none")
    of_kind_R3 = hidden_R1 & (kind_ML.flatten()[:, None] == torch.arange(len(NODES), device=kind_ML.device))
    return torch.where(of_kind_R3, loss_R[:, None], 0.0).sum(0), of_kind_R3.sum(0)


class ErnieVilObjective(nn.Module):
    """Hidden nodes, matching and contrast over all ranks.

    Args:
        config: Settings.
        graph: Not used: the triples come from the texts.
    """

    class Config(ObjectiveSettings):
        """Settings of the losses after ERNIE-ViL."""

        name: Literal["ernie_vil"] = Field(
            default="ernie_vil", description="Selects the prediction of words of triples after ERNIE-ViL."
        )
        objects: float = Field(default=1.0, ge=0.0, description="Factor of hidden findings.")
        attributes: float = Field(default=1.0, ge=0.0, description="Factor of hidden sides and severities.")
        relations: float = Field(default=1.0, ge=0.0, description="Factor of hidden places and words of presence.")
        matching: float = Field(default=1.0, ge=0.0, description="Factor of telling a text's image from a wrong one.")
        contrast: float = Field(default=1.0, ge=0.0, description="Factor of the contrast of images with texts.")
        positives: Positives = Field(
            default="text", description="An image's positives in the contrast: its own texts, or equal texts too."
        )
        rate: float = Field(
            default=0.3,
            gt=0.0,
            le=1.0,
            description="Chance of a node to be hidden, of the one kind drawn for its text.",
        )
        masked: float = Field(default=0.8, ge=0.0, le=1.0, description="Share of hidden tokens that become the mask.")
        random: float = Field(default=0.1, ge=0.0, le=1.0, description="Share that become a random token.")
        fusion: QueryDecoder.Config = Field(
            default=QueryDecoder.Config(), description="The stack in which words look at places."
        )

        @model_validator(mode="after")
        def _sound(self) -> ErnieVilObjective.Config:
            if self.masked + self.random > 1:
                raise ValueError("masked and random are shares of one whole: together they are at most 1")
            return self

    needs = frozenset({"node_ML", "node_kind_ML", "token_ids_ML", "text_owner_M", "group_B"})
    reads = frozenset({"tokens", "valid", "table"})

    def __init__(self, config: ErnieVilObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = ErnieVilObjective.Config() if config is None else config
        self.heads: nn.Module | None = None

    def prepare(self, context: Context) -> None:
        """Build the heads; see :class:`medvlp.objectives.context.Context`."""
        self.heads = ErnieVilHeads(self.config, context)

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``ernie_object``, ``ernie_attribute``, ``ernie_relation``, ``ernie_matching``, ``ernie_contrast``.

        Reported are hidden tokens per text, the share of them that is recovered, and that of pairs told right.
        """
        config, made, image_BD = self.config, out.extra, out.images("ernie_vil")
        logit_RV, target_R, kind_R = (made[f"ernie_vil.{name}"] for name in ("logit_RV", "target_R", "kind_R"))
        match_R2, matches_R = made["ernie_vil.match_R2"], made["ernie_vil.matches_R"]
        factors = (config.objects, config.attributes, config.relations)
        terms = {}
        with full_precision(image_BD):
            total_3, count_3 = _node_sums(logit_RV[None], target_R[None], kind_R[None])
            for number, (name, factor) in enumerate(zip(NODES, factors, strict=True)):
                loss = mean_over_ranks(total_3[number], count_3[number], gather)
                terms[f"ernie_{name}"] = config.weight * factor * loss
            counts_R = matches_R != NOT_HIDDEN
            loss_R = cross_entropy(upcast(match_R2), matches_R, ignore_index=NOT_HIDDEN, reduction="none")
            matching = mean_over_ranks(loss_R.sum(), counts_R.sum(), gather)
            terms["ernie_matching"] = config.weight * config.matching * matching
            contrast = valid_contrast(image_BD, out.text_MD, out.scale, batch, gather, config.positives)
            terms["ernie_contrast"] = config.weight * config.contrast * contrast
        with torch.no_grad():
            report = {
                "hidden_per_text": torch.as_tensor(len(target_R) / len(out.text_MD), device=image_BD.device),
                "recovered": (logit_RV.argmax(1) == target_R).sum() / max(len(target_R), 1),
                "matched": (match_R2.argmax(1) == matches_R).sum() / counts_R.sum().clamp(min=1),
            }
        return Losses(terms, report)


class ErnieVilHeads(nn.Module):
    """The stack in which words look at places, what names a hidden word, and what tells a true image from a wrong one.

    Args:
        config: Settings.
        context: The run.

    Raises:
        ConfigError: If the run knows no triples, or the text tower has no mask or no table of token embeddings.
    """

    def __init__(self, config: ErnieVilObjective.Config, context: Context) -> None:
        super().__init__()
        context.need_triples("ernie_vil")
        self.vocabulary, table_width = context.token_table("ernie_vil")
        self.mask_id = context.hidden_token("ernie_vil")
        self.config, self.knowledge = config, context.knowledge
        width = config.fusion.width
        self.fusion = CrossFusion(config.fusion, context.text_width, context.place_width)
        self.word = nn.Sequential(nn.Linear(width, table_width), nn.GELU(), nn.LayerNorm(table_width))
        self.bias_V = nn.Parameter(torch.zeros(self.vocabulary))
        self.match = nn.Linear(width, 2)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Hide words, and read the rest beside the text's image and beside a wrong one."""
        assert seen.table_VI is not None, "read as table"
        assert seen.tokens_BNI is not None, "read as tokens"
        given, ids_ML, mask_ML = seen.batch, seen.batch["token_ids_ML"], seen.word_mask_ML
        owner_M, config = given["text_owner_M"], self.config
        counts_M = given.get("text_valid_M", torch.ones_like(owner_M, dtype=torch.bool))
        hidden_ML, kind_ML = redraw(
            draw_nodes(given["node_ML"], given["node_kind_ML"], config.rate, counts_M),
            given["node_kind_ML"],
            given["node_ML"],
            self.knowledge,
        )
        shown_ML = corrupt(ids_ML, hidden_ML, self.mask_id, self.vocabulary, masked=config.masked, random=config.random)
        words_MLI = seen.encode_words(shown_ML, mask_ML)
        wrong_M, any_M = wrong_images(ids_ML, owner_M, given["group_B"], counts_M)
        true_MLW = self.fusion(words_MLI, mask_ML, seen.tokens_BNI, owner_M)
        false_MLW = self.fusion(words_MLI, mask_ML, seen.tokens_BNI, wrong_M)
        logit_RV = self.word(true_MLW[hidden_ML]) @ seen.table_VI.T + self.bias_V
        is_true_M, is_wrong_M = (torch.where(known, truth, NOT_HIDDEN) for known, truth in ((counts_M, 1), (any_M, 0)))
        return {
            "ernie_vil.logit_RV": logit_RV,
            "ernie_vil.target_R": ids_ML[hidden_ML],
            "ernie_vil.kind_R": kind_ML[hidden_ML],
            "ernie_vil.match_R2": self.match(torch.cat([true_MLW[:, 0], false_MLW[:, 0]])),
            "ernie_vil.matches_R": torch.cat([is_true_M, is_wrong_M]),
        }

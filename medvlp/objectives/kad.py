"""KAD: pairs of texts about one concept meet; disease names are asked of an image's places and of its texts.

Source: Zhang et al. 2023 (KAD, Nature Communications), knowledge encoder and disease query networks.
Shapes: N pairs, B images of this rank, M texts of this rank, Q entities, D size, T texts of all ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.data.batch import ABSENT, ASPECTS, NOT_MENTIONED
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.clip import contrast_rows, mean_over_ranks
from medvlp.objectives.context import AskedTexts, AskingSettings, Context
from medvlp.objectives.gather import Gather
from medvlp.objectives.medklip import existence_sum
from medvlp.objectives.valid_contrast import Positives, valid_contrast

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.base import Seen

ASKS, ANSWERS = "name", "definition"
"""Kinds of the two texts of a pair: what is said of a concept, and the concept (or the other way round)."""


def pair_loss(a_ND: Tensor, b_ND: Tensor, code_N: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric cross entropy of first against second texts; all pairs of a concept are positives.

    The target of a row is uniform over its positives (the released code scales it to length one instead, so that a
    concept drawn n times weighs the square root of n).

    Args:
        a_ND: Unit vectors of the first texts.
        b_ND: Unit vectors of the second texts.
        code_N: Concept of each pair.
        scale: Multiplier of cosines.

    Returns:
        A scalar, 0 without any pair.
    """
    if len(a_ND) == 0:
        return torch.cat([a_ND, b_ND]).sum()  # 0, with a gradient path to both
    with full_precision(a_ND):
        sums = _pair_sums(a_ND, b_ND, a_ND, b_ND, code_N, code_N, scale)
        return torch.stack([total / count.clamp(min=1) for total, count in sums]).mean()


def _pair_sums(
    a_ND: Tensor, b_ND: Tensor, a_TD: Tensor, b_TD: Tensor, code_N: Tensor, code_T: Tensor, scale: Tensor | float
) -> list[tuple[Tensor, Tensor]]:
    same = lambda rows: code_N[rows, None] == code_T  # noqa: E731
    return [contrast_rows(a_ND, b_TD, scale, same), contrast_rows(b_ND, a_TD, scale, same)]


class KadPairObjective(nn.Module):
    """:func:`pair_loss` over all ranks: KAD's first stage, texts only.

    Args:
        config: Settings.
        graph: Not used: the pairs come from it.
    """

    class Config(ObjectiveSettings):
        """Settings of the contrast of pairs."""

        name: Literal["kad_pairs"] = Field(default="kad_pairs", description="Selects KAD's contrast of text pairs.")
        definitions: bool = Field(default=True, description="Draw pairs of name and definition.")
        triples: bool = Field(default=True, description="Draw pairs of two parts of a triple and the third.")
        mask_texts: float = Field(default=0.0, ge=0.0, le=1.0, description="Chance of a text to lose tokens.")
        mask_rate: float = Field(default=0.15, ge=0.0, le=1.0, description="Chance of each token of such a text.")
        reports: bool = Field(
            default=True,
            description="Draw pairs of what a sentence says and the sentence, where the run names reports.",
        )

    needs = frozenset({"text_owner_M", "group_B", "text_aspect_M"})

    def __init__(self, config: KadPairObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = KadPairObjective.Config() if config is None else config

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"kad_pairs": loss}``; each row of the batch has one text of kind :data:`ASKS`, one of the other."""
        assert batch.text_aspect_M is not None, "checked by needs"
        second_M = batch.text_aspect_M == ASPECTS.index(ANSWERS)
        order_N2 = (2 * batch.text_owner_M + second_M.long()).argsort().view(len(batch), 2)
        text_MD = upcast(out.text_MD)
        a_ND, b_ND, code_N = text_MD[order_N2[:, 0]], text_MD[order_N2[:, 1]], batch.group_B
        with full_precision(text_MD):
            sums = _pair_sums(a_ND, b_ND, gather(a_ND), gather(b_ND), code_N, gather(code_N), out.scale)
            loss = torch.stack([mean_over_ranks(total, count, gather) for total, count in sums]).mean()
        return Losses({"kad_pairs": self.config.weight * loss}, {})


class KadObjective(nn.Module):
    """Existence of the entities asked of places and of texts, and the contrast of images with texts.

    Args:
        config: Settings.
        graph: Not used: the entities bring their texts, the first stage the graph.
    """

    class Config(AskingSettings):
        """Settings of KAD's second stage."""

        name: Literal["kad"] = Field(default="kad", description="Selects KAD's disease queries.")
        memory: Literal["both", "random"] = Field(
            default="both",
            description="Ask places and texts in each step, or one of the two, drawn by each process for itself.",
        )
        text_memory: float = Field(default=1.0, ge=0.0, description="Factor (lambda) of what is asked of texts.")
        contrast: float = Field(default=1.0, ge=0.0, description="Factor of the contrast of images with texts.")
        positives: Positives = Field(
            default="text", description="An image's positives in the contrast: its own texts, or equal texts too."
        )
        uncertain: Annotated[float, Field(ge=0, le=1)] = Field(
            default=0.5, description="Target of what a report calls uncertain."
        )
        unmentioned: Literal["ignore", "absent"] = Field(
            default="ignore", description="What is not mentioned does not count, or is absent as published."
        )

    needs = frozenset({"entity_label_BQ", "text_owner_M", "group_B"})
    reads = frozenset({"tokens", "valid"})

    def __init__(self, config: KadObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = KadObjective.Config() if config is None else config
        self.heads: nn.Module | None = None

    def prepare(self, context: Context) -> None:
        """Build the heads; see :class:`medvlp.objectives.context.Context`."""
        self.heads = KadHeads(self.config, context)

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``kad_image`` and ``kad_text`` (``kad_query`` for a drawn one), and ``kad_contrast``."""
        config, label_BQ, terms = self.config, batch.entity_label_BQ, {}
        assert label_BQ is not None, "checked by needs"
        if config.unmentioned == "absent":
            label_BQ = torch.where(label_BQ == NOT_MENTIONED, ABSENT, label_BQ)
        image_BD = out.images("kad")
        with full_precision(image_BD):
            sums = {}
            if "kad.image_BQ2" in out.extra:
                sums["kad_image"] = (1.0, *existence_sum(out.extra["kad.image_BQ2"], label_BQ, config.uncertain))
            if "kad.text_BQ2" in out.extra:
                # An image without a text that counts says nothing about its entities here.
                told_BQ = torch.where(out.extra["kad.has_text_B"][:, None] > 0, label_BQ, NOT_MENTIONED)
                told = existence_sum(out.extra["kad.text_BQ2"], told_BQ, config.uncertain)
                sums["kad_text"] = (config.text_memory, *told)
            for name, (factor, total, count) in sums.items():
                # One name where processes may draw differently, so that all of them log and gather the same.
                shown = "kad_query" if config.memory == "random" else name
                terms[shown] = config.weight * factor * mean_over_ranks(total, count, gather)
            if config.contrast > 0:
                contrast = valid_contrast(image_BD, out.text_MD, out.scale, batch, gather, config.positives)
                terms["kad_contrast"] = config.weight * config.contrast * contrast
        return Losses(terms, {"mentioned_share": (label_BQ != NOT_MENTIONED).float().mean()})


class KadHeads(nn.Module):
    """The entities that are asked, and what makes a place of a text.

    Args:
        config: Settings.
        context: The run.

    Raises:
        ConfigError: If the run has no entities, the model no decoder, or texts are encoded once by a learning tower.
    """

    def __init__(self, config: KadObjective.Config, context: Context) -> None:
        super().__init__()
        context.decoder_width("kad")
        self.queries = AskedTexts(context.entity_texts("kad", 1, config.aspects).flat, context, config.queries)
        self.random, self.texts = config.memory == "random", config.text_memory > 0
        self.text_place = nn.Linear(context.text_width, context.place_width) if self.texts else None

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Ask the places, the texts, or (``random``) one of them by torch's generator, which each step seeds."""
        query_QI, made = self.queries(seen), {}
        # A draw on the CPU: no wait for the device.
        chosen = ("image", "text")[int(torch.rand(()) < 0.5)] if self.random and self.texts else "both"
        if chosen != "text":
            made["kad.image_BQ2"] = seen.decode(query_QI).exists_BQ2
        if self.text_place is not None and chosen != "image":
            memory_1MI = self.text_place(seen.text_MI)[None]
            own_BM = _own_texts(seen)
            query_BQI = query_QI.expand(len(own_BM), -1, -1)
            made["kad.text_BQ2"] = seen.decode(query_BQI, memory_1MI, own_BM).exists_BQ2
            made["kad.has_text_B"] = own_BM.any(1).long()
        return made


def _own_texts(seen: Seen) -> Tensor:
    """True where a text counts and belongs to an image (B, M)."""
    owner_M = seen.batch["text_owner_M"]
    own_BM = owner_M == torch.arange(len(seen.image_BI), device=owner_M.device)[:, None]
    return own_BM & seen.batch["text_valid_M"] if "text_valid_M" in seen.batch else own_BM

"""Structure-CLIP: captions with one fact exchanged must rank lower, and texts carry what their triples say.

Source: Huang et al. 2024 (Structure-CLIP, AAAI), semantic negatives and the knowledge-enhanced encoder; the hinge is
that of Faghri et al. 2018 (VSE++), eq. 6. The released code forgets to normalise the sum of text and triples, ignores
both margins and counts the positive among the negatives of the mean; none of this is followed.
Shapes: B images, M texts and K swapped captions of this rank, A images and T texts of all ranks, D embedding size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from medvlp.errors import TrainingError
from medvlp.fusion.knowledge import TripleEncoder
from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.gather import Gather, LocalGather
from medvlp.objectives.identity import Identity
from medvlp.objectives.rows import global_rows, mean_over_ranks
from medvlp.objectives.valid_contrast import Positives, valid_texts

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.base import Seen
    from medvlp.objectives.context import Context

_LOCAL = LocalGather()


def hinge_contrast(
    image_BD: Tensor,
    text_MD: Tensor,
    owner_M: Tensor,
    *,
    margin: float = 0.2,
    hardest: bool = True,
    valid_M: Tensor | None = None,
    positive_MA: Tensor | None = None,
    positive_MT: Tensor | None = None,
    gather: Gather = _LOCAL,
) -> Tensor:
    """Hinge of each text against other images, and of its image against texts that are not the image's own.

    With ``c`` the cosine and ``o`` the owner of text m, the two sides of m are ``max(0, margin + c_jm - c_om)`` over
    images j other than o, and ``max(0, margin + c_om' - c_om)`` over valid texts m' that o does not own.

    Args:
        image_BD: L2-normalised image embeddings.
        text_MD: L2-normalised text embeddings.
        owner_M: Row of the image each text belongs to.
        margin: Wanted lead of the true cosine.
        hardest: Take the largest of each side; else the mean over its negatives.
        valid_M: False for texts that count for nothing; None: all count.
        positive_MA: True where a text is true of an image, which is then no negative; None: of its owner alone.
        positive_MT: True where a text is true of the owner of another; None: if that owns it.
        gather: Collects other ranks' rows; owners stay rows of this rank.

    Returns:
        Sum of the two means over valid texts, a scalar; 0 without a valid text.
    """
    valid_M = torch.ones_like(owner_M, dtype=torch.bool) if valid_M is None else valid_M
    # What is not valid is replaced, so that nothing of it, NaN included, reaches a sum or a gradient.
    image_BD, text_MD = upcast(image_BD), torch.where(valid_M[:, None], upcast(text_MD), 0.0)
    with full_precision(image_BD):
        index_B = global_rows(len(image_BD), gather, image_BD.device)
        mine_M1, all_image_AD = index_B[owner_M][:, None], gather(image_BD)
        own_M1 = (image_BD[owner_M] * text_MD).sum(1, keepdim=True)
        index_A = torch.arange(len(all_image_AD), device=owner_M.device)
        other_MA = mine_M1 != index_A if positive_MA is None else ~positive_MA
        image_M = _behind(margin + text_MD @ all_image_AD.T - own_M1, other_MA, hardest)
        strange_MT = mine_M1 != gather(index_B[owner_M]) if positive_MT is None else ~positive_MT
        other_MT = strange_MT & gather(valid_M)
        text_M = _behind(margin + (image_BD @ gather(text_MD).T)[owner_M] - own_M1, other_MT, hardest)
        return mean_over_ranks(torch.where(valid_M, image_M + text_M, 0.0).sum(), valid_M.sum(), gather)


def _behind(excess_MC: Tensor, other_MC: Tensor, hardest: bool) -> Tensor:
    """Largest or mean positive excess among true columns (M,), 0 where there is none."""
    floor_M1 = excess_MC.new_zeros(len(excess_MC), 1)
    if hardest:
        return torch.cat([floor_M1, excess_MC.masked_fill(~other_MC, float("-inf"))], 1).amax(1)
    return torch.where(other_MC, excess_MC.clamp(min=0), 0.0).sum(1) / other_MC.sum(1).clamp(min=1)


def swap_hinge(
    image_BD: Tensor,
    text_MD: Tensor,
    swap_KD: Tensor,
    swap_of_K: Tensor,
    owner_M: Tensor,
    *,
    margin: float = 0.1,
    gather: Gather = _LOCAL,
) -> Tensor:
    """Mean over swapped captions of ``max(0, margin - cos(image, true caption) + cos(image, swapped caption))``.

    Args:
        image_BD: L2-normalised image embeddings.
        text_MD: L2-normalised text embeddings.
        swap_KD: L2-normalised embeddings of the swapped captions.
        swap_of_K: Row of the text each one was made from; -1 counts for nothing.
        owner_M: Row of the image each text belongs to.
        margin: Wanted lead of the true caption.
        gather: Collects how many count on other ranks.

    Returns:
        A scalar, 0 if none counts.
    """
    counts_K, of_K = swap_of_K >= 0, swap_of_K.clamp(min=0)
    image_BD, text_MD = upcast(image_BD), upcast(text_MD)
    with full_precision(image_BD):
        image_KD, swap_KD = image_BD[owner_M[of_K]], torch.where(counts_K[:, None], upcast(swap_KD), 0.0)
        true_K, false_K = (image_KD * text_MD[of_K]).sum(1), (image_KD * swap_KD).sum(1)
        loss_K = torch.where(counts_K, (margin - true_K + false_K).clamp(min=0), 0.0)
        return mean_over_ranks(loss_K.sum(), counts_K.sum(), gather)


def with_triples(text_MD: Tensor, knowledge_MD: Tensor, share: float) -> Tensor:
    """Return texts with a share of what their triples say, as unit vectors (M, D); rows of zeros add nothing."""
    with full_precision(text_MD):
        return normalize(upcast(text_MD) + share * upcast(knowledge_MD), dim=1)


class StructureClipObjective(nn.Module):
    """:func:`hinge_contrast` plus :func:`swap_hinge` over all ranks, of texts that know their triples.

    A swapped caption is given the triples of the caption it was made from: were it given none, their mere presence
    would tell true from false.

    Args:
        config: Settings.
        graph: Not used: the triples come from the texts.
    """

    class Config(ObjectiveSettings):
        """Settings; the defaults are those of Structure-CLIP's published script."""

        name: Literal["structure_clip"] = Field(
            default="structure_clip", description="Selects Structure-CLIP's hinges with swapped captions."
        )
        margin: float = Field(default=0.2, ge=0.0, description="Wanted lead over other images and texts.")
        hardest: bool = Field(default=True, description="Only the hardest negative counts; else the mean of all.")
        positives: Positives = Field(
            default="text", description="What is no negative of an image: its own texts, or equal texts too."
        )
        swap: float = Field(default=5.0, ge=0.0, description="Factor of swapped captions; 0 needs none.")
        swap_margin: float = Field(default=0.1, ge=0.0, description="Wanted lead over swapped captions.")
        share: float = Field(default=0.2, ge=0.0, description="Share of the triples in a text's vector; 0 needs none.")
        triples: int = Field(default=6, ge=1, description="Triples of each text that are read, the first ones.")
        part_tokens: int = Field(default=5, ge=1, description="Tokens of each part of a triple that are read.")
        encoder: TripleEncoder.Config = Field(default=TripleEncoder.Config(), description="The encoder of triples.")

    def __init__(self, config: StructureClipObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = StructureClipObjective.Config() if config is None else config
        self.heads: nn.Module | None = None
        self.reads, self.needs = frozenset({"valid"}), frozenset({"text_owner_M", "group_B"})
        self.triple_size: tuple[int, int] | None = None
        if self.config.swap > 0:
            self.needs |= {"swap_ids_KL", "swap_of_K"}
        if self.config.share > 0:
            self.reads |= {"table"}
            self.needs |= {"triple_ids_MX3L", "triple_mask_MX3L"}
            self.triple_size = (self.config.triples, self.config.part_tokens)

    def prepare(self, context: Context) -> None:
        """Build the heads; see :class:`medvlp.objectives.context.Context`."""
        if self.config.share > 0:
            self.heads = StructureClipHeads(self.config, context)

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``structure_contrast`` and, with a factor, ``structure_swap``.

        Reported are the share of texts with triples, and of swapped captions that rank below the true one.

        Raises:
            TrainingError: If the step gave no images, or no swapped captions although they have a factor.
        """
        config, image_BD, text_MD = self.config, out.images("structure_clip"), out.text_MD
        owner_M, valid_M, report = batch.text_owner_M, valid_texts(batch), {}
        knowledge_MD = out.extra.get("structure_clip.knowledge_MD")
        if knowledge_MD is not None:
            text_MD = with_triples(text_MD, knowledge_MD, config.share)
            report["texts_with_triples"] = (knowledge_MD.detach() != 0).any(1).float().mean()
        to_text, to_image = Identity(batch, gather, owner_M.device).positives(config.positives)
        contrast = hinge_contrast(
            image_BD, text_MD, owner_M, margin=config.margin, hardest=config.hardest, valid_M=valid_M, gather=gather,
            positive_MA=to_image(slice(None)), positive_MT=to_text(slice(None))[owner_M],
        )  # fmt: skip
        terms = {"structure_contrast": config.weight * contrast}
        if config.swap > 0:
            swap_KD, swap_of_K = out.swap_KD, batch.swap_of_K
            if swap_KD is None or swap_of_K is None:
                raise TrainingError(
                    "needs swapped captions, which the step did not give",
                    item="objective structure_clip",
                    remedy="set `swaps: {}`",
                )
            if knowledge_MD is not None:
                swap_KD = with_triples(swap_KD, knowledge_MD[swap_of_K.clamp(min=0)], config.share)
            swap = swap_hinge(image_BD, text_MD, swap_KD, swap_of_K, owner_M, margin=config.swap_margin, gather=gather)
            terms["structure_swap"] = config.weight * config.swap * swap
            report |= _ranks(image_BD, text_MD, swap_KD, swap_of_K, owner_M)
        return Losses(terms, report)


@torch.no_grad()
def _ranks(image_BD: Tensor, text_MD: Tensor, swap_KD: Tensor, swap_of_K: Tensor, owner_M: Tensor) -> dict[str, Tensor]:
    """How many swapped captions count, and which share of them is less like the image than the true one."""
    counts_K, of_K = swap_of_K >= 0, swap_of_K.clamp(min=0)
    below_K = (image_BD[owner_M[of_K]] * (upcast(text_MD[of_K]) - upcast(swap_KD))).sum(1) > 0
    total = counts_K.sum()
    return {
        "swaps_per_image": total / len(image_BD),
        "swaps_below": (below_K & counts_K).sum() / total.clamp(min=1),
    }


class StructureClipHeads(nn.Module):
    """The encoder of triples.

    Args:
        config: Settings.
        context: The run.

    Raises:
        ConfigError: If the run knows no triples, or the text tower has no table of token embeddings.
    """

    def __init__(self, config: StructureClipObjective.Config, context: Context) -> None:
        super().__init__()
        context.need_triples("structure_clip")
        _, width = context.token_table("structure_clip")
        self.encoder = TripleEncoder(
            config.encoder, width, context.embed_dim, triples=config.triples, part_tokens=config.part_tokens
        )

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Return a unit vector for each text with triples, zeros for the others."""
        assert seen.table_VI is not None, "read as table"
        knowledge_MD = self.encoder(seen.batch["triple_ids_MX3L"], seen.batch["triple_mask_MX3L"], seen.table_VI)
        return {"structure_clip.knowledge_MD": knowledge_MD}

"""KEP's two terms: images meet their captions, and captions meet what a frozen knowledge encoder makes of them.

Shapes: B images, M texts, D embedding size, T texts of all ranks. Source: Zhou et al. 2024 (KEP), knowledge-enhanced
pretraining, and the loss published with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from medvlp.objectives.base import Losses, ObjectiveSettings, Outputs, full_precision, upcast
from medvlp.objectives.clip import check_targets, contrast_rows, mean_over_ranks
from medvlp.objectives.gather import Gather, LocalGather
from medvlp.objectives.identity import Identity, Rows

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph


def kep_loss(
    image_BD: Tensor,
    text_MD: Tensor,
    knowledge_MD: Tensor,
    scale: Tensor | float,
    *,
    positive_BM: Tensor | None = None,
    exclude_BM: Tensor | None = None,
    positive_MM: Tensor | None = None,
    exclude_MM: Tensor | None = None,
    image_text: float = 1.0,
    text_knowledge: float = 0.3,
    chunk: int | None = None,
) -> Tensor:
    """``(w_it L(image, text) + w_tk L(text, knowledge)) / (w_it + w_tk)``, L the symmetric softmax contrast.

    Both contrasts share one scale. L is the mean of its two directions; in each, a row's loss is the mean over its
    positives of ``-log softmax``, and rows without a positive do not count.

    Args:
        image_BD: L2-normalised image embeddings.
        text_MD: L2-normalised embeddings of the trained text tower.
        knowledge_MD: L2-normalised embeddings of the same texts by the frozen encoder; no gradient reaches them.
        scale: Multiplier of cosines.
        positive_BM: True where image and text match; None matches text i with image i.
        exclude_BM: True where a pair that does not match leaves the negatives, in both directions.
        positive_MM: True where text and knowledge match; None matches each text with itself.
        exclude_MM: Likewise for text and knowledge.
        image_text: Weight w_it.
        text_knowledge: Weight w_tk.
        chunk: Rows of logits held at a time, recomputed in the backward; None holds all.

    Returns:
        A scalar.

    Raises:
        ValueError: If shapes do not fit together, or no weight is above 0.
    """
    check_targets(image_BD, text_MD, None, positive_BM)
    check_targets(text_MD, knowledge_MD, None, positive_MM)
    if image_text + text_knowledge <= 0:
        raise ValueError(f"the weights {image_text} and {text_knowledge} have no positive sum")
    frozen_MD, local = knowledge_MD.detach(), LocalGather()
    with full_precision(image_BD):
        terms = []
        for left, right, positive, exclude in (
            (image_BD, text_MD, positive_BM, exclude_BM),
            (text_MD, frozen_MD, positive_MM, exclude_MM),
        ):
            sums = _both_ways(left, right, scale, *_dense(positive, exclude, left, right), chunk, local)
            terms.append(torch.stack([total / count.clamp(min=1) for total, count in sums]).mean())
    return _weighted(terms[0], terms[1], image_text, text_knowledge)


class KepObjective(nn.Module):
    """:func:`kep_loss` over all ranks, each rank with the rows of its own images and texts.

    Identical captions (up to case and outer blanks) are positives of one another with ``positives: text``; with
    ``positives: own`` they are no negatives, unless ``exclude_equal`` is off, as in the published training script.

    Args:
        config: Settings.
        graph: Not used: KEP's knowledge arrives through its encoder.
    """

    class Config(ObjectiveSettings):
        """Settings of KEP's loss; the weights are divided by their sum."""

        name: Literal["kep"] = Field(default="kep", description="Selects KEP's image-text and text-knowledge contrast.")
        image_text: float = Field(default=1.0, ge=0.0, description="Weight of the contrast of images and texts.")
        text_knowledge: float = Field(
            default=0.3, ge=0.0, description="Weight of the contrast of texts with the frozen knowledge encoder."
        )
        positives: Literal["own", "text"] = Field(
            default="own", description="Positives: an image's own texts and a text itself, or equal texts too."
        )
        exclude_equal: bool = Field(default=True, description="Take pairs with an equal text out of the negatives.")
        chunk: int | None = Field(default=None, ge=1, description="Rows of logits held at a time; null holds all.")

        @model_validator(mode="after")
        def _some_weight(self) -> KepObjective.Config:
            if self.image_text + self.text_knowledge <= 0:
                raise ValueError("image_text and text_knowledge are both 0, so there is no loss")
            return self

        @property
        def needs_knowledge(self) -> bool:
            """Tell whether the second term has any weight."""
            return self.text_knowledge > 0

    needs = frozenset({"text_owner_M", "group_B"})

    def __init__(self, config: KepObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = KepObjective.Config() if config is None else config

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"kep": loss}``, and each term before weighting in the report.

        Raises:
            TrainingError: If the step gave no images, or no knowledge embeddings although the second term has a weight.
        """
        config, image_BD, text_MD = self.config, upcast(out.images("kep")), upcast(out.text_MD)
        identity = Identity(batch, gather, image_BD.device)
        equal_texts = config.positives == "text"
        drop = config.exclude_equal and not equal_texts
        terms = {"image_text": image_BD.new_zeros(()), "text_knowledge": image_BD.new_zeros(())}
        with full_precision(image_BD):
            if config.image_text > 0:
                positive = identity.positives(config.positives)
                equal = identity.positives("text") if drop else None
                sums = _both_ways(image_BD, text_MD, out.scale, positive, equal, config.chunk, gather)
                terms["image_text"] = _mean(sums, gather)
            if config.text_knowledge > 0:
                frozen_MD = upcast(out.knowledge("kep")).detach()
                match = identity.equal_texts if equal_texts else identity.own_texts
                equal = (identity.equal_texts, identity.equal_texts) if drop else None
                sums = _both_ways(text_MD, frozen_MD, out.scale, (match, match), equal, config.chunk, gather)
                terms["text_knowledge"] = _mean(sums, gather)
        loss = _weighted(terms["image_text"], terms["text_knowledge"], config.image_text, config.text_knowledge)
        return Losses({"kep": config.weight * loss}, {name: term.detach() for name, term in terms.items()})


def _mean(sums: list[tuple[Tensor, Tensor]], gather: Gather) -> Tensor:
    return torch.stack([mean_over_ranks(total, count, gather) for total, count in sums]).mean()


def _weighted(pairs: Tensor, knowledge: Tensor, image_text: float, text_knowledge: float) -> Tensor:
    return (image_text * pairs + text_knowledge * knowledge) / (image_text + text_knowledge)


def _both_ways(
    left_RD: Tensor,
    right_CD: Tensor,
    scale: Tensor | float,
    positive: tuple[Rows, Rows],
    drop: tuple[Rows, Rows] | None,
    chunk: int | None,
    gather: Gather,
) -> list[tuple[Tensor, Tensor]]:
    """Sum and count of this rank's left rows against all right ones, and of its right rows against all left ones."""
    to_right, to_left = (None, None) if drop is None else drop
    return [
        contrast_rows(left_RD, gather(right_CD), scale, positive[0], drop=to_right, chunk=chunk),
        contrast_rows(right_CD, gather(left_RD), scale, positive[1], drop=to_left, chunk=chunk),
    ]


def _dense(
    positive_RC: Tensor | None, exclude_RC: Tensor | None, row_RD: Tensor, column_CD: Tensor
) -> tuple[tuple[Rows, Rows], tuple[Rows, Rows] | None]:
    """Turn matrices into the row blocks of both directions; no positives mean the diagonal."""
    if exclude_RC is not None and exclude_RC.shape != (len(row_RD), len(column_CD)):
        expected = (len(row_RD), len(column_CD))
        raise ValueError(f"the matrix of excluded pairs is {tuple(exclude_RC.shape)}, expected {expected}")
    index_C = torch.arange(len(column_CD), device=column_CD.device)
    diagonal: Rows = lambda rows: index_C[rows, None] == index_C  # noqa: E731
    positive = (diagonal, diagonal) if positive_RC is None else _blocks(positive_RC)
    return positive, None if exclude_RC is None else _blocks(exclude_RC)


def _blocks(matrix_RC: Tensor) -> tuple[Rows, Rows]:
    return (lambda rows: matrix_RC[rows]), (lambda rows: matrix_RC[:, rows].T)

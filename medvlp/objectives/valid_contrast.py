"""Contrast of images with those of their texts that count, over all ranks.

Shapes: B images and M texts of this rank, A images and T texts of all ranks, D size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from medvlp.objectives.base import upcast
from medvlp.objectives.clip import contrast_rows, mean_over_ranks
from medvlp.objectives.gather import Gather
from medvlp.objectives.identity import Identity

if TYPE_CHECKING:
    from medvlp.data.batch import Batch

Positives = Literal["own", "text"]


def valid_texts(batch: Batch) -> Tensor:
    """Return which texts count (M,); all where the batch does not say."""
    if batch.text_valid_M is not None:
        return batch.text_valid_M
    return torch.ones_like(batch.text_owner_M, dtype=torch.bool)


def valid_contrast(
    image_BD: Tensor, text_MD: Tensor, scale: Tensor | float, batch: Batch, gather: Gather, positives: Positives
) -> Tensor:
    """:func:`medvlp.objectives.clip.info_nce` of this rank's rows; a text that does not count is as if it were not.

    Args:
        image_BD: Unit vectors of this rank's images.
        text_MD: Unit vectors of this rank's texts.
        scale: Multiplier of cosines.
        batch: Owners, and which texts count.
        gather: Collects the other ranks' rows.
        positives: See :meth:`medvlp.objectives.identity.Identity.positives`.

    Returns:
        A scalar whose mean over ranks is the loss of all rows.
    """
    image_BD, text_MD = upcast(image_BD), upcast(text_MD)
    identity, valid_M = Identity(batch, gather, image_BD.device), valid_texts(batch)
    valid_T = gather(valid_M.long()).bool()
    to_text, to_image = identity.positives(positives)
    sums = [
        contrast_rows(
            image_BD,
            gather(text_MD),
            scale,
            lambda rows: to_text(rows) & valid_T,
            drop=lambda rows: (~valid_T).expand(len(image_BD[rows]), -1),
        ),
        contrast_rows(text_MD, gather(image_BD), scale, lambda rows: to_image(rows) & valid_M[rows, None]),
    ]
    return torch.stack([mean_over_ranks(total, count, gather) for total, count in sums]).mean()

"""The batch contract: texts know which image they belong to, nothing is inferred from order.

Shape legend: B images, M texts, L tokens, C channels, H, W pixels, I image tower width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

Tokenize = Callable[[list[str]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Item:
    """One image with what is known about it; text-only training uses a concept in its place.

    Attributes:
        key: Unique name, the only thing about the item that may reach a log.
        group: Semantic group.
        texts: Texts drawn for this step.
        concepts: Rows in the graph, the main one first; empty if unknown.
        label: Code of the class label, -1 if unknown.
        image_CHW: Preprocessed image, or None.
        feature_I: Cached output of the image tower, or None.
    """

    key: str
    group: int
    texts: list[str]
    concepts: tuple[int, ...] = ()
    label: int = -1
    image_CHW: Tensor | None = None
    feature_I: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What one rank sees in one step.

    Attributes:
        token_ids_ML: Token ids of the texts.
        token_mask_ML: 1 on real tokens.
        text_owner_M: Row of the image each text belongs to, int64.
        group_B: Semantic group of each image, int64.
        concept_B: Main concept of each image as row of the graph, -1 if unknown, int64.
        concepts: All concept rows of each image.
        keys: Name of each image, for messages.
        texts: The texts themselves; never logged.
        image_BCHW: Images, or None.
        image_features_BI: Cached image tower outputs, or None.
        label_B: Class code of each image, -1 if unknown; None where labels must not be used.
    """

    token_ids_ML: Tensor
    token_mask_ML: Tensor
    text_owner_M: Tensor
    group_B: Tensor
    concept_B: Tensor
    concepts: list[tuple[int, ...]]
    keys: list[str]
    texts: list[str] = field(repr=False)
    image_BCHW: Tensor | None = None
    image_features_BI: Tensor | None = None
    label_B: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with every tensor on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def collate(items: Sequence[Item], tokenize: Tokenize, *, labels: bool = True) -> Batch:
    """Put items together; every image may have any number of texts.

    Args:
        items: Items of one rank and step, either all or none with an image, likewise with a cached feature.
        tokenize: Texts to ids and mask (M, L).
        labels: Fill ``label_B``.
    """
    texts = [text for item in items for text in item.texts]
    ids_ML, mask_ML = tokenize(texts)
    images = [item.image_CHW for item in items if item.image_CHW is not None]
    features = [item.feature_I for item in items if item.feature_I is not None]
    return Batch(
        token_ids_ML=ids_ML,
        token_mask_ML=mask_ML,
        text_owner_M=torch.tensor([row for row, item in enumerate(items) for _ in item.texts]),
        group_B=torch.tensor([item.group for item in items]),
        concept_B=torch.tensor([item.concepts[0] if item.concepts else -1 for item in items]),
        concepts=[item.concepts for item in items],
        keys=[item.key for item in items],
        texts=texts,
        image_BCHW=torch.stack(images) if images else None,
        image_features_BI=torch.stack(features) if features else None,
        label_B=torch.tensor([item.label for item in items]) if labels else None,
    )

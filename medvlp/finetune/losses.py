"""What fine-tuning minimises.

Shape letters: B images · K classes · H, W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medvlp.errors import DataError
from medvlp.finetune.data import LabelledBatch
from medvlp.io import require
from medvlp.objectives.base import Losses, Outputs, full_precision, upcast

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.objectives.gather import Gather
    from medvlp.zeroshot.task import Task


def class_loss(logits_BK: Tensor, target_BK: Tensor, weight_K: Tensor, smoothing: float, single: bool) -> Tensor:
    """Weighted cross-entropy, a mean over the images of this rank.

    Single-label: the weight of an image is that of its class, and smoothing moves a share of the truth evenly to all
    classes. Multi-label: the mean over classes of binary cross-entropies, the weight is that of a present class, and
    smoothing moves half its share to the other answer.

    Args:
        logits_BK: Logits.
        target_BK: Truth, 0 or 1.
        weight_K: Weight of each class; mean 1 over the training images, so that the loss of every batch, on every
            rank, is divided by its number of images alone.
        smoothing: Share of the truth that is spread.
        single: Exactly one class per image.
    """
    if single:
        spread_BK = target_BK * (1 - smoothing) + smoothing / target_BK.shape[1]
        entropy_B = -(spread_BK * logits_BK.log_softmax(1)).sum(1)
        return ((target_BK @ weight_K) * entropy_B).mean()
    spread_BK = target_BK * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits_BK, spread_BK, pos_weight=weight_K)


def balanced_weights(task: Task) -> Tensor:
    """Return the weights (K,) of ``class_weights: balanced``.

    Single-label: images / (classes * images of the class), mean 1 over images. Multi-label: negatives / positives.

    Raises:
        DataError: Naming a class without a training image.
    """
    count_K = task.target_NK.sum(0).astype(np.float64)
    if (count_K == 0).any():
        label = task.classes[int(np.argmin(count_K))]
        raise DataError(
            "has no training image to weigh", item=f"class {label}", remedy="leave it out with task.classes"
        )
    num = len(task)
    weight_K = num / (len(count_K) * count_K) if task.mode == "single" else (num - count_K) / count_K
    return torch.from_numpy(weight_K).float()


class ClassObjective:
    """:func:`class_loss` for the engine."""

    def __init__(self, weight_K: Tensor, smoothing: float, single: bool) -> None:
        self.weight_K, self.smoothing, self.single = weight_K, smoothing, single

    def __call__(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``{"cross_entropy": loss}``; the logits stand where contrasts have image embeddings."""
        assert isinstance(batch, LabelledBatch)
        logits_BK = upcast(out.images("classification"))
        weight_K = self.weight_K.to(logits_BK.device)
        with full_precision(logits_BK):
            loss = class_loss(logits_BK, batch.target, weight_K, self.smoothing, self.single)
        return Losses({"cross_entropy": loss}, {})


class PixelObjective:
    """MONAI's sum of soft Dice loss (all classes, background included) and cross-entropy over pixels."""

    def __init__(self, ignore: int | None, smoothing: float) -> None:
        self.ignore = ignore
        losses: Any = require("monai.losses", "finetune")
        self.dice = losses.DiceLoss(reduction="mean", batch=True)
        self.smoothing = smoothing

    def __call__(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``dice`` and ``cross_entropy``; logits (B, K, H, W) stand where contrasts have image embeddings."""
        assert isinstance(batch, LabelledBatch)
        logits_BKHW = upcast(out.images("segmentation"))
        with full_precision(logits_BKHW):
            return Losses(self.terms(logits_BKHW, batch.target), {})

    def terms(self, logits_BKHW: Tensor, target_BHW: Tensor) -> dict[str, Tensor]:
        """Return both terms; ignored pixels count in neither."""
        counts_BHW = torch.ones_like(target_BHW, dtype=torch.bool)
        if self.ignore is not None:
            counts_BHW = target_BHW != self.ignore
        class_BHW = target_BHW.where(counts_BHW, torch.zeros_like(target_BHW))
        truth_BKHW = functional.one_hot(class_BHW, logits_BKHW.shape[1]).movedim(3, 1).to(logits_BKHW)
        seen_B1HW = counts_BHW[:, None].to(logits_BKHW)
        entropy_BHW = functional.cross_entropy(logits_BKHW, class_BHW, reduction="none", label_smoothing=self.smoothing)
        return {
            "dice": self.dice(logits_BKHW.softmax(1) * seen_B1HW, truth_BKHW * seen_B1HW),
            "cross_entropy": (entropy_BHW * counts_BHW).sum() / counts_BHW.sum().clamp(min=1),
        }

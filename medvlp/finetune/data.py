"""Labelled images as the engine's batches: image (or cached feature) and truth of each place in each step.

Shape letters: B images · K classes · C channels · H, W pixels · I tower width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medvlp.data.batch import Batch
from medvlp.data.plan import Plan
from medvlp.training.draws import Draw, Order, in_order

if TYPE_CHECKING:
    from medvlp.data.augment import Augment
    from medvlp.data.pairs import PairsSplit
    from medvlp.data.transform import Preprocess
    from medvlp.zeroshot.task import Task

_DRAW = 4  # random stream of augmentation, apart from those of the plan and of stage 2


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """A batch without texts.

    Attributes:
        target: Truth: float (B, K), 0 or 1, of classes; or int64 (B, H, W), class numbers of pixels.
    """

    target: Tensor = field(default_factory=lambda: torch.zeros(0))


@dataclass(frozen=True)
class Labelled:
    """One place of a batch: its key, its image or feature, and its truth."""

    key: str
    target: Tensor
    image_CHW: Tensor | None = None
    feature_I: Tensor | None = None


class ClassData(Dataset[Labelled]):
    """Images of a task with their classes.

    Args:
        split: Rows of the store.
        task: Which of them, and their truth.
        preprocess: Image to input tensor.
        augment: Image augmentation, or None.
        features: Tower outputs of all rows of the split instead of images, or None.
        seed: Decides every draw.
    """

    def __init__(
        self,
        split: PairsSplit,
        task: Task,
        preprocess: Preprocess,
        augment: Augment | None,
        features: NDArray[np.float32] | None,
        seed: int,
    ) -> None:
        self.split, self.task, self.preprocess = split, task, preprocess
        self.augment, self.features, self.seed = augment, features, seed
        self.texts = split.column("texts") if augment is not None else None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.task)

    def __getitem__(self, draw: Draw) -> Labelled:
        """Return the image of a draw; an image whose texts name a side is not mirrored, as its class may mean one."""
        place = draw.row
        row = int(self.task.rows_N[place])
        target_K = torch.from_numpy(self.task.target_NK[place].astype(np.float32))
        if self.features is not None:
            feature_I = torch.from_numpy(np.array(self.features[row]))
            return Labelled(self.task.keys[place], target_K, feature_I=feature_I)
        image = self.split[row].image
        if self.augment is not None and self.texts is not None:
            rng = np.random.default_rng([self.seed, _DRAW, draw.step, draw.slot])
            image, _ = self.augment(image, [text.text for text in self.texts[row]], rng)
        return Labelled(self.task.keys[place], target_K, image_CHW=self.preprocess(image))


def collate(items: Sequence[Labelled]) -> LabelledBatch:
    """Put items together, all with an image or all with a feature."""
    images = [item.image_CHW for item in items if item.image_CHW is not None]
    features = [item.feature_I for item in items if item.feature_I is not None]
    none = torch.zeros((0, 0), dtype=torch.int64)
    unknown_B = torch.full((len(items),), -1)
    return LabelledBatch(
        token_ids_ML=none,
        token_mask_ML=none,
        text_owner_M=none.flatten(),
        group_B=unknown_B,
        concept_B=unknown_B,
        concepts=[()] * len(items),
        keys=[item.key for item in items],
        texts=[],
        image_BCHW=torch.stack(images) if images else None,
        image_features_BI=torch.stack(features) if features else None,
        target=torch.stack([item.target for item in items]),
    )


def batches(
    data: Dataset[Labelled], plan: Plan, start: int, rank: int, world: int, num_workers: int, *, pin: bool
) -> Iterator[LabelledBatch]:
    """Yield this rank's batches from micro-step ``start`` on; the number of workers changes only the speed."""
    yield from in_order(data, Order(plan, start, rank, world), num_workers, collate, pin=pin)

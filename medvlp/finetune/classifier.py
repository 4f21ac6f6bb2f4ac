"""A classifier: an image tower with one linear layer on top.

Shape letters: B, N images · K classes · C channels · H, W pixels · I tower width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from medvlp.data.image import read_image
from medvlp.data.transform import Preprocess
from medvlp.errors import DataError

Mode = Literal["single", "multi"]


class Classifier(nn.Module):
    """Class logits of images, and :meth:`predict` from PIL images to probabilities.

    Args:
        tower: An image tower.
        classes: Class names in the order of the logits.
        mode: One class per image (softmax), or any number (sigmoid).
    """

    def __init__(self, tower: Any, classes: Sequence[str], mode: Mode) -> None:
        super().__init__()
        self.image: Any = tower
        self.head = nn.Linear(tower.width, len(classes))
        nn.init.zeros_(self.head.weight)  # every class starts equally likely, whatever the scale of the features
        nn.init.zeros_(self.head.bias)
        self.classes, self.mode = tuple(classes), mode

    @property
    def preprocess(self) -> Preprocess:
        """PIL image to input tensor (3, H, W)."""
        return self.image.preprocess  # type: ignore[no-any-return]

    def image_features(self, image_BCHW: Tensor) -> Tensor:
        """Return the tower's output (B, I)."""
        return self.image(image_BCHW)  # type: ignore[no-any-return]

    def forward(self, image_BCHW: Tensor | None, features_BI: Tensor | None = None) -> Tensor:
        """Return logits (B, K) of normalised images, or of tower outputs computed earlier."""
        if features_BI is None:
            assert image_BCHW is not None
            features_BI = self.image_features(image_BCHW)
        return self.head(features_BI)  # type: ignore[no-any-return]

    def probabilities(self, logits_NK: Tensor) -> Tensor:
        """Return softmax (single) or sigmoid (multi), float64."""
        logits_NK = logits_NK.double()
        return logits_NK.softmax(1) if self.mode == "single" else logits_NK.sigmoid()

    @torch.no_grad()
    def predict(self, images: Sequence[Image.Image], batch_size: int = 64) -> Tensor:
        """Return class probabilities (N, K), float64, columns as in ``classes``.

        Raises:
            DataError: If it is no list, an empty one, or holds something that is no image.
        """
        parts = [self(batch_BCHW).float().cpu() for batch_BCHW in input_batches(self, images, batch_size)]
        return self.probabilities(torch.cat(parts))


def input_batches(network: Any, images: Sequence[Image.Image], batch_size: int) -> Iterator[Tensor]:
    """Yield preprocessed batches (B, 3, H, W) on the network's device, which is put into eval mode.

    Raises:
        DataError: If it is no list, an empty one, or holds something that is no image.
    """
    if not isinstance(images, Sequence) or isinstance(images, str) or len(images) == 0:
        raise DataError("expected at least one image", item="images", remedy="pass a list of PIL images")
    device = next(network.parameters()).device
    network.eval()
    for start in range(0, len(images), batch_size):
        batch = [network.preprocess(read_image(image)) for image in images[start : start + batch_size]]
        yield torch.stack(batch).to(device)

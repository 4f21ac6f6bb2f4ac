"""A segmenter: a light U-shaped decoder on the feature pyramid of a timm network.

Shape letters: B images · K classes · C channels · H, W pixels · h, w places of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from medvlp.data.transform import Preprocess
from medvlp.errors import ConfigError
from medvlp.finetune.classifier import input_batches
from medvlp.finetune.start import timm_trunk

_LEVELS = 5
_CHANNELS_PER_GROUP = 8


class Segmenter(nn.Module):
    """Class logits of pixels, and :meth:`predict` from PIL images to class maps.

    Images are squashed to the tower's input size, maps are brought back to the image's own: nothing is cropped away.

    Args:
        tower: An image tower with a timm network inside.
        classes: Class names by number; the first is the background.
        width: Channels of the decoder.

    Raises:
        ConfigError: If the tower is no timm network, or gives no feature maps.
    """

    def __init__(self, tower: Any, classes: Sequence[str], width: int) -> None:
        super().__init__()
        self.image: Any = tower
        self.classes, self.width = tuple(classes), width
        self._levels = _levels(tower)
        shapes = [tuple(level_BChw.shape[1:]) for level_BChw in self._probe()]
        self.head = Decoder([shape[0] for shape in shapes], width, len(self.classes))

    @property
    def preprocess(self) -> Preprocess:
        """PIL image to input tensor (3, H, W): the tower's own, squashed instead of cropped."""
        own: Preprocess = self.image.preprocess
        return Preprocess(own.size, own.mean, own.std, own.interpolation, "squash")

    def pyramid(self, image_BCHW: Tensor) -> list[Tensor]:
        """Return feature maps (B, C, h, w), fine to coarse."""
        trunk = timm_trunk(self.image)
        assert trunk is not None
        return list(trunk.forward_intermediates(image_BCHW, indices=self._levels, intermediates_only=True))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of normalised images (B, 3, H, W)."""
        logits_BKhw = self.head(self.pyramid(image_BCHW))
        return functional.interpolate(logits_BKhw, image_BCHW.shape[-2:], mode="bilinear", align_corners=False)

    @torch.no_grad()
    def predict(self, images: Sequence[Image.Image], batch_size: int = 16) -> list[NDArray[np.uint8]]:
        """Return the class number of every pixel, one (H, W) array per image, at the image's own size."""
        out: list[NDArray[np.uint8]] = []
        for batch_BCHW in input_batches(self, images, batch_size):
            for logits_KHW in self(batch_BCHW).float().cpu():
                width, height = images[len(out)].size
                out.append(class_map(logits_KHW, (height, width)))
        return out

    @torch.no_grad()
    def _probe(self) -> list[Tensor]:
        size = self.image.preprocess.size
        training = self.image.training
        self.image.eval()
        levels = self.pyramid(torch.zeros(1, 3, size, size))
        self.image.train(training)
        return levels


def class_map(logits_KHW: Tensor, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the strongest class at each pixel of an image of this height and width."""
    grown = functional.interpolate(logits_KHW[None], shape, mode="bilinear", align_corners=False)[0]
    return grown.argmax(0).numpy().astype(np.uint8)


def _levels(tower: Any) -> list[int]:
    """Return which feature maps to use: the last of each resolution, or evenly spaced blocks where all are equal."""
    trunk = timm_trunk(tower)
    if trunk is None or not hasattr(trunk, "forward_intermediates"):
        raise ConfigError(
            "segmentation needs a timm network with feature maps", item="start.model", remedy="use another start"
        )
    size, training = tower.preprocess.size, tower.training
    tower.eval()
    with torch.no_grad():
        maps = list(trunk.forward_intermediates(torch.zeros(1, 3, size, size), intermediates_only=True))
    tower.train(training)
    last = {tuple(level.shape[-2:]): number for number, level in enumerate(maps)}
    if len(last) > 1:
        return sorted(last.values())[-_LEVELS:]
    return sorted(set(np.linspace(0, len(maps) - 1, min(4, len(maps))).round().astype(int).tolist()))


class Decoder(nn.Module):
    """From the coarsest map up: enlarge, put the next finer map beside it, and mix (Ronneberger et al. 2015)."""

    def __init__(self, channels: Sequence[int], width: int, num_classes: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(nn.Conv2d(channel, width, 1) for channel in channels)
        self.mixers = nn.ModuleList(_mixer(2 * width, width) for _ in channels[1:])
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return logits (B, K, h, w) at the resolution of the finest map."""
        sides = [side(level_BChw) for side, level_BChw in zip(self.sides, levels, strict=True)]
        merged = sides[-1]
        for side_BChw, mixer in zip(reversed(sides[:-1]), self.mixers, strict=True):
            grown = functional.interpolate(merged, side_BChw.shape[-2:], mode="bilinear", align_corners=False)
            merged = mixer(torch.cat([grown, side_BChw], 1))
        return self.classify(merged)  # type: ignore[no-any-return]


def _mixer(width_in: int, width_out: int) -> nn.Sequential:
    """Normalised over groups of channels: batches of a segmenter are too small for batch statistics."""
    groups = max(1, width_out // _CHANNELS_PER_GROUP)
    while width_out % groups:
        groups -= 1
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, padding=1, bias=False), nn.GroupNorm(groups, width_out), nn.GELU()
    )

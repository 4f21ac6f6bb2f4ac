"""Evaluation preprocessing that is saved with a model: resize, crop, scale, normalise, without torchvision.

Bit for bit the evaluation transform of open_clip (``image_transform_v2``, ``is_train=False``) for the same settings.
Shape legend: H, W = ``size``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from medvlp.errors import ConfigError, DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_MAX_RESIZED_PIXELS = 16_000_000
_RESIZE_MODES = ("shortest", "squash", "longest")


@dataclass(frozen=True)
class Preprocess:
    """A picklable callable: PIL image of any size to a normalised float32 tensor (3, size, size).

    Args:
        size: Side of the square output in pixels.
        mean: Per-channel mean on the 0..1 scale.
        std: Per-channel standard deviation on the 0..1 scale.
        interpolation: ``bicubic`` or ``bilinear``, antialiased by Pillow.
        resize_mode: ``shortest`` side to ``size`` then centre crop; ``squash`` both sides; ``longest`` side to
            ``size`` then centre on ``fill_color``.
        fill_color: Grey value of the border in ``longest`` mode.

    Raises:
        ConfigError: If a setting is not one of these.
    """

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3:
                raise ConfigError(f"needs 3 values, has {len(values)}", item=f"preprocess.{name}")
            object.__setattr__(self, name, values)
        if self.size < 1:
            raise ConfigError(f"{self.size} is not a positive number of pixels", item="preprocess.size")
        if min(self.std) <= 0:
            raise ConfigError("every standard deviation must be positive", item="preprocess.std")
        if self.interpolation not in _FILTERS:
            raise ConfigError(
                f"unknown {self.interpolation!r}", item="preprocess.interpolation", remedy=f"use {', '.join(_FILTERS)}"
            )
        if self.resize_mode not in _RESIZE_MODES:
            raise ConfigError(
                f"unknown {self.resize_mode!r}", item="preprocess.resize_mode", remedy=f"use {', '.join(_RESIZE_MODES)}"
            )

    def resize(self, image: Image.Image) -> Image.Image:
        """Return the RGB image of exactly (size, size) pixels that is then normalised."""
        width, height = image.size
        size, sampling = self.size, _FILTERS[self.interpolation]
        target = self._target(width, height)
        if target[0] * target[1] > _MAX_RESIZED_PIXELS:
            raise DataError(f"{width} x {height} is too long and thin", item="image", remedy="use resize_mode=longest")
        if image.size != target:
            image = image.resize(target, sampling)
        if self.resize_mode == "longest":
            image = _pad(image, size, self.fill_color)
        return _centre_crop(image, size).convert("RGB")

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return (left, top, right, bottom) of what :meth:`resize` shows of an image, in pixels of the image.

        With ``longest`` the box is larger than the image where a border is added, with ``shortest`` smaller where
        something is cropped.
        """
        target = self._target(width, height)
        edges = []
        for side, length in zip(target, (width, height), strict=True):
            begin = -_border(side, self.size) if side < self.size else _cropped(side, self.size)
            edges.append((begin * length / side, (begin + self.size) * length / side))
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]

    def _target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing, before a border is added or something is cropped."""
        size = self.size
        if self.resize_mode == "squash":
            return (size, size)
        if self.resize_mode == "longest":
            ratio = max(width, height) / size
            return (max(1, round(width / ratio)), max(1, round(height / ratio)))
        return (size, int(size * height / width)) if width <= height else (int(size * width / height), size)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return the model input (3, size, size), float32, normalised."""
        values_HWC = np.asarray(self.resize(image))
        out_CHW = np.empty((3, self.size, self.size), dtype=np.float32)
        # 256 values per channel are normalised once: the same numbers, without torch's threads for one small image.
        for channel, table in enumerate(_tables(self.mean, self.std)):
            np.take(table, values_HWC[..., channel], out=out_CHW[channel], mode="clip")
        return torch.from_numpy(out_CHW)

    def normalise(self, image_CHW: torch.Tensor) -> torch.Tensor:
        """Scale uint8 (..., 3, H, W) to 0..1 and standardise; float32 out."""
        return _normalised(image_CHW, self.mean, self.std)

    def to_json(self) -> dict[str, Any]:
        """Return the settings under the names open_clip uses in its ``preprocess_cfg``."""
        values = asdict(self)
        return {**values, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocess:
        """Rebuild from :meth:`to_json`, or from an open_clip ``preprocess_cfg``.

        Raises:
            ConfigError: On an unknown or missing key.
        """
        values = {key: value for key, value in values.items() if key != "mode"}
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown or "size" not in values:
            raise ConfigError(f"unknown key {unknown[0]!r}" if unknown else "no size given", item="preprocess")
        size = values["size"]
        if not isinstance(size, int):
            if len(set(size)) != 1:
                raise ConfigError(f"{size} is not square", item="preprocess.size")
            size = int(size[0])
        return cls(
            **{
                **values,
                "size": size,
            }
        )


def _normalised(image_CHW: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    mean_C11, std_C11 = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))
    return (image_CHW.to(torch.float32) / 255 - mean_C11) / std_C11


@lru_cache(maxsize=32)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """Return what each of the 256 values of a channel becomes (3, 256)."""
    every_C1V = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    table: NDArray[np.float32] = _normalised(every_C1V, mean, std)[:, 0].numpy()
    return table


def _pad(image: Image.Image, size: int, fill: int) -> Image.Image:
    """Centre on a larger canvas where a side is shorter than ``size``; the odd pixel goes right and below."""
    width, height = image.size
    if width >= size and height >= size:
        return image
    canvas = Image.new("RGB", (max(size, width), max(size, height)), (fill, fill, fill))
    canvas.paste(image, (_border(width, size), _border(height, size)))
    return canvas


def _border(side: int, size: int) -> int:
    return max(0, size - side) // 2


def _cropped(side: int, size: int) -> int:
    return round((side - size) / 2.0)


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    left, top = _cropped(image.width, size), _cropped(image.height, size)
    return image.crop((left, top, left + size, top + size))

"""Shifts of one image at five severities: stain, JPEG, blur, contrast, noise; the same result for the same key.

They stand for another laboratory, scanner or archive, and are for scoring only: training augmentation is
:mod:`medvlp.data.augment`. Shape legend: H, W pixels, C colour channels, S stains.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from medvlp.errors import DataError

# Blur, contrast, JPEG and noise: the values of ImageNet-C (Hendrycks and Dietterich 2019), severities 1 to 5, made
# there for images of 224 pixels; the blur therefore scales with the shorter side. Stain has no counterpart there: its
# numbers are our own choice.
SEVERITIES: dict[str, tuple[float, float, float, float, float]] = {
    "stain": (0.1, 0.2, 0.3, 0.45, 0.6),  # relative change of each stain's density
    "jpeg": (25, 18, 15, 10, 7),  # quality
    "blur": (1, 2, 3, 4, 6),  # standard deviation in pixels of a 224-pixel side
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # share of the distance from the mean colour that is left
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation, white is 1
}
SHIFTS = tuple(SEVERITIES)
GREY_SHIFTS = tuple(name for name in SHIFTS if name != "stain")
_SIDE = 224
_WHITE = 255.0
# Optical densities of haematoxylin and eosin per channel (Ruifrok and Johnston 2001); what neither explains is kept.
_STAIN_SC = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])


def is_grey(image: Image.Image) -> bool:
    """Tell whether red, green and blue are equal everywhere."""
    rgb_HWC = np.asarray(image.convert("RGB"))
    return bool((rgb_HWC == rgb_HWC[..., :1]).all())


def shift_image(image: Image.Image, name: str, severity: int, *, key: str, seed: int = 0) -> Image.Image:
    """Return a shifted copy of an image.

    Args:
        image: Any image Pillow converts to RGB.
        name: One of :data:`SHIFTS`; for a grey image one of :data:`GREY_SHIFTS`.
        severity: 0 (the image unchanged) to 5.
        key: The image's key: with ``seed`` it fixes the noise and the direction of the stain's change.
        seed: Another seed gives other noise.

    Returns:
        An RGB image of the same size; a grey image stays grey.

    Raises:
        DataError: If there is no such shift or severity, or a grey image is to change its stain.
    """
    if name not in SEVERITIES:
        raise DataError("no such shift", item=name, remedy=f"choose one of {', '.join(SHIFTS)}")
    if isinstance(severity, bool) or not isinstance(severity, int) or not 0 <= severity <= 5:
        raise DataError(f"severity {severity!r} is not a whole number from 0 to 5", item=name)
    rgb = image.convert("RGB")
    if name == "stain" and is_grey(rgb):
        raise DataError("is grey, so it has no stain", item=key, remedy=f"use {', '.join(GREY_SHIFTS)}")
    if severity == 0:
        return rgb
    amount = SEVERITIES[name][severity - 1]
    if name == "blur":
        return rgb.filter(ImageFilter.GaussianBlur(amount * min(rgb.size) / _SIDE))
    if name == "jpeg":
        return _compressed(rgb, int(amount))
    rgb_HWC = np.asarray(rgb, dtype=np.float64)
    if name == "contrast":
        mean_C = rgb_HWC.mean((0, 1), keepdims=True)
        return _to_image(mean_C + amount * (rgb_HWC - mean_C))
    digest = hashlib.sha256(f"{seed}\0{name}\0{key}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    if name == "noise":
        channels = 1 if is_grey(rgb) else 3
        return _to_image(rgb_HWC + amount * _WHITE * rng.standard_normal((*rgb_HWC.shape[:2], channels)))
    return _to_image(_restained(rgb_HWC, 1 + amount * rng.choice([-1.0, 1.0], size=2)))


def _restained(rgb_HWC: NDArray[np.float64], factor_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply the density of both stains; the residual density stays."""
    density_HWC = -np.log((rgb_HWC + 1) / (_WHITE + 1))
    stain_SC = _STAIN_SC / np.linalg.norm(_STAIN_SC, axis=1, keepdims=True)
    amount_HWS = np.maximum(density_HWC @ np.linalg.pinv(stain_SC), 0)
    changed_HWC = density_HWC + (amount_HWS * (factor_S - 1)) @ stain_SC
    return np.asarray(np.exp(-changed_HWC) * (_WHITE + 1) - 1, dtype=np.float64)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=quality)
    with Image.open(stream) as compressed:
        return compressed.convert("RGB")


def _to_image(rgb_HWC: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(rgb_HWC, 0, _WHITE)).astype(np.uint8))

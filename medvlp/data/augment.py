"""Training augmentation on albumentations that never makes a report's left and right wrong.

Shape legend: H, W pixels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from medvlp.config import Config
from medvlp.errors import ConfigError
from medvlp.io import require

if TYPE_CHECKING:
    from collections.abc import Callable

Share = Annotated[float, Field(ge=0, le=1)]
_SIDES = {
    "left": "right", "right": "left", "lefthand": "righthand", "righthand": "lefthand",
    "leftward": "rightward", "rightward": "leftward", "leftwards": "rightwards", "rightwards": "leftwards",
    "sinistral": "dextral", "dextral": "sinistral", "dextrocardia": "levocardia", "levocardia": "dextrocardia",
    "dextroscoliosis": "levoscoliosis", "levoscoliosis": "dextroscoliosis",
}  # fmt: skip
_ABBREVIATIONS = {"L": "R", "R": "L", "LT": "RT", "RT": "LT", "Lt": "Rt", "Rt": "Lt"}
# Regions of the lung and breast as reports abbreviate them; single letters only where they stand alone.
_ABBREVIATIONS |= {
    left: left.replace("L", "R", 1) for left in ("LUL", "LLL", "LLQ", "LUQ", "LUZ", "LLZ", "LMZ", "LUOQ", "LLOQ")
}
_ABBREVIATIONS |= {right: left for left, right in list(_ABBREVIATIONS.items()) if len(left) > 2}
# "Right" and "left" that name no side of the body would be caught too: swapping them is harmless, missing one is not.
_WORD = re.compile(
    r"(?<![A-Za-z])(?:"
    + "|".join(sorted(map(re.escape, _SIDES), key=len, reverse=True))
    + r")(?:-?sided)?(?![A-Za-z])",
    re.IGNORECASE,
)
# Not the litre of "5 L", "mg/L" or "L/min", and not the vertebra of "L4".
_ABBREVIATION = re.compile(
    r"(?<![A-Za-z0-9'’])(?<!\d )(?<![gl0-9]/)(?:"
    + "|".join(sorted(map(re.escape, _ABBREVIATIONS), key=len, reverse=True))
    + r")(?![A-Za-z0-9]|/min)"
)
# Sides that no swap of words can express.
NO_MIRROR = "situs inversus"
"""A text that keeps an image from being mirrored unless sides are ignored."""
_UNSWAPPABLE = re.compile(r"(?<![A-Za-z])(?:RML|RMZ|middle lobe|situs inversus|lingula\w*)(?![A-Za-z])", re.IGNORECASE)


def has_side(text: str) -> bool:
    """Tell whether a text says left or right in any of the known ways."""
    return any(pattern.search(text) is not None for pattern in (_WORD, _ABBREVIATION, _UNSWAPPABLE))


def swap_sides(text: str) -> str | None:
    """Exchange left and right, keeping capitals; None if the text holds a side that has no mirror word."""
    if _UNSWAPPABLE.search(text) is not None:
        return None

    def swapped(match: re.Match[str]) -> str:
        word = match.group()
        stem = re.sub(r"-?sided$", "", word, flags=re.IGNORECASE)
        mirrored = _SIDES[stem.lower()]
        if stem.isupper():
            mirrored = mirrored.upper()
        elif stem[0].isupper():
            mirrored = mirrored.capitalize()
        return mirrored + word[len(stem) :]

    text = _ABBREVIATION.sub(lambda match: _ABBREVIATIONS[match.group()], text)
    return _WORD.sub(swapped, text)


class Augment:
    """Random crop, flips, colour and quality changes for one training image and its texts.

    What was decided is counted in :attr:`counts`: ``flipped``, ``flip refused``, ``words swapped``.

    Args:
        config: What to do and how much.

    Raises:
        MissingExtraError: If albumentations is not installed.
    """

    class Config(Config):
        """Settings; everything off by default except the crop."""

        name: Literal["albumentations"] = Field(default="albumentations", description="Library that does the work.")
        size: Annotated[int, Field(ge=1)] = Field(default=224, description="Side of the result in pixels.")
        crop_scale: list[Annotated[float, Field(gt=0, le=1)]] = Field(
            default=[0.5, 1.0],
            min_length=2,
            max_length=2,
            description="Smallest and largest share of the image in a crop.",
        )
        horizontal_flip: Share = Field(default=0.0, description="Probability of a left-right mirror image.")
        vertical_flip: Share = Field(
            default=0.0, description="Probability of an upside-down image; only where up means nothing."
        )
        rotate90: Share = Field(
            default=0.0, description="Probability of a turn by 90, 180 or 270 degrees; for tissue only."
        )
        laterality: Literal["refuse", "swap", "ignore"] = Field(
            default="refuse",
            description="For texts that say left or right: do not flip, swap the words, or flip anyway.",
        )
        brightness: Share = Field(default=0.0, description="Largest relative change of brightness.")
        contrast: Share = Field(default=0.0, description="Largest relative change of contrast.")
        saturation: Share = Field(default=0.0, description="Largest relative change of saturation.")
        hue: Annotated[float, Field(ge=0, le=0.5)] = Field(default=0.0, description="Largest turn of hue.")
        stain: Annotated[float, Field(ge=0, le=0.5)] = Field(
            default=0.0, description="Largest relative change of the haematoxylin and the eosin stain."
        )
        blur: Share = Field(default=0.0, description="Probability of a slight blur.")
        jpeg: Share = Field(default=0.0, description="Probability of recompression at quality 50 to 95.")

    def __init__(self, config: Augment.Config) -> None:
        self.config = config
        self.counts: Counter[str] = Counter()
        if config.crop_scale[0] > config.crop_scale[1]:
            raise ConfigError("the first value must not exceed the second", item="augment.crop_scale")
        self._pixels = _compose(config)

    def __call__(
        self, image: Image.Image | np.ndarray, texts: Sequence[str], rng: np.random.Generator
    ) -> tuple[Image.Image, list[str]]:
        """Augment one image.

        A vertical flip or a quarter turn alone also makes a mirror image of, or moves, what a text calls left: each
        falls under ``laterality`` too, and is refused where words cannot follow (``swap`` serves mirrors only).

        Args:
            image: RGB image or uint8 (H, W, 3).
            texts: Its texts; returned with sides swapped where the image was mirrored.
            rng: The only source of randomness.

        Returns:
            An RGB image of ``size`` x ``size`` and as many texts as came in.
        """
        values = np.array(image.convert("RGB")) if isinstance(image, Image.Image) else image
        mirror = bool(rng.random() < self.config.horizontal_flip)
        upside_down = bool(rng.random() < self.config.vertical_flip)
        turns = int(rng.integers(1, 4)) if rng.random() < self.config.rotate90 else 0
        seed = int(rng.integers(2**31))
        mirror, upside_down, turns, texts = self._respect_sides(mirror, upside_down, turns, list(texts))
        if mirror:
            values = values[:, ::-1]
        if upside_down:
            values = values[::-1]
        if turns > 0:
            values = np.rot90(values, turns)
        self._pixels.set_random_seed(seed)
        result = self._pixels(image=np.ascontiguousarray(values))["image"]
        return Image.fromarray(result), texts

    def _respect_sides(
        self, mirror: bool, upside_down: bool, turns: int, texts: list[str]
    ) -> tuple[bool, bool, int, list[str]]:
        if not (mirror or upside_down or turns > 0):
            return mirror, upside_down, turns, texts
        if self.config.laterality != "ignore" and any(map(has_side, texts)):
            swapped = [swap_sides(text) for text in texts] if self.config.laterality == "swap" and mirror else [None]
            if None in swapped:
                self.counts["flip refused"] += 1
                return False, False, 0, texts
            self.counts["words swapped"] += 1
            # Words can follow a mirror image; they cannot follow an image that is also turned.
            upside_down, turns, texts = False, 0, [text for text in swapped if text is not None]
        self.counts["flipped"] += 1
        return mirror, upside_down, turns, texts


def _compose(config: Augment.Config) -> Any:
    """The albumentations pipeline for everything that leaves sides alone."""
    albumentations, cv2 = require("albumentations", "aug"), require("cv2", "aug")
    low, high = config.crop_scale
    steps: list[Callable[..., Any]] = [
        albumentations.RandomResizedCrop(
            size=(config.size, config.size),
            scale=(low, high),
            interpolation=cv2.INTER_CUBIC,
            area_for_downscale="image",
        )
    ]
    if config.stain > 0:
        steps.append(
            albumentations.HEStain(
                method="preset",
                preset="ruifrok",
                intensity_scale_range=(1 - config.stain, 1 + config.stain),
                intensity_shift_range=(-config.stain / 2, config.stain / 2),
                p=1.0,
            )
        )
    jitter = (config.brightness, config.contrast, config.saturation, config.hue)
    if max(jitter) > 0:
        names = ("brightness", "contrast", "saturation")
        ranges = {name: (1 - share, 1 + share) for name, share in zip(names, jitter, strict=False)}
        steps.append(albumentations.ColorJitter(**ranges, hue=(-config.hue, config.hue), p=1.0))
    if config.blur > 0:
        steps.append(albumentations.GaussianBlur(sigma_limit=(0.3, 1.5), p=config.blur))
    if config.jpeg > 0:
        steps.append(albumentations.ImageCompression(quality_range=(50, 95), p=config.jpeg))
    return albumentations.Compose(steps)

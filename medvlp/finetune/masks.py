"""Images with label masks: which file belongs to which, which case in which split, and what is in them.

Shape letters: H, W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from medvlp.config import resolve_path
from medvlp.data.image import SUFFIXES, check_size, read_image
from medvlp.data.transform import Preprocess
from medvlp.errors import ConfigError, DataError
from medvlp.finetune.config import MaskFolder, MaskFractions
from medvlp.finetune.data import Labelled
from medvlp.io import sha256_file, sha256_json
from medvlp.ledger import Ledger
from medvlp.training.draws import Draw

SPLITS = ("train", "dev", "test")
_MAX_PIXELS = 64_000_000
_DRAW = 5  # random stream of mirror images and turns
_MODES = ("L", "P", "1", "I;16", "I")


@dataclass(frozen=True)
class Masked:
    """One image with its mask."""

    key: str
    case: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class MaskSet:
    """All images of a :class:`MaskFolder` by split.

    Attributes:
        config: Where they are and what their values mean.
        splits: Images of each split, sorted by key.
        ledger: What was left out and why.
        digest: Sha256 over class names, ignored value, file names, splits and contents.
    """

    config: MaskFolder
    splits: dict[str, tuple[Masked, ...]]
    ledger: Ledger
    digest: str


def read_folder(config: MaskFolder) -> MaskSet:
    """Pair images with masks and put whole cases into splits.

    Raises:
        ConfigError: If shares leave nothing for the test, or the case pattern is not usable.
        DataError: If a folder is missing, no image has a mask, or two images claim one mask.
    """
    images, masks = resolve_path(config.images), resolve_path(config.masks)
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError("no such folder", item=folder, remedy="check task.data")
    ledger = Ledger()
    if isinstance(config.split, MaskFractions):
        everything = _pairs(images, masks, "", ledger, config.split.case_pattern)
        splits = _drawn(everything, config.split)
    else:
        splits = {name: _pairs(images / name, masks / name, f"{name}/", ledger, None) for name in SPLITS}
    if not splits["train"] or not splits["test"]:
        empty = "train" if not splits["train"] else "test"
        counted = f" ({ledger})" if ledger.dropped else ""
        raise DataError(f"no image with a mask in the {empty} split{counted}", item=images, remedy="check task.data")
    ledger.keep(sum(len(items) for items in splits.values()))
    facts = [
        [name, item.key, item.case, sha256_file(item.image), sha256_file(item.mask)]
        for name, items in splits.items()
        for item in items
    ]
    return MaskSet(
        config,
        {name: tuple(items) for name, items in splits.items()},
        ledger,
        sha256_json([config.classes, config.ignore, facts]),
    )


def _pairs(images: Path, masks: Path, prefix: str, ledger: Ledger, case_pattern: str | None) -> list[Masked]:
    found: dict[str, Masked] = {}
    for path in sorted(images.iterdir()) if images.is_dir() else []:
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        mask = masks / f"{path.stem}.png"
        if not mask.is_file():
            ledger.drop(prefix + path.name, "no mask of this name")
            continue
        if path.stem in found:
            raise DataError("two images have this name", item=prefix + path.stem, remedy="rename one")
        found[path.stem] = Masked(prefix + path.stem, _case(path.stem, case_pattern), path, mask)
    return list(found.values())


def _case(stem: str, pattern: str | None) -> str:
    if pattern is None:
        return stem
    try:
        match = re.search(pattern, stem)
        if match is not None:
            return match.group(1)
    except (re.error, IndexError) as error:
        raise ConfigError(f"needs a group for the case ({error})", item="split.case_pattern") from None
    raise DataError(f"does not match split.case_pattern {pattern!r}", item=stem, remedy="correct the pattern")


def _drawn(items: Sequence[Masked], config: MaskFractions) -> dict[str, list[Masked]]:
    if config.train + config.dev >= 1:
        raise ConfigError("train and dev leave nothing for the test", item="task.data.split")
    cases = sorted({item.case for item in items})
    order = np.random.default_rng(config.seed).permutation(len(cases))
    edges = np.round(np.cumsum([config.train, config.dev]) * len(cases)).astype(int)
    split_of = {cases[case]: SPLITS[int((place >= edges).sum())] for place, case in enumerate(order)}
    return {name: [item for item in items if split_of[item.case] == name] for name in SPLITS}


def read_mask(item: Masked, config: MaskFolder, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the class number of every pixel (H, W).

    Args:
        item: Which.
        config: Number of classes, and the value to ignore.
        size: Width and height of its image.

    Raises:
        DataError: If it is no single-channel PNG of the image's size, or holds a value that is no class.
    """
    try:
        with Image.open(item.mask, formats=("PNG",)) as opened:
            check_size(*opened.size, _MAX_PIXELS, str(item.mask))
            if opened.mode not in _MODES:
                raise DataError(
                    f"is a {opened.mode} image, not class numbers", item=item.mask, remedy="save it with one channel"
                )
            if opened.size != size:
                raise DataError(f"is {opened.size}, its image {size} pixels", item=item.mask, remedy="use equal sizes")
            values_HW = np.asarray(opened).astype(np.int64)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("not a readable PNG", item=item.mask, remedy="save it again") from None
    wrong = set(np.unique(values_HW).tolist()) - set(range(len(config.classes))) - {config.ignore}
    if wrong:
        raise DataError(
            f"holds the value {min(wrong)}, but there are {len(config.classes)} classes",
            item=item.mask,
            remedy="list all classes, the background first, or set task.data.ignore",
        )
    return values_HW.astype(np.uint8)


class MaskData(Dataset[Labelled]):
    """Images and masks at the network's input size.

    Args:
        items: Images.
        config: What their values mean.
        preprocess: Image to input tensor, squashing.
        flips: Draw one of the eight mirror images and quarter turns.
        seed: Decides every draw.
    """

    def __init__(
        self, items: Sequence[Masked], config: MaskFolder, preprocess: Preprocess, flips: bool, seed: int
    ) -> None:
        self.items, self.config, self.preprocess, self.flips, self.seed = items, config, preprocess, flips, seed

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.items)

    def __getitem__(self, draw: Draw) -> Labelled:
        """Return image and mask of a draw, moved alike."""
        item = self.items[draw.row]
        image = read_image(item.image)
        mask_HW = read_mask(item, self.config, image.size)
        size = self.preprocess.size
        small = Image.fromarray(mask_HW).resize((size, size), Image.Resampling.NEAREST)
        image_CHW = self.preprocess(image)
        target_HW = torch.from_numpy(np.array(small, dtype=np.int64))
        if self.flips:
            rng = np.random.default_rng([self.seed, _DRAW, draw.step, draw.slot])
            turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
            image_CHW, target_HW = image_CHW.rot90(turns, (1, 2)), target_HW.rot90(turns, (0, 1))
            if mirror:
                image_CHW, target_HW = image_CHW.flip(2), target_HW.flip(1)
        return Labelled(item.key, target_HW.contiguous(), image_CHW=image_CHW.contiguous())

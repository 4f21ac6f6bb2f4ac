"""Images as a person has them: paths, PIL images, arrays, tensors, one or many; read in batches, each by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvlp.data.image import read_image
from medvlp.errors import DataError
from medvlp.ledger import Ledger


def as_list(images: Any) -> list[Any]:
    """Return the images as a list: a path, a PIL image, an array (H, W) or (H, W, 3), a tensor (3, H, W) is one image.

    Arrays (B, H, W, 3) and tensors (B, 3, H, W) are taken apart; see :func:`named` for what an item may be.

    Raises:
        DataError: If there is no image.
    """
    if isinstance(images, str | Path | bytes | Image.Image):
        return [images]
    if hasattr(images, "shape"):
        single = len(images.shape) < 4
        return [images] if single else _checked_length(list(images))
    return _checked_length(list(images) if isinstance(images, Sequence) or hasattr(images, "__iter__") else [images])


def batches(
    images: Sequence[Any], size: int, *, ledger: Ledger | None = None
) -> Iterator[tuple[list[str], list[Image.Image]]]:
    """Read images and yield them in batches, with their names: the path, or ``image N`` counted from 0.

    Args:
        images: What :func:`as_list` gave.
        size: Images per batch.
        ledger: Where an image that cannot be read is counted; without it the first such image is an error.

    Raises:
        DataError: Naming the image that cannot be read, and why.
    """
    names: list[str] = []
    read: list[Image.Image] = []
    for number, item in enumerate(images):
        name = str(item) if isinstance(item, str | Path) else f"image {number}"
        try:
            picture = read_image(_pixels(item, name), name=name)
        except DataError as error:
            if ledger is None:
                raise
            ledger.drop(name, error.problem)
            continue
        if ledger is not None:
            ledger.keep()
        names.append(name)
        read.append(picture)
        if len(read) == size:
            yield names, read
            names, read = [], []
    if read:
        yield names, read


def _checked_length(images: list[Any]) -> list[Any]:
    if not images:
        raise DataError("expected at least one image", item="images", remedy="pass a path, an image, or a list of them")
    return images


def _pixels(item: Any, name: str) -> Any:
    """Turn an array or tensor of bytes into an image; anything else goes to the reader as it is."""
    if not hasattr(item, "shape"):
        return item
    tensor = hasattr(item, "detach")
    array = np.asarray(item.detach().cpu().numpy() if tensor else item)
    if array.dtype != np.uint8:
        raise DataError(f"holds {array.dtype} values", item=name, remedy="pass bytes (uint8, 0 to 255), or a PIL image")
    if tensor and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or 0 in array.shape:
        wanted = "(3, H, W)" if tensor else "(H, W, 3) or (H, W)"
        raise DataError(f"has the shape {tuple(item.shape)}, expected {wanted}", item=name, remedy="reorder its axes")
    return Image.fromarray(np.ascontiguousarray(array))

"""Where in an image a model finds a text: maps on the original pixels, and pictures of them.

A model with a query decoder answers with its cross-attention (mean over layers and heads), any other with the cosine of
text and places through its image head. A map is interpolated from places to pixels bilinearly, with the middle of a
place where its pixels' middle is; what preprocessing cropped or added as border is undone.

Shape legend: T texts, P distinct texts, N places, G rows and columns of places, I tower width, h, w pixels of an image.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from medvlp.errors import ConfigError, DataError
from medvlp.io import atomic_folder, write_manifest, write_text
from medvlp.zeroshot.inputs import as_list, batches

if TYPE_CHECKING:
    from medvlp.data.transform import Preprocess

MapSource = Literal["attention", "cosine"]
COLOUR_MAP = "viridis"
FORMAT = "medvlp-maps-1"
_OPACITY = 0.5
_LEAST_SIDE, _LEGEND, _MARGIN, _BAR = 224, 72, 16, 14  # pixels


@dataclass(frozen=True)
class Maps:
    """Where each text is, image by image.

    Attributes:
        images: Name of each image: its path, or ``image N``.
        texts: The texts, in the order asked.
        maps: For each image (T, h, w) on its own pixels, float32; NaN where preprocessing cropped the image: the model
            saw nothing there.
        source: ``attention``: shares of a query's attention, which add up to 1 over the places. ``cosine``: -1 to 1.
    """

    images: tuple[str, ...]
    texts: tuple[str, ...]
    maps: tuple[NDArray[np.float32], ...]
    source: MapSource

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.maps)


def explain(
    model: Any,
    images: Any,
    texts: Sequence[str],
    *,
    source: Literal["auto", "attention", "cosine"] = "auto",
    batch_size: int = 16,
) -> Maps:
    """Return where in images a model finds texts.

    Args:
        model: What ``medvlp.load`` gives.
        images: One image or a list, as for :class:`medvlp.zeroshot.ask.ZeroShot`.
        texts: What to look for.
        source: ``auto`` takes the attention of a query decoder where the model has one. A decoder whose queries attend
            to one another looks at all texts of a call together.
        batch_size: Images per forward pass.

    Raises:
        ConfigError: If the model shows no features by place, or has no decoder though its attention is asked for.
        DataError: If there is no text, or an image cannot be read, naming it.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts:
        raise DataError("expected at least one text", item="texts", remedy="pass a list of strings")
    if source not in ("auto", "attention", "cosine"):
        raise ConfigError(f"{source!r} is not a choice", item="source", remedy="use auto, attention or cosine")
    has_decoder = getattr(model, "decoder", None) is not None
    if source == "attention" and not has_decoder:
        raise ConfigError("has no query decoder to attend", item="source", remedy="use source cosine")
    used: MapSource = "attention" if has_decoder and source != "cosine" else "cosine"
    names: list[str] = []
    maps: list[NDArray[np.float32]] = []
    training = bool(model.training)
    model.eval()
    try:
        with torch.no_grad():
            device = model.logit_scale.device
            ids_TL, mask_TL = model.tokenize(texts)
            text_TI = model.text_features(ids_TL.to(device), mask_TL.to(device))
            for batch_names, batch in batches(as_list(images), batch_size):
                pixels_BCHW = torch.stack([model.preprocess(image) for image in batch]).to(device)
                _, tokens_BNI = model.image_tokens(pixels_BCHW)
                if used == "attention":
                    map_BTN = model.decode(text_TI, tokens_BNI).attention_BQN
                else:
                    map_BTN = (model.project_image(tokens_BNI) @ model.project_text(text_TI).T).transpose(1, 2)
                for name, image, map_TN in zip(batch_names, batch, map_BTN.float().cpu(), strict=True):
                    names.append(name)
                    maps.append(on_image(map_TN, model.preprocess, image.size).numpy())
    finally:
        model.train(training)
    return Maps(tuple(names), tuple(texts), tuple(maps), used)


def on_image(map_TN: Tensor, preprocess: Preprocess, size: tuple[int, int]) -> Tensor:
    """Lay maps over places onto the pixels of the image they were made from.

    Args:
        map_TN: Values of the places of the preprocessed square, row by row.
        preprocess: What made the square.
        size: (width, height) of the original image.

    Returns:
        (T, h, w), float32; NaN outside the square.

    Raises:
        DataError: If the places are no square.
    """
    side = math.isqrt(map_TN.shape[1])
    if side * side != map_TN.shape[1] or side == 0:
        raise DataError(f"{map_TN.shape[1]} places are no square", item="map", remedy="use a tower of square patches")
    width, height = size
    left, top, right, bottom = preprocess.box(width, height)
    # middles of pixels, -1 to 1 over the square from edge to edge, which is what align_corners=False means
    x_W = 2 * (torch.arange(width) + 0.5 - left) / (right - left) - 1
    y_H = 2 * (torch.arange(height) + 0.5 - top) / (bottom - top) - 1
    grid_HW2 = torch.stack(torch.broadcast_tensors(x_W[None, :], y_H[:, None]), -1).float()
    map_1TGG = map_TN.float().unflatten(1, (side, side))[None]
    laid = grid_sample(map_1TGG, grid_HW2[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
    outside_HW = (x_W.abs()[None, :] > 1) | (y_H.abs()[:, None] > 1)
    return laid.masked_fill(outside_HW, torch.nan)


def picture_name(image: int, text: int) -> str:
    """Return the file name of a picture, by the places of image and text."""
    return f"image-{image:04d}-text-{text:02d}.png"


def overlay(image: Image.Image, map_HW: NDArray[np.floating[Any]], limits: tuple[float, float]) -> Image.Image:
    """Return the image in grey under a map's colours; what the model did not see stays uncoloured.

    Args:
        image: The original image.
        map_HW: Its map, (h, w).
        limits: Values of the lowest and highest colour.

    Raises:
        DataError: If image and map differ in size.
    """
    from matplotlib import colormaps

    if image.size != map_HW.shape[::-1]:
        raise DataError(f"a map of {map_HW.shape[::-1]} for an image of {image.size}", item="overlay")
    low, high = limits
    share_HW = np.nan_to_num((map_HW - low) / (high - low if high > low else 1.0))
    colour_HWC = colormaps[COLOUR_MAP](np.clip(share_HW, 0, 1))[..., :3] * 255
    grey_HWC = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64)
    opacity_HW1 = np.where(np.isnan(map_HW), 0.0, _OPACITY)[..., None]
    mixed_HWC = (1 - opacity_HW1) * grey_HWC + opacity_HW1 * colour_HWC
    return Image.fromarray(mixed_HWC.round().astype(np.uint8))


def peak(map_HW: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """Return column and row of the highest value that the model saw; the first of equals.

    Raises:
        DataError: If it saw no pixel.
    """
    if np.isnan(map_HW).all():
        raise DataError("the model saw no pixel of it", item="map")
    row, column = np.unravel_index(int(np.nanargmax(map_HW)), map_HW.shape)
    return int(column), int(row)


def with_legend(image: Image.Image, map_HW: NDArray[np.floating[Any]], limits: tuple[float, float]) -> Image.Image:
    """Return :func:`overlay` with a ring around the peak and, to the right, a bar of colours with its two ends.

    The picture of the image comes first, from the top left, at its own size; one whose shorter side has fewer than 224
    pixels is enlarged by a whole factor, so that ring and numbers fit.

    Args:
        image: The original image.
        map_HW: Its map, (h, w).
        limits: Values of the lowest and highest colour.

    Raises:
        DataError: If image and map differ in size, or the model saw no pixel.
    """
    from matplotlib import colormaps
    from PIL import ImageDraw

    shown = overlay(image, map_HW, limits)
    factor = max(1, -(-_LEAST_SIDE // min(image.size)))
    shown = shown.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    column, row = (factor * (place + 0.5) for place in peak(map_HW))
    radius = max(4.0, min(shown.size) / 40)
    draw = ImageDraw.Draw(shown)
    for wider, colour in ((1, "black"), (0, "white")):  # seen on any ground
        box = (column - radius - wider, row - radius - wider, column + radius + wider, row + radius + wider)
        draw.ellipse(box, outline=colour, width=1 + wider)
    canvas = Image.new("RGB", (shown.width + _LEGEND, shown.height), "white")
    canvas.paste(shown)
    share_H = np.linspace(1, 0, max(1, shown.height - 2 * _MARGIN))
    bar_HC = (colormaps[COLOUR_MAP](share_H)[:, :3] * 255).round().astype(np.uint8)
    bar = Image.fromarray(np.repeat(bar_HC[:, None], _BAR, axis=1))
    canvas.paste(bar, (shown.width + _MARGIN, _MARGIN))
    draw = ImageDraw.Draw(canvas)
    for value, top in ((limits[1], 2), (limits[0], shown.height - _MARGIN + 2)):
        draw.text((shown.width + _MARGIN, top), f"{value:.3g}", fill="black")
    return canvas


def save_overlays(found: Maps, images: Any, folder: str | Path, *, replace: bool = False) -> Path:
    """Write one PNG per image and text, numbered from 0 (``image-0003-text-01.png``): no name, no text.

    The colours of an image go from the lowest to the highest value over all its texts.

    Args:
        found: Of :func:`explain`.
        images: The same images.
        folder: Folder to write; it appears whole or not at all.
        replace: Exchange a folder that this function wrote.

    Raises:
        DataError: If the images are not those, or the folder exists.
    """
    folder = Path(folder)
    with atomic_folder(folder, replace=replace) as partial:
        number = 0
        for _, batch in batches(as_list(images), 1):
            if number >= len(found):
                raise DataError(f"{len(found)} maps, and more images", item="images", remedy="pass the same images")
            map_THW = found.maps[number]
            for text, map_HW in enumerate(map_THW):
                overlay(batch[0], map_HW, _limits(map_THW)).save(partial / picture_name(number, text))
            number += 1
        if number != len(found):
            raise DataError(f"{len(found)} maps, but {number} images", item="images", remedy="pass the same images")
        write_manifest(partial, {"format": FORMAT, "source": found.source})
    return folder


def draw_maps(
    model: Any,
    images: Any,
    texts: Sequence[str],
    folder: str | Path,
    *,
    source: Literal["auto", "attention", "cosine"] = "auto",
    replace: bool = False,
) -> Path:
    """Draw where a model finds texts: :func:`explain`, image by image, as pictures :func:`with_legend`.

    Beside the pictures (``image-0003-text-01.png``) ``index.csv`` says which image and text each one is of, where its
    peak lies (column and row, pixels of the original image), and which values the ends of the bar stand for, the lowest
    and highest over all texts of that image.

    Args:
        model: See :func:`explain`.
        images: See :func:`explain`.
        texts: What to look for.
        folder: Folder to write; it appears whole or not at all.
        source: See :func:`explain`.
        replace: Exchange a folder that this function wrote.

    Raises:
        ConfigError: As :func:`explain`.
        DataError: As :func:`explain`; also if the folder exists.
    """
    folder, texts = Path(folder), [texts] if isinstance(texts, str) else list(texts)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["picture", "image", "text", "peak_x", "peak_y", "low", "high", "source"])
    with atomic_folder(folder, replace=replace) as partial:
        for number, (names, batch) in enumerate(batches(as_list(images), 1)):
            found = explain(model, batch, texts, source=source)
            map_THW = found.maps[0]
            limits = _limits(map_THW)
            for place, (text, map_HW) in enumerate(zip(texts, map_THW, strict=True)):
                file = picture_name(number, place)
                with_legend(batch[0], map_HW, limits).save(partial / file)
                writer.writerow([file, names[0], text, *peak(map_HW), *(f"{end:.6g}" for end in limits), found.source])
        write_text(partial / "index.csv", lines.getvalue())
        write_manifest(partial, {"format": FORMAT})
    return folder


def _limits(map_THW: NDArray[np.floating[Any]]) -> tuple[float, float]:
    return float(np.nanmin(map_THW)), float(np.nanmax(map_THW))

"""Stand-alone, shared by the embed scripts: requests, images, texts and results, with numpy and Pillow alone.

Shape letters: B images · M texts · L tokens · H, W pixels · D embedding.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image, ImageOps

BATCH = 32
Embedding = dict[str, Any]


def main(embed: Callable[[Path, Sequence[str], Sequence[str]], Embedding], here: Path) -> None:
    """Run ``embed(folder, images, texts)`` as ``python embed.py REQUEST.json OUT [FOLDER]``.

    The request is ``{"images": ["a.png", ...], "texts": ["...", ...]}``; FOLDER defaults to the script's own. OUT is
    ``.npz`` or ``.safetensors`` and gets ``image`` (B, D), ``text`` (M, D), float32, L2-normalised, and ``scale``.
    """
    if len(sys.argv) not in (3, 4):
        stop("usage: python embed.py REQUEST.json OUT.npz|OUT.safetensors [FOLDER]")
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path(sys.argv[3]).resolve() if len(sys.argv) == 4 else here
    result = embed(folder, request.get("images", []), request.get("texts", []))
    arrays = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in result.items()}
    imported = any(name.partition(".")[0] == "medvlp" for name in sys.modules)
    if sys.argv[2].endswith(".npz"):
        np.savez(sys.argv[2], imported_medvlp=np.array(imported), **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, sys.argv[2], {"imported_medvlp": str(imported)})


def stop(reason: str) -> NoReturn:
    """End with one line on standard error and exit code 1."""
    raise SystemExit(f"error: {reason}")


def read_json(path: Path) -> Any:
    """Read a JSON file of the export."""
    if not path.is_file():
        stop(f"{path.name}: missing; copy the whole folder")
    return json.loads(path.read_text(encoding="utf-8"))


def read_rgb(path: str) -> Image.Image:
    """Open an 8-bit image as RGB, turned as its EXIF tag says, transparency laid on white."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")


def preprocess(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """Resize, crop, scale and normalise as ``preprocess.json`` says; return (3, size, size), float32."""
    size, (width, height) = int(settings["size"]), image.size
    mode = settings.get("resize_mode", "shortest")
    if mode == "squash":
        target = (size, size)
    elif mode == "longest":
        ratio = max(width, height) / size
        target = (max(1, round(width / ratio)), max(1, round(height / ratio)))
    elif width <= height:
        target = (size, int(size * height / width))
    else:
        target = (int(size * width / height), size)
    if image.size != target:
        bilinear = settings.get("interpolation") == "bilinear"
        image = image.resize(target, Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC)
    if mode == "longest" and min(image.size) < size:
        grey = int(settings.get("fill_color", 0))
        canvas = Image.new("RGB", (max(size, image.width), max(size, image.height)), (grey, grey, grey))
        canvas.paste(image, (max(0, size - image.width) // 2, max(0, size - image.height) // 2))
        image = canvas
    left, top = round((image.width - size) / 2.0), round((image.height - size) / 2.0)
    values = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / np.float32(255)
    mean, std = np.float32(settings["mean"]), np.float32(settings["std"])
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))


def clean(text: str, how: str = "whitespace") -> str:
    """Repair encoding damage, unescape HTML, collapse white space; ``lower`` also lowers the case.

    Plain ASCII without ``&`` needs no other package; anything else needs ``ftfy``, as it did in training.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        text = " ".join(text.split())
    else:
        try:
            import ftfy
        except ImportError:
            stop("a text is not plain ASCII; pip install ftfy, which the model's texts were cleaned with")
        text = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    return text.lower() if how == "lower" else text


def batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Cut a list into parts of at most 32."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]

"""Two folders that stock transformers opens, ``text/`` and ``image/``, and the heads behind them.

transformers' own two-tower class (``VisionTextDualEncoderModel``) takes each tower's ``pooler_output`` and a linear
projection without bias on both sides; it cannot say "mean of the tokens" or "no projection", so it is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvlp.encoders import hf
from medvlp.encoders.image import HfImage, TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.errors import ExportError
from medvlp.export.heads_file import write_heads
from medvlp.export.timm_folder import timm_preprocessing, write_timm_tower
from medvlp.io import read_json, write_json
from medvlp.model import DualEncoder

_AS_OPEN_CLIP = "export with `--to open_clip` or `--to safetensors`"


def write_hf(model: DualEncoder, folder: Path, target: Path) -> None:
    """Write ``text/``, ``image/``, ``heads.safetensors`` and ``heads.json``.

    Raises:
        ExportError: If a tower is open_clip's, or its preprocessing has no counterpart.
    """
    image, text = model.image, model.text
    if not isinstance(image, TimmImage | HfImage):
        raise ExportError("transformers has no such class", item="image: open_clip tower", remedy=_AS_OPEN_CLIP)
    if not isinstance(text, TextEncoder):
        raise ExportError("transformers has no such class", item="text: open_clip tower", remedy=_AS_OPEN_CLIP)
    for name in ("image", "text"):
        (folder / name).mkdir()
    if isinstance(image, TimmImage):
        write_timm_tower(image, model.preprocess, folder / "image")
    else:
        _write_image(image, folder / "image", timm_preprocessing(model.preprocess))
    _save(text.transformer, folder / "text")
    _write_tokenizer(text.tokenizer.hf, folder / "text", model.tokenizer.context_length)
    write_heads(model, folder, text=True)


def _save(encoder: Any, folder: Path) -> None:
    """Let transformers write its weights, under the names it publishes; the configuration names no local path."""
    from transformers.utils import logging as hf_logging

    bar = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        encoder.save_pretrained(str(folder))
    finally:
        if bar:
            hf_logging.enable_progress_bar()
    hf.write_config(encoder, folder)


def _write_image(tower: HfImage, folder: Path, preprocessing: dict[str, Any]) -> None:
    """Write a Hugging Face image tower with timm's transform as its ``AutoImageProcessor``.

    Transformers' own processors start the centre crop at the floor of half the excess; this library, torchvision,
    timm and open_clip round it, so theirs would be off by a pixel for every fourth size.
    """
    _save(tower.encoder, folder)
    config = {
        **read_json(folder / "config.json"),
        "image_processor_type": "TimmWrapperImageProcessor",
        "pretrained_cfg": preprocessing,
    }
    write_json(folder / "config.json", config)


def _write_tokenizer(tokenizer: Any, folder: Path, context_length: int) -> None:
    """Write the tokenizer with its longest text, so that ``truncation=True`` cuts where training did."""
    before = tokenizer.model_max_length
    tokenizer.model_max_length = context_length
    try:
        tokenizer.save_pretrained(str(folder))
    finally:
        tokenizer.model_max_length = before

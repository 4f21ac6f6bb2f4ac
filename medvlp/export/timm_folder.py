"""The image tower as a folder that stock timm and transformers open: ``local-dir:FOLDER``, ``TimmWrapperModel``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medvlp.data.transform import Preprocess
from medvlp.encoders.image import TimmImage
from medvlp.encoders.weights import write_state_dict
from medvlp.errors import ExportError
from medvlp.export.heads_file import write_heads
from medvlp.io import write_json
from medvlp.model import DualEncoder

_AS_ONNX = "export with `--to onnx` or `--to safetensors`, whose scripts preprocess by themselves"
_CROP_MODES = {"shortest": "center", "squash": "squash"}
_ABOUT_THE_NETWORK = ("first_conv", "classifier", "pool_size", "fixed_input_size", "license")


def write_timm(model: DualEncoder, folder: Path, target: Path) -> None:
    """Write the image tower alone, and the projection behind it.

    Raises:
        ExportError: If the image tower is not timm's, or timm cannot rebuild or preprocess it alike.
    """
    if not isinstance(model.image, TimmImage):
        raise ExportError(
            "timm holds its own networks only",
            item=f"image: {model.config.image.name}",
            remedy="export with `--to safetensors`, which holds any model",
        )
    write_timm_tower(model.image, model.preprocess, folder)
    write_heads(model, folder, text=False)


def write_timm_tower(tower: TimmImage, preprocess: Preprocess, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` as timm and transformers' ``TimmWrapperModel`` read them.

    Raises:
        ExportError: If a network built anew from that configuration would not take these weights.
    """
    config = timm_config(tower, preprocess)
    _refuse_other_network(config, tower)
    write_json(folder / "config.json", config)
    write_state_dict(folder / "model.safetensors", tower.trunk.state_dict())


def timm_config(tower: TimmImage, preprocess: Preprocess) -> dict[str, Any]:
    """Return the contents of timm's ``config.json``.

    Raises:
        ExportError: If timm has no such preprocessing.
    """
    trunk, size = tower.trunk, preprocess.size
    architecture = tower.config.model.split(".")[0]
    resized = size != tower.default_size and hasattr(trunk, "set_input_size")
    about = {key: trunk.pretrained_cfg[key] for key in _ABOUT_THE_NETWORK if trunk.pretrained_cfg.get(key) is not None}
    if resized:
        about.pop("pool_size", None)
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": int(trunk.num_features),
        **({"model_args": {"img_size": size}} if resized else {}),
        "pretrained_cfg": {**about, "custom_load": False, **timm_preprocessing(preprocess)},
    }


def timm_preprocessing(preprocess: Preprocess) -> dict[str, Any]:
    """Return the settings of timm's evaluation transform that give the same pixels.

    Raises:
        ExportError: In ``longest`` mode: timm pads with the mean colour, this library with one grey.
    """
    if preprocess.resize_mode not in _CROP_MODES:
        raise ExportError(
            "timm's transform pads with another colour", item=f"resize_mode: {preprocess.resize_mode}", remedy=_AS_ONNX
        )
    return {
        "num_classes": 0,
        "input_size": [3, preprocess.size, preprocess.size],
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "crop_pct": 1.0,
        "crop_mode": _CROP_MODES[preprocess.resize_mode],
    }


def _refuse_other_network(config: dict[str, Any], tower: TimmImage) -> None:
    """Build the network from its configuration as a reader would (without memory) and compare names and shapes."""
    import timm

    with torch.device("meta"):
        again = timm.create_model(
            config["architecture"], pretrained=False, num_classes=0, **config.get("model_args", {})
        ).state_dict()
    ours = tower.trunk.state_dict()
    differing = sorted(again.keys() ^ ours.keys()) or [key for key in ours if ours[key].shape != again[key].shape]
    if differing:
        raise ExportError(
            f"timm would build {tower.config.model} with other tensors ({differing[0]})",
            item="image",
            remedy="export with `--to safetensors`",
        )

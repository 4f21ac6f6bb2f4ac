"""A dual encoder as a folder that stock open_clip loads: names mapped, what it cannot express refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medvlp.encoders import hf
from medvlp.encoders.clip_towers import OpenClipImage, OpenClipText
from medvlp.encoders.heads import EXPORTABLE_HEADS, Head
from medvlp.encoders.image import TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.encoders.weights import write_state_dict
from medvlp.errors import ExportError
from medvlp.export.fold import padded_head, trunk_state
from medvlp.io import MANIFEST, read_json, require, verify_manifest, write_json, write_manifest
from medvlp.loading import OPEN_CLIP_CONFIG
from medvlp.model import DualEncoder

WEIGHTS = "open_clip_model.safetensors"
_POOLERS = {"mean": "mean_pooler", "cls": "cls_last_hidden_state_pooler", "pooler": "cls_pooler"}
_AS_SAFETENSORS = "export with `--to safetensors`, which holds any model"


def write_open_clip(model: DualEncoder, folder: Path, target: Path) -> None:
    """Write configuration, weights and tokenizer into ``folder``.

    Args:
        model: What to export.
        folder: Where to write now.
        target: Where the folder will be when finished: open_clip finds the text tower's configuration only through
            an absolute path.

    Raises:
        ExportError: If the model has a part open_clip has no name for.
    """
    write_json(folder / OPEN_CLIP_CONFIG, open_clip_config(model, target))  # refuses what open_clip cannot express
    write_state_dict(folder / WEIGHTS, open_clip_state(model))
    model.tokenizer.save(folder)
    transformer = getattr(getattr(model.text, "text", model.text), "transformer", None)
    if hasattr(transformer, "config"):
        hf.write_config(transformer, folder)


def open_clip_config(model: DualEncoder, target: Path) -> dict[str, Any]:
    """Return the contents of ``open_clip_config.json`` for a folder that will be at ``target``.

    Raises:
        ExportError: If a tower or head has no counterpart in open_clip.
    """
    config: dict[str, Any] = {
        "embed_dim": model.config.embed_dim,
        "vision_cfg": _vision_cfg(model),
        "text_cfg": _text_cfg(model, target),
        "custom_text": True,
        "quick_gelu": _quick_gelu(model),
        "init_logit_scale": float(model.scale().log().detach()),
    }
    if model.logit_bias is not None:
        config["init_logit_bias"] = float(model.logit_bias.detach())
    return {"model_cfg": config, "preprocess_cfg": {"mode": "RGB", **model.preprocess.to_json()}}


def open_clip_state(model: DualEncoder) -> dict[str, Tensor]:
    """Return the weights of a model that :func:`open_clip_config` accepts, under open_clip's names."""
    state: dict[str, Tensor] = {}
    if isinstance(model.image, OpenClipImage):
        state |= _prefixed("visual.", model.image.visual)
    else:
        state |= {f"visual.trunk.{name}": tensor for name, tensor in trunk_state(model.image).items()}
        if model.config.image_head == "kep_mlp":
            state |= padded_head(model.image_head)
        else:
            state |= _head(model.image_head, ("visual.head.proj",), ("visual.head.mlp.fc1", "visual.head.mlp.fc2"))
    if isinstance(model.text, OpenClipText):
        state |= _prefixed("text.", model.text.text)
    else:
        state |= _prefixed("text.transformer.", model.text.transformer)
        state |= _head(model.text_head, ("text.proj",), ("text.proj.0", "text.proj.2"))
    state["logit_scale"] = model.scale().log().detach()
    if model.logit_bias is not None:
        state["logit_bias"] = model.logit_bias.detach()
    return state


def repoint(folder: Path | str) -> Path:
    """Write the folder's present place into its configuration, after a move or a copy to another machine.

    Returns:
        The absolute path now written.

    Raises:
        ExportError: If this is no open_clip export, or another of its files was altered.
    """
    place = Path(folder).resolve()
    path = place / OPEN_CLIP_CONFIG
    if not path.is_file():
        raise ExportError(f"no {OPEN_CLIP_CONFIG} in this folder", item=folder, remedy="name an open_clip export")
    header: dict[str, Any] = {}
    if (place / MANIFEST).is_file():
        header = verify_manifest(place, ExportError)
        header.pop("files", None)
    config = read_json(path)
    text_cfg = config.get("model_cfg", {}).get("text_cfg", {})
    for key in ("hf_model_name", "hf_tokenizer_name"):
        if key in text_cfg:
            text_cfg[key] = str(place)
    write_json(path, config)
    if header:
        write_manifest(place, header)
    return place


def _vision_cfg(model: DualEncoder) -> dict[str, Any]:
    tower, head = model.image, model.config.image_head
    if isinstance(tower, OpenClipImage):
        _require_no_head(head, "image_head")
        _refuse_multimodal(tower.architecture)
        return {**copy.deepcopy(tower.architecture["vision_cfg"]), "timm_model_pretrained": False}
    if not isinstance(tower, TimmImage):
        raise ExportError("open_clip has no Hugging Face image tower", item="image: hf", remedy=_AS_SAFETENSORS)
    size = model.preprocess.size
    if size != tower.default_size and hasattr(tower.trunk, "set_input_size"):
        raise ExportError(
            f"open_clip builds {tower.config.model} for {tower.default_size} pixels, this model takes {size}",
            item="image.image_size",
            remedy=_AS_SAFETENSORS,
        )
    if head != "none" and tower.trunk.num_features != tower.width:
        raise ExportError(
            f"gives {tower.width} features where open_clip expects {tower.trunk.num_features}",
            item=tower.config.model,
            remedy=_AS_SAFETENSORS,
        )
    return {
        "timm_model_name": tower.config.model,
        "timm_model_pretrained": False,
        "timm_pool": _timm_pool(tower) if head == "none" else "",
        "timm_proj": "mlp" if head == "kep_mlp" else head,
        "timm_proj_bias": head == "kep_mlp",
        "timm_drop": 0.0,
        "timm_drop_path": None,
        "image_size": size,
    }


def _timm_pool(tower: TimmImage) -> str:
    """Return timm's name of the network's pooling, which open_clip sets anew where there is no projection."""
    pool = getattr(tower.trunk, "global_pool", None)
    pool = getattr(pool, "pool_type", pool)
    if not isinstance(pool, str) or not pool:
        raise ExportError(
            f"open_clip cannot be told how {tower.config.model} pools", item="image_head: none", remedy=_AS_SAFETENSORS
        )
    return pool


def _text_cfg(model: DualEncoder, target: Path) -> dict[str, Any]:
    tower, head, place = model.text, model.config.text_head, str(target.resolve())
    if isinstance(tower, OpenClipText):
        _require_no_head(head, "text_head")
        _refuse_multimodal(tower.architecture)
        text_cfg = copy.deepcopy(tower.architecture["text_cfg"])
        if type(tower.tokenizer.inner).__name__ == "SigLipTokenizer":
            raise ExportError(
                "open_clip finds this tokenizer by model name only", item="text: open_clip", remedy=_AS_SAFETENSORS
            )
        places = {key: place for key in ("hf_model_name", "hf_tokenizer_name") if key in text_cfg}
        return {**text_cfg, **places, "hf_model_pretrained": False}
    assert isinstance(tower, TextEncoder)
    _require_known_head(head, "text_head")
    arch_dict = require("open_clip.hf_configs", "clip").arch_dict
    kind = tower.transformer.config.model_type
    if kind not in arch_dict:
        raise ExportError(
            f"open_clip knows only {', '.join(arch_dict)} text towers", item=f"text: {kind}", remedy=_AS_SAFETENSORS
        )
    if tower.config.pooling not in _POOLERS:
        raise ExportError(
            "open_clip's own maximum pooling fails on its mask",
            item=f"text.pooling: {tower.config.pooling}",
            remedy=f"train with {', '.join(_POOLERS)}, or {_AS_SAFETENSORS}",
        )
    if tower.transformer.config.pad_token_id != tower.tokenizer.hf.pad_token_id:
        raise ExportError(
            "tokenizer and configuration disagree on the padding token", item="text", remedy=_AS_SAFETENSORS
        )
    return {
        "hf_model_name": place,
        "hf_tokenizer_name": place,
        "hf_model_pretrained": False,
        "hf_proj_type": None if head == "none" else head,
        "hf_pooler_type": _POOLERS[tower.config.pooling],
        "context_length": tower.tokenizer.context_length,
        "vocab_size": int(tower.transformer.config.vocab_size),
    }


def _quick_gelu(model: DualEncoder) -> bool:
    towers = [tower for tower in (model.image, model.text) if isinstance(tower, OpenClipImage | OpenClipText)]
    values = {bool(tower.architecture.get("quick_gelu", False)) for tower in towers}
    if len(values) > 1:
        raise ExportError("the two open_clip towers differ in quick_gelu", item="towers", remedy=_AS_SAFETENSORS)
    return values.pop() if values else False


def _refuse_multimodal(architecture: dict[str, Any]) -> None:
    if "multimodal_cfg" in architecture:
        raise ExportError("a CoCa model without its decoder", item="open_clip tower", remedy=_AS_SAFETENSORS)


def _require_known_head(kind: str, side: str) -> None:
    if kind not in EXPORTABLE_HEADS:
        raise ExportError(
            f"open_clip has no such head (it has {', '.join(EXPORTABLE_HEADS)})",
            item=f"{side}: {kind}",
            remedy=f"train with one of these, or {_AS_SAFETENSORS}",
        )


def _require_no_head(kind: str, side: str) -> None:
    if kind != "none":
        raise ExportError(
            "an open_clip tower ends in its own projection and takes no second one",
            item=f"{side}: {kind}",
            remedy=f"train with `none`, or {_AS_SAFETENSORS}",
        )


def _prefixed(prefix: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def _head(head: Head, linear: tuple[str, ...], mlp: tuple[str, ...]) -> dict[str, Tensor]:
    layers = [layer for layer in (head.first, head.second) if layer is not None]
    names = linear if head.kind == "linear" else mlp
    state: dict[str, Tensor] = {}
    for name, layer in zip(names, layers, strict=False):
        state |= _prefixed(f"{name}.", layer)
    return state

"""Hugging Face models built from a folder or hub name: the one place that calls ``from_pretrained``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medvlp.config import resolve_path
from medvlp.errors import CheckpointError, ConfigError

TEXT_ENCODER = "text_encoder"


def find_folder(value: str) -> str:
    """Return the Hugging Face folder a config's ``model`` or ``weights`` names.

    A folder with ``config.json`` is taken as it is; a run or checkpoint of this library stands for the text
    encoder it holds; anything else that looks like ``owner/name`` is left to the hub (or its local cache).

    Raises:
        CheckpointError: If a path exists but holds no model, or is plainly a path and does not exist.
    """
    path = resolve_path(value)
    if path.is_dir():
        if (path / "config.json").is_file():
            return str(path)
        if (path / TEXT_ENCODER / "config.json").is_file():
            return str(path / TEXT_ENCODER)
        if (path / "checkpoints").is_dir():
            from medvlp.training.checkpoint import latest_checkpoint

            inside = latest_checkpoint(path) / TEXT_ENCODER
            if (inside / "config.json").is_file():
                return str(inside)
        raise CheckpointError(
            "no config.json in this folder", item=value, remedy="name a Hugging Face model folder or a stage-1 run"
        )
    is_hub_name = value.count("/") == 1 and not value.startswith((".", "/", "~", "$")) and ":" not in value
    if not is_hub_name:
        raise CheckpointError("no such model folder", item=value, remedy="check the path")
    return value


def read_config(source: str) -> Any:
    """Read the architecture of a Hugging Face model (never its code).

    Raises:
        CheckpointError: If there is none, or this installation cannot build it.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        is_folder = Path(source).is_dir()
        raise CheckpointError(
            f"no readable Hugging Face configuration ({reason})"
            if is_folder
            else "no such folder, nor such a hub model",
            item=source,
            remedy="name another folder" if is_folder else "check the path, or download the model to a folder",
        ) from None


def build(config: Any, weights: str | None, optional: tuple[str, ...] = (), **options: Any) -> nn.Module:
    """Build the base model of ``config`` in float32, random or with the weights of a folder or hub name.

    Args:
        config: What :func:`read_config` gave.
        weights: Folder or hub name, or None for a random start.
        optional: Name parts of tensors that may be absent from the weights because they are not used.
        options: Constructor arguments; those the model class does not know are left out.

    Raises:
        ConfigError: If the architecture has no plain encoder.
        CheckpointError: If the weights lack a tensor the encoder uses, or have one of another shape.
    """
    from transformers import MODEL_MAPPING
    from transformers.utils import logging as hf_logging

    if type(config) not in MODEL_MAPPING or getattr(config, "is_encoder_decoder", False):
        raise ConfigError("has no plain encoder", item=config.model_type, remedy="choose an encoder-only model")
    model_class: Any = MODEL_MAPPING[type(config)]
    known = inspect.signature(model_class.__init__).parameters
    options = {name: value for name, value in options.items() if name in known}
    if weights is None:
        model: nn.Module = model_class(config, **options)
        return model.float()
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # its table of loaded tensors; what matters of it is checked below
    bar = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        model, report = model_class.from_pretrained(
            weights, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"weights not usable ({str(error).splitlines()[0]})", item=weights) from None
    finally:
        hf_logging.set_verbosity(level)
        if bar:
            hf_logging.enable_progress_bar()
    missing = [name for name in report["missing_keys"] if not any(part in name for part in optional)]
    if missing or report["mismatched_keys"]:
        names = ", ".join(sorted(map(str, missing or report["mismatched_keys"]))[:3])
        raise CheckpointError(
            "the weights lack tensors of this architecture or have others' shapes",
            item=f"{weights}: {names}",
            remedy="use weights of this architecture, or `weights: none` for a random start",
        )
    return model


def set_checkpointing(model: Any, enable: bool) -> None:
    """Switch gradient checkpointing of a Hugging Face model.

    Raises:
        ConfigError: If the architecture does not support it.
    """
    new_names = hasattr(model, "activation_checkpointing_enable")  # transformers renames them on its way to 6
    if not enable:
        (model.activation_checkpointing_disable if new_names else model.gradient_checkpointing_disable)()
        return
    if not model.supports_gradient_checkpointing:
        raise ConfigError("cannot checkpoint gradients", item=model.config.model_type, remedy="switch it off")
    how = {"use_reentrant": False}
    if new_names:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def write_config(model: Any, folder: Path) -> None:
    """Write the architecture (``config.json``) without the path it was read from."""
    config = type(model.config).from_dict(model.config.to_dict())
    config.name_or_path = ""
    config.save_pretrained(str(folder))

"""One call that opens any model the library can use: a run, a checkpoint, an export, an open_clip name.

It is offered as ``medvlp.load``; the module has another name so that importing it cannot shadow the function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from medvlp.config import resolve_path
from medvlp.encoders.clip_towers import OpenClipImage, OpenClipText, architecture_of, build_whole
from medvlp.errors import CheckpointError
from medvlp.io import MANIFEST, read_json, verify_manifest
from medvlp.model import MAX_SCALE, MIN_SCALE, DualEncoder, load_model

OPEN_CLIP_CONFIG = "open_clip_config.json"
AVERAGE = "ema"
"""Folder of a checkpoint that holds the model again, with averaged weights."""

LAYOUT_SCHEMES = ("keep:", "hf_clip:", "openai_clip:", "chexzero:")
EMBEDDINGS = "embeddings:"
SCHEMES = ("open_clip:", "hf-hub:", *LAYOUT_SCHEMES, EMBEDDINGS)


def has_scheme(path: str | Path) -> bool:
    """Say whether ``path`` names its kind in front, as ``keep:FOLDER`` does, and so is no plain path."""
    return str(path).startswith(SCHEMES)


def load(path: str | Path, *, ema: bool = False) -> DualEncoder:
    """Open a model in eval mode, on the CPU.

    Args:
        path: A run folder (its last complete checkpoint), a checkpoint, an export as open_clip or safetensors,
            ``open_clip:NAME`` (random weights), ``open_clip:NAME/TAG-OR-FILE``, ``open_clip:FOLDER``,
            ``hf-hub:OWNER/NAME``, published weights as ``LAYOUT:PATH`` (``keep:``, ``hf_clip:``, ``openai_clip:``,
            ``chexzero:``), or ``embeddings:FOLDER``.
        ema: Take the moving average of the weights that the checkpoint keeps beside those of its last step.

    Returns:
        The model; checkpoints and exports are first checked against their manifest. For a run of kind ``mstar`` a
        :class:`medvlp.case_model.CaseModel` with ``encode_slide``, ``encode_text`` and ``encode_genes`` (stage 1) or a
        :class:`medvlp.tile_encoder.TileEncoder` (stage 2). For ``embeddings:`` a
        :class:`medvlp.published.StoredEmbeddings`, which answers ``encode_text`` and ``scale`` as a model does, images
        by ``encode_keys``, and anything else with an error that says so.

    Raises:
        CheckpointError: If nothing is there, a file is altered, tensors do not fit, or no average was kept.
    """
    text = str(path)
    if ema:
        return _load_average(path)
    if text.startswith("hf-hub:"):
        return _load_open_clip(text, "none")
    if text.startswith(EMBEDDINGS):
        from medvlp.published.embeddings import StoredEmbeddings

        return cast("DualEncoder", StoredEmbeddings(text.removeprefix(EMBEDDINGS)))
    if text.startswith(LAYOUT_SCHEMES):
        from medvlp.published.opening import open_published

        layout, _, place = text.partition(":")
        return open_published(layout, place)[0]
    if text.startswith("open_clip:"):
        name = text.removeprefix("open_clip:")
        if resolve_path(name).is_dir():
            return _load_exported(resolve_path(name))
        if not name or name[0] in "/.~":
            raise CheckpointError("no such folder", item=path, remedy="name an open_clip export or architecture")
        model, _, weights = name.partition("/")
        return _load_open_clip(model, weights if weights else "none")
    folder = checkpoint_folder(path)
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return _load_exported(folder)
    if (folder / MANIFEST).is_file():
        verify_manifest(folder, CheckpointError)
    return _open(folder)


def checkpoint_folder(path: str | Path) -> Path:
    """Return the folder that holds the model files of a run, checkpoint or export.

    Raises:
        CheckpointError: If there is no such folder, or no model in it.
    """
    folder = resolve_path(str(path))
    if not folder.is_dir():
        raise CheckpointError("no such folder", item=path, remedy="name a run, a checkpoint or an exported model")
    if (folder / "model.json").is_file() or (folder / OPEN_CLIP_CONFIG).is_file():
        return folder
    if (folder / MANIFEST).is_file() and str(read_json(folder / MANIFEST).get("format")).startswith("medvlp-export/"):
        raise CheckpointError(
            "an export for other software", item=path, remedy="open its checkpoint, or export with `--to safetensors`"
        )
    from medvlp.training.checkpoint import latest_checkpoint

    return latest_checkpoint(folder)


def _load_average(path: str | Path) -> DualEncoder:
    if str(path).startswith(("open_clip:", "hf-hub:")):
        raise CheckpointError("published models come with one set of weights", item=path, remedy="leave ema out")
    folder = checkpoint_folder(path)
    if not (folder / AVERAGE / "model.json").is_file():
        raise CheckpointError(
            "keeps no averaged weights", item=path, remedy="train with `ema: {decay: 0.999}`, or leave ema out"
        )
    verify_manifest(folder, CheckpointError)
    return _open(folder / AVERAGE)


def _open(folder: Path) -> DualEncoder:
    """Open a folder by the format that its ``model.json`` names."""
    from medvlp import case_model, tile_encoder

    saved = read_json(folder / "model.json") if (folder / "model.json").is_file() else None
    named = saved.get("format") if isinstance(saved, dict) else None
    if named == case_model.FORMAT:
        return cast("DualEncoder", case_model.load_case_model(folder))
    if named == tile_encoder.FORMAT:
        return cast("DualEncoder", tile_encoder.load_tile_encoder(folder))
    return load_model(folder)


def _load_exported(folder: Path) -> DualEncoder:
    if (folder / MANIFEST).is_file():
        verify_manifest(folder, CheckpointError)
    elif "hf_model_name" in str(read_json(folder / OPEN_CLIP_CONFIG)):  # published: its text tower is a hub name
        from medvlp.published.opening import open_published

        return open_published("open_clip", folder)[0]
    return _load_open_clip(f"local-dir:{folder.resolve()}", "none")


def _load_open_clip(name: str, weights: str) -> DualEncoder:
    """Wrap an open_clip model: its projections are inside its towers, so both heads are ``none``."""
    whole: Any = build_whole(name, weights)
    image = OpenClipImage.Config(model=name, weights=weights)
    text = OpenClipText.Config(model=name, weights=weights)
    bias = None if whole.logit_bias is None else whole.logit_bias.item()
    config = DualEncoder.Config(
        image=image,
        text=text,
        embed_dim=int(architecture_of(name)["embed_dim"]),
        image_head="none",
        text_head="none",
        logit_scale_init=whole.logit_scale.exp().clamp(MIN_SCALE, MAX_SCALE).item(),
        logit_bias=bias,
    )
    model = DualEncoder(config, open_clip_model=whole)
    with torch.no_grad():
        model.logit_scale.copy_(whole.logit_scale.reshape(()))
    return model.eval()

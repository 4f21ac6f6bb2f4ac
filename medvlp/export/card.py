"""The model card: what was trained on what, what it scores, how to load it, and what it is not for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvlp import __version__
from medvlp.export.card_facts import describe_scores, describe_stores, read_run_config, short_name
from medvlp.export.card_loading import LOADING
from medvlp.io import MANIFEST, read_json, sha256_json
from medvlp.model import PARTS, DualEncoder


def write_card(
    model: DualEncoder, to: str, source: Path | None = None, results: Path | None = None, *, ema: bool = False
) -> str:
    """Return the card as Markdown; it holds no report text, no case and no path of this machine.

    Args:
        model: The exported model.
        to: The export's format.
        source: The checkpoint folder; its run's ``config.yaml`` tells which stores were used.
        results: A ``results.json`` to quote; the run's own is used if None and present.
        ema: Whether these are the averaged weights.

    Raises:
        DataError: If ``results`` is given and cannot be read.
    """
    run = _run_folder(source)
    config = read_run_config(run)
    found = results if results is not None else (run / "results.json" if run is not None else None)
    scores = read_json(found) if found is not None and (results is not None or found.is_file()) else None
    sections = [
        "# Model card\n\nA medical vision-language dual encoder, written by medvlp " + __version__ + ".",
        _architecture(model),
        "## Weights\n\n" + _weights(source, config, ema),
        "## Training data and knowledge\n\n" + (_published(source) or describe_stores(config)),
        "## Scores\n\n" + describe_scores(scores),
        _preprocessing(model),
        _loading(model, to),
        _USE,
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


def _weights(source: Path | None, config: dict[str, Any], ema: bool) -> str:
    """Say which step and which of the two sets of weights this is, and of which configuration."""
    lines = []
    manifest = read_json(source / MANIFEST) if source is not None and (source / MANIFEST).is_file() else {}
    if isinstance(manifest.get("step"), int):
        lines.append(f"- optimiser steps: {manifest['step']:,}")
    decay = (config.get("ema") or {}).get("decay")
    if ema:
        lines.append("- moving average of the weights over the run" + (f", decay {decay}" if decay is not None else ""))
    else:
        lines.append("- weights of the last step, not averaged")
    if config:
        lines.append(f"- sha256 of the training configuration: `{sha256_json(config)}`")
    for name in ("data_digest", "graph_digest"):
        if isinstance(manifest.get(name), str):
            lines.append(f"- {name.replace('_', ' ')} at training: `{manifest[name]}`")
    return "\n".join(lines)


def _architecture(model: DualEncoder) -> str:
    config = model.config
    num_parameters = {part: sum(p.numel() for p in parameters) for part, parameters in model.towers().items()}
    rows = [
        f"| image tower | {config.image.name}: {short_name(config.image.model)} |",
        f"| text tower | {config.text.name}: {short_name(config.text.model)} |",
        f"| heads | image {config.image_head}, text {config.text_head} |",
        f"| embedding | {config.embed_dim} values, L2-normalised |",
        f"| logit scale | {model.scale().item():.4f} |",
        f"| logit bias | {'none' if model.logit_bias is None else f'{model.logit_bias.item():.4f}'} |",
        *[
            f"| parameters, {part.replace('_', ' ')} | {num_parameters[part]:,} |"
            for part in PARTS
            if num_parameters[part]
        ],
    ]
    return "## Architecture\n\n| part | value |\n|---|---|\n" + "\n".join(rows)


def _run_folder(source: Path | None) -> Path | None:
    if source is None:
        return None
    return source.parent.parent if source.parent.name == "checkpoints" else source


def _published(source: Path | None) -> str | None:
    """Say of an import which published weights it is; None for anything else."""
    path = source / "weights_report.json" if source is not None else None
    if path is None or not path.is_file():
        return None
    report = read_json(path)
    lacking = len(report.get("missing", []))
    lines = [
        f"Published weights `{short_name(str(report.get('source')))}` in layout `{report.get('layout')}`; "
        f"{len(report.get('renamed', {}))} of {report.get('num_tensors')} tensors taken over, {lacking} missing.",
        f"Checked: {report.get('verified')}.",
        f"Unverified: {report.get('unverified')}.",
    ]
    if lacking > 0:
        lines.insert(1, "**Imported in part: the missing tensors are random.**")
    return "\n\n".join(lines)


def _preprocessing(model: DualEncoder) -> str:
    values = model.preprocess
    return (
        "## Preprocessing\n\n"
        f"Images: RGB, {values.resize_mode} to {values.size} pixels ({values.interpolation}), scaled to 0-1, "
        f"mean {', '.join(f'{value:g}' for value in values.mean)}, deviation "
        f"{', '.join(f'{value:g}' for value in values.std)}. Texts: at most {model.tokenizer.context_length} tokens; "
        "what is longer is cut. Open images as RGB without transparency, turned as their EXIF tag says."
    )


def _loading(model: DualEncoder, to: str) -> str:
    pooling = {
        side.upper(): getattr(getattr(tower, "config", None), "pooling", "pooler")
        for side, tower in (("image", model.image), ("text", model.text))
    }
    text = LOADING[to]
    for side, how in pooling.items():
        text = text.replace(f"{side}_POOLING", how)
    return text


_USE = """## Intended use

Research: zero-shot classification and retrieval of images by text, and as a starting point for fine-tuning, on images
like those it was trained on and with a development split of one's own to check it on."""

_LIMITS = """## Limits

For research. Not a medical device, not validated for diagnosis or for any decision about a patient. Scores hold for
the data they were measured on; other scanners, stains, populations and wordings can change them. The licences of the
training data, of the knowledge sources and of the published weights the towers started from stay in force."""

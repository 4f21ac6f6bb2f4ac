"""The common end of every CLIP layout: an open_clip architecture, its preprocessing and its tokenizer as a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from medvlp.data.transform import Preprocess
from medvlp.encoders.clip_towers import OpenClipImage, OpenClipText
from medvlp.io import write_json
from medvlp.model import MAX_SCALE, MIN_SCALE, DualEncoder
from medvlp.published.layout import Plan
from medvlp.published.rules import Rule

_DEFAULT_SCALE = 1 / 0.07


def clip_plan(
    label: str,
    architecture: dict[str, Any],
    preprocess: Preprocess,
    rules: tuple[Rule, ...],
    state: dict[str, Tensor],
    *,
    tokenizer: Callable[[Path], None] | None = None,
    text_config: dict[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Plan a model of two open_clip towers, whose projections are inside them.

    Args:
        label: What cards and reports call the towers.
        architecture: open_clip's ``model_cfg``.
        preprocess: Image settings.
        rules: From published names to ``image.visual.*`` and ``text.text.*``.
        state: The published tensors, for the scale and the bias.
        tokenizer: Writes a Hugging Face tokenizer into a folder; None for open_clip's own vocabulary.
        text_config: Configuration of a Hugging Face text tower.
        notes: What the user should know.
    """

    def write(target: Path) -> None:
        saved = {"architecture": architecture, "preprocess": preprocess.to_json()}
        write_json(target / "image_config" / "open_clip.json", saved)
        write_json(target / "text_config" / "open_clip.json", {"architecture": architecture})
        if text_config is not None:
            write_json(target / "text_config" / "config.json", text_config)
        if tokenizer is not None:
            tokenizer(target / "tokenizer")

    scale = math.exp(float(state["logit_scale"].reshape(-1)[0])) if "logit_scale" in state else _DEFAULT_SCALE
    if scale > MAX_SCALE * 1.001:
        notes = (
            *notes,
            f"The published multiplier of cosines is {scale:.1f}; this library uses at most {MAX_SCALE:g}.",
        )
    bias = float(state["logit_bias"].reshape(-1)[0]) if "logit_bias" in state else architecture.get("init_logit_bias")
    config = DualEncoder.Config(
        image=OpenClipImage.Config(model=label),
        text=OpenClipText.Config(model=label),
        embed_dim=int(architecture["embed_dim"]),
        image_head="none",
        text_head="none",
        logit_scale_init=min(MAX_SCALE, max(MIN_SCALE, scale)),
        logit_bias=bias,
    )
    return Plan(config, write, rules, notes)

"""KEEP (Zhou et al., arXiv 2412.13126): timm ViT-L/16 with LayerScale, an MLP head, BERT's own pooler.

Image: ``visual`` (1024) to ``visual_head`` (Linear, GELU, Linear) to 768. Text: pooler output, 768, no head.
The release beside the repository calls LayerScale's parameter ``gamma`` as timm does; the code shipped with the copy
on the hub replaces timm's LayerScale by a class whose parameter is called ``weight``. Both names are read.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medvlp.data.transform import IMAGENET_MEAN, IMAGENET_STD
from medvlp.encoders.image import TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.errors import CheckpointError
from medvlp.model import DualEncoder
from medvlp.published.layout import POSITIONS, Layout, Plan, checked_hf_config, copy_tokenizer, write_hf_config
from medvlp.published.rules import Rule
from medvlp.published.source import Source

_RULES = (
    Rule(r"text\.embeddings\.position_ids", None, reason=POSITIONS),
    Rule(r"visual\.blocks\.(\d+)\.ls([12])\.weight", r"image.trunk.blocks.\1.ls\2.gamma"),
    Rule(r"visual\.(.+)", r"image.trunk.\1"),
    Rule(r"visual_head\.0\.(weight|bias)", r"image_head.first.\1"),
    Rule(r"visual_head\.2\.(weight|bias)", r"image_head.second.\1"),
    Rule(r"text\.(.+)", r"text.transformer.\1"),
    Rule(r"logit_scale", r"logit_scale"),
)
_HEAD, _POOLER = "visual_head.2.weight", "text.pooler.dense.weight"
_SCALE = 1 / 0.04


@dataclass(frozen=True)
class Keep(Layout):
    """KEEP's folder: weights, ``config.json`` with ``text_config``, and the tokenizer.

    Attributes:
        image_model: timm's name of the image tower, fixed in the published code.
        layer_scale: First LayerScale value, fixed there too.
        context_length: Longest text in tokens, as in the published script.
    """

    image_model: str = "vit_large_patch16_224"
    layer_scale: float = 1e-5
    context_length: int = 256

    name: ClassVar[str] = "keep"
    title: ClassVar[str] = "KEEP: timm ViT-L/16 with LayerScale, MLP head, BERT pooler"
    verified: ClassVar[str] = (
        "names and shapes at full size, against the module of the cited script; embeddings within 1e-5 of that module "
        "at reduced width and random weights; both names of LayerScale's parameter"
    )
    unverified: ClassVar[str] = (
        "the published file itself was not at hand; that its config.json holds BERT's settings under text_config is "
        "taken from the script, that the copy on the hub calls LayerScale's parameter weight from third-party loaders"
    )
    cites: ClassVar[tuple[str, ...]] = (
        "github.com/MAGIC-AI4Med/KEEP quick_start/keep_inference.py (commit 9483a766)",
        "arXiv 2412.13126",
    )

    def recognises(self, source: Source, names: Collection[str]) -> bool:
        """See :meth:`Layout.recognises`."""
        return source.config.get("model_type") == "keep" or {"visual_head.0.weight", _HEAD, _POOLER} <= set(names)

    def plan(self, source: Source) -> Plan:
        """See :meth:`Layout.plan`."""
        folder = source.folder
        if folder is None:
            raise CheckpointError(
                "KEEP's weights need the config.json and tokenizer beside them",
                item=source.path,
                remedy="name the folder",
            )
        if _HEAD not in source.state:
            raise CheckpointError("KEEP's head is missing", item=f"{source.path}: {_HEAD}", remedy="restore the file")
        given = source.config.get("text_config")
        notes: tuple[str, ...] = ()
        if not isinstance(given, dict) or not given:
            given, notes = {}, ("config.json has no text_config; BERT-base is assumed, and shapes are checked.",)
        text_config = checked_hf_config({"model_type": "bert", **given}, folder / "config.json")

        def write(target: Path) -> None:
            write_hf_config(text_config, target)
            copy_tokenizer(folder, target / "tokenizer", text_config)

        label = f"keep:{folder.name}"
        config = DualEncoder.Config(
            image=TimmImage.Config(
                model=self.image_model,
                layer_scale=self.layer_scale,
                mean=list(IMAGENET_MEAN),
                std=list(IMAGENET_STD),
                resize_mode="shortest",
            ),
            text=TextEncoder.Config(model=label, weights="none", pooling="pooler", context_length=self.context_length),
            embed_dim=int(source.state[_HEAD].shape[0]),
            image_head="kep_mlp",
            text_head="none",
            logit_scale_init=_scale(source),
        )
        return Plan(config, write, _RULES, notes)


def _scale(source: Source) -> float:
    found = source.state.get("logit_scale")
    return _SCALE if found is None else min(100.0, max(1.0, math.exp(float(found))))

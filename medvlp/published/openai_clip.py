"""State dicts of OpenAI's CLIP code, and CheXzero's, which are the same tensors with other image settings.

The text tower's tensors stand at the top (``transformer.resblocks``, ``token_embedding``, ...), the image tower's
under ``visual``. Sizes follow from shapes, as OpenAI's own loader derives them; the activation is QuickGELU.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from torch import Tensor

from medvlp.data.transform import Preprocess
from medvlp.errors import CheckpointError
from medvlp.published.clip_model import clip_plan
from medvlp.published.layout import CLIP_MEAN, CLIP_STD, Layout, Plan
from medvlp.published.rules import Rule
from medvlp.published.source import Source

TEXT_AT_TOP = r"(transformer\..+|token_embedding\.weight|positional_embedding|text_projection|ln_final\..+)"
_RULES = (
    Rule(r"(input_resolution|context_length|vocab_size)", None, reason="a size, which the shapes say too"),
    Rule(r"visual\.(.+)", r"image.visual.\1"),
    Rule(TEXT_AT_TOP, r"text.text.\1"),
    Rule(r"logit_scale", r"logit_scale"),
)
_HEAD_WIDTH = 64
_GREY = 255.0
_CXR_MEAN, _CXR_STD = 101.48761, 83.43944
_OPENAI_VOCABULARY = 49408


class OpenAiClip(Layout):
    """OpenAI CLIP code, vision transformers and ResNets."""

    name: ClassVar[str] = "openai_clip"
    title: ClassVar[str] = "OpenAI CLIP state dict (ViT or ResNet), as PubMedCLIP's own training saves it"
    verified: ClassVar[str] = (
        "names and shapes of ViT-B/32 at full size, against the cited model file's list and open_clip's own builder; "
        "embeddings equal to open_clip's builder at reduced width and random weights, ViT and ResNet, half precision"
    )
    unverified: ClassVar[str] = (
        "no published file was at hand; that the weights want QuickGELU cannot be read from a state dict"
    )
    cites: ClassVar[tuple[str, ...]] = (
        "github.com/rajpurkarlab/CheXzero model.py (commit a2eb643d), which is OpenAI's model file",
        "github.com/sarahESL/PubMedCLIP PubMedCLIP/main/train.py (commit 836d8ccc)",
    )
    note: ClassVar[str] = (
        "QuickGELU is assumed, as in OpenAI's weights. For weights of an open_clip architecture without it, use "
        "open_clip:NAME/FILE."
    )

    def recognises(self, source: Source, names: Collection[str]) -> bool:
        """See :meth:`Layout.recognises`."""
        is_image = {"visual.conv1.weight", "visual.proj"} <= set(names) or "visual.attnpool.c_proj.weight" in names
        return not source.open_clip and is_image and {"token_embedding.weight", "text_projection"} <= set(names)

    def plan(self, source: Source) -> Plan:
        """See :meth:`Layout.plan`."""
        architecture = architecture_from(source.state, source.path)
        if architecture["text_cfg"]["vocab_size"] != _OPENAI_VOCABULARY:
            raise CheckpointError(
                f"has {architecture['text_cfg']['vocab_size']} tokens, not OpenAI's {_OPENAI_VOCABULARY}",
                item=f"{source.path}: token_embedding.weight",
                remedy="its tokenizer is another one; write an open_clip_config.json and use layout open_clip",
            )
        size = int(architecture["vision_cfg"]["image_size"])
        label = f"{self.name}:{source.path.stem}"
        return clip_plan(label, architecture, self.preprocess(size), _RULES, source.state, notes=(self.note,))

    def preprocess(self, size: int) -> Preprocess:
        """Return OpenAI's image settings."""
        return Preprocess(size, CLIP_MEAN, CLIP_STD)


class CheXzero(OpenAiClip):
    """CheXzero: radiographs padded to a square on black, one grey mean and deviation."""

    name: ClassVar[str] = "chexzero"
    title: ClassVar[str] = "CheXzero: OpenAI CLIP state dict with radiograph image settings"
    verified: ClassVar[str] = OpenAiClip.verified + "; mean, deviation and padding of the cited scripts"
    unverified: ClassVar[str] = (
        "no published file was at hand; the published pipeline resizes to 320 pixels, stores, and resizes again to 224 "
        "on tensors, here it is one resize, so image embeddings differ slightly"
    )
    cites: ClassVar[tuple[str, ...]] = (
        "github.com/rajpurkarlab/CheXzero model.py (commit a2eb643d)",
        "github.com/rajpurkarlab/CheXzero zero_shot.py and data_process.py (commit 493a4917)",
    )

    def preprocess(self, size: int) -> Preprocess:
        """Return the settings of CheXzero's scripts: longest side to ``size``, black border, statistics on 0-255."""
        mean, std = _CXR_MEAN / _GREY, _CXR_STD / _GREY
        return Preprocess(size, (mean, mean, mean), (std, std, std), resize_mode="longest", fill_color=0)


def architecture_from(state: Mapping[str, Tensor], item: object) -> dict[str, Any]:
    """Read open_clip's ``model_cfg`` off the shapes of an OpenAI CLIP state dict.

    Raises:
        CheckpointError: If a tensor that tells a size is missing or of a strange shape.
    """
    try:
        vision = _vit(state) if "visual.proj" in state else _resnet(state)
        context, width = state["positional_embedding"].shape
        embed_dim = state["text_projection"].shape[1]
        vocabulary = state["token_embedding.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"a tensor that tells the sizes is missing or misshapen ({error})",
            item=item,
            remedy="name the layout that it is, or restore the file",
        ) from None
    text = {
        "context_length": context,
        "vocab_size": vocabulary,
        "width": width,
        "heads": max(1, width // _HEAD_WIDTH),
        "layers": _num_layers(state, r"transformer\.resblocks\.(\d+)\.ln_1\.weight"),
    }
    return {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def _vit(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, _, _, patch = state["visual.conv1.weight"].shape
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    return {
        "image_size": side * patch,
        "layers": _num_layers(state, r"visual\.transformer\.resblocks\.(\d+)\.ln_1\.weight"),
        "width": width,
        "patch_size": patch,
        "head_width": min(_HEAD_WIDTH, width),
    }


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    side = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    return {
        "image_size": side * 32,
        "layers": [_num_layers(state, rf"visual\.layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4)],
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
        "patch_size": None,
    }


def _num_layers(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state if (match := re.fullmatch(pattern, name)) is not None})

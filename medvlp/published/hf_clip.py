"""Hugging Face CLIP folders (``CLIPModel``): PLIP, PubMedCLIP and QuiltNet's second form.

Mapped onto the open_clip architecture of the same sizes, so that the open_clip export works; query, key and value are
stacked, and the two projections transposed, as open_clip keeps them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from medvlp.data.transform import Preprocess
from medvlp.errors import CheckpointError
from medvlp.io import read_json
from medvlp.published.clip_model import clip_plan
from medvlp.published.layout import CLIP_MEAN, CLIP_STD, POSITIONS, Layout, Plan, copy_tokenizer
from medvlp.published.rules import Rule
from medvlp.published.source import Source

_SIDES = {"vision_model": "image.visual", "text_model": "text.text"}
_EPS = 1e-5
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_MARK = "vision_model.embeddings.class_embedding"


def _rules() -> tuple[Rule, ...]:
    rules = [Rule(r"(vision_model|text_model)\.embeddings\.position_ids", None, reason=POSITIONS)]
    for theirs, ours in _SIDES.items():
        layer, block = rf"{theirs}\.encoder\.layers\.(\d+)", rf"{ours}.transformer.resblocks.\1"
        rules += [
            Rule(
                rf"{layer}\.self_attn\.(?P<part>[qkv])_proj\.(?P<kind>weight|bias)",
                rf"{block}.attn.in_proj_\g<kind>",
                "stack",
            ),
            Rule(rf"{layer}\.self_attn\.out_proj\.(weight|bias)", rf"{block}.attn.out_proj.\2"),
            Rule(rf"{layer}\.layer_norm([12])\.(weight|bias)", rf"{block}.ln_\2.\3"),
            Rule(rf"{layer}\.mlp\.fc1\.(weight|bias)", rf"{block}.mlp.c_fc.\2"),
            Rule(rf"{layer}\.mlp\.fc2\.(weight|bias)", rf"{block}.mlp.c_proj.\2"),
        ]
    return (
        *rules,
        Rule(r"vision_model\.embeddings\.class_embedding", "image.visual.class_embedding"),
        Rule(r"vision_model\.embeddings\.patch_embedding\.weight", "image.visual.conv1.weight"),
        Rule(r"vision_model\.embeddings\.position_embedding\.weight", "image.visual.positional_embedding"),
        Rule(r"vision_model\.pre_layrnorm\.(weight|bias)", r"image.visual.ln_pre.\1"),
        Rule(r"vision_model\.post_layernorm\.(weight|bias)", r"image.visual.ln_post.\1"),
        Rule(r"visual_projection\.weight", "image.visual.proj", "transpose"),
        Rule(r"text_model\.embeddings\.token_embedding\.weight", "text.text.token_embedding.weight"),
        Rule(r"text_model\.embeddings\.position_embedding\.weight", "text.text.positional_embedding"),
        Rule(r"text_model\.final_layer_norm\.(weight|bias)", r"text.text.ln_final.\1"),
        Rule(r"text_projection\.weight", "text.text.text_projection", "transpose"),
        Rule(r"logit_scale", "logit_scale"),
    )


class HfClip(Layout):
    """A folder that transformers' ``CLIPModel`` reads."""

    name: ClassVar[str] = "hf_clip"
    title: ClassVar[str] = "Hugging Face CLIPModel folder (PLIP, PubMedCLIP)"
    verified: ClassVar[str] = (
        "names and shapes of ViT-B/32 at full size, against transformers' CLIPModel; image and text features within "
        "1e-5 of CLIPModel at reduced width and random weights, both activations; pixels equal to its processor's, but "
        "for crops that lie one pixel beside where the margin is 3 modulo 4"
    )
    unverified: ClassVar[str] = "no published folder was at hand"
    cites: ClassVar[tuple[str, ...]] = (
        "transformers 5.23 CLIPModel (models/clip/modeling_clip.py)",
        "github.com/PathologyFoundation/plip plip.py (commit 96228b74), which opens PLIP as a CLIPModel",
    )

    def recognises(self, source: Source, names: Collection[str]) -> bool:
        """See :meth:`Layout.recognises`."""
        return _MARK in names

    def plan(self, source: Source) -> Plan:
        """See :meth:`Layout.plan`."""
        folder = source.folder
        if folder is None or not source.config:
            raise CheckpointError(
                "CLIPModel weights need the config.json beside them", item=source.path, remedy="name the folder"
            )
        from transformers import CLIPConfig

        if source.config.get("model_type") != "clip" or _side(source, "text_config").get("model_type") == "bert":
            raise CheckpointError(
                "is not CLIP's own architecture",
                item=folder / "config.json",
                remedy="use the open_clip form of these weights, or make embeddings",
            )
        whole: Any = CLIPConfig(**{key: source.config[key] for key in source.config if key != "auto_map"})
        vision, text = whole.vision_config, whole.text_config
        if vision.hidden_act != text.hidden_act or vision.hidden_act not in _ACTIVATIONS:
            raise CheckpointError(
                f"activations {vision.hidden_act} and {text.hidden_act} have no counterpart in open_clip",
                item=folder / "config.json",
                remedy=f"both have to be one of {', '.join(_ACTIVATIONS)}",
            )
        architecture: dict[str, Any] = {
            "embed_dim": int(whole.projection_dim),
            "quick_gelu": _ACTIVATIONS[vision.hidden_act],
            "vision_cfg": _vision_cfg(vision),
            "text_cfg": _text_cfg(text),
        }
        preprocess = _preprocess(folder / "preprocessor_config.json", int(vision.image_size))
        own = _own_vocabulary(folder)
        if own:
            architecture["text_cfg"]["hf_tokenizer_name"] = "."
        hf_config = text.to_dict()

        def tokenizer(target: Path) -> None:
            copy_tokenizer(folder, target, hf_config)

        label = f"hf_clip:{folder.name}"
        return clip_plan(label, architecture, preprocess, _rules(), source.state, tokenizer=tokenizer if own else None)


def _side(source: Source, key: str) -> dict[str, Any]:
    value = source.config.get(key)
    return value if isinstance(value, dict) else {}


def _vision_cfg(vision: Any) -> dict[str, Any]:
    cfg = {
        "image_size": int(vision.image_size),
        "layers": vision.num_hidden_layers,
        "width": vision.hidden_size,
        "patch_size": int(vision.patch_size),
        "head_width": vision.hidden_size // vision.num_attention_heads,
        "mlp_ratio": _ratio(vision.intermediate_size, vision.hidden_size),
    }
    return cfg | ({} if vision.layer_norm_eps == _EPS else {"norm_kwargs": {"eps": vision.layer_norm_eps}})


def _text_cfg(text: Any) -> dict[str, Any]:
    cfg = {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "width": text.hidden_size,
        "heads": text.num_attention_heads,
        "layers": text.num_hidden_layers,
        "mlp_ratio": _ratio(text.intermediate_size, text.hidden_size),
    }
    if text.eos_token_id not in (2, text.vocab_size - 1):  # 2 means, in old configurations, the largest token number
        cfg |= {"pool_type": "eos", "eos_id": text.eos_token_id}
    return cfg | ({} if text.layer_norm_eps == _EPS else {"norm_kwargs": {"eps": text.layer_norm_eps}})


def _ratio(inner: int, width: int) -> float:
    """Return the ratio from which open_clip, which cuts the product, gets ``inner`` back."""
    ratio = inner / width
    return ratio if int(width * ratio) == inner else (inner + 0.5) / width


def _preprocess(path: Path, size: int) -> Preprocess:
    """Read CLIP's image processor; without one, OpenAI's settings."""
    saved = read_json(path) if path.is_file() else {}
    sides = saved.get("size", size)
    shortest = sides.get("shortest_edge", sides.get("height")) if isinstance(sides, dict) else sides
    if shortest != size:
        raise CheckpointError(
            f"resizes to {shortest} pixels before a crop of {size}", item=path, remedy="this preprocessing is not here"
        )
    squash = (isinstance(sides, dict) and "height" in sides) or saved.get("do_center_crop") is False
    return Preprocess(
        size,
        tuple(saved.get("image_mean", CLIP_MEAN)),
        tuple(saved.get("image_std", CLIP_STD)),
        interpolation="bilinear" if saved.get("resample") == 2 else "bicubic",
        resize_mode="squash" if squash else "shortest",
    )


def _own_vocabulary(folder: Path) -> bool:
    """Say whether the folder's tokenizer is another than OpenAI's, which open_clip brings along."""
    from medvlp.encoders.clip_towers import _open_clip

    vocabulary: dict[str, int] = {}
    if (folder / "tokenizer.json").is_file():
        model = read_json(folder / "tokenizer.json").get("model")
        vocabulary = model.get("vocab", {}) if isinstance(model, dict) else {}
    elif (folder / "vocab.json").is_file():
        vocabulary = read_json(folder / "vocab.json")
    if not vocabulary:
        return False
    _open_clip()
    from open_clip.tokenizer import SimpleTokenizer

    theirs, openai = (
        {number: word for word, number in words.items()} for words in (vocabulary, SimpleTokenizer().encoder)
    )
    for number in (len(openai) - 2, len(openai) - 1):  # start and end, which the two libraries write differently
        theirs.pop(number, None)
        del openai[number]
    return theirs != openai

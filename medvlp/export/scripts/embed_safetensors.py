"""Stand-alone: embed images and texts with the plain layout, its towers built by timm, transformers or open_clip."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import torchvision_guard  # noqa: E402

torchvision_guard.install()  # only needed beside a CPU build of torch; does nothing where torchvision works

import embed_parts  # noqa: E402
import embed_towers as towers  # noqa: E402
import torch  # noqa: E402

Weights = dict[str, torch.Tensor]
WEIGHTS = "model.safetensors"


def part(state: Weights, prefix: str) -> Weights:
    """Return the tensors below a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def hf_tower(folder: Path, pooling: str, state: Weights) -> Any:
    """Build a Hugging Face encoder from its configuration and load it."""
    from transformers import MODEL_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(folder)
    kind: Any = MODEL_MAPPING[type(config)]
    knows = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return towers.load(kind(config, **({"add_pooling_layer": pooling == "pooler"} if knows else {})), state, WEIGHTS)


def open_clip_config(folder: Path) -> dict[str, Any]:
    """Return open_clip's description of a tower, with nothing left to download."""
    config: dict[str, Any] = embed_parts.read_json(folder / "open_clip.json")["architecture"]
    config["vision_cfg"]["timm_model_pretrained"] = config["text_cfg"]["hf_model_pretrained"] = False
    return config


def image_tower(folder: Path, settings: dict[str, Any], size: int, state: Weights) -> Callable[[Any], Any]:
    """Return what maps normalised images (B, 3, H, W) to features (B, I)."""
    if settings["name"] == "timm":
        import timm

        scale = settings.get("layer_scale")
        options = {} if scale is None else {"init_values": scale}
        trunk: Any = timm.create_model(settings["model"], pretrained=False, **options)
        trunk.reset_classifier(0)
        if hasattr(trunk, "set_input_size") and size != trunk.pretrained_cfg["input_size"][-1]:
            trunk.set_input_size((size, size))
        return towers.load(trunk, part(state, "image.trunk."), WEIGHTS)
    if settings["name"] == "hf":
        how = settings["pooling"]
        encoder = hf_tower(folder / "image_config", how, part(state, "image.encoder."))
        return lambda image_BCHW: towers.pooled(encoder(pixel_values=image_BCHW), None, how)
    from open_clip.model import _build_vision_tower

    config = open_clip_config(folder / "image_config")
    visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False))
    visual = towers.load(visual, part(state, "image.visual."), WEIGHTS)
    return lambda image_BCHW: first(visual(image_BCHW))


def text_tower(folder: Path, settings: dict[str, Any], length: int | None, state: Weights) -> Callable[[Any], Any]:
    """Return what maps a list of strings to features (M, I)."""
    if settings["name"] == "hf":
        from transformers import AutoTokenizer

        how = settings["pooling"]
        encoder = hf_tower(folder / "text_config", how, part(state, "text.transformer."))
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")

        def features(texts: Sequence[str]) -> Any:
            ids_ML, mask_ML = towers.tokenise(tokenizer, texts, length or settings["context_length"])
            return towers.pooled(encoder(input_ids=ids_ML, attention_mask=mask_ML), mask_ML, how)

        return features
    from open_clip.model import _build_text_tower
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    config = open_clip_config(folder / "text_config")
    options: dict[str, Any] = config["text_cfg"].get("tokenizer_kwargs") or {}
    context = int(config["text_cfg"].get("context_length", 77))
    if (folder / "tokenizer").is_dir():
        config["text_cfg"]["hf_model_name"] = str(folder / "text_config")
        mode = config["text_cfg"].get("tokenizer_mode")
        tokens: Any = HFTokenizer(str(folder / "tokenizer"), context_length=context, tokenizer_mode=mode, **options)
    else:
        tokens = SimpleTokenizer(context_length=context, **options)
    text = _build_text_tower(config["embed_dim"], config["text_cfg"], config.get("quick_gelu", False))
    text = towers.load(text, part(state, "text.text."), WEIGHTS)
    return lambda texts: first(text(tokens(list(texts))))


def first(output: Any) -> Any:
    """Return the embedding of towers that give tokens as well."""
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def embed(folder: Path, images: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Return ``image`` (B, D), ``text`` (M, D), L2-normalised, and ``scale`` (1,)."""
    config = embed_parts.read_json(folder / "model.json")["config"]
    settings = embed_parts.read_json(folder / "preprocess.json")
    state = towers.read_weights(folder / WEIGHTS)
    parts: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
    if images:
        image = image_tower(folder, config["image"], settings["size"], state)
        for paths in embed_parts.batches(images):
            rgb = [embed_parts.preprocess(embed_parts.read_rgb(path), settings) for path in paths]
            parts["image"].append(towers.project(image(torch.stack([*map(torch.from_numpy, rgb)])), state, "image"))
    if texts:
        text = text_tower(folder, config["text"], config.get("context_length"), state)
        for strings in embed_parts.batches(texts):
            parts["text"].append(towers.project(text(strings), state, "text"))
    return {**towers.cat(parts), "scale": towers.scale(state)}


if __name__ == "__main__":
    embed_parts.main(embed, HERE)

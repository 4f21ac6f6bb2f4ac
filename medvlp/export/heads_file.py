"""What stands behind the towers of an export: pooling, projections and scale, as tensors and as words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvlp.encoders.image import HfImage
from medvlp.encoders.text import TextEncoder
from medvlp.encoders.weights import write_state_dict
from medvlp.io import write_json
from medvlp.model import DualEncoder

_STEPS = {
    "none": [],
    "linear": ["x @ first.weight.T"],
    "mlp": ["x @ first.weight.T (+ first.bias where present)", "gelu (exact, by erf)", "x @ second.weight.T"],
    "kep_mlp": ["x @ first.weight.T + first.bias", "gelu (exact, by erf)", "x @ second.weight.T + second.bias"],
}


def write_heads(model: DualEncoder, folder: Path, *, text: bool) -> None:
    """Write ``heads.safetensors`` (``SIDE_head.first``, ``SIDE_head.second``, ``logit_scale``) and ``heads.json``.

    Args:
        model: The exported model.
        folder: Where.
        text: Whether the export has a text side.
    """
    sides = ("image", "text") if text else ("image",)
    state = {"logit_scale": model.scale().log().detach()}
    if model.logit_bias is not None:
        state["logit_bias"] = model.logit_bias.detach()
    for side in sides:
        head = getattr(model, f"{side}_head")
        state |= {f"{side}_head.{name}": tensor for name, tensor in head.state_dict().items()}
    write_state_dict(folder / "heads.safetensors", state)
    values: dict[str, Any] = {
        "format": 1,
        "embed_dim": model.config.embed_dim,
        "image": {"pooling": _image_pooling(model), **_projection(model.config.image_head, "image")},
    }
    if text:
        assert isinstance(model.text, TextEncoder)
        values["text"] = {
            "pooling": model.text.config.pooling,
            **_projection(model.config.text_head, "text"),
            "context_length": model.tokenizer.context_length,
            "cleaning": "ftfy.fix_text, html.unescape twice, white space collapsed; plain ASCII stays as it is",
        }
    values |= {
        "then": "divide each embedding by its Euclidean norm",
        "logits": "exp(logit_scale) * image @ text.T" + ("" if model.logit_bias is None else " + logit_bias"),
    }
    write_json(folder / "heads.json", values)


def _image_pooling(model: DualEncoder) -> str:
    """A timm network pools by itself, which transformers calls ``pooler_output``."""
    return model.image.config.pooling if isinstance(model.image, HfImage) else "pooler"


def _projection(kind: str, side: str) -> dict[str, Any]:
    return {"head": kind, "tensors": f"{side}_head.*", "steps": _STEPS[kind]}

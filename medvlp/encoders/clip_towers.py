"""Towers taken out of any open_clip model: built-in name, exported folder, or hub name.

Shape letters: B images · M texts · L tokens · N places of an image · I tower width (open_clip's embedding width: its
projection is inside).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp import torchvision_guard
from medvlp.config import Config as BaseConfig
from medvlp.config import resolve_path
from medvlp.data.transform import Preprocess
from medvlp.encoders.tokenizer import OpenClipTokenizer
from medvlp.errors import CheckpointError, ConfigError
from medvlp.io import read_json, require, write_json

_SCHEMAS = ("local-dir:", "hf-hub:")


class _OpenClipConfig(BaseConfig):
    name: Literal["open_clip"] = Field("open_clip", description="A tower of an open_clip model.")
    model: str = Field(description="open_clip's name, `local-dir:FOLDER` or `hf-hub:OWNER/NAME`.")
    weights: str = Field("none", description="`none` for random, a published tag, or a file; folders bring their own.")


class OpenClipImage(nn.Module):
    """The image tower of an open_clip model; forward gives (B, I), not normalised."""

    class Config(_OpenClipConfig):
        """What builds an :class:`OpenClipImage`."""

    def __init__(
        self, config: OpenClipImage.Config, *, source: Path | None = None, whole: nn.Module | None = None
    ) -> None:
        """Build the tower.

        Args:
            config: Which model.
            source: A saved dual encoder; architecture and preprocessing come from there, weights follow later.
            whole: The open_clip model if it is in memory already.
        """
        super().__init__()
        self.config = config
        if source is not None:
            saved = read_json(source / "image_config" / "open_clip.json")
            self.architecture, preprocess = saved["architecture"], saved["preprocess"]
            visual = _visual(self.architecture)
        else:
            self.architecture = architecture_of(config.model)
            model: Any = whole if whole is not None else build_whole(config.model, config.weights)
            visual, preprocess = model.visual, dict(model.visual.preprocess_cfg)
        self.visual: Any = visual
        self.preprocess = Preprocess.from_json(preprocess)
        self.width = int(self.architecture["embed_dim"])

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return open_clip's image embedding (B, I) before normalisation."""
        return _first(self.visual(image_BCHW))

    def with_tokens(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image embedding (B, I) and the projected features by place (B, N, I), from one pass.

        Raises:
            ConfigError: If open_clip's tower cannot show its tokens.
        """
        visual = self.visual
        if not hasattr(visual, "output_tokens") or getattr(visual, "proj", None) is None:
            raise ConfigError("gives no features by place", item=self.config.model, remedy="use a vision transformer")
        before, visual.output_tokens = visual.output_tokens, True
        try:
            pooled_BI, tokens_BNW = visual(image_BCHW)
        finally:
            visual.output_tokens = before
        return pooled_BI, tokens_BNW @ visual.proj

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        self.visual.set_grad_checkpointing(enable)

    def save_architecture(self, folder: Path) -> None:
        """Write open_clip's own description, so that the checkpoint does not need its source."""
        saved = {"architecture": self.architecture, "preprocess": self.preprocess.to_json()}
        write_json(folder / "image_config" / "open_clip.json", saved)


class OpenClipText(nn.Module):
    """The text tower of an open_clip model; forward gives (M, I), not normalised."""

    class Config(_OpenClipConfig):
        """What builds an :class:`OpenClipText`."""

        context_length: int | None = Field(None, ge=2, description="Longest text; None keeps the model's own.")

    def __init__(
        self, config: OpenClipText.Config, *, source: Path | None = None, whole: nn.Module | None = None
    ) -> None:
        """Build the tower; arguments as for :class:`OpenClipImage`.

        Raises:
            ConfigError: If another context length is asked for than the model was trained with.
        """
        super().__init__()
        self.config = config
        if source is not None:
            self.architecture = read_json(source / "text_config" / "open_clip.json")["architecture"]
            built = copy.deepcopy(self.architecture)  # the place it is built from is no part of the model
            if "hf_model_name" in built["text_cfg"]:
                built["text_cfg"]["hf_model_name"] = str(source / "text_config")
            self.text: Any = _text(built)
            self.tokenizer = _tokenizer(self.architecture["text_cfg"], source / "tokenizer")
        else:
            self.architecture = architecture_of(config.model)
            model: Any = whole if whole is not None else build_whole(config.model, config.weights)
            self.text = model.text
            self.tokenizer = OpenClipTokenizer(_open_clip().get_tokenizer(config.model))
        if config.context_length not in (None, self.tokenizer.context_length):
            raise ConfigError(
                f"this model's context is {self.tokenizer.context_length}, not {config.context_length}",
                item=config.model,
                remedy="leave context_length out",
            )
        self.width = int(self.architecture["embed_dim"])

    def forward(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return open_clip's text embedding (M, I); its tower finds padding by itself, so the mask is not used."""
        return _first(self.text(ids_ML))

    def tokenize(self, texts: list[str], fixed: bool = True) -> tuple[Tensor, Tensor]:
        """Return ids and mask (M, context_length)."""
        return self.tokenizer(texts, fixed)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        self.text.set_grad_checkpointing(enable)

    def save_architecture(self, folder: Path) -> None:
        """Write open_clip's own description, the Hugging Face configuration under it, and the tokenizer."""
        write_json(folder / "text_config" / "open_clip.json", {"architecture": self.architecture})
        if "hf_model_name" in self.architecture["text_cfg"]:
            self.text.config.save_pretrained(str(folder / "text_config"))
        self.tokenizer.save(folder / "tokenizer")


def architecture_of(model: str) -> dict[str, Any]:
    """Return open_clip's ``model_cfg`` of a name, folder or hub name.

    Raises:
        ConfigError: If open_clip does not know the name.
        CheckpointError: If the folder or hub entry cannot be read.
    """
    open_clip = _open_clip()
    try:
        found = open_clip.get_model_config(model)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"no open_clip configuration ({str(error).splitlines()[0]})", item=model) from None
    if found is None:
        close = [name for name in open_clip.list_models() if name.lower().startswith(model[:4].lower())][:3]
        remedy = f"nearest: {', '.join(close)}" if close else "see open_clip.list_models()"
        raise ConfigError("open_clip has no such model", item=model, remedy=remedy)
    return copy.deepcopy(found)


def build_whole(model: str, weights: str) -> nn.Module:
    """Build an open_clip model with separate towers, in float32.

    Raises:
        CheckpointError: If its weights are not reachable or do not fit.
    """
    open_clip = _open_clip()
    pretrained: str | None = None
    if weights != "none" and not model.startswith(_SCHEMAS):
        path = resolve_path(weights)
        pretrained = str(path) if path.is_file() else weights
    architecture_of(model)
    try:
        return open_clip.create_model(
            model, pretrained, force_custom_text=True, pretrained_text=False, weights_only=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"open_clip could not load it ({reason})", item=model, remedy="check the name, the weights and the network"
        ) from None


def _open_clip() -> Any:
    torchvision_guard.install()
    return require("open_clip", "clip")


def _offline(architecture: dict[str, Any]) -> dict[str, Any]:
    architecture = copy.deepcopy(architecture)
    architecture["vision_cfg"]["timm_model_pretrained"] = False
    architecture["text_cfg"]["hf_model_pretrained"] = False
    return architecture


def _visual(architecture: dict[str, Any]) -> nn.Module:
    _open_clip()
    from open_clip.model import _build_vision_tower

    plain = _offline(architecture)
    return _build_vision_tower(plain["embed_dim"], plain["vision_cfg"], plain.get("quick_gelu", False))


def _text(architecture: dict[str, Any]) -> nn.Module:
    _open_clip()
    from open_clip.model import _build_text_tower

    plain = _offline(architecture)
    return _build_text_tower(plain["embed_dim"], plain["text_cfg"], plain.get("quick_gelu", False))


def _tokenizer(text_cfg: dict[str, Any], folder: Path) -> OpenClipTokenizer:
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    length = int(text_cfg.get("context_length", 77))
    options = text_cfg.get("tokenizer_kwargs") or {}
    if folder.is_dir():
        mode = text_cfg.get("tokenizer_mode")
        return OpenClipTokenizer(HFTokenizer(str(folder), context_length=length, tokenizer_mode=mode, **options))
    return OpenClipTokenizer(SimpleTokenizer(context_length=length, **options))


def _first(output: Any) -> Tensor:
    """Towers configured to give tokens as well return a tuple whose first part is the embedding."""
    return output[0] if isinstance(output, tuple) else output

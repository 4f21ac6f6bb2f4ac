"""The dual encoder: an image tower and a text tower that meet in one embedding.

Shape letters: B images · M texts · C channels · H, W pixels · L tokens · N places · Q queries · I tower width ·
D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from medvlp.config import Config as BaseConfig
from medvlp.data.image import read_image
from medvlp.data.transform import Preprocess
from medvlp.encoders.clip_towers import OpenClipImage, OpenClipText
from medvlp.encoders.heads import Head, HeadName
from medvlp.encoders.image import EFFICIENTNET_LITE0, HfImage, TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.encoders.tokenizer import Tokenizer
from medvlp.encoders.weights import load_named, read_saved_config, read_state_dict, write_state_dict
from medvlp.errors import CheckpointError, ConfigError, DataError
from medvlp.fusion.query_decoder import Decoded, QueryDecoder
from medvlp.io import atomic_folder, read_json, write_json

ImageConfig = Annotated[TimmImage.Config | HfImage.Config | OpenClipImage.Config, Field(discriminator="name")]
TextConfig = Annotated[TextEncoder.Config | OpenClipText.Config, Field(discriminator="name")]
Part = Literal["image_tower", "text_tower", "heads", "scale", "decoder"]
PARTS: tuple[Part, ...] = ("image_tower", "text_tower", "heads", "scale", "decoder")
DEFAULT_IMAGE = TimmImage.Config(model="tf_efficientnet_lite0", weights=EFFICIENTNET_LITE0)
DEFAULT_TEXT = TextEncoder.Config()
MIN_SCALE, MAX_SCALE = 1.0, 100.0
_FORMAT = 1
_IMAGE_TOWERS: dict[type, Any] = {
    TimmImage.Config: TimmImage,
    HfImage.Config: HfImage,
    OpenClipImage.Config: OpenClipImage,
}
_TEXT_TOWERS: dict[type, Any] = {TextEncoder.Config: TextEncoder, OpenClipText.Config: OpenClipText}


class DualEncoder(nn.Module):
    """Two towers, two projection heads, and the logit scale (and bias) that turn cosines into logits.

    With a query decoder, texts can also be asked of an image's places: :meth:`decode`.

    Attributes:
        preprocess: PIL image to input tensor (3, H, W).
        tokenizer: Texts to ids; ``tokenizer.truncated_share`` tells how many were cut.
        logit_scale: Natural logarithm of the multiplier of cosines.
        logit_bias: Added to the scaled cosines (sigmoid loss); None if there is none.
    """

    class Config(BaseConfig):
        """What builds a :class:`DualEncoder`."""

        image: ImageConfig = Field(DEFAULT_IMAGE, description="The image tower.")
        text: TextConfig = Field(DEFAULT_TEXT, description="The text tower.")
        embed_dim: int = Field(384, ge=1, description="Width of the shared embedding.")
        image_head: HeadName = Field("linear", description="Projection behind the image tower.")
        text_head: HeadName = Field("none", description="Projection behind the text tower.")
        logit_scale_init: float = Field(1 / 0.07, ge=1, le=100, description="First multiplier of cosines.")
        logit_bias: float | None = Field(None, description="First additive bias of logits (sigmoid loss), or none.")
        context_length: int | None = Field(None, ge=2, description="Longest text in tokens; overrides the tower's.")
        decoder: QueryDecoder.Config | None = Field(None, description="Asks texts of an image's places, or none.")

    def __init__(
        self,
        config: DualEncoder.Config | None = None,
        *,
        source: Path | None = None,
        open_clip_model: nn.Module | None = None,
    ) -> None:
        """Build the model.

        Args:
            config: What to build; the default is EfficientNet-Lite0 with MiniLM.
            source: A folder of :func:`save_model`: architecture and tokenizer come from there, no weights are read.
            open_clip_model: An open_clip model whose towers are used where the config asks for them.

        Raises:
            ConfigError: If parts do not fit together.
            CheckpointError: If weights cannot be read or do not fit.
        """
        super().__init__()
        self.config = config = config if config is not None else DualEncoder.Config()
        text_config = config.text
        if config.context_length is not None:
            text_config = text_config.model_copy(update={"context_length": config.context_length})
        shared: dict[str, Any] = {"source": source}
        whole = {"whole": open_clip_model} if open_clip_model is not None else {}
        image_whole = whole if isinstance(config.image, OpenClipImage.Config) else {}
        text_whole = whole if isinstance(text_config, OpenClipText.Config) else {}
        self.image: Any = _IMAGE_TOWERS[type(config.image)](config.image, **shared, **image_whole)
        self.text: Any = _TEXT_TOWERS[type(text_config)](text_config, **shared, **text_whole)
        self.image_head = Head(config.image_head, self.image.width, config.embed_dim, "image")
        self.text_head = Head(config.text_head, self.text.width, config.embed_dim, "text")
        self.logit_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale_init)))
        self.logit_bias = nn.Parameter(torch.tensor(config.logit_bias)) if config.logit_bias is not None else None
        self.decoder: QueryDecoder | None = None
        if config.decoder is not None:
            self.decoder = QueryDecoder(config.decoder, self.text.width, self.image.width)
        self.preprocess: Preprocess = self.image.preprocess
        self.tokenizer: Tokenizer = self.text.tokenizer
        self._frozen: frozenset[str] = frozenset()

    def image_features(self, image_BCHW: Tensor) -> Tensor:
        """Return the image tower's output (B, I) before the head.

        Raises:
            DataError: If the tensor is not (B, 3, H, W).
        """
        if image_BCHW.ndim != 4 or image_BCHW.shape[1] != 3:
            raise DataError(f"expected (B, 3, H, W), got {tuple(image_BCHW.shape)}", item="image batch")
        return self.image(image_BCHW)

    def image_tokens(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image tower's output before the head, pooled (B, I) and by place (B, N, I), from one pass.

        Raises:
            ConfigError: If the tower shows no features by place.
        """
        found: tuple[Tensor, Tensor] = self.image.with_tokens(image_BCHW)
        return found

    def text_tokens(self, ids_ML: Tensor, mask_ML: Tensor) -> tuple[Tensor, Tensor]:
        """Return the text tower's output before the head, pooled (M, I) and by token (M, L, I), from one pass.

        Raises:
            ConfigError: If the tower shows no features by token.
        """
        if not isinstance(self.text, TextEncoder):
            raise ConfigError(
                "gives no features by token", item=f"text: {self.config.text.name}", remedy="use text: {name: hf}"
            )
        return self.text.with_tokens(ids_ML, mask_ML)

    def token_table(self) -> Tensor:
        """Return the text tower's table of token embeddings (V, I).

        Raises:
            ConfigError: If the tower shows none.
        """
        if not isinstance(self.text, TextEncoder):
            raise ConfigError(
                "shows no table of tokens", item=f"text: {self.config.text.name}", remedy="use text: {name: hf}"
            )
        return self.text.table_VI

    def decode(self, query_QI: Tensor, tokens_BNI: Tensor, mask_BN: Tensor | None = None) -> Decoded:
        """Ask texts, as text tower outputs, of the places of each image, of those that the mask marks.

        Raises:
            ConfigError: If the model has no decoder.
        """
        if self.decoder is None:
            raise ConfigError("has no query decoder", item="model.decoder", remedy="set `decoder: {}` and train it")
        return self.decoder(query_QI, tokens_BNI, mask_BN)

    def text_features(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return the text tower's pooled output (M, I) before the head."""
        return self.text(ids_ML, mask_ML)

    def project_image(self, features_BI: Tensor) -> Tensor:
        """Map image tower output (B, I) to unit vectors (B, D), float32."""
        return functional.normalize(self.image_head(features_BI).float(), dim=-1)

    def project_text(self, features_MI: Tensor) -> Tensor:
        """Map text tower output (M, I) to unit vectors (M, D), float32."""
        return functional.normalize(self.text_head(features_MI).float(), dim=-1)

    def encode_image(self, images: Tensor | Sequence[Image.Image], batch_size: int = 64) -> Tensor:
        """Return unit vectors (B, D).

        Args:
            images: A preprocessed float tensor (B, 3, H, W), kept in the gradient graph; or PIL images of any size,
                or a uint8 tensor (B, 3, H, W), which are preprocessed and embedded without gradient.
            batch_size: Images per step for the latter two.

        Raises:
            DataError: If it is no list, an empty one or holds something else, or the tensor has another shape.
        """
        if isinstance(images, Tensor) and images.dtype != torch.uint8:
            return self.project_image(self.image_features(images.to(self._device())))
        if not isinstance(images, Tensor | Sequence) or len(images) == 0:
            raise DataError("expected at least one image", item="images", remedy="pass a list of PIL images")
        if isinstance(images, Tensor):
            if images.ndim != 4 or images.shape[1] != 3:
                raise DataError(f"expected (B, 3, H, W), got {tuple(images.shape)}", item="image batch")
            images = [Image.fromarray(image_CHW.permute(1, 2, 0).cpu().numpy()) for image_CHW in images]
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                batch = [self.preprocess(read_image(image)) for image in images[start : start + batch_size]]
                parts.append(self.project_image(self.image_features(torch.stack(batch).to(self._device()))))
        return torch.cat(parts)

    def encode_text(self, texts: Sequence[str] | tuple[Tensor, Tensor], batch_size: int = 256) -> Tensor:
        """Return unit vectors (M, D) of strings (no gradient), or of an ``(ids, mask)`` pair (with gradient).

        Raises:
            DataError: If the list is empty or holds anything but strings.
        """
        if isinstance(texts, tuple) and len(texts) == 2 and isinstance(texts[0], Tensor):
            ids_ML, mask_ML = texts
            return self.project_text(self.text_features(ids_ML.to(self._device()), mask_ML.to(self._device())))
        strings: list[Any] = list(texts) if not isinstance(texts, str) else []
        if not strings:
            raise DataError("expected a non-empty list of strings", item="texts", remedy="pass a list")
        parts = []
        with torch.no_grad():
            for start in range(0, len(strings), batch_size):
                parts.append(self.encode_text(self.tokenize(strings[start : start + batch_size])))
        return torch.cat(parts)

    def tokenize(self, texts: list[str], fixed: bool = False) -> tuple[Tensor, Tensor]:
        """Return ids and mask (M, L), padded to the longest text, or to the context length if ``fixed``."""
        return self.tokenizer(texts, fixed)

    def scale(self) -> Tensor:
        """Return the multiplier of cosines, a scalar between 1 and 100."""
        return self.logit_scale.exp().clamp(MIN_SCALE, MAX_SCALE)

    def towers(self) -> dict[Part, list[nn.Parameter]]:
        """Return every parameter once, under the part it belongs to."""
        heads = [*self.image_head.parameters(), *self.text_head.parameters()]
        scale = [self.logit_scale, *([self.logit_bias] if self.logit_bias is not None else [])]
        return {
            "image_tower": list(self.image.parameters()),
            "text_tower": list(self.text.parameters()),
            "heads": heads,
            "scale": scale,
            "decoder": [] if self.decoder is None else list(self.decoder.parameters()),
        }

    def set_frozen(self, parts: Iterable[Part]) -> None:
        """Freeze exactly these parts: no gradient, and eval mode (no dropout, fixed batch statistics) for good.

        Raises:
            ConfigError: If a part is unknown.
        """
        frozen = frozenset(parts)
        unknown = sorted(frozen - set(PARTS))
        if unknown:
            raise ConfigError("no such part of the model", item=unknown[0], remedy=f"use {', '.join(PARTS)}")
        self._frozen = frozen
        for part, parameters in self.towers().items():
            for parameter in parameters:
                parameter.requires_grad_(part not in frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> DualEncoder:
        """Switch to training (or eval) mode; frozen parts stay in eval mode."""
        super().train(mode)
        modules = {"image_tower": [self.image], "text_tower": [self.text], "heads": [self.image_head, self.text_head]}
        if self.decoder is not None:
            modules["decoder"] = [self.decoder]
        for part in self._frozen & modules.keys():
            for module in modules[part]:
                module.eval()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in both towers; a :class:`ConfigError` names a tower that cannot."""
        self.image.set_grad_checkpointing(enable)
        self.text.set_grad_checkpointing(enable)

    def _device(self) -> torch.device:
        return self.logit_scale.device


def build_image_tower(config: ImageConfig, source: Path | None = None) -> Any:
    """Build the image tower of a configuration alone; ``source`` as in :class:`DualEncoder`."""
    return _IMAGE_TOWERS[type(config)](config, source=source)


def build_text_tower(config: TextConfig, source: Path | None = None) -> Any:
    """Build the text tower of a configuration alone; ``source`` as in :class:`DualEncoder`."""
    return _TEXT_TOWERS[type(config)](config, source=source)


def save_model(model: DualEncoder, folder: Path) -> Path:
    """Write everything :func:`load_model` needs into ``folder``; a new folder appears whole or not at all.

    Files: ``model.safetensors``, ``model.json`` (config), ``preprocess.json``, ``text_config/``, ``tokenizer/`` and,
    where the image tower needs it, ``image_config/``.

    Raises:
        CheckpointError: If the disk is full or not writable.
    """
    if not folder.exists():
        with atomic_folder(folder) as partial:
            _write_model(model, partial)
    else:
        _write_model(model, folder)
    return folder


def _write_model(model: DualEncoder, folder: Path) -> None:
    try:
        write_json(folder / "model.json", {"format": _FORMAT, "config": model.config.model_dump(mode="json")})
        write_json(folder / "preprocess.json", model.preprocess.to_json())
        model.image.save_architecture(folder)
        model.text.save_architecture(folder)
    except OSError as error:
        raise CheckpointError(f"could not be written ({error.strerror})", item=folder, remedy="free space") from error
    write_state_dict(folder / "model.safetensors", model.state_dict())


def load_model(folder: Path) -> DualEncoder:
    """Read what :func:`save_model` wrote, in eval mode, on the CPU.

    Raises:
        CheckpointError: If a file is missing or damaged, or tensors are missing, unexpected or misshapen.
    """
    if not (folder / "model.json").is_file():
        raise CheckpointError("no model.json in this folder", item=folder, remedy="name a checkpoint or run folder")
    config = read_saved_config(DualEncoder.Config, folder / "model.json", _FORMAT)
    model = DualEncoder(config, source=folder)
    load_named(model, read_state_dict(folder / "model.safetensors"), folder / "model.safetensors")
    preprocess = Preprocess.from_json(read_json(folder / "preprocess.json"))
    model.preprocess = model.image.preprocess = preprocess
    return model.eval()

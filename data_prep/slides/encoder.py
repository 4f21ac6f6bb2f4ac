"""What turns tiles into vectors: any model of the library, or an image tower alone.

Shape letters: B tiles of a batch, C, H, W channels and pixels, D vector width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data_prep.slides.config import EncoderConfig, OpenedModel
from medvlp.data.transform import Preprocess
from medvlp.errors import ConfigError
from medvlp.io import sha256_json


@dataclass(frozen=True)
class TileEncoder:
    """An encoder that is ready to run.

    Attributes:
        name: What the feature files call it.
        digest: Identifies weights, preprocessing and arithmetic.
        network: Maps (B, C, H, W) to (B, D).
        preprocess: PIL image to (C, H, W).
        projected: Vectors lie in the space of the texts and have unit length.
        device: Where it runs.
        precision: "float32" or "bf16".
    """

    name: str
    digest: str
    network: Any
    preprocess: Preprocess
    projected: bool
    device: torch.device
    precision: str

    def __call__(self, batch_BCHW: Tensor) -> Tensor:
        """Return float32 vectors (B, D) on the encoder's device, without gradient."""
        half = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), half:
            features_BD: Tensor = self.network(batch_BCHW.to(self.device, non_blocking=True))
        return features_BD.float()


def open_encoder(config: EncoderConfig, *, device: str, precision: str, seed: int) -> TileEncoder:
    """Open an encoder.

    Args:
        config: A model or an image tower.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "float32" or "bf16".
        seed: Draws weights that the configuration leaves random.

    Raises:
        ConfigError: If CUDA is asked for and absent, or the model holds stored vectors only.
        CheckpointError: If weights cannot be read.
    """
    where, arithmetic = resolve(device, precision)
    if isinstance(config, OpenedModel):
        from medvlp.loading import load

        model: Any = load(config.model)
        if not hasattr(model, "image"):
            raise ConfigError("holds stored vectors, not an image tower", item=config.model, remedy="name a model")
        name = _basename(config.model)
        parts = [model.image, model.image_head] if config.projected else [model.image]
        network: Any = model.encode_image if config.projected else model.image_features
        tower, preprocess, projected = model.to(where).eval(), model.preprocess, config.projected
    else:
        from medvlp.model import build_image_tower

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tower = build_image_tower(config).to(where).eval()
        name, parts, network = _basename(config.model), [tower], tower
        preprocess, projected = tower.preprocess, False
    from medvlp.training.features import tower_digest

    digest = sha256_json(
        {
            "weights": [tower_digest(part) for part in parts],
            "preprocess": preprocess.to_json(),
            "projected": projected,
            "precision": arithmetic,
            "device": where.type,
        }
    )
    return TileEncoder(name, digest, network, preprocess, projected, where, arithmetic)


def resolve(device: str, precision: str) -> tuple[torch.device, str]:
    """Turn ``auto`` into what this machine has.

    Raises:
        ConfigError: If CUDA is asked for and absent.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise ConfigError("no CUDA device is usable", item="device: cuda", remedy="set it to auto or cpu")
    where = torch.device("cuda" if cuda and device != "cpu" else "cpu")
    if precision == "auto":
        half = where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if half else "float32"
    return where, precision


def _basename(model: str) -> str:
    """Return the last part of a name or path: feature files are handed on and must not tell where models lie."""
    scheme, _, rest = model.rpartition(":") if ":" in model.split("/")[0] else ("", "", model)
    last = rest.rstrip("/").rpartition("/")[2] or "model"
    return f"{scheme}:{last}" if scheme else last

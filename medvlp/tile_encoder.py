"""A tile encoder alone: an image tower that turns tiles into features, as mSTAR's second stage leaves it.

Shape letters: N tiles · C channels · H, W pixels · I tower width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from medvlp.config import Config as BaseConfig
from medvlp.data.image import read_image
from medvlp.data.transform import Preprocess
from medvlp.encoders.weights import load_named, read_saved_config, read_state_dict, write_state_dict
from medvlp.errors import CheckpointError, DataError
from medvlp.io import read_json, write_json
from medvlp.model import DEFAULT_IMAGE, ImageConfig, build_image_tower

FORMAT = "tile-1"
WEIGHTS = "model.safetensors"


class TileEncoder(nn.Module):
    """An image tower with its preprocessing.

    Attributes:
        width: Feature width I.
        preprocess: PIL image to input tensor.
    """

    class Config(BaseConfig):
        """What builds a :class:`TileEncoder`."""

        image: ImageConfig = Field(DEFAULT_IMAGE, description="The image tower.")

    def __init__(self, config: TileEncoder.Config, *, source: Path | None = None) -> None:
        """Build it; ``source`` is a folder of :func:`save_tile_encoder`, whose weights follow later."""
        super().__init__()
        self.config = config
        self.image: Any = build_image_tower(config.image, source)
        self.width = int(self.image.width)
        self.preprocess: Preprocess = self.image.preprocess

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Return features (N, I) of preprocessed tiles."""
        return cast(Tensor, self.image(image_NCHW))

    @torch.no_grad()
    def encode_image(self, images: Sequence[Image.Image], batch_size: int = 64) -> Tensor:
        """Return features (N, I) of PIL images, not normalised.

        Raises:
            DataError: If the list is empty.
        """
        if len(images) == 0:
            raise DataError("expected at least one image", item="images", remedy="pass a list of PIL images")
        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(images), batch_size):
            batch = [self.preprocess(read_image(image)) for image in images[start : start + batch_size]]
            parts.append(self(torch.stack(batch).to(device)))
        return torch.cat(parts)


def save_tile_encoder(encoder: TileEncoder, folder: Path) -> None:
    """Write everything :func:`load_tile_encoder` needs into a folder that exists.

    Raises:
        CheckpointError: If the disk is full or not writable.
    """
    try:
        write_json(folder / "model.json", {"format": FORMAT, "config": encoder.config.model_dump(mode="json")})
        write_json(folder / "preprocess.json", encoder.preprocess.to_json())
        encoder.image.save_architecture(folder)
    except OSError as error:
        raise CheckpointError(f"could not be written ({error.strerror})", item=folder, remedy="free space") from error
    write_state_dict(folder / WEIGHTS, encoder.state_dict())


def load_tile_encoder(folder: Path) -> TileEncoder:
    """Read what :func:`save_tile_encoder` wrote, in eval mode, on the CPU.

    Raises:
        CheckpointError: If a file is missing or damaged, or tensors do not fit.
    """
    config = read_saved_config(TileEncoder.Config, folder / "model.json", FORMAT)
    encoder = TileEncoder(config, source=folder)
    load_named(encoder, read_state_dict(folder / WEIGHTS), folder / WEIGHTS)
    encoder.preprocess = encoder.image.preprocess = Preprocess.from_json(read_json(folder / "preprocess.json"))
    return encoder.eval()

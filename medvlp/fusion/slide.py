"""Slide encoders by name: a bag of tile vectors becomes one vector per slide.

Shape letters: S slides, T tiles of all slides together, D slide width.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from medvlp.errors import ConfigError
from medvlp.fusion.latent import LatentQuery
from medvlp.fusion.parts import SlideOutput
from medvlp.fusion.pooling import GatedAbmil, MeanPool
from medvlp.fusion.transformer import TileTransformer

__all__ = [
    "GatedAbmil",
    "LatentQuery",
    "MeanPool",
    "SlideEncoderConfig",
    "SlideOutput",
    "TileTransformer",
    "build_slide_encoder",
]

SlideEncoderConfig = Annotated[
    MeanPool.Config | GatedAbmil.Config | TileTransformer.Config | LatentQuery.Config, Field(discriminator="name")
]

_MODULES = (MeanPool, GatedAbmil, TileTransformer, LatentQuery)


def build_slide_encoder(
    config: MeanPool.Config | GatedAbmil.Config | TileTransformer.Config | LatentQuery.Config, width_in: int
) -> nn.Module:
    """Build the encoder of a config; called with a ``TileBag`` it returns a :class:`SlideOutput`, ``.width`` is D.

    Args:
        config: A member of :data:`SlideEncoderConfig`.
        width_in: Width of the tile features.

    Raises:
        ConfigError: The settings do not fit together, or the config belongs to no encoder.
    """
    for module in _MODULES:
        if isinstance(config, module.Config):
            return module(config, width_in)  # type: ignore[arg-type]
    raise ConfigError("belongs to no slide encoder", item=type(config).__name__)

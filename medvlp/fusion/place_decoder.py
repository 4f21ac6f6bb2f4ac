"""A small transformer that guesses what hidden places of an image hold.

Source: He et al. 2022 (MAE), section 3, sizes as in Chen et al. 2022 (ARL). Positions are learned.
Shape letters: B images · N places · I width in · D decoder width · C numbers a place holds.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.config import Config as BaseConfig
from medvlp.fusion.parts import check_heads


class PlaceDecoder(nn.Module):
    """Transformer layers over places, with a vector of its own for what is hidden.

    Args:
        config: Sizes.
        width_in: I.
        width_out: C.
        num_places: N.
        hides: Places are hidden here; else they already are where they come from.

    Raises:
        ConfigError: If the width is no multiple of the heads.
    """

    class Config(BaseConfig):
        """What builds a :class:`PlaceDecoder`."""

        width: int = Field(384, ge=8, description="Decoder width D.")
        layers: int = Field(4, ge=1, description="Decoder layers.")
        heads: int = Field(6, ge=1, description="Attention heads.")
        ratio: float = Field(4.0, gt=0, description="Hidden width of the feed-forward part over D.")

    def __init__(
        self, config: PlaceDecoder.Config, width_in: int, width_out: int, num_places: int, *, hides: bool
    ) -> None:
        super().__init__()
        check_heads(config.width, config.heads, "objective.decoder.heads")
        self.place = nn.Linear(width_in, config.width)
        self.position_ND = nn.Parameter(0.02 * torch.randn(num_places, config.width))
        self.hidden_D = nn.Parameter(0.02 * torch.randn(config.width)) if hides else None
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            int(config.ratio * config.width),
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.guess = nn.Linear(config.width, width_out)

    def forward(self, token_BNI: Tensor, hidden_BN: Tensor) -> Tensor:
        """Return guesses (B, N, C).

        Args:
            token_BNI: Image tower outputs by place.
            hidden_BN: True on hidden places.
        """
        place_BND = self.place(token_BNI)
        if self.hidden_D is not None:
            place_BND = torch.where(hidden_BN[:, :, None], self.hidden_D.to(place_BND.dtype), place_BND)
        guess_BNC: Tensor = self.guess(self.layers(place_BND + self.position_ND))
        return guess_BNC


def hide_places(place_BNC: Tensor, share: float) -> Tensor:
    """Choose equally many places of each image (B, N), at least one and not all, by torch's generator."""
    num_images, num_places, _ = place_BNC.shape
    count = min(max(1, round(share * num_places)), max(1, num_places - 1))
    return torch.rand(num_images, num_places, device=place_BNC.device).argsort(1).argsort(1) < count


def pixels_of_places(image_BCHW: Tensor, side: int) -> Tensor:
    """Cut images into a grid of places of ``side`` by ``side`` pixels, row by row: (B, N, channels * side * side)."""
    tiles = image_BCHW.unfold(2, side, side).unfold(3, side, side)
    return tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def blank_places(image_BCHW: Tensor, hidden_BN: Tensor, side: int) -> Tensor:
    """Set the pixels of hidden places to 0, the mean colour of a normalised image."""
    grid_BGG = hidden_BN.unflatten(1, (image_BCHW.shape[2] // side, -1))
    pixel_BHW = grid_BGG.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return image_BCHW.masked_fill(pixel_BHW[:, None], 0.0)

"""Slide encoders without context: the mean of tiles, and gated attention pooling.

Shape letters: S slides, T tiles of all slides together, I width of tile features, D slide width, H heads, A gate width.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp.config import Config as BaseConfig
from medvlp.fusion.bag import TileBag
from medvlp.fusion.parts import SlideOutput, check_heads, check_width, segment_softmax, segment_sum, weighted_sum


class MeanPool(nn.Module):
    """The mean of the tiles of each slide; without a width, nothing is learned.

    Attributes:
        width: Slide width D.
    """

    class Config(BaseConfig):
        """What builds a :class:`MeanPool`."""

        name: Literal["mean"] = Field("mean", description="The mean of tiles.")
        width: int | None = Field(None, ge=1, description="Slide width after a learned projection; None keeps tiles.")

    def __init__(self, config: MeanPool.Config, width_in: int) -> None:
        super().__init__()
        self.config, self.width_in = config, width_in
        self.width = width_in if config.width is None else config.width
        learned = config.width is not None
        self.project = nn.Linear(width_in, self.width) if learned else nn.Identity()
        self.norm = nn.LayerNorm(self.width) if learned else nn.Identity()

    def forward(self, bag: TileBag) -> SlideOutput:
        """Return slides (S, D), tiles (T, D) and equal shares.

        Raises:
            DataError: The tiles have another width than ``width_in``.
        """
        check_width(bag, self.width_in, "mean")
        tile_TD: Tensor = self.project(bag.features_TD)
        owner_T = bag.owner_T
        counts_S = bag.lengths_S.to(owner_T.device)
        slide_SD = segment_sum(tile_TD, owner_T, len(bag)) / counts_S[:, None]
        return SlideOutput(self.norm(slide_SD), tile_TD, 1.0 / counts_S[owner_T])


class GatedAbmil(nn.Module):
    """Gated attention pooling (Ilse et al. 2018, eq. 8 with the weights of eq. 9).

    With several heads, each weighs its own part of the channels by its own scores.

    Attributes:
        width: Slide width D.
    """

    class Config(BaseConfig):
        """What builds a :class:`GatedAbmil`."""

        name: Literal["abmil"] = Field("abmil", description="Gated attention pooling.")
        width: int = Field(512, ge=1, description="Slide width.")
        gate: int = Field(256, ge=1, description="Width of the attention's hidden layer.")
        heads: int = Field(1, ge=1, description="Sets of attention weights, each for its part of the channels.")
        dropout: float = Field(0.25, ge=0, lt=1, description="Dropout after the projection and in the gate.")

    def __init__(self, config: GatedAbmil.Config, width_in: int) -> None:
        """Build it.

        Raises:
            ConfigError: The width is no multiple of the heads.
        """
        super().__init__()
        check_heads(config.width, config.heads, "abmil")
        self.config, self.width_in, self.width = config, width_in, config.width
        self.project = nn.Sequential(nn.Linear(width_in, config.width), nn.ReLU(), nn.Dropout(config.dropout))
        self.tanh = nn.Linear(config.width, config.gate)
        self.sigmoid = nn.Linear(config.width, config.gate)
        self.drop = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.gate, config.heads)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, bag: TileBag) -> SlideOutput:
        """Return slides (S, D), projected tiles (T, D) and the mean attention of heads.

        Raises:
            DataError: The tiles have another width than ``width_in``.
        """
        check_width(bag, self.width_in, "abmil")
        tile_TD: Tensor = self.project(bag.features_TD)
        gated_TA = self.drop(self.tanh(tile_TD).tanh() * self.sigmoid(tile_TD).sigmoid())
        owner_T = bag.owner_T
        weights_TH = segment_softmax(self.score(gated_TA), owner_T, len(bag))
        slide_SD = weighted_sum(tile_TD, weights_TH, owner_T, len(bag))
        return SlideOutput(self.norm(slide_SD), tile_TD, weights_TH.mean(1))

"""A transformer over the tiles of each slide: attention without padding, position in micrometres.

Shape letters: S slides, T tiles of all slides together, D slide width, H heads, E = D / H, X = 2 (x, y), F = E / 4.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medvlp.config import Config as BaseConfig
from medvlp.fusion.attention import Backend, packed_attention
from medvlp.fusion.bag import TileBag
from medvlp.fusion.parts import (
    FeedForward,
    QueryPool,
    SlideOutput,
    centres_of,
    check_heads,
    check_width,
    heads_of,
    segment_sum,
)
from medvlp.fusion.position import LONGEST_UM, SHORTEST_UM, TILE_UM, alibi_bias, rotary, rotate


class Block(nn.Module):
    """Self-attention inside each bag, then a feed-forward layer; both on normalised input, both added (pre-norm)."""

    def __init__(self, width: int, heads: int, ratio: float, dropout: float, backend: Backend = "auto") -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = FeedForward(width, ratio, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x_TD: Tensor, lengths_S: Tensor, turns_T2XF: Tensor | None = None, bias: list[Tensor] | None = None
    ) -> Tensor:
        """Return the rows, each now knowing the others of its bag."""
        q, k, v = (heads_of(x, self.heads) for x in self.query_key_value(self.norm_attention(x_TD)).chunk(3, 1))
        if turns_T2XF is not None:
            q, k = rotate(q, turns_T2XF), rotate(k, turns_T2XF)
        seen_TD = packed_attention(q, k, v, lengths_S, backend=self.backend, bias=bias).flatten(1)
        x_TD = x_TD + self.drop(self.out(seen_TD))
        added: Tensor = x_TD + self.drop(self.mlp(self.norm_mlp(x_TD)))
        return added


class TileTransformer(nn.Module):
    """Pre-norm transformer blocks over tiles; a learned query, or the mean, gives the slide.

    Attributes:
        width: Slide width D.
    """

    class Config(BaseConfig):
        """What builds a :class:`TileTransformer`."""

        name: Literal["transformer"] = Field("transformer", description="A transformer over tiles.")
        width: int = Field(512, ge=8, description="Slide width.")
        depth: int = Field(2, ge=1, description="Blocks.")
        heads: int = Field(8, ge=1, description="Attention heads.")
        mlp: float = Field(4.0, gt=0, description="Width of the feed-forward layer over the slide width.")
        pool: Literal["query", "mean"] = Field("query", description="A learned query (with attention), or the mean.")
        position: Literal["rotary", "alibi", "none"] = Field(
            "rotary", description="Rotary in micrometres, a distance bias for small bags, or none."
        )
        shortest_um: float = Field(SHORTEST_UM, gt=0, description="Shortest wavelength of rotary position.")
        longest_um: float = Field(LONGEST_UM, gt=0, description="Longest wavelength of rotary position.")
        alibi_um: float = Field(TILE_UM, gt=0, description="Distance that the alibi bias counts as 1.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of what a block adds.")
        checkpoint: bool = Field(False, description="Recompute blocks in the backward pass: slower, less memory.")
        backend: Backend = Field("auto", description="Attention backend.")

    def __init__(self, config: TileTransformer.Config, width_in: int) -> None:
        """Build it.

        Raises:
            ConfigError: The width is no multiple of the heads, or a head's width does not fit rotary position.
        """
        super().__init__()
        check_heads(config.width, config.heads, "transformer")
        if config.position == "rotary":
            rotary(torch.zeros(1, 2), config.width // config.heads, config.shortest_um, config.longest_um)
        self.config, self.width_in, self.width = config, width_in, config.width
        self.project = nn.Linear(width_in, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp, config.dropout, config.backend) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        self.pool = QueryPool(config.width, config.heads) if config.pool == "query" else None
        self.norm_slide = nn.LayerNorm(config.width)

    def forward(self, bag: TileBag) -> SlideOutput:
        """Return slides (S, D), tiles in context (T, D), and with ``pool: query`` the query's attention.

        Raises:
            DataError: The tiles have another width than ``width_in``; places are needed and unknown; or a bag is too
                large for ``position: alibi``.
        """
        check_width(bag, self.width_in, "transformer")
        turns_T2XF, bias = self._position(bag)
        x_TD: Tensor = self.project(bag.features_TD)
        for block in self.blocks:
            if self.config.checkpoint and self.training:
                x_TD = checkpoint(block, x_TD, bag.lengths_S, turns_T2XF, bias, use_reentrant=False)
            else:
                x_TD = block(x_TD, bag.lengths_S, turns_T2XF, bias)
        tile_TD = self.norm(x_TD)
        owner_T = bag.owner_T
        if self.pool is None:
            counts_S = bag.lengths_S.to(tile_TD.device)
            mean_SD = segment_sum(tile_TD, owner_T, len(bag)) / counts_S[:, None]
            return SlideOutput(self.norm_slide(mean_SD), tile_TD)
        slide_SD, attention_T = self.pool(tile_TD, owner_T, len(bag))
        return SlideOutput(self.norm_slide(slide_SD), tile_TD, attention_T)

    def _position(self, bag: TileBag) -> tuple[Tensor | None, list[Tensor] | None]:
        config = self.config
        if config.position == "none":
            return None, None
        centres_um_TX = centres_of(bag, f"transformer (position: {config.position})")
        if config.position == "alibi":
            return None, alibi_bias(centres_um_TX, bag.lengths_S, config.heads, config.alibi_um)
        head_width = config.width // config.heads
        return rotary(centres_um_TX, head_width, config.shortest_um, config.longest_um), None

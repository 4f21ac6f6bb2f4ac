"""A few learned queries read a slide of any size (Perceiver, Jaegle et al. 2021), at a cost linear in its tiles.

Shape letters: S slides, T tiles of all slides together, c tiles read at a time, P pieces of a large slide,
I width of tile features, D slide width, L latents, H heads, E = D / H, X = 2 (x, y), F = E / 4.
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
    SlideOutput,
    centres_of,
    check_heads,
    check_width,
    heads_of,
    segment_sum,
)
from medvlp.fusion.position import LONGEST_UM, SHORTEST_UM, rotary, rotate
from medvlp.fusion.transformer import Block


class CrossAttention(nn.Module):
    """Latents of each slide attend to its tiles; keys and values exist for a few tiles at a time.

    Whole slides are read together while they fit into ``tiles_at_once``; a larger slide is read piece by piece, and
    the pieces are joined by their log-sum-exp, which is exact. The backward pass computes keys and values again.
    """

    def __init__(self, width_in: int, width: int, heads: int, tiles_at_once: int, backend: Backend) -> None:
        super().__init__()
        self.heads, self.tiles_at_once, self.backend = heads, tiles_at_once, backend
        self.project = nn.Linear(width_in, width)
        self.norm_tiles, self.norm_latents = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, latent_SLD: Tensor, bag: TileBag, centres_um_TX: Tensor | None, limits: tuple[float, float]
    ) -> Tensor:
        """Return what each latent read, (S, L, D)."""
        slides, latents = latent_SLD.shape[:2]
        query_SLHE = self.query(self.norm_latents(latent_SLD)).view(slides, latents, self.heads, -1)
        runs = self._runs(bag.lengths_S.tolist())
        lengths = bag.lengths_S.split(runs)
        sizes = [int(lengths_S.sum()) for lengths_S in lengths]
        tiles = bag.features_TD.split(sizes)
        places = [None] * len(runs) if centres_um_TX is None else centres_um_TX.split(sizes)
        read: list[Tensor] = []
        for query, tiles_cI, centres_cX, lengths_S in zip(query_SLHE.split(runs), tiles, places, lengths, strict=True):
            if len(tiles_cI) > self.tiles_at_once:
                read.append(self._in_pieces(query[0], tiles_cI, centres_cX, limits)[None])
            else:
                part = (query, tiles_cI, centres_cX, limits, lengths_S)
                read.append(checkpoint(self._whole, *part, use_reentrant=False))
        joined: Tensor = self.out(torch.cat(read).flatten(2))
        return joined

    def _runs(self, lengths: list[int]) -> list[int]:
        """Cut the pack into runs of slides that are read together; return slides per run."""
        runs, held = [0], 0
        for tiles in lengths:
            if runs[-1] and held + tiles > self.tiles_at_once:
                runs.append(0)
                held = 0
            runs[-1] += 1
            held += tiles
        return runs

    def _keys_values(
        self, tiles_cI: Tensor, centres_um_cX: Tensor | None, limits: tuple[float, float]
    ) -> tuple[Tensor, Tensor]:
        key_cD, value_cD = self.key_value(self.norm_tiles(self.project(tiles_cI))).chunk(2, 1)
        key_cHE, value_cHE = heads_of(key_cD, self.heads), heads_of(value_cD, self.heads)
        if centres_um_cX is not None:
            key_cHE = rotate(key_cHE, rotary(centres_um_cX, key_cHE.shape[-1], *limits))
        return key_cHE, value_cHE

    def _whole(
        self,
        query_SLHE: Tensor,
        tiles_cI: Tensor,
        centres_um_cX: Tensor | None,
        limits: tuple[float, float],
        lengths_S: Tensor,
    ) -> Tensor:
        key_cHE, value_cHE = self._keys_values(tiles_cI, centres_um_cX, limits)
        slides, latents = query_SLHE.shape[:2]
        query_UHE = query_SLHE.flatten(0, 1).to(key_cHE.dtype)
        lengths_q_S = torch.full((slides,), latents)
        out = packed_attention(query_UHE, key_cHE, value_cHE, lengths_q_S, lengths_S, backend=self.backend)
        return out.view_as(query_SLHE)

    def _in_pieces(
        self, query_LHE: Tensor, tiles_TI: Tensor, centres_um_TX: Tensor | None, limits: tuple[float, float]
    ) -> Tensor:
        pieces = tiles_TI.split(self.tiles_at_once)
        places = [None] * len(pieces) if centres_um_TX is None else centres_um_TX.split(self.tiles_at_once)
        means, logs = [], []
        for tiles_cI, centres_cX in zip(pieces, places, strict=True):
            mean_HLE, log_HL = checkpoint(self._piece, query_LHE, tiles_cI, centres_cX, limits, use_reentrant=False)
            means.append(mean_HLE)
            logs.append(log_HL)
        share_PHL = torch.stack(logs).softmax(0)
        read_HLE = (torch.stack(means) * share_PHL[..., None]).sum(0)
        return read_HLE.transpose(0, 1).to(query_LHE.dtype)

    def _piece(
        self, query_LHE: Tensor, tiles_cI: Tensor, centres_um_cX: Tensor | None, limits: tuple[float, float]
    ) -> tuple[Tensor, Tensor]:
        """Attention to one piece, and the log of the sum that its softmax divided by."""
        key_cHE, value_cHE = self._keys_values(tiles_cI, centres_um_cX, limits)
        query_HLE, key_HcE = query_LHE.transpose(0, 1).to(key_cHE.dtype), key_cHE.transpose(0, 1)
        scores_HLc = (query_HLE @ key_HcE.mT).float() / query_LHE.shape[-1] ** 0.5
        log_HL = scores_HLc.logsumexp(-1)
        weights_HLc = (scores_HLc - log_HL[..., None]).exp()
        return weights_HLc @ value_cHE.transpose(0, 1).float(), log_HL


class LatentQuery(nn.Module):
    """Learned latents read the tiles, then talk to each other; their mean is the slide.

    Attributes:
        width: Slide width D.
    """

    class Config(BaseConfig):
        """What builds a :class:`LatentQuery`."""

        name: Literal["perceiver"] = Field("perceiver", description="Learned latent queries.")
        width: int = Field(512, ge=8, description="Slide width.")
        latents: int = Field(64, ge=1, description="Learned queries per slide.")
        rounds: int = Field(1, ge=1, description="How often the latents read the tiles.")
        depth: int = Field(2, ge=0, description="Self-attention blocks among latents after each reading.")
        heads: int = Field(8, ge=1, description="Attention heads.")
        mlp: float = Field(4.0, gt=0, description="Width of the feed-forward layers over the slide width.")
        position: Literal["rotary", "none"] = Field(
            "none", description="None, or rotary in micrometres with every latent at the mean place of the tiles."
        )
        shortest_um: float = Field(SHORTEST_UM, gt=0, description="Shortest wavelength of rotary position.")
        longest_um: float = Field(LONGEST_UM, gt=0, description="Longest wavelength of rotary position.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of what a layer adds.")
        tiles_at_once: int = Field(16_384, ge=1, description="Most tiles whose keys and values exist at a time.")
        backend: Backend = Field("auto", description="Attention backend.")

    def __init__(self, config: LatentQuery.Config, width_in: int) -> None:
        """Build it.

        Raises:
            ConfigError: The width is no multiple of the heads, or a head's width does not fit rotary position.
        """
        super().__init__()
        check_heads(config.width, config.heads, "perceiver")
        self.limits = (config.shortest_um, config.longest_um)
        if config.position == "rotary":
            rotary(torch.zeros(1, 2), config.width // config.heads, *self.limits)
        self.config, self.width_in, self.width = config, width_in, config.width
        width, heads, mlp, dropout, backend = config.width, config.heads, config.mlp, config.dropout, config.backend
        self.latent_LD = nn.Parameter(torch.randn(config.latents, width))
        self.cross = nn.ModuleList(
            CrossAttention(width_in, width, heads, config.tiles_at_once, backend) for _ in range(config.rounds)
        )
        self.norm_mlp = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.rounds))
        self.mlp = nn.ModuleList(FeedForward(width, mlp, dropout) for _ in range(config.rounds))
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp, dropout, backend) for _ in range(config.rounds * config.depth)
        )
        self.drop = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, bag: TileBag) -> SlideOutput:
        """Return slides (S, D); tiles and attention are None, because neither is ever held.

        Raises:
            DataError: The tiles have another width than ``width_in``, or places are needed and unknown.
        """
        check_width(bag, self.width_in, "perceiver")
        slides, (latents, width), depth = len(bag), self.latent_LD.shape, self.config.depth
        centres_um_TX = self._centred(bag) if self.config.position == "rotary" else None
        lengths_S = torch.full((slides,), latents)
        x_SLD = self.latent_LD.expand(slides, latents, width)
        for number, cross in enumerate(self.cross):
            x_SLD = x_SLD + self.drop(cross(x_SLD, bag, centres_um_TX, self.limits))
            x_SLD = x_SLD + self.drop(self.mlp[number](self.norm_mlp[number](x_SLD)))
            x_UD = x_SLD.flatten(0, 1)
            for block in self.blocks[number * depth : (number + 1) * depth]:
                x_UD = block(x_UD, lengths_S)
            x_SLD = x_UD.view(slides, latents, width)
        return SlideOutput(self.norm(x_SLD.mean(1)))

    def _centred(self, bag: TileBag) -> Tensor:
        centres_um_TX = centres_of(bag, "perceiver (position: rotary)").float()
        owner_T = bag.owner_T
        middle_SX = segment_sum(centres_um_TX, owner_T, len(bag)) / bag.lengths_S.to(owner_T.device)[:, None]
        return centres_um_TX - middle_SX[owner_T]

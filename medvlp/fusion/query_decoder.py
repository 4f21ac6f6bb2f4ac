"""Texts as queries over the places of an image: transformer decoder layers, an existence answer, attention maps.

Source: Wu et al. 2023 (MedKLIP), section 3.3: entity descriptions query image features through decoder layers; Zhang et
al. 2023 (KAD), the disease query network, is the same with other widths. Layers are pre-norm: self-attention among the
queries, cross-attention to the places, feed-forward.

Shape letters: B images · Q queries · N places · I tower width · D decoder width · H heads · Y layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medvlp.config import Config as BaseConfig
from medvlp.fusion.parts import FeedForward, check_heads


@dataclass(frozen=True)
class Decoded:
    """What a decoder says.

    Attributes:
        state_BQD: One vector per image and query.
        exists_BQ2: Logits of absent and present.
        attention_BQN: Share of each place in each query's cross-attention, mean over layers and heads; sums to 1.
    """

    state_BQD: Tensor
    exists_BQ2: Tensor
    attention_BQN: Tensor


class QueryDecoder(nn.Module):
    """Decoder layers with an existence head."""

    class Config(BaseConfig):
        """What builds a :class:`QueryDecoder`."""

        width: int = Field(256, ge=8, description="Decoder width D.")
        layers: int = Field(4, ge=1, description="Decoder layers.")
        heads: int = Field(4, ge=1, description="Attention heads.")
        ratio: float = Field(4.0, gt=0, description="Hidden width of the feed-forward part over D.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout.")
        between_queries: bool = Field(
            True, description="Queries attend to one another, as published; without it an answer depends on its query "
            "alone, so that asking more does not change what was asked before."
        )  # fmt: skip

    def __init__(self, config: QueryDecoder.Config, query_width: int, place_width: int) -> None:
        """Build the decoder.

        Args:
            config: Sizes.
            query_width: Width I of the queries (the text tower's).
            place_width: Width I of the places (the image tower's).

        Raises:
            ConfigError: If the width is no multiple of the heads.
        """
        super().__init__()
        check_heads(config.width, config.heads, "model.decoder.heads")
        self.config = config
        self.query = nn.Linear(query_width, config.width)
        self.place = nn.Sequential(
            nn.Linear(place_width, config.width), nn.ReLU(), nn.Linear(config.width, config.width)
        )
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.exists = nn.Linear(config.width, 2)

    def forward(self, query_QI: Tensor, tokens_BNI: Tensor, mask_BN: Tensor | None = None) -> Decoded:
        """Ask every query of every image.

        Args:
            query_QI: Text tower outputs, the same for all images, or (B, Q, I).
            tokens_BNI: Image tower outputs by place; (1, N, I) are the same for all images of (B, Q, I) queries.
            mask_BN: True on real places; all by default. An image without any gets attention 0 and no memory.
        """
        place_BND = self.place(tokens_BNI)
        query_BQI = query_QI.expand(len(tokens_BNI), -1, -1) if query_QI.ndim == 2 else query_QI
        state_BQD = self.query(query_BQI)
        attention = []
        for layer in self.layers:
            state_BQD, attention_BQN = layer(state_BQD, place_BND, mask_BN)
            attention.append(attention_BQN)
        state_BQD = self.norm(state_BQD)
        return Decoded(state_BQD, self.exists(state_BQD), torch.stack(attention).mean(0))


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to places, feed-forward; pre-norm, no positions (as published)."""

    def __init__(self, config: QueryDecoder.Config) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.own = nn.Linear(width, 3 * width) if config.between_queries else None
        self.own_out = nn.Linear(width, width) if config.between_queries else None
        self.ask, self.answer, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.feed = FeedForward(width, config.ratio, config.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, state_BQD: Tensor, place_BND: Tensor, mask_BN: Tensor | None, real_BQ: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the new states and the mean cross-attention over heads (B, Q, N).

        Args:
            state_BQD: Queries.
            place_BND: Places.
            mask_BN: True on real places; all by default.
            real_BQ: True on real queries, of which each has one at least; others are seen by none. All by default.
        """
        if self.own is not None and self.own_out is not None:
            query, key, value = (self._heads(part) for part in self.own(self.norms[0](state_BQD)).chunk(3, -1))
            rate = self.dropout if self.training else 0.0
            seen = None if real_BQ is None else real_BQ[:, None, None]
            mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate)
            state_BQD = state_BQD + self._drop(self.own_out(mixed.transpose(1, 2).flatten(2)))
        query = self._heads(self.ask(self.norms[1](state_BQD)))
        key, value = (self._heads(part) for part in self.answer(place_BND).chunk(2, -1))
        scores_BHQN = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if mask_BN is not None:
            scores_BHQN = scores_BHQN.masked_fill(~mask_BN[:, None, None], torch.finfo(scores_BHQN.dtype).min)
        weight_BHQN = scores_BHQN.softmax(-1)
        if mask_BN is not None:  # an image without any place would else attend to padding
            weight_BHQN = weight_BHQN * mask_BN[:, None, None]
        read = self._drop(weight_BHQN) @ value
        state_BQD = state_BQD + self._drop(self.out(read.transpose(1, 2).flatten(2)))
        state_BQD = state_BQD + self._drop(self.feed(self.norms[2](state_BQD)))
        return state_BQD, weight_BHQN.mean(1)

    def _heads(self, x_BQD: Tensor) -> Tensor:
        return x_BQD.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout, self.training)

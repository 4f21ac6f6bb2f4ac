"""Triples of a text become one vector; tokens of a text look at the places of an image.

Source: Huang et al. 2024 (Structure-CLIP), the knowledge-enhanced encoder: the embeddings of head, relation and tail
are added up token by token and read by a stack in BERT's manner. Yu et al. 2021 (ERNIE-ViL): words attend to the image.
Shape letters: M texts, X triples of a text, L tokens (of a part, or of a text), V vocabulary, I tower or table width,
W width of the stack, D embedding size, B images, N places.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from medvlp.config import Config as BaseConfig
from medvlp.fusion.parts import check_heads, wide
from medvlp.fusion.query_decoder import DecoderLayer, QueryDecoder

_PARTS = 3  # head, relation, tail


class TripleEncoder(nn.Module):
    """Reads up to X triples of a text and gives one unit vector."""

    class Config(BaseConfig):
        """What builds a :class:`TripleEncoder`."""

        width: int = Field(768, ge=8, description="Width of the stack.")
        layers: int = Field(6, ge=1, description="Layers of the stack.")
        heads: int = Field(12, ge=1, description="Attention heads.")
        ratio: float = Field(4.0, gt=0, description="Hidden width of the feed-forward part over the width.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout.")
        roles: bool = Field(
            True, description="Head, relation and tail are projected each in its own way. As published all three are "
            "added up alike, so that exchanging head and tail changes nothing."
        )  # fmt: skip

    def __init__(
        self, config: TripleEncoder.Config, table_width: int, embed_dim: int, *, triples: int = 6, part_tokens: int = 5
    ) -> None:
        """Build the encoder.

        Args:
            config: Sizes.
            table_width: Width I of the table of token embeddings.
            embed_dim: Width D of the result.
            triples: Most triples X of a text.
            part_tokens: Most tokens L of a part.

        Raises:
            ConfigError: If the width is no multiple of the heads.
        """
        super().__init__()
        check_heads(config.width, config.heads, "objective.encoder.heads")
        self.config = config
        self.parts = nn.ModuleList(nn.Linear(table_width, config.width) for _ in range(_PARTS if config.roles else 1))
        self.first_W = nn.Parameter(0.02 * torch.randn(config.width))
        self.position_XLW = nn.Parameter(0.02 * torch.randn(triples, part_tokens, config.width))
        self.norm = nn.LayerNorm(config.width)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            int(config.width * config.ratio),
            config.dropout,
            activation="gelu",
            batch_first=True,
        )
        self.stack = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.out = nn.Linear(config.width, embed_dim)

    def forward(self, ids_MX3L: Tensor, mask_MX3L: Tensor, table_VI: Tensor) -> Tensor:
        """Return unit vectors (M, D), zeros for a text without triples.

        Args:
            ids_MX3L: Token ids of head, relation and tail of each triple; fewer triples or tokens than X and L will do.
            mask_MX3L: 1 on real tokens.
            table_VI: Embeddings of tokens.
        """
        real_MX3L = mask_MX3L.bool()
        projected = [
            self.parts[part if self.config.roles else 0](embedding(ids_MX3L[:, :, part], table_VI))
            for part in range(_PARTS)
        ]
        part_MX3LW = torch.where(real_MX3L[..., None], torch.stack(projected, 2), 0.0)
        triples, tokens = ids_MX3L.shape[1], ids_MX3L.shape[3]
        sum_MXLW = part_MX3LW.sum(2) + self.position_XLW[:triples, :tokens]
        first_M1W = self.first_W.expand(len(sum_MXLW), 1, -1)
        state_MTW = self.norm(torch.cat([first_M1W, sum_MXLW.flatten(1, 2)], 1))
        real_MT = real_MX3L.any(2).flatten(1)
        padding_MT = torch.cat([real_MT.new_zeros(len(real_MT), 1), ~real_MT], 1)
        first_MW = self.stack(state_MTW, src_key_padding_mask=padding_MT)[:, 0]
        vector_MD = normalize(wide(self.out(first_MW)), dim=1)
        return torch.where(real_MT.any(1, keepdim=True), vector_MD, 0.0)


class CrossFusion(nn.Module):
    """Decoder layers in which the tokens of a text exchange among themselves and look at the places of an image."""

    def __init__(self, config: QueryDecoder.Config, text_width: int, place_width: int) -> None:
        """Build the stack.

        Args:
            config: Sizes, as of a query decoder.
            text_width: Width I of text states.
            place_width: Width I of places.

        Raises:
            ConfigError: If the width is no multiple of the heads.
        """
        super().__init__()
        check_heads(config.width, config.heads, "objective.fusion.heads")
        self.text, self.place = nn.Linear(text_width, config.width), nn.Linear(place_width, config.width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, words_MLI: Tensor, mask_ML: Tensor, places_BNI: Tensor, image_M: Tensor) -> Tensor:
        """Return fused states (M, L, W).

        Args:
            words_MLI: Text states by token.
            mask_ML: 1 on real tokens; nothing is read of the others.
            places_BNI: Image features by place.
            image_M: Row of the image each text looks at.
        """
        real_ML = mask_ML.bool()
        state_MLW, place_MNW = self.text(words_MLI), self.place(places_BNI)[image_M]
        for layer in self.layers:
            state_MLW, _ = layer(state_MLW, place_MNW, None, real_ML)
        fused_MLW: Tensor = self.norm(state_MLW)
        return fused_MLW

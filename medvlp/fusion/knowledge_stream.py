"""Words that read an image's places, with a stream of entities beside them: the fusion layers of ARL.

Source: Chen et al. 2022 (ARL, arXiv 2209.07118), its part "reason". In each layer the entities a text mentions attend
to one another and to the places, and are added onto the words that mention them. Only the text side is fused: places
never look at a text.

Shape letters: B images · R pairs of a text and an image · L words · N places · S slots for entities · Q entities · T
text tower width · I image tower width · G width of entity vectors · D any width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from medvlp.config import Config as BaseConfig
from medvlp.fusion.parts import FeedForward, check_heads


class Slots(NamedTuple):
    """The entities each text mentions, those with the lowest rows first.

    Attributes:
        entity_RS: Row of each, int64; any row where ``used_RS`` is False.
        used_RS: True where a slot holds an entity.
        at_RSL: 1 where a word is part of a mention of the slot's entity, else 0; float32.
    """

    entity_RS: Tensor
    used_RS: Tensor
    at_RSL: Tensor


def entity_slots(mention_RL: Tensor, num_entities: int, num_slots: int) -> Slots:
    """Collect the distinct entities of each text.

    Args:
        mention_RL: Row of the entity each word mentions, -1 for none, int64.
        num_entities: Q.
        num_slots: Most entities of a text; the rest is left out, those with the highest rows.

    Returns:
        The slots, as many as ``num_slots``, or as there are entities if they are fewer.
    """
    marks_RQ = mention_RL.new_zeros(len(mention_RL), num_entities + 1).scatter(1, mention_RL + 1, 1)[:, 1:]
    rank_Q = torch.arange(num_entities, device=mention_RL.device)
    order_RQ = torch.where(marks_RQ > 0, rank_Q, num_entities).sort(1).values
    entity_RS = order_RQ[:, :num_slots]
    used_RS = entity_RS < num_entities
    at_RSL = (mention_RL[:, None] == entity_RS[:, :, None]).float()
    return Slots(entity_RS.clamp(max=num_entities - 1), used_RS, at_RSL)


class KnowledgeFusion(nn.Module):
    """Fusion layers with a knowledge stream.

    Args:
        config: Sizes.
        text_width: T, the width of the layers too.
        place_width: I.
        entity_width: G.

    Raises:
        ConfigError: If a width is no multiple of its heads.
    """

    class Config(BaseConfig):
        """What builds a :class:`KnowledgeFusion`."""

        layers: int = Field(6, ge=1, description="Fusion layers.")
        heads: int = Field(12, ge=1, description="Attention heads of the words.")
        ratio: float = Field(4.0, gt=0, description="Hidden width of the words' feed-forward part over their width.")
        dropout: float = Field(0.1, ge=0, lt=1, description="Dropout.")
        stream: bool = Field(True, description="Entities take part; without them the layers fuse words and places.")
        stream_heads: int = Field(4, ge=1, description="Attention heads of the entities.")
        stream_ratio: float = Field(4.0, gt=0, description="Hidden width of the entities' feed-forward part over G.")
        slots: int = Field(24, ge=1, description="Most entities of a text.")

    def __init__(self, config: KnowledgeFusion.Config, text_width: int, place_width: int, entity_width: int) -> None:
        super().__init__()
        check_heads(text_width, config.heads, "objective.fusion.heads")
        check_heads(entity_width, config.stream_heads, "objective.fusion.stream_heads")
        self.config = config
        self.place = nn.Linear(place_width, text_width)
        self.stream_place = nn.Linear(place_width, entity_width) if config.stream else None
        self.layers = nn.ModuleList(FusionLayer(config, text_width, entity_width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(text_width)

    def forward(
        self,
        word_RLT: Tensor,
        mask_RL: Tensor,
        token_BNI: Tensor,
        image_R: Tensor,
        entity_QG: Tensor,
        mention_RL: Tensor,
    ) -> Tensor:
        """Return the words (R, L, T), each knowing the text, the image and its entity.

        Args:
            word_RLT: Text tower outputs by word.
            mask_RL: 1 on real words.
            token_BNI: Image tower outputs by place.
            image_R: Row of the image of each pair, int64.
            entity_QG: Entity vectors.
            mention_RL: Row of the entity each word mentions, -1 for none, int64.
        """
        place_BNT = self.place(token_BNI)
        place_BNG = knowledge_RSG = slots = None
        if self.stream_place is not None:
            slots = entity_slots(mention_RL, len(entity_QG), self.config.slots)
            place_BNG = self.stream_place(token_BNI)
            knowledge_RSG = entity_QG[slots.entity_RS] * slots.used_RS[:, :, None]
        for layer in self.layers:
            word_RLT, knowledge_RSG = layer(
                word_RLT, mask_RL.bool(), place_BNT, image_R, knowledge_RSG, slots, place_BNG
            )
        fused_RLT: Tensor = self.norm(word_RLT)
        return fused_RLT


class FusionLayer(nn.Module):
    """Words attend to one another, then to the places; what the entities saw is added; layer norm; feed-forward."""

    def __init__(self, config: KnowledgeFusion.Config, text_width: int, entity_width: int) -> None:
        super().__init__()
        self.own = Attention(text_width, config.heads, config.dropout)
        self.across = Attention(text_width, config.heads, config.dropout)
        self.feed = FeedForward(text_width, config.ratio, config.dropout)
        self.drop = nn.Dropout(config.dropout)
        self.added = nn.LayerNorm(text_width)
        self.stream = StreamLayer(config, text_width, entity_width) if config.stream else None

    def forward(
        self,
        word_RLT: Tensor,
        mask_RL: Tensor,
        place_BNT: Tensor,
        image_R: Tensor,
        knowledge_RSG: Tensor | None,
        slots: Slots | None,
        place_BNG: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return words and entities."""
        word_RLT = word_RLT + self.drop(self.own(word_RLT, mask_RL=mask_RL))
        word_RLT = word_RLT + self.drop(self.across(word_RLT, place_BNT, image_R))
        if self.stream is not None and slots is not None:
            knowledge_RSG, said_RST = self.stream(knowledge_RSG, slots.used_RS, place_BNG, image_R)
            told_RLT = slots.at_RSL.transpose(1, 2).to(said_RST.dtype) @ said_RST
            word_RLT = word_RLT + self.drop(told_RLT)
        word_RLT = self.added(word_RLT)
        return word_RLT + self.drop(self.feed(word_RLT)), knowledge_RSG


class StreamLayer(nn.Module):
    """Entities attend to one another, then to the places, then feed-forward; and what they tell the words."""

    def __init__(self, config: KnowledgeFusion.Config, text_width: int, entity_width: int) -> None:
        super().__init__()
        self.own = Attention(entity_width, config.stream_heads, config.dropout)
        self.across = Attention(entity_width, config.stream_heads, config.dropout)
        self.feed = FeedForward(entity_width, config.stream_ratio, config.dropout)
        self.norm = nn.LayerNorm(entity_width)
        self.say = nn.Linear(entity_width, text_width)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, knowledge_RSG: Tensor, used_RS: Tensor, place_BNG: Tensor, image_R: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the entities, and what they say to words (R, S, T)."""
        knowledge_RSG = knowledge_RSG + self.drop(self.own(knowledge_RSG, mask_RL=used_RS))
        knowledge_RSG = knowledge_RSG + self.drop(self.across(knowledge_RSG, place_BNG, image_R))
        knowledge_RSG = knowledge_RSG + self.drop(self.feed(self.norm(knowledge_RSG)))
        return knowledge_RSG, self.say(knowledge_RSG)


class Attention(nn.Module):
    """Attention of normalised rows to one another, or to places; a row that sees nothing real gets 0."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.ask, self.answer, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(
        self,
        x_RLD: Tensor,
        place_BND: Tensor | None = None,
        image_R: Tensor | None = None,
        mask_RL: Tensor | None = None,
    ) -> Tensor:
        """Return what each row reads (R, L, D).

        Args:
            x_RLD: Rows that ask.
            place_BND: What is asked, by image; None asks the rows themselves.
            image_R: Which image each row asks.
            mask_RL: True on rows that are real, where they ask one another; all by default.
        """
        x_RLD = self.norm(x_RLD)
        query = self._heads(self.ask(x_RLD))
        answer = self.answer(x_RLD if place_BND is None else place_BND)  # once per image, however many texts ask it
        key, value = (self._heads(part if image_R is None else part[image_R]) for part in answer.chunk(2, -1))
        bias = None
        if mask_RL is not None:  # a finite bias: where nothing is real, a softmax of -inf would be NaN
            bias = torch.zeros_like(mask_RL, dtype=query.dtype)
            bias = bias.masked_fill(~mask_RL, torch.finfo(query.dtype).min)[:, None, None]
        rate = self.dropout if self.training else 0.0
        read = scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=rate)
        read_RLD: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return read_RLD if mask_RL is None else read_RLD * mask_RL.any(1)[:, None, None]

    def _heads(self, x_RLD: Tensor) -> Tensor:
        return x_RLD.unflatten(-1, (self.heads, -1)).transpose(1, 2)

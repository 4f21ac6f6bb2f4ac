"""What an objective is told once, before training: the entities, their texts, the sizes of the model.

An objective that has a method ``prepare(context)`` builds its heads there. Shape legend: N texts, I text tower width, P
positions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.errors import ConfigError
from medvlp.objectives.base import ObjectiveSettings

if TYPE_CHECKING:
    from medvlp.data.batch import Tokenize
    from medvlp.objectives.base import Seen


@dataclass(frozen=True)
class KnownEntity:
    """An entity of the run: its name, and the ids its folder gives it, whether the graph has them or not."""

    name: str
    concepts: tuple[str, ...] = ()


class Texts(Protocol):
    """Equally many texts of each entity; see ``medvlp.training.entity_texts``."""

    @property
    def by_entity(self) -> tuple[tuple[str, ...], ...]:
        """Texts by entity."""
        ...

    @property
    def flat(self) -> list[str]:
        """All texts, entity by entity."""
        ...

    @property
    def entity_E(self) -> Tensor:
        """Entity of each of them, int64."""
        ...


@dataclass(frozen=True)
class Context:
    """What the run knows.

    Attributes:
        texts: Gives the texts of the entities as ``texts(count, aspects)``: so many of each (None: as many as the one
            with the most), of these kinds (None: all); what they say follows ``knowledge``. None without entities.
        positions: One text for each position, the same whatever the knowledge.
        above_PP: True where the column is above the row in the hierarchy the run may use.
        tokenize: Texts to ids and mask (N, L).
        encode: Texts to text tower outputs (N, I), without gradient.
        text_width: Width I of the text tower.
        place_width: Width of the image tower.
        embed_dim: Width D of the shared embedding.
        state_width: Width of the query decoder, None if the model has none.
        text_frozen: The text tower never changes in this run.
        entities: The entities, the same whatever the knowledge; None without any.
        knowledge: What the run may know of the graph.
        seed: Of the run.
        num_places: Counts an image's places.
        image_size: Side of an image in pixels.
        mask_id: Token id that stands for a hidden token, None if the tokenizer has none.
        unknown_id: Token id of what the tokeniser does not know, None if there is none.
        num_tokens: Size of the vocabulary.
        has_triples: The run knows of some texts what they say as triples.
        table_size: Tokens and width (V, I) of the text tower's table of token embeddings; None if it shows none.
    """

    texts: Callable[[int | None, Collection[str] | None], Texts] | None
    positions: list[str]
    above_PP: Tensor
    tokenize: Tokenize
    encode: Callable[[list[str]], Tensor]
    text_width: int
    place_width: int
    embed_dim: int
    state_width: int | None
    text_frozen: bool
    entities: tuple[KnownEntity, ...] | None = None
    knowledge: Literal["none", "permuted", "real"] = "real"
    seed: int = 0
    num_places: Callable[[], int] = lambda: 0
    image_size: int = 0
    mask_id: int | None = None
    unknown_id: int | None = None
    num_tokens: int = 0
    has_triples: bool = False
    table_size: tuple[int, int] | None = None

    def entity_texts(self, objective: str, count: int | None, aspects: Collection[str] | None) -> Texts:
        """Return the texts of the entities.

        Raises:
            ConfigError: If the run has no entities.
        """
        if self.texts is None:
            raise ConfigError(
                f"objective {objective} asks for entities", item="entities", remedy="name a folder of `medvlp entities`"
            )
        return self.texts(count, aspects)

    def need_triples(self, objective: str) -> None:
        """Raise a :class:`ConfigError` if the run knows no triples."""
        if not self.has_triples:
            raise ConfigError(
                f"objective {objective} reads triples of the texts",
                item="entities",
                remedy="name a folder of `medvlp entities` made of reports or simulated scenes",
            )

    def token_table(self, objective: str) -> tuple[int, int]:
        """Return tokens and width of the table of token embeddings.

        Raises:
            ConfigError: If the text tower shows none.
        """
        if self.table_size is None:
            raise ConfigError(
                f"objective {objective} reads the table of token embeddings",
                item="model.text",
                remedy="use text: {name: hf}",
            )
        return self.table_size

    def hidden_token(self, objective: str) -> int:
        """Return the token id that stands for a hidden token.

        Raises:
            ConfigError: If the tokenizer has none.
        """
        if self.mask_id is None:
            raise ConfigError(
                f"objective {objective} hides tokens, for which this tokenizer has no sign",
                item="model.text",
                remedy="use a text model that was trained with masks, such as BERT",
            )
        return self.mask_id

    def known_entities(self, objective: str) -> tuple[KnownEntity, ...]:
        """Return the entities.

        Raises:
            ConfigError: If the run has none.
        """
        if self.entities is None:
            raise ConfigError(
                f"objective {objective} asks for entities", item="entities", remedy="name a folder of `medvlp entities`"
            )
        return self.entities

    def decoder_width(self, objective: str) -> int:
        """Return the width of the query decoder.

        Raises:
            ConfigError: If the model has none.
        """
        if self.state_width is None:
            raise ConfigError(
                f"objective {objective} asks through a query decoder", item="model.decoder", remedy="set `decoder: {}`"
            )
        return self.state_width


class AskingSettings(ObjectiveSettings):
    """Fields of every objective that asks with texts of entities."""

    queries: Literal["frozen", "trained"] = Field(
        default="frozen",
        description="Texts of entities and positions are encoded once by a text tower that never changes, or in each "
        "step by one that learns.",
    )
    aspects: list[str] | None = Field(
        default=None, min_length=1, description="Kinds of descriptions to use; all by default, the first one first."
    )


class AskedTexts(nn.Module):
    """Texts that are part of every step: their text tower outputs (N, I).

    Args:
        texts: The texts.
        context: The run.
        queries: See :class:`AskingSettings`.

    Raises:
        ConfigError: If they are to be encoded once although the text tower learns: the saved tower would then ask with
            other vectors than the ones that were trained with.
    """

    def __init__(self, texts: list[str], context: Context, queries: str) -> None:
        super().__init__()
        self.feature_NI: Tensor | None
        self.ids_NL: Tensor
        self.mask_NL: Tensor
        feature_NI = None
        if queries == "frozen":
            if not context.text_frozen:
                raise ConfigError(
                    "texts are encoded once, but the text tower learns",
                    item="objective.queries",
                    remedy="add text_tower to freeze.always, or set queries: trained",
                )
            feature_NI = context.encode(texts)
        ids_NL, mask_NL = context.tokenize(texts)
        self.register_buffer("feature_NI", feature_NI, persistent=False)
        self.register_buffer("ids_NL", ids_NL, persistent=False)
        self.register_buffer("mask_NL", mask_NL, persistent=False)

    def forward(self, seen: Seen) -> Tensor:
        """Return (N, I)."""
        return self.feature_NI if self.feature_NI is not None else seen.encode(self.ids_NL, self.mask_NL)


def as_numbers(flags: Tensor) -> Tensor:
    """Return flags as int64, which every backend of distributed training can send."""
    return flags.to(torch.int64)

"""What a loss of the grid is told once, before training. Shape legend: N texts, I tower width, P positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.controlled.config import Knowledge, Method
from benchmarks.controlled.model import HeadPair
from medvlp.objectives.context import Context, KnownEntity
from medvlp.training.entity_texts import EntityTexts, entity_texts

if TYPE_CHECKING:
    from collections.abc import Collection

    from benchmarks.controlled.features import TextTable
    from benchmarks.controlled.words import FewTokens
    from medvlp.data.entities import Entities


def make_context(
    method: Method,
    model: HeadPair,
    entities: Entities | None,
    table: TextTable,
    tokens: FewTokens | None,
    image_width: int,
    num_places: int,
    knowledge: Knowledge,
    seed: int,
    asked: list[str],
) -> Context:
    """Return the context; every text that is asked in each step is added to ``asked``.

    The entities already say what the arm may know, so ``entity_texts`` exchanges nothing: in the rewired arm names and
    definitions are right, as everywhere in this grid. A loss that hides words is told the arm, since it makes its own
    controls of it.
    """

    def texts(count: int | None, aspects: Collection[str] | None) -> EntityTexts:
        assert entities is not None
        return entity_texts(entities, "real", seed, count=count, aspects=aspects)

    def encode(wanted: list[str]) -> Tensor:
        asked.extend(wanted)
        with torch.no_grad():
            return model.in_space(table[wanted])

    width = table.features_UI.shape[1]
    return Context(
        texts=None if entities is None else texts,
        positions=[],
        above_PP=torch.zeros(0, 0, dtype=torch.bool),
        tokenize=table.tokenize,
        encode=encode,
        text_width=table.word_width,
        place_width=width if method.hides_nodes else image_width,
        embed_dim=width,
        state_width=None if model.decoder is None else model.decoder.config.width,
        text_frozen=True,  # tower and stage 1
        entities=None if entities is None else tuple(KnownEntity(one.name, one.concepts) for one in entities.entities),
        knowledge=knowledge,
        seed=seed,
        num_places=lambda: num_places,
        mask_id=None if tokens is None else tokens.mask_id,
        unknown_id=None if tokens is None else tokens.unknown_id,
        num_tokens=0 if tokens is None else len(tokens),
        has_triples=method.reads_triples or method.hides_nodes,
        table_size=None if tokens is None else (len(tokens), tokens.table_VI.shape[1]),
    )

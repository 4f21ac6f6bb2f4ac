"""What a run tells its objective before the first step; see :class:`medvlp.objectives.context.Context`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medvlp.encoders.text import TextEncoder
from medvlp.objectives.context import Context
from medvlp.training.entity_texts import EntityTexts, entity_texts, position_hierarchy, position_texts

if TYPE_CHECKING:
    from collections.abc import Collection

    from medvlp.data.entities import Entities
    from medvlp.model import DualEncoder
    from medvlp.training.align import AlignConfig

_BATCH = 256


def make_context(model: DualEncoder, config: AlignConfig, entities: Entities | None) -> Context:
    """Return the context of a run.

    Args:
        model: The model before its first step.
        config: The run; ``knowledge`` decides which texts the entities have, and which hierarchy the positions.
        entities: What the run knows of its images, or None.
    """
    hierarchy_PP = torch.zeros(0, 0, dtype=torch.bool)
    if entities is not None:
        hierarchy_PP = position_hierarchy(entities, config.knowledge, config.seed)

    def texts(count: int | None, aspects: Collection[str] | None) -> EntityTexts:
        assert entities is not None
        return entity_texts(entities, config.knowledge, config.seed, count=count, aspects=aspects)

    return Context(
        texts=None if entities is None else texts,
        positions=[] if entities is None else position_texts(entities),
        above_PP=hierarchy_PP,
        tokenize=model.tokenize,
        encode=partial(_encode, model),
        text_width=model.text.width,
        place_width=model.image.width,
        embed_dim=model.config.embed_dim,
        state_width=None if model.decoder is None else model.decoder.config.width,
        text_frozen="text_tower" in config.freeze.always,
        knowledge=config.knowledge,
        has_triples=entities is not None and entities.has_triples,
        table_size=(len(model.text.table_VI), model.text.table_VI.shape[1])
        if isinstance(model.text, TextEncoder)
        else None,
        mask_id=model.tokenizer.mask_id,
    )


def _encode(model: DualEncoder, texts: list[str]) -> Tensor:
    """Text tower outputs (N, I) in eval mode, without gradient."""
    training = model.text.training
    model.text.eval()
    with torch.no_grad():
        parts = [
            model.text_features(*model.tokenize(texts[start : start + _BATCH]))
            for start in range(0, len(texts), _BATCH)
        ]
    model.text.train(training)
    return torch.cat(parts).float()

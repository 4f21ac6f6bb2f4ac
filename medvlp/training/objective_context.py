"""What a run tells its objective before the first step; see :class:`medvlp.objectives.context.Context`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medvlp.encoders.text import TextEncoder
from medvlp.objectives.context import Context, KnownEntity
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

    hf: Any = getattr(model.tokenizer, "hf", None)
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
        has_triples=entities is not None and entities.has_triples,
        table_size=(len(model.text.table_VI), model.text.table_VI.shape[1])
        if isinstance(model.text, TextEncoder)
        else None,
        entities=None if entities is None else tuple(KnownEntity(one.name, one.concepts) for one in entities.entities),
        knowledge=config.knowledge,
        seed=config.seed,
        num_places=partial(_num_places, model),
        image_size=model.preprocess.size,
        mask_id=model.tokenizer.mask_id,
        unknown_id=None if hf is None else hf.unk_token_id,
        num_tokens=0 if hf is None else len(hf),
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


def _num_places(model: DualEncoder) -> int:
    """Look at one black image."""
    training, size = model.image.training, model.preprocess.size
    model.image.eval()
    with torch.no_grad():
        places = model.image_tokens(torch.zeros(1, 3, size, size))[1].shape[1]
    model.image.train(training)
    return int(places)

"""Triples of texts as tensors of a batch, and the controls of what an encoder of triples is told.

Lives here: the switch ``knowledge: none | permuted | real`` for methods that read triples. Shape legend: M texts, X
triples of a text, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from medvlp.data.batch import Item, Triple
from medvlp.data.entities import Entities
from medvlp.data.nodes import nodes_of
from medvlp.encoders.tokenizer import Tokenizer, clean
from medvlp.errors import DataError
from medvlp.objectives.base import Objective

Told = Mapping[tuple[str, str], tuple[Triple, ...]]
"""By key and text, what an encoder of triples is told in place of what the text says; nothing of what is not in it."""

_EXCHANGE = 19  # random stream
_ROUNDS = 100
SPECIAL = -2
"""Value of ``node_ML`` for special tokens and padding."""


def told_triples(
    objective: Objective, entities: Entities | None, keys: Iterable[str], knowledge: str, seed: int
) -> Told | None:
    """Return what the encoder of triples is told: None for what each text says, else in its place.

    ``none``: nothing. ``permuted``: the triples of another text, by a seeded derangement of the texts that have any, so
    that every text's triples are told once, and none where the same would be true (so far as fewer than half are
    alike). The texts, their words and their swapped captions stay.

    Args:
        objective: One that needs no tensors of triples is told none.
        entities: What each text says.
        keys: Images among whose texts to exchange: those of training alone.
        knowledge: The switch.
        seed: Decides the derangement.

    Raises:
        DataError: If there are fewer than two texts to exchange.
    """
    if knowledge == "real" or entities is None or "triple_ids_MX3L" not in getattr(objective, "needs", ()):
        return None
    if knowledge == "none":
        return {}
    own = {(key, text): found for key in keys for text, found in entities.of(key).triples.items() if found}
    if len(own) < 2:
        raise DataError("needs two texts to exchange", item="triples", remedy="use knowledge real or none")
    order = _derangement(list(own.values()), np.random.default_rng([seed, _EXCHANGE]))
    triples = list(own.values())
    return {text: triples[other] for text, other in zip(own, order, strict=True)}


def _derangement(values: Sequence[tuple[Triple, ...]], rng: np.random.Generator) -> list[int]:
    """An order in which no place keeps its own, nor, so far as that can be, gets one of the same value."""
    code = {value: number for number, value in enumerate(dict.fromkeys(values))}
    codes = np.array([code[value] for value in values])
    places = np.arange(len(codes))
    order = rng.permutation(len(codes))
    for _ in range(_ROUNDS):
        bad = np.flatnonzero(codes[order] == codes)
        if len(bad) == 0:
            return [int(place) for place in order]
        for place, other in zip(bad, rng.integers(len(codes), size=len(bad)), strict=True):
            order[[place, other]] = order[[other, place]]
    # More than half are alike: keep what is exchanged, and at least no text gets its own.
    own = np.flatnonzero(order == places)
    if len(own) == 1:
        other = (own[0] + 1) % len(order)
        order[[own[0], other]] = order[[other, own[0]]]
    elif len(own) > 1:
        order[own] = np.roll(order[own], 1)
    return [int(place) for place in order]


def tensors_for(objective: Objective, tokenizer: Tokenizer) -> list[TripleTokens | NodeTokens]:
    """Return what makes the tensors of triples that an objective needs, and nothing else."""
    needs: frozenset[str] = getattr(objective, "needs", frozenset())
    made: list[TripleTokens | NodeTokens] = []
    if "triple_ids_MX3L" in needs:
        made.append(TripleTokens(tokenizer, *getattr(objective, "triple_size", (6, 5))))
    if "node_ML" in needs:
        made.append(NodeTokens(tokenizer))
    return made


class TripleTokens:
    """Makes ``triple_ids_MX3L`` and ``triple_mask_MX3L`` of what is told of each text.

    Args:
        tokenizer: The text tower's.
        triples: Triples X of each text, the first ones.
        part_tokens: Tokens L of each part.

    Attributes:
        told: Triples seen.
        left_out: How many of them were beyond the first ones of their text.
    """

    def __init__(self, tokenizer: Tokenizer, triples: int, part_tokens: int) -> None:
        self.tokenizer, self.triples, self.part_tokens = tokenizer, triples, part_tokens
        self.told = self.left_out = 0
        self._known: dict[str, list[int]] = {}

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Return the two tensors, of fixed size whatever is told."""
        by_text = [told for item in items for told in (item.told or [()] * len(item.texts))]
        parts = [
            (row, place, part, words)
            for row, told in enumerate(by_text)
            for place, triple in enumerate(told[: self.triples])
            for part, words in enumerate((triple.head, triple.relation, triple.tail))
        ]
        new = list(dict.fromkeys(words for *_, words in parts if words not in self._known))
        self._known.update(zip(new, self.tokenizer.bare(new, self.part_tokens), strict=True))
        ids_MX3L = np.zeros((len(by_text), self.triples, 3, self.part_tokens), dtype=np.int64)
        mask_MX3L = np.zeros_like(ids_MX3L)
        for row, place, part, words in parts:
            ids = self._known[words]
            ids_MX3L[row, place, part, : len(ids)] = ids
            mask_MX3L[row, place, part, : len(ids)] = 1
        self.told += sum(map(len, by_text))
        self.left_out += sum(max(0, len(told) - self.triples) for told in by_text)
        return {"triple_ids_MX3L": torch.from_numpy(ids_MX3L), "triple_mask_MX3L": torch.from_numpy(mask_MX3L)}

    def report(self) -> dict[str, float]:
        """Return the share of triples that were left out since the last call."""
        share = self.left_out / self.told if self.told else 0.0
        self.told = self.left_out = 0
        return {"triples_left_out_share": share}


class NodeTokens:
    """Makes ``node_ML`` and ``node_kind_ML`` of what each text says.

    Args:
        tokenizer: The text tower's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.nodes = self.texts = 0

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Return the two tensors, laid out as the texts' tokens are."""
        texts = [text for item in items for text in item.texts]
        triples = [said for item in items for said in (item.triples or [()] * len(item.texts))]
        span_ML2 = self.tokenizer.spans(texts).numpy()
        node_ML = np.full(span_ML2.shape[:2], SPECIAL, dtype=np.int64)
        kind_ML = np.full(span_ML2.shape[:2], -1, dtype=np.int64)
        for row, (text, said) in enumerate(zip(texts, triples, strict=True)):
            real_L = span_ML2[row, :, 1] > span_ML2[row, :, 0]
            if real_L.any():
                node_C, kind_C = nodes_of(clean(text), said)
                first = span_ML2[row, real_L, 0]
                kind_ML[row, real_L] = kind_C[first]
                node_ML[row, real_L] = _from_0_on(node_C[first])
        self.nodes += int((node_ML.max(1) + 1).clip(0).sum())
        self.texts += len(texts)
        return {"node_ML": torch.from_numpy(node_ML), "node_kind_ML": torch.from_numpy(kind_ML)}

    def report(self) -> dict[str, float]:
        """Return how many nodes a text had on average since the last call."""
        share = self.nodes / self.texts if self.texts else 0.0
        self.nodes = self.texts = 0
        return {"nodes_per_text": share}


def _from_0_on(number_L: np.ndarray) -> np.ndarray:
    """The same nodes numbered without gaps, so that a text has no more of them than tokens; -1 stays."""
    seen = np.unique(number_L[number_L >= 0])
    return np.where(number_L < 0, -1, np.searchsorted(seen, number_L))

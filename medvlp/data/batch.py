"""The batch contract: texts know which image they belong to, nothing is inferred from order.

Shape legend: B images, M texts, L tokens, C channels, H, W pixels, I tower width, N places of an image, K swapped
captions, Q entities, P positions, X triples of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

Tokenize = Callable[[list[str]], tuple[Tensor, Tensor]]
More = Callable[[Sequence["Item"]], Mapping[str, Tensor]]

ABSENT, PRESENT, UNCERTAIN, NOT_MENTIONED = 0, 1, 2, -100
"""Values of ``entity_label_BQ``; what is not mentioned is neither present nor absent."""

ASPECTS = (
    "caption", "report", "sentence", "ontology-path", "concepts", "definition", "appearance", "class-template", "name",
)  # fmt: skip
"""Kinds of texts; ``text_aspect_M`` holds places in this list, -1 for any other kind."""

SWAPS = ("side", "anatomy", "presence", "severity")
"""Kinds of swapped captions; ``swap_kind_K`` holds places in this list, -1 for others and what counts for nothing."""

NODES = ("object", "attribute", "relation")
"""Kinds of nodes of triples: a finding; its side or severity; its place, or the words that say or deny it."""


@dataclass(frozen=True)
class Triple:
    """Something a text says: head, relation, tail, as words of the text (finding, located at, anatomy)."""

    head: str
    relation: str
    tail: str


@dataclass(frozen=True)
class Swap:
    """A caption with one fact exchanged, which is false of the image.

    Attributes:
        text: The swapped caption.
        kind: One of :data:`SWAPS`, or another.
        of: Place, among the item's texts, of the caption it was made from; -1 for one that counts for nothing.
    """

    text: str
    kind: str
    of: int


NO_SWAP = Swap("", "", -1)
"""Takes the place of a swapped caption where none can be made, so that all ranks hold equally many."""


@dataclass(frozen=True)
class Item:
    """One image with what is known about it; text-only training uses a concept in its place.

    Attributes:
        key: Unique name, the only thing about the item that may reach a log.
        group: Semantic group.
        texts: Texts drawn for this step.
        concepts: Rows in the graph, the main one first; empty if unknown.
        label: Code of the class label, -1 if unknown.
        image_CHW: Preprocessed image, or None.
        feature_I: Cached output of the image tower, or None.
        tokens_NI: Cached outputs of the image tower by place, or None.
        aspects: Kind of each text, in the order of ``texts``; empty if unknown.
        swaps: Captions that are false of the image.
        triples: What each text says, in the order of ``texts``; empty if unknown.
        told: What an encoder of triples is told of each text: the same, or what a control puts in its place.
        entity_label_Q: Whether each entity is present, absent, uncertain or not mentioned; int64, or None.
        entity_position_QP: The same of each entity at each position; int64, or None.
    """

    key: str
    group: int
    texts: list[str]
    concepts: tuple[int, ...] = ()
    label: int = -1
    image_CHW: Tensor | None = None
    feature_I: Tensor | None = None
    tokens_NI: Tensor | None = None
    aspects: list[str] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    triples: list[tuple[Triple, ...]] = field(default_factory=list)
    told: list[tuple[Triple, ...]] = field(default_factory=list)
    entity_label_Q: Tensor | None = None
    entity_position_QP: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What one rank sees in one step.

    Attributes:
        token_ids_ML: Token ids of the texts.
        token_mask_ML: 1 on real tokens.
        text_owner_M: Row of the image each text belongs to, int64.
        group_B: Semantic group of each image, int64.
        concept_B: Main concept of each image as row of the graph, -1 if unknown, int64.
        concepts: All concept rows of each image.
        keys: Name of each image, for messages.
        texts: The texts themselves; never logged.
        image_BCHW: Images, or None.
        image_features_BI: Cached image tower outputs, or None.
        label_B: Class code of each image, -1 if unknown; None where labels must not be used.
        image_tokens_BNI: Cached image tower outputs by place, or None.
        text_valid_M: False for a text that only fills up an image's share, so that all ranks hold equally many; None:
            all count.
        text_aspect_M: Kind of each text as place in :data:`ASPECTS`, -1 for others, int64; None if unknown.
        swap_ids_KL: Token ids of swapped captions; None where none are drawn.
        swap_mask_KL: 1 on real tokens.
        swap_of_K: Row of the text each one was made from, int64; its image is that text's owner. -1 for one that only
            fills up an image's share, so that all ranks hold equally many: it counts for nothing in any loss.
        swap_kind_K: Place in :data:`SWAPS`, -1 for any other kind and where ``swap_of_K`` is; int64.
        triples: What each text says; empty if unknown.
        triple_ids_MX3L: Token ids, without special tokens, of head, relation and tail of the first X triples that are
            told of each text; None unless an objective needs them.
        triple_mask_MX3L: 1 on real tokens.
        node_ML: Number, within its text, of the node of the triples that a token is part of; -1 for a token of none, -2
            for special tokens and padding. None unless an objective needs it.
        node_kind_ML: What kind of node that is, a place in :data:`NODES`; -1 for none.
        entity_label_BQ: :data:`PRESENT`, :data:`ABSENT`, :data:`UNCERTAIN` or :data:`NOT_MENTIONED`, int64, or None.
        entity_position_BQP: The same of each entity at each position, int64, or None.
    """

    token_ids_ML: Tensor
    token_mask_ML: Tensor
    text_owner_M: Tensor
    group_B: Tensor
    concept_B: Tensor
    concepts: list[tuple[int, ...]]
    keys: list[str]
    texts: list[str] = field(repr=False)
    image_BCHW: Tensor | None = None
    image_features_BI: Tensor | None = None
    label_B: Tensor | None = None
    image_tokens_BNI: Tensor | None = None
    text_valid_M: Tensor | None = None
    text_aspect_M: Tensor | None = None
    swap_ids_KL: Tensor | None = None
    swap_mask_KL: Tensor | None = None
    swap_of_K: Tensor | None = None
    swap_kind_K: Tensor | None = None
    triples: list[tuple[Triple, ...]] = field(default_factory=list, repr=False)
    triple_ids_MX3L: Tensor | None = None
    triple_mask_MX3L: Tensor | None = None
    node_ML: Tensor | None = None
    node_kind_ML: Tensor | None = None
    entity_label_BQ: Tensor | None = None
    entity_position_BQP: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with every tensor on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


FILLER = ""
"""The text that fills up an image's share; never valid."""


def collate(
    items: Sequence[Item], tokenize: Tokenize, *, labels: bool = True, fills: bool = False, more: Sequence[More] = ()
) -> Batch:
    """Put items together; every image may have any number of texts.

    Args:
        items: Items of one rank and step, either all or none with an image, likewise with any other optional field.
        tokenize: Texts to ids and mask (M, L).
        labels: Fill ``label_B``.
        fills: Fill ``text_valid_M`` even if all texts of these items count: on another rank some may not, and a loss
            that gathers the field must find it on all ranks or on none.
        more: Make further tensors of the items, by field name.
    """
    texts = [text for item in items for text in item.texts]
    ids_ML, mask_ML = tokenize(texts)
    return Batch(
        token_ids_ML=ids_ML,
        token_mask_ML=mask_ML,
        text_owner_M=torch.tensor([row for row, item in enumerate(items) for _ in item.texts]),
        group_B=torch.tensor([item.group for item in items]),
        concept_B=torch.tensor([item.concepts[0] if item.concepts else -1 for item in items]),
        concepts=[item.concepts for item in items],
        keys=[item.key for item in items],
        texts=texts,
        image_BCHW=_stacked([item.image_CHW for item in items]),
        image_features_BI=_stacked([item.feature_I for item in items]),
        label_B=torch.tensor([item.label for item in items]) if labels else None,
        image_tokens_BNI=_stacked([item.tokens_NI for item in items]),
        text_valid_M=torch.tensor([text != FILLER for text in texts]) if fills or FILLER in texts else None,
        text_aspect_M=_aspects(items),
        **_swaps(items, tokenize),
        triples=[triples for item in items for triples in item.triples],
        entity_label_BQ=_stacked([item.entity_label_Q for item in items]),
        entity_position_BQP=_stacked([item.entity_position_QP for item in items]),
        **{name: tensor for make in more for name, tensor in make(items).items()},  # type: ignore[arg-type]
    )


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    known = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(known) if known else None


def _aspects(items: Sequence[Item]) -> Tensor | None:
    if not any(item.aspects for item in items):
        return None
    code = {aspect: place for place, aspect in enumerate(ASPECTS)}
    return torch.tensor([code.get(aspect, -1) for item in items for aspect in item.aspects])


def _swaps(items: Sequence[Item], tokenize: Tokenize) -> dict[str, Tensor]:
    """Tokens of all swapped captions, and the row of the text each belongs to."""
    found, first = [], 0
    for item in items:
        found += [(swap, first + swap.of if swap.of >= 0 else -1) for swap in item.swaps]
        first += len(item.texts)
    if not found:
        return {}
    code = {kind: place for place, kind in enumerate(SWAPS)}
    ids_KL, mask_KL = tokenize([swap.text for swap, _ in found])
    return {
        "swap_ids_KL": ids_KL,
        "swap_mask_KL": mask_KL,
        "swap_of_K": torch.tensor([row for _, row in found]),
        "swap_kind_K": torch.tensor([code.get(swap.kind, -1) if row >= 0 else -1 for swap, row in found]),
    }

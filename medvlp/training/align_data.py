"""The rows of a pairs store as stage 2 sees them: caption, image and concepts of each place in each step.

Shape legend: C channels, H, W pixels, I image tower width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medvlp.data.augment import swap_sides
from medvlp.data.batch import FILLER, Batch, Item, More, Tokenize, collate
from medvlp.data.mirror import Mirror
from medvlp.data.plan import Plan
from medvlp.training.draws import Draw, Order, in_order
from medvlp.training.entity_strings import entity_string

if TYPE_CHECKING:
    from medvlp.data.augment import Augment
    from medvlp.data.entities import Entities
    from medvlp.data.pairs import PairsSplit, PairsStore
    from medvlp.data.swaps import Swaps
    from medvlp.data.transform import Preprocess
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.training.aspects import AspectTexts
    from medvlp.training.text_augment import TextAugment
    from medvlp.training.triples import Told

_DRAW = 3  # random stream of captions and augmentation, apart from the plan's
_SWAPS = 11  # and of swapped captions, so that asking for them changes nothing else


class AlignData(Dataset[Item]):
    """Makes the item of a :class:`Draw`; the same draw always gives the same item, in any process.

    Args:
        split: Rows of the store.
        concepts: Graph rows of each row; see :func:`concept_rows`.
        classes: Label names; the code of a label is its place here.
        texts: Caption augmentation, or None to take captions as they are.
        preprocess: Image to input tensor.
        augment: Image augmentation in front of ``preprocess``, or None.
        features: Cached image tower outputs instead of images, or None.
        texts_per_image: Captions per image and step.
        seed: Decides every draw.
        tokens: Cached image tower outputs by place, or None.
        aspects: Kinds of captions to use; None takes all. A row without any has one text that counts for nothing.
        repeat_texts: Repeat the captions of a row that has fewer; else fill up with texts that count for nothing.
        entities: What is present where in each image, or None.
        swaps: Draws swapped captions of the texts as they are shown, or None.
        entity_strings: Show what a text says of its findings in place of its words.
        aspect_texts: Makes the texts of each step from a row's captions and concepts; None takes the captions.
        told: What an encoder of triples is told in place of what the texts say, or None; see
            :func:`medvlp.training.triples.told_triples`.
    """

    def __init__(
        self,
        split: PairsSplit,
        concepts: Sequence[tuple[int, ...]],
        classes: Sequence[str],
        texts: TextAugment | None,
        preprocess: Preprocess,
        augment: Augment | None,
        features: NDArray[np.float32] | None,
        texts_per_image: int,
        seed: int,
        *,
        tokens: NDArray[np.float32] | None = None,
        aspects: Sequence[str] | None = None,
        repeat_texts: bool = True,
        entities: Entities | None = None,
        swaps: Swaps | None = None,
        entity_strings: bool = False,
        aspect_texts: AspectTexts | None = None,
        told: Told | None = None,
    ) -> None:
        self.split, self.concepts, self.texts = split, concepts, texts
        self.preprocess, self.augment, self.features = preprocess, augment, features
        self.texts_per_image, self.seed, self.entity_strings = texts_per_image, seed, entity_strings
        self.keys: list[str] = split.keys
        self.labels: list[str | None] = split.column("label")
        self.groups: NDArray[np.int64] = split.column("group")
        self.tokens, self.repeat_texts, self.entities, self.swaps = tokens, repeat_texts, entities, swaps
        self.aspect_texts, self.told = aspect_texts, told
        self.captions = [
            [text for text in texts if aspects is None or text.aspect in aspects] for texts in split.column("texts")
        ]
        fewest = 1 if repeat_texts else texts_per_image
        self.fills = aspect_texts is not None or any(len(own) < fewest for own in self.captions)
        self.mirror: Mirror | None = None
        if entities is not None:
            entities.check_keys(self.keys)
            self.mirror = Mirror(entities)
        self.code: Mapping[str | None, int] = {label: code for code, label in enumerate(classes)}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.split)

    def __getitem__(self, draw: Draw) -> Item:
        """Return the item of a draw.

        The image is augmented before words are dropped, so that a dropped "left" still keeps it from being mirrored.
        """
        rng = np.random.default_rng([self.seed, _DRAW, draw.step, draw.slot])
        row = draw.row
        own = self.captions[row]
        if self.aspect_texts is not None:
            own = self.aspect_texts(row, own, self.labels[row], rng)
        order = rng.permutation(len(own))
        count = self.texts_per_image if own and self.repeat_texts else min(self.texts_per_image, len(own))
        drawn = [int(order[place % len(own)]) for place in range(count)]
        texts = [own[place].text for place in drawn]
        known = None if self.entities is None else self.entities.of(self.keys[row])
        true = [text.text for text in own]
        image_CHW = feature_I = None
        if self.features is not None:
            feature_I = torch.from_numpy(np.array(self.features[row]))
        else:
            image = self.split[row].image
            if self.augment is not None:
                # Sided labels are mirrored, or keep the image from it, as sided texts do.
                sided = [] if known is None or self.mirror is None else self.mirror.texts(known)
                asked = [*texts, *sided]
                image, shown = self.augment(image, asked, rng)
                texts = shown[: len(texts)]
                if shown != asked:  # mirrored, and the words with it: so is what else is true
                    true = [mirrored for text in true if (mirrored := swap_sides(text)) is not None]
                    if known is not None and self.mirror is not None:
                        known = self.mirror.known(known, asked, shown)
            image_CHW = self.preprocess(image)
        label = self.labels[row]
        triples = [] if known is None else [known.triples_of(own[place].text) for place in drawn]
        told = triples
        if self.told is not None:
            told = [self.told.get((self.keys[row], own[place].text), ()) for place in drawn]
        if self.entity_strings:
            texts = [entity_string(text, found) for text, found in zip(texts, triples, strict=True)]
        if self.texts is not None:
            texts = [self.texts(text, self.concepts[row], label, rng)[0] for text in texts]
        filling = self.texts_per_image - count
        swaps = []
        if self.swaps is not None:
            of_swaps = np.random.default_rng([self.seed, _SWAPS, draw.step, draw.slot])
            swaps = self.swaps(texts, of_swaps, triples=triples, true=true)
        return Item(
            key=self.keys[row],
            group=int(self.groups[row]),
            texts=texts + [FILLER] * filling,
            aspects=[own[place].aspect for place in drawn] + [FILLER] * filling,
            tokens_NI=None if self.tokens is None else torch.from_numpy(np.array(self.tokens[row])),
            swaps=swaps,
            triples=[] if known is None else triples + [()] * filling,
            told=[] if known is None else told + [()] * filling,
            entity_label_Q=None if known is None else known.label_Q,
            entity_position_QP=None if known is None else known.position_QP,
            concepts=self.concepts[row],
            label=self.code.get(label, -1),
            image_CHW=image_CHW,
            feature_I=feature_I,
        )


def batches(
    data: AlignData,
    plan: Plan,
    tokenize: Tokenize,
    start: int,
    rank: int,
    world: int,
    num_workers: int,
    *,
    pin: bool,
    labels: bool,
    more: Sequence[More] = (),
) -> Iterator[Batch]:
    """Yield this rank's batches; the number of workers changes only the speed.

    Texts are tokenised here, in one process, so that cut ones are counted.
    """
    for items in in_order(data, Order(plan, start, rank, world), num_workers, pin=pin):
        yield collate(items, tokenize, labels=labels, fills=data.fills, more=more)


def concept_rows(
    split: PairsSplit, store: PairsStore, graph: DiseaseGraph | None
) -> tuple[list[tuple[int, ...]], list[str]]:
    """Return the graph rows of each row's concepts, and the ids the graph does not have.

    A row without concepts of its own gets those of its class.
    """
    if graph is None:
        return [()] * len(split), []
    own, labels, of_class = split.column("concepts"), split.column("label"), store.class_concepts
    unknown: dict[str, None] = {}
    rows = []
    for concepts, label in zip(own, labels, strict=True):
        found = []
        for concept in concepts or of_class.get(label, []):
            if concept in graph:
                found.append(graph.index(concept))
            else:
                unknown[concept] = None
        rows.append(tuple(dict.fromkeys(found)))
    return rows, list(unknown)


def cut_groups(groups_N: NDArray[np.int64], max_size: int, seed: int) -> NDArray[np.int64]:
    """Cut groups of more than ``max_size`` rows into even parts, whole classes for example.

    Parts of one group share label and concepts, so an objective that knows them never takes one as another's negative.

    Args:
        groups_N: Group of each row.
        max_size: Most rows of a part.
        seed: Decides which rows stay together.

    Returns:
        New group ids, 0 to the number of parts - 1.
    """
    rng = np.random.default_rng([seed, len(groups_N)])
    out_N, number = np.empty_like(groups_N), 0
    for group in np.unique(groups_N):
        rows = rng.permutation(np.flatnonzero(groups_N == group))
        for part in np.array_split(rows, -(-len(rows) // max_size)):
            out_N[part] = number
            number += 1
    return out_N

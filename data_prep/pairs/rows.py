"""From read images to rows of the store: classes, captions, concepts, cases, splits and semantic groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import numpy as np

from data_prep.pairs.captions import ClassInfo, describe_class, template_texts
from data_prep.pairs.config import ClassEntry, PairsConfig
from data_prep.pairs.groups import join, near_duplicate_images, near_duplicate_texts, same_key
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import check_given_splits, draw_splits
from data_prep.text import link
from medvlp.data.pairs import Row
from medvlp.errors import DataError
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph


@dataclass
class Spool:
    """Read images on disk between reading and writing: encoded bytes, their places, their fingerprints."""

    stream: IO[bytes]
    items: list[Item] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    fingerprints: list[np.ndarray] = field(default_factory=list)

    def add(self, item: Item, data: bytes, embedding: np.ndarray) -> None:
        """Append one image."""
        self.places.append((self.stream.seek(0, 2), len(data)))
        self.stream.write(data)
        self.items.append(item)
        length = float(np.linalg.norm(embedding))
        self.fingerprints.append((embedding / length if length > 0 else embedding).astype(np.float16))

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of one image."""
        start, length = self.places[index]
        self.stream.seek(start)
        return self.stream.read(length)


class Rows:
    """Decides everything about the rows at once, then streams them in the order of the source.

    Raises:
        DataError: If a case is in two given splits, or nothing is left.
    """

    def __init__(
        self, spool: Spool, listing: Listing, config: PairsConfig, graph: DiseaseGraph | None, ledger: Ledger
    ) -> None:
        self.spool, self.config, self.graph = spool, config, graph
        self.notes: dict[str, int] = {}
        self.classes: dict[str, ClassInfo] = {
            label: describe_class(
                label,
                config.classes.get(label, ClassEntry(concepts=listing.label_concepts.get(label, []))),
                listing.label_names.get(label),
                graph,
                config.captions.graph_names,
            )
            for label in sorted({label for item in spool.items for label in item.all_labels})
        }
        _check_names(self.classes)
        self.concepts: dict[int, list[str]] = {}
        self.kept = [index for index, item in enumerate(spool.items) if self._keep(index, item, ledger)]
        if not self.kept:
            raise DataError("no image is left", item="source", remedy=f"{ledger}")
        self.items = [spool.items[index] for index in self.kept]
        self.image_cluster_N = self._image_clusters()
        self.cases = self._cases()
        self.splits = self._splits()
        self.group_N = self._groups()

    @property
    def num_groups(self) -> int:
        """Number of different semantic groups."""
        return len(np.unique(self.group_N))

    def stream(self) -> Iterator[Row]:
        """Yield the rows; captions are drawn from (seed, position in the source)."""
        for position, (index, item) in enumerate(zip(self.kept, self.items, strict=True)):
            texts, labels = list(item.texts), item.all_labels
            if labels and (not texts or self.config.captions.beside_texts):
                named = [self.classes[label].names for label in labels]
                drawn = [template_texts(n, self.config.captions, self.config.split.seed, index) for n in named]
                texts += dict.fromkeys(text for one in drawn for text in one)
            yield Row(
                key=item.key,
                image=self.spool.read(index),
                texts=texts,
                split=self.splits[position],
                case=self.cases[position],
                group=int(self.group_N[position]),
                label=self.classes[labels[0]].name if len(labels) == 1 else None,
                concepts=self.concepts[index],
                labels=[self.classes[label].name for label in item.labels],
            )

    def _keep(self, index: int, item: Item, ledger: Ledger) -> bool:
        """Find the image's concepts; drop what has neither text nor class, or (if asked) no concept."""
        if not item.all_labels and not item.texts:
            ledger.drop(item.key, "empty caption")
            return False
        concepts = [concept for label in item.all_labels for concept in self.classes[label].concepts]
        concepts += item.concepts
        if self.graph is not None:
            concepts += [hit.concept for text in item.texts for hit in link(text.text, self.graph)]
        if not concepts and self.config.unlinked == "drop":
            ledger.drop(item.key, "no linked concept")
            return False
        self.concepts[index] = list(dict.fromkeys(concepts))
        ledger.keep()
        return True

    def _image_clusters(self) -> np.ndarray:
        if not self.config.groups.near_duplicates:
            return np.arange(len(self.kept), dtype=np.int64)
        embedding_ND = np.stack([self.spool.fingerprints[index] for index in self.kept])
        cluster_N = near_duplicate_images(embedding_ND, self.config.groups.image_cosine)
        self._note("images near-identical to an earlier one", len(cluster_N) - len(np.unique(cluster_N)))
        labels: dict[int, set[str | None]] = {}
        for cluster, item in zip(cluster_N.tolist(), self.items, strict=True):
            labels.setdefault(cluster, set()).add(_class_of(item))
        self._note("near-identical images with different labels", sum(len(found) > 1 for found in labels.values()))
        return cluster_N

    def _cases(self) -> list[str]:
        """The given case; without one, images of a near-duplicate cluster are one case (if no split is given)."""
        if any(item.split is not None for item in self.items):
            return [item.case if item.case is not None else item.key for item in self.items]
        first: dict[int, str] = {}
        for item, cluster in zip(self.items, self.image_cluster_N.tolist(), strict=True):
            first.setdefault(cluster, item.key)
        return [
            item.case if item.case is not None else first[cluster]
            for item, cluster in zip(self.items, self.image_cluster_N.tolist(), strict=True)
        ]

    def _splits(self) -> list[str]:
        given = [item.split for item in self.items]
        check_given_splits(self.cases, given)
        splits = [split for split in given if split is not None]
        if len(splits) < len(given):
            labels = [_class_of(item) for item in self.items]
            splits = draw_splits(self.cases, labels, self.config.split.fractions, self.config.split.seed)
        split_of_cluster: dict[int, set[str]] = {}
        for cluster, split in zip(self.image_cluster_N.tolist(), splits, strict=True):
            split_of_cluster.setdefault(cluster, set()).add(split)
        self._note("near-identical images in several splits", sum(len(f) > 1 for f in split_of_cluster.values()))
        return splits

    def _groups(self) -> np.ndarray:
        """Given groups; else classes; else what the images show and the texts say."""
        options = self.config.groups
        if all(item.group is not None for item in self.items):
            return same_key([item.group for item in self.items])
        keys: Sequence[str | None] = [_class_of(item) if options.by_label else None for item in self.items]
        free = np.array([position for position, key in enumerate(keys) if key is None], dtype=np.int64)
        group_N = same_key(keys)
        if len(free) == 0:
            return group_N
        clusterings = [same_key([str(self.image_cluster_N[i]) for i in free])]
        if options.captions:
            clusterings.append(near_duplicate_texts([_joined(self.items[i]) for i in free], options.caption_iou))
        if options.by_concepts:
            sets = [sorted(self.concepts[self.kept[i]]) for i in free]
            clusterings.append(same_key([" ".join(concepts) if concepts else None for concepts in sets]))
        group_N[free] = join(*clusterings) + len(keys)
        return same_key([str(group) for group in group_N])

    def _note(self, what: str, count: int) -> None:
        if count > 0:
            self.notes[what] = count


def _class_of(item: Item) -> str | None:
    """The label; several labels together are a class of their own for splits and groups."""
    return "\0".join(sorted(item.labels)) or item.label


def _joined(item: Item) -> str:
    return " ".join(text.text for text in item.texts)


def _check_names(classes: dict[str, ClassInfo]) -> None:
    """Refuse two labels with one display name: they would silently become one class."""
    owner: dict[str, str] = {}
    for label, info in classes.items():
        if owner.setdefault(info.name, label) != label:
            raise DataError(
                f"labels {owner[info.name]!r} and {label!r} have the same name", item=info.name, remedy="rename one"
            )


def warnings(rows: Rows, sampled: bool = False) -> list[str]:
    """What is no mistake but weakens what is built on the store: one line each, with the remedy.

    Args:
        rows: The rows.
        sampled: They are a sample, so that nothing is said about counts.
    """
    out = []
    cases: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for item, case in zip(rows.items, rows.cases, strict=True):
        for label in item.all_labels:
            cases.setdefault(label, set()).add(case)
            counts[label] = counts.get(label, 0) + 1
    for label, info in rows.classes.items():
        if label not in counts:
            continue
        if counts[label] == 1 and not sampled:
            out.append(f"class {info.name!r} has one image, so it is in one split only; add images or leave it out")
        elif len(cases[label]) == 1 and not sampled:
            out.append(f"class {info.name!r} is of one case, so it is in one split only; add cases or leave it out")
        if rows.graph is not None and not info.concepts:
            remedy = f"set classes.{label}.concepts or aliases"
            out.append(f"no concept of the graph matches the class {info.name!r}; {remedy}")
    shares = {} if sampled else rows.config.split.fractions
    out += [
        f"the split {split!r} is empty; add cases, or change how the split is made"
        for split, share in shares.items()
        if share > 0 and split not in rows.splits
    ]
    return out

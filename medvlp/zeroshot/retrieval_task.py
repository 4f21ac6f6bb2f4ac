"""What is looked up among what: the images of a split, their distinct texts, and which belongs to which.

Several texts may describe one image and one text several images, so the right answers of a query are a set.

Shape legend: I images, T distinct texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.ledger import Ledger

MADE_FROM_CLASSES = ("class-template", "name")


@dataclass(frozen=True)
class RetrievalTask:
    """Images and texts of one split.

    Attributes:
        split: Name of the split.
        aspects: Aspects of the texts that are used.
        rows_I: Row of each image in the split.
        keys_I: Key of each image.
        texts_T: The distinct texts; never logged.
        texts_of_I: Numbers of each image's texts.
        images_of_T: Numbers of each text's images.
        case_I: Resampling unit of each image: its case, joined with every case that shares a text with it.
        case_T: Resampling unit of each text.
        ledger: Images kept and dropped, by reason.
    """

    split: str
    aspects: tuple[str, ...]
    rows_I: NDArray[np.int64]
    keys_I: tuple[str, ...]
    texts_T: tuple[str, ...]
    texts_of_I: tuple[NDArray[np.int64], ...]
    images_of_T: tuple[NDArray[np.int64], ...]
    case_I: tuple[int, ...]
    case_T: tuple[int, ...]
    ledger: Ledger

    @property
    def num_cases(self) -> int:
        """Distinct resampling units."""
        return len(set(self.case_I))

    @property
    def num_shared(self) -> int:
        """Texts that belong to more than one image."""
        return sum(len(images) > 1 for images in self.images_of_T)

    @property
    def digest(self) -> str:
        """Sha256 over keys, units and texts of each image, in order."""
        texts = [[self.texts_T[t] for t in of_image] for of_image in self.texts_of_I]
        return sha256_json([list(self.keys_I), list(self.case_I), texts])


def build_retrieval_task(split: Any, aspects: Sequence[str] | None = None) -> RetrievalTask:
    """Read a split; every row is either in the task or in its ledger.

    Args:
        split: A split of a pairs store.
        aspects: Aspects of texts to use; by default all but those made from class names.

    Raises:
        DataError: If no image has such a text, or all images share one.
    """
    texts, cases, keys = split.column("texts"), split.column("case"), split.keys
    found = {text.aspect for row in texts for text in row}
    used = tuple(sorted(found - set(MADE_FROM_CLASSES))) if aspects is None else tuple(aspects)
    unknown = [aspect for aspect in used if aspect not in found]
    if unknown:
        raise DataError(
            f"no text has the aspect {unknown[0]!r}",
            item=f"split {split.name}",
            remedy=f"use some of {', '.join(sorted(found)) or 'none'}",
        )
    ledger = Ledger()
    number: dict[str, int] = {}
    rows, texts_of = [], []
    for row, own in enumerate(texts):
        plain = dict.fromkeys(" ".join(text.text.split()) for text in own if text.aspect in used)
        if not plain:
            ledger.drop(keys[row], "no text of these aspects")
            continue
        ledger.keep()
        rows.append(row)
        texts_of.append(np.array([number.setdefault(text, len(number)) for text in plain], dtype=np.int64))
    if len(number) < 2:
        problem = "no image has a text of its own" if not number else "all images have one and the same text"
        raise DataError(
            problem, item=f"split {split.name}", remedy="retrieval needs notes or captions, not class names"
        )
    images_of: list[list[int]] = [[] for _ in number]
    for image, of_image in enumerate(texts_of):
        for text in of_image.tolist():
            images_of[text].append(image)
    unit_I = _units([cases[row] for row in rows], images_of)
    return RetrievalTask(
        split=split.name,
        aspects=used,
        rows_I=np.array(rows, dtype=np.int64),
        keys_I=tuple(keys[row] for row in rows),
        texts_T=tuple(number),
        texts_of_I=tuple(texts_of),
        images_of_T=tuple(np.array(images, dtype=np.int64) for images in images_of),
        case_I=tuple(unit_I.tolist()),
        case_T=tuple(int(unit_I[images[0]]) for images in images_of),
        ledger=ledger,
    )


def _units(cases: Sequence[str], images_of: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Number the cases, with cases that share a text as one: they are not independent."""
    first: dict[str, int] = {}
    head = [first.setdefault(case, image) for image, case in enumerate(cases)]
    tail = list(range(len(cases)))
    for images in images_of:
        head += [images[0]] * len(images)
        tail += list(images)
    graph = sparse.coo_matrix((np.ones(len(head), dtype=bool), (head, tail)), shape=(len(cases), len(cases)))
    return connected_components(graph, directed=False)[1].astype(np.int64)

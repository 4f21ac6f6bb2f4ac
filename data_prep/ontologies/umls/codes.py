"""Small tools that all tables share: concept ids as numbers, counted drops, names met so far."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import GraphError
from medvlp.io import require
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl

NUM_CUIS = 10_000_000
"""One more than the largest number in a concept identifier (C and seven digits)."""

Ints = NDArray[np.int32]
Keys = NDArray[np.int64]
Bools = NDArray[np.bool_]


def concept_ids(numbers: pl.Series) -> pl.Series:
    """Return ``UMLS:C0000005`` for 5, and so on."""
    pl = require("polars", "ontologies")
    padded = (numbers + NUM_CUIS).cast(pl.String).str.slice(1)
    return ("UMLS:C" + padded).alias(numbers.name)


def concept_id(number: int) -> str:
    """Return the id of one concept."""
    return f"UMLS:C{number:07d}"


def drop_many(ledger: Ledger, reason: str, count: int, numbers: Iterable[int] = ()) -> None:
    """Count many dropped items at once; ``numbers`` are concepts shown as examples."""
    if not count:
        return
    ledger.dropped[reason] += int(count)
    shown = [concept_id(int(number)) for number in islice(numbers, ledger.max_examples)]
    if shown:
        ledger.examples[reason] = (ledger.examples.get(reason, []) + shown)[: ledger.max_examples]


class Vocabulary:
    """Texts numbered in the order they are met: source names, relation names."""

    def __init__(self) -> None:
        self.number_of: dict[str, int] = {}

    def encode(self, texts: pl.Series) -> NDArray[np.int64]:
        """Return the number of each text, new ones included."""
        pl = require("polars", "ontologies")
        for text in texts.unique().sort():
            self.number_of.setdefault(text, len(self.number_of))
        return texts.replace_strict(self.number_of, return_dtype=pl.Int64).to_numpy()

    def in_order(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the texts sorted, and the place of each number among them."""
        texts = sorted(self.number_of)
        place = {text: i for i, text in enumerate(texts)}
        return texts, np.array([place[text] for text in self.number_of], dtype=np.int64)


def check_known(asked: Sequence[str], known: Iterable[str], what: str, key: str) -> None:
    """Refuse a name in the configuration that the release does not hold.

    Raises:
        GraphError: Naming the first unknown one and the nearest known.
    """
    valid = list(known)
    for name in asked:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, 3, cutoff=0.5)
            hint = f"nearest: {', '.join(near)}" if near else f"it has {', '.join(sorted(valid)[:12]) or 'none'}"
            raise GraphError(f"the release holds no such {what}", item=f"{key}: {name}", remedy=hint)

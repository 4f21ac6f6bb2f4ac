"""What is asked of which images: classes, truth, cases, and every row accounted for.

Shape legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.ledger import Ledger
from medvlp.metrics import hierarchy

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

Mode = Literal["single", "multi"]


@dataclass(frozen=True)
class Hierarchy:
    """Class-by-class credit and distance on the graph; None where it is undefined, with the reason."""

    credit_KK: NDArray[np.float64]
    above_KK: NDArray[np.bool_]
    distance_KK: NDArray[np.float64]
    unplaced: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """The labelled rows of one split.

    Attributes:
        split: Name of the split.
        classes: Class labels in order.
        mode: One class per image, or any number.
        rows_N: Row of each image in the split.
        target_NK: Truth; exactly one True per row in single mode.
        keys: Key of each image.
        cases: Case of each image, the unit of resampling.
        columns: Classes that the ranking metrics average over (all, or the one positive class).
        ledger: Rows kept and dropped, by reason.
    """

    split: str
    classes: tuple[str, ...]
    mode: Mode
    rows_N: NDArray[np.int64]
    target_NK: NDArray[np.bool_]
    keys: tuple[str, ...]
    cases: tuple[str, ...]
    columns: tuple[int, ...]
    ledger: Ledger

    def __len__(self) -> int:
        return len(self.rows_N)

    @property
    def target_N(self) -> NDArray[np.int64]:
        """Class number of each image (single mode)."""
        return self.target_NK.argmax(1)

    @property
    def num_cases(self) -> int:
        """Distinct cases."""
        return len(set(self.cases))

    @property
    def digest(self) -> str:
        """Sha256 over keys, cases and truth, in order."""
        return sha256_json([list(self.keys), list(self.cases), list(self.classes), self.target_NK.astype(int).tolist()])


def build_task(
    split: Any,
    classes: Sequence[str],
    class_concepts: Mapping[str, Sequence[str]],
    *,
    mode: Mode = "single",
    graph: DiseaseGraph | None = None,
    positive: str | None = None,
) -> Task:
    """Read the truth of a split; every row is either in the task or in its ledger.

    In multi mode a class is present where the row carries one of its concepts, a descendant of one (with a graph),
    or its label (one of its labels, where the set gives several).

    Raises:
        DataError: If ``positive`` is not a class.
    """
    if positive is not None and positive not in classes:
        raise DataError("is not a class", item=f"positive: {positive}", remedy=f"use one of {', '.join(classes)}")
    labels, keys, cases = split.column("label"), split.keys, split.column("case")
    number = {label: position for position, label in enumerate(classes)}
    ledger = Ledger()
    target_NK = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, label in enumerate(labels):
        if label in number:
            target_NK[row, number[label]] = True
    if mode == "multi":
        for row, several in enumerate(split.column("labels")):
            target_NK[row, [number[label] for label in several if label in number]] = True
        target_NK |= _present(split.column("concepts"), classes, class_concepts, graph)
        rows = list(range(len(labels)))
    else:
        rows = []
        for row, label in enumerate(labels):
            if label in number:
                rows.append(row)
            else:
                ledger.drop(keys[row], "no label" if label is None else "label outside the evaluated classes")
    ledger.keep(len(rows))
    columns = range(len(classes)) if positive is None else [number[positive]]
    assert len(set(keys)) == len(keys), "keys are unique in a store"
    assert ledger.kept + sum(ledger.dropped.values()) == len(split), "every row is counted once"
    return Task(
        split=split.name,
        classes=tuple(classes),
        mode=mode,
        rows_N=np.array(rows, dtype=np.int64),
        target_NK=target_NK[rows],
        keys=tuple(keys[row] for row in rows),
        cases=tuple(cases[row] for row in rows),
        columns=tuple(columns),
        ledger=ledger,
    )


def _present(
    concepts_N: Sequence[Sequence[str]],
    classes: Sequence[str],
    class_concepts: Mapping[str, Sequence[str]],
    graph: DiseaseGraph | None,
) -> NDArray[np.bool_]:
    present_NK = np.zeros((len(concepts_N), len(classes)), dtype=bool)
    for column, label in enumerate(classes):
        wanted = set(class_concepts.get(label, ()))
        if graph is not None:
            wanted |= {below for concept in list(wanted) if concept in graph for below in graph.descendants(concept)}
        present_NK[:, column] = [not wanted.isdisjoint(concepts) for concepts in concepts_N]
    return present_NK


def build_hierarchy(
    graph: DiseaseGraph | None, classes: Sequence[str], class_concepts: Mapping[str, Sequence[str]]
) -> Hierarchy | None:
    """Place each class at its first concept in the graph; None unless at least two classes have a place."""
    if graph is None:
        return None
    places = [next((c for c in class_concepts.get(label, ()) if c in graph), None) for label in classes]
    if sum(place is not None for place in places) < 2:
        return None
    node_K = [-1 if place is None else graph.index(place) for place in places]
    return Hierarchy(
        hierarchy.ancestor_credit(graph.closure, node_K),
        hierarchy.equal_or_ancestor(graph.closure, node_K),
        hierarchy.class_distances(graph.distance, places),
        tuple(label for label, place in zip(classes, places, strict=True) if place is None),
    )

"""Classes as a person writes them, concept ids or plain names, and what the graph knows of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medvlp.errors import DataError
from medvlp.knowledge.names import normalise

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

_ID = re.compile(r"[A-Za-z][\w.-]*:\S+")
_TRUSTED = ("preferred", "exact", "xref_merge")


@dataclass(frozen=True)
class Classes:
    """Classes in the order they were given.

    Attributes:
        labels: As they were written.
        concepts: Concept ids of each label; none where the graph has no such name.
        names: What to call each label: the preferred name of its concept, or the label itself.
    """

    labels: tuple[str, ...]
    concepts: dict[str, list[str]]
    names: dict[str, str]

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Labels without a concept: only their own words describe them."""
        return tuple(label for label in self.labels if not self.concepts[label])


def resolve_classes(classes: Sequence[str], graph: DiseaseGraph | None = None, least: int = 2) -> Classes:
    """Find the concepts of classes.

    A label the graph has as an id stands for that concept. Any other label is looked up as a name (preferred, exact, or
    of a merged concept); where several concepts carry it, those that prefer it count, else all of them.

    Args:
        classes: Concept ids, plain names, or both.
        graph: Where to look; None takes every label as a plain name.
        least: How many classes are needed.

    Raises:
        DataError: If there are fewer, one is empty or no text, two are the same, or an id is given without a graph.
        GraphError: For an unknown id, with the nearest ones.
    """
    if isinstance(classes, str) or not all(isinstance(label, str) and label.strip() for label in classes):
        raise DataError("expected a list of concept ids or names", item="classes", remedy="pass a list of strings")
    labels = tuple(label.strip() for label in classes)
    if len(labels) < least:
        known = f"only {labels[0]!r}" if labels else "none"
        raise DataError(
            f"at least {least} {'classes are' if least > 1 else 'class is'} needed, got {known}",
            item="classes",
            remedy="name what else it could be, for example normal",
        )
    concepts = {label: _concepts(label, graph) for label in labels}
    owners: dict[object, str] = {}
    for number, label in enumerate(labels):
        for key in (normalise(label) or label, frozenset(concepts[label]) or label):
            other = owners.setdefault(key, label)
            if other != label or label in labels[:number]:
                raise DataError(
                    f"{other!r} and {label!r} are the same class", item="classes", remedy="give each class once"
                )
    names = {
        label: graph.name(concepts[label][0]) if graph is not None and concepts[label] else label for label in labels
    }
    return Classes(labels, concepts, names)


def _concepts(label: str, graph: DiseaseGraph | None) -> list[str]:
    if graph is None:
        if _ID.fullmatch(label):
            raise DataError("is a concept id, which means nothing without a graph", item=label, remedy="pass graph")
        return []
    if label in graph or _ID.fullmatch(label):
        return [graph.ids[graph.index(label)]]
    wanted = normalise(label)
    found: dict[str, list[str]] = {kind: [] for kind in _TRUSTED}
    for concept in graph.find(label):
        kinds = {name.kind for name in graph.names(concept) if normalise(name.text) == wanted}
        best = next((kind for kind in _TRUSTED if kind in kinds), None)
        if best is not None:
            found[best].append(concept)
    return found["preferred"] or [*found["exact"], *found["xref_merge"]]

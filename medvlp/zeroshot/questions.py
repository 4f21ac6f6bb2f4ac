"""What an evaluation asks: which images, of which classes, with which prompts. Opened without any model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.prompts import PromptSet, from_config
from medvlp.zeroshot.task import Task, build_task

if TYPE_CHECKING:
    from PIL import Image

    from medvlp.data.pairs import PairsStore
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.zeroshot.evaluate import EvaluateConfig


@dataclass(frozen=True)
class Questions:
    """Everything of an evaluation but the model.

    Attributes:
        store: The pairs store.
        graph: The graph, if one is named.
        classes: Labels in order.
        concepts: Concept ids per label.
        tasks: The labelled rows by split name: the scored one, the one thresholds are fitted on, and train.
        task: The scored one.
        development: The one thresholds are fitted on; None if it is empty or the scored one.
        prompts: Texts per class.
        needs_absence: Whether prompts for absence are embedded too.
    """

    store: PairsStore
    graph: DiseaseGraph | None
    classes: list[str]
    concepts: dict[str, list[str]]
    tasks: dict[str, Task]
    task: Task
    development: Task | None
    prompts: PromptSet
    needs_absence: bool

    def images(self) -> Iterator[tuple[str, Image.Image]]:
        """Yield key and image of every row that will be embedded, once each."""
        for part in (self.task, self.development):
            if part is not None:
                split = self.store.split(part.split)
                for row, key in zip(part.rows_N.tolist(), part.keys, strict=True):
                    yield key, split[row].image

    def texts(self) -> list[str]:
        """Return every text that will be embedded, once each, in a fixed order."""
        absent = self.prompts.absent if self.needs_absence else ()
        distinct = {text for texts in (*self.prompts.texts, *absent) for text in texts}
        return sorted(distinct, key=lambda text: (len(text), text))


def ask(config: EvaluateConfig) -> Questions:
    """Open store and graph, find the rows, make the prompts.

    Raises:
        DataError: If thresholds were to be fitted on test, the split is empty, or classes are missing.
        GraphError: If a class's concept is not in the graph.
    """
    from medvlp.data.pairs import PairsStore

    refuse_test(config.fit_split)
    return ask_store(config, PairsStore.load(resolve_path(config.data)), _graph(config))


def ask_store(config: EvaluateConfig, store: PairsStore, graph: DiseaseGraph | None) -> Questions:
    """Do as :func:`ask` with a store and a graph that are open already; ``config.data`` is only named in messages."""
    refuse_test(config.fit_split)
    classes, concepts = _classes(config, store)
    options: dict[str, Any] = {"mode": config.mode, "graph": graph, "positive": config.positive}
    tasks: dict[str, Task] = {
        name: build_task(store.split(name), classes, concepts, **options)
        for name in {config.split, config.fit_split, "train"}
    }
    task = tasks[config.split]
    if len(task) == 0:
        raise DataError("holds no labelled row", item=f"split {config.split} of {config.data}", remedy="choose another")
    fitted = tasks[config.fit_split] if config.fit_split != config.split and len(tasks[config.fit_split]) else None
    prompts = from_config(config.prompts, graph, {label: concepts[label] for label in classes}, config.seed)
    absence = config.mode == "multi" and config.multi_score == "pairs"
    return Questions(store, graph, classes, concepts, tasks, task, fitted, prompts, absence)


def _graph(config: EvaluateConfig) -> DiseaseGraph | None:
    if config.graph is None:
        return None
    from medvlp.knowledge.graph import DiseaseGraph

    return DiseaseGraph.load(resolve_path(config.graph))


def _classes(config: EvaluateConfig, store: PairsStore) -> tuple[list[str], dict[str, list[str]]]:
    classes = store.classes if config.classes is None else list(config.classes)
    unknown = sorted((set(classes) | set(config.class_concepts)) - set(store.classes))
    if unknown:
        known = ", ".join(store.classes) or "none"
        raise DataError("is not a class of the data", item=unknown[0], remedy=f"its classes are {known}")
    if len(set(classes)) != len(classes) or len(classes) < (2 if config.mode == "single" else 1):
        raise DataError(
            f"{len(set(classes))} distinct classes", item=config.data, remedy="a single-label task needs at least two"
        )
    return classes, {**store.class_concepts, **config.class_concepts}

"""Template captions: class names and synonyms put into sentences, drawn reproducibly for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.pairs.config import CaptionConfig, ClassEntry
from data_prep.text import link
from medvlp.data.pairs import Text

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph


@dataclass(frozen=True)
class ClassInfo:
    """A class as prepared: display name, every name to write captions with, concept ids."""

    name: str
    names: tuple[str, ...]
    concepts: tuple[str, ...]


def describe_class(
    label: str, entry: ClassEntry | None, given_name: str | None, graph: DiseaseGraph | None, graph_names: bool
) -> ClassInfo:
    """Find a class's names and concepts.

    Concepts are those of the configuration (checked against the graph), else those that carry the display name or an
    alias exactly, else those the display name contains.

    Raises:
        GraphError: If the configuration names a concept the graph does not hold.
    """
    entry = entry if entry is not None else ClassEntry()
    name = entry.name if entry.name is not None else (given_name if given_name is not None else label)
    names = [name, *entry.aliases]
    concepts = list(entry.concepts)
    if graph is not None:
        if concepts:
            graph.indices(concepts)
        else:
            found = next((hits for hits in map(graph.find, names) if hits), [])
            concepts = list(found) if found else [hit.concept for hit in link(name, graph)]
        if graph_names:
            names += [text for concept in concepts for text in graph.texts(concept)]
    return ClassInfo(name, tuple(dict.fromkeys(names)), tuple(dict.fromkeys(concepts)))


def template_texts(names: Sequence[str], config: CaptionConfig, seed: int, index: int) -> list[Text]:
    """Draw different captions for one image; the first one always uses the display name.

    Args:
        names: Names of the class, display name first.
        config: Templates and number of captions.
        seed: Seed of the store.
        index: Position of the image in the source.
    """
    rng = np.random.default_rng([seed, index])
    templates = config.templates
    total = len(names) * len(templates)
    first = int(rng.integers(len(templates)))
    others = [int(choice) for choice in rng.permutation(total) if int(choice) != first]
    chosen = [first, *others[: config.num_texts - 1]]
    return [
        Text(templates[choice % len(templates)].replace("{}", names[choice // len(templates)]), "class-template")
        for choice in chosen
    ]

"""Prompts of every class, made from the graph's names, definitions and paths, or read from a file, and hashed.

A score depends on its prompts as much as on its model, so a :class:`PromptSet` knows where each text came from and
has a digest that goes into the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from medvlp.config import Config
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_json, write_json
from medvlp.zeroshot import templates as wordings

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

FORMAT = "medvlp-prompts-1"


class PromptConfig(Config):
    """How prompts are made."""

    templates: str = Field("general", description="Wordings: general, pathology, radiology, plain, or a file.")
    names: Literal["preferred", "synonyms"] = Field(
        "synonyms", description="Use each concept's preferred name only, or its exact synonyms too."
    )
    max_names: int = Field(8, ge=1, le=1000, description="Names per class; the preferred ones always stay.")
    num_paths: int = Field(0, ge=0, le=64, description="Hypernym paths per concept, root to leaf, added as names.")
    num_definitions: int = Field(0, ge=0, le=64, description="Definitions per concept, added as they are.")
    absent: str | None = Field(None, description="File of wordings for absence in multi-label scoring.")
    file: str | None = Field(None, description="Prompt file to use instead (own, KEEP or KEP layout).")
    display_names: dict[str, str] = Field({}, description="Name of a class where no concept gives one.")


@dataclass(frozen=True)
class Prompt:
    """One text with its origin: the kind of name, its concept, the name inside the wording, the ids along a path."""

    text: str
    kind: str
    concept: str | None = None
    name: str | None = None
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """Prompts per class, in class order.

    Attributes:
        classes: Class labels.
        prompts: Prompts of each class, at least one.
        absent: Texts for the absence of each class; empty where not asked for.
        fallback: Classes that no concept gave a name; their display name was used.
        dropped: Names left out, counted by reason.
        source: Where the prompts came from.
    """

    classes: tuple[str, ...]
    prompts: tuple[tuple[Prompt, ...], ...]
    absent: tuple[tuple[str, ...], ...] = ()
    fallback: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    source: str = "graph"

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The texts of each class, in class order."""
        return tuple(tuple(prompt.text for prompt in prompts) for prompts in self.prompts)

    @property
    def digest(self) -> str:
        """Sha256 of classes and texts, in order: equal digests mean equal prompts."""
        return sha256_json([list(self.classes), self.texts, self.absent])

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON, with the digest."""
        return {
            "format": FORMAT,
            "digest": self.digest,
            "source": self.source,
            "fallback": list(self.fallback),
            "dropped": dict(self.dropped),
            "classes": {
                label: [{"text": p.text, "kind": p.kind, "concept": p.concept} for p in prompts]
                for label, prompts in zip(self.classes, self.prompts, strict=True)
            },
            "absent": [list(texts) for texts in self.absent],
        }

    def save(self, path: Path) -> None:
        """Write a prompt file that :func:`medvlp.zeroshot.prompt_files.load` reads."""
        write_json(path, self.to_json())

    def subset(self, classes: Sequence[str]) -> PromptSet:
        """Return these classes in this order.

        Raises:
            DataError: If a class has no prompts here.
        """
        missing = [label for label in classes if label not in self.classes]
        if missing:
            raise DataError(
                f"no prompts for the class {missing[0]!r}", item=self.source, remedy=f"it has {', '.join(self.classes)}"
            )
        rows = [self.classes.index(label) for label in classes]
        return PromptSet(
            tuple(classes),
            tuple(self.prompts[row] for row in rows),
            tuple(self.absent[row] for row in rows) if self.absent else (),
            tuple(label for label in self.fallback if label in classes),
            self.dropped,
            self.source,
        )


def build_prompts(
    graph: DiseaseGraph | None,
    concepts_by_class: Mapping[str, Sequence[str]],
    templates: str | Sequence[str] = "general",
    seed: int = 0,
    *,
    names: Literal["preferred", "synonyms"] = "synonyms",
    max_names: int = 8,
    num_paths: int = 0,
    num_definitions: int = 0,
    absent_templates: Sequence[str] = (),
    display_names: Mapping[str, str] | None = None,
) -> PromptSet:
    """Make prompts: names (and hypernym paths) times wordings, then definitions.

    A name that two classes share after normalisation says nothing about either and is left out of both. A class
    left without a name is called by its display name.

    Args:
        graph: Source of names; None uses display names only.
        concepts_by_class: Concept ids of every class, in class order.
        templates: A named set, a file, or wordings with ``{name}``.
        seed: Chooses among more than ``max_names`` names, and the parents on a path.
        names: Preferred names only, or exact synonyms too (broad, narrow and related ones are never used).
        max_names: Names per class; preferred names come first and always stay.
        num_paths: Hypernym paths per concept.
        num_definitions: Definitions per concept.
        absent_templates: Wordings for absence, filled with each class's names.
        display_names: What to call a class without names; by default its label, underscores as spaces.

    Raises:
        GraphError: If the graph lacks a concept.
        DataError: If no class is given, or two classes end up with the same texts.
    """
    if not concepts_by_class:
        raise DataError("no class to make prompts for", item="prompts", remedy="label the data or name the classes")
    chosen = wordings.load(templates) if isinstance(templates, str) else wordings.checked(templates, "templates")
    absent_chosen = wordings.checked(absent_templates, "absent templates")
    known: dict[str, list[Prompt]] = {label: [] for label in concepts_by_class}
    if graph is not None:
        for label, concepts in concepts_by_class.items():
            known[label] = [name for concept in concepts for name in _names(graph, concept, names)]
    known, num_shared = _without_shared(known)
    fallback = tuple(label for label, found in known.items() if not found)
    prompts, absent = [], []
    for position, (label, concepts) in enumerate(concepts_by_class.items()):
        rng = np.random.default_rng([seed, position])
        display = (display_names or {}).get(label, label.replace("_", " "))
        used = _limited(known[label], max_names, rng) or [Prompt(display, "display-name")]
        extra: list[Prompt] = []
        for concept in concepts if graph is not None and known[label] else ():
            used = used + _paths(graph, concept, num_paths, rng)
            texts = graph.definitions(concept)[:num_definitions] if graph is not None else []
            extra += [Prompt(text, "definition", concept) for text in texts]
        filled = [replace(name, text=wordings.fill(t, name.text), name=name.text) for name in used for t in chosen]
        prompts.append(tuple({prompt.text: prompt for prompt in [*filled, *extra]}.values()))
        absent.append(tuple(wordings.fill(t, name.text) for name in used for t in absent_chosen))
    made = PromptSet(
        tuple(concepts_by_class),
        tuple(prompts),
        tuple(absent) if absent_chosen else (),
        fallback,
        {"name shared by several classes": num_shared} if num_shared > 0 else {},
        "graph" if graph is not None else "display names",
    )
    return check_distinct(made)


def check_distinct(prompts: PromptSet) -> PromptSet:
    """Return the set unchanged.

    Raises:
        DataError: If two classes have the same texts, which no model could tell apart.
    """
    seen: dict[frozenset[str], str] = {}
    for label, texts in zip(prompts.classes, prompts.texts, strict=True):
        other = seen.setdefault(frozenset(texts), label)
        if other != label:
            raise DataError(
                f"the classes {other!r} and {label!r} have the same prompts",
                item=prompts.source,
                remedy="give them other concepts or display_names",
            )
    return prompts


def from_config(
    config: PromptConfig, graph: DiseaseGraph | None, concepts_by_class: Mapping[str, Sequence[str]], seed: int
) -> PromptSet:
    """Make or read the prompts a configuration asks for, for exactly these classes.

    Raises:
        ConfigError: If a display name belongs to no class.
    """
    unknown = sorted(set(config.display_names) - set(concepts_by_class))
    if unknown:
        raise ConfigError(
            "names no class of the data", item=f"prompts.display_names.{unknown[0]}",
            remedy=f"use {', '.join(concepts_by_class)}",
        )  # fmt: skip
    if config.file is not None:
        from medvlp.config import resolve_path
        from medvlp.zeroshot import prompt_files

        return check_distinct(prompt_files.load(resolve_path(config.file)).subset(list(concepts_by_class)))
    return build_prompts(
        graph,
        concepts_by_class,
        config.templates,
        seed,
        names=config.names,
        max_names=config.max_names,
        num_paths=config.num_paths,
        num_definitions=config.num_definitions,
        absent_templates=wordings.ABSENT if config.absent is None else wordings.load(config.absent),
        display_names=config.display_names,
    )


def _names(graph: DiseaseGraph, concept: str, which: str) -> list[Prompt]:
    graph.index(concept)
    preferred = [Prompt(graph.name(concept), "preferred", concept)]
    if which == "preferred":
        return preferred
    exact = [name.text for name in graph.names(concept) if name.kind == "exact"]
    return preferred + [Prompt(text, "exact", concept) for text in sorted(set(exact))]


def _without_shared(known: dict[str, list[Prompt]]) -> tuple[dict[str, list[Prompt]], int]:
    """Drop names that several classes carry, and repeated ones within a class."""
    from medvlp.knowledge.names import normalise

    owners: dict[str, set[str]] = {}
    for label, found in known.items():
        for name in found:
            owners.setdefault(normalise(name.text), set()).add(label)
    shared = {key for key, labels in owners.items() if len(labels) > 1}
    kept = {}
    for label, found in known.items():
        unique: dict[str, Prompt] = {}
        for name in found:
            unique.setdefault(normalise(name.text), name)
        kept[label] = [name for key, name in unique.items() if key not in shared]
    return kept, len(shared)


def _limited(found: list[Prompt], most: int, rng: np.random.Generator) -> list[Prompt]:
    preferred = [name for name in found if name.kind == "preferred"]
    others = [name for name in found if name.kind != "preferred"]
    room = max(0, most - len(preferred))
    if len(others) > room:
        others = [others[i] for i in sorted(rng.choice(len(others), room, replace=False))]
    return preferred + others


def _paths(graph: Any, concept: str, count: int, rng: np.random.Generator) -> list[Prompt]:
    """Distinct hypernym paths as one name each: names from the root's child to the leaf, joined by spaces."""
    roots = frozenset(graph.roots())
    found: dict[str, Prompt] = {}
    for _ in range(count):
        ids = [node for node in graph.hypernym_path(concept, rng) if node not in roots]
        if len(ids) > 1:
            text = " ".join(graph.name(node) for node in ids)
            found.setdefault(text, Prompt(text, "hypernym-path", concept, path=tuple(ids)))
    return list(found.values())

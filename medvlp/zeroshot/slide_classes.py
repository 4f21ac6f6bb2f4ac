"""What a slide is asked about: classes, which of them is normal, their prompts and vectors.

Shape legend: K classes, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medvlp.errors import DataError
from medvlp.zeroshot import templates as wordings
from medvlp.zeroshot.classes import Classes, resolve_classes
from medvlp.zeroshot.classifier import Floats, prompt_vectors, unit_vectors
from medvlp.zeroshot.prompts import PromptSet, build_prompts
from medvlp.zeroshot.slide_prompts import PromptPool, names_of, prompt_pool

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

NORMAL_WORDS = ("normal", "healthy", "benign tissue", "no tumour", "no tumor", "non-tumour", "non-tumor")
"""A class that starts with one of these is taken to be the normal one, unless another is named."""

COORDINATES = ("x", "y")


@dataclass(frozen=True)
class Question:
    """Classes with their prompts.

    Attributes:
        classes: What was asked for and what the graph knows of it.
        prompts: The prompts of each class.
        normal: Column of the normal class, or None.
    """

    classes: Classes
    prompts: PromptSet
    normal: int | None


def question(
    classes: Sequence[str],
    graph: DiseaseGraph | None = None,
    *,
    normal: str | None = None,
    templates: str | Sequence[str] = "pathology",
    names: Literal["preferred", "synonyms"] = "synonyms",
    max_names: int = 8,
    num_paths: int = 0,
    num_definitions: int = 0,
    seed: int = 0,
) -> Question:
    """Resolve classes and make their prompts.

    Args:
        classes: Concept ids, plain names, or both.
        graph: Source of names; None asks with the classes' own words.
        normal: The class that means no disease; by default the one whose label or name says so.
        templates: Wordings, see ``medvlp.zeroshot.templates``.
        names: Preferred names only, or exact synonyms too.
        max_names: Names per class.
        num_paths: Hypernym paths per concept, used like names.
        num_definitions: Definitions per concept.
        seed: Chooses among more than ``max_names`` names.

    Raises:
        DataError: For classes that cannot be used, or ``normal`` that is none of them.
        GraphError: For an unknown id.
    """
    found = resolve_classes(classes, graph)
    taken = next((label for label in found.labels if label in COORDINATES), None)
    if taken is not None:
        raise DataError(
            "a class cannot have this name, tiles.parquet has such a column", item=taken, remedy="rename it"
        )
    prompts = build_prompts(
        graph,
        found.concepts,
        templates,
        seed,
        names=names,
        max_names=max_names,
        num_paths=num_paths,
        num_definitions=num_definitions,
    )
    return Question(found, prompts, normal_column(found, normal))


def normal_column(classes: Classes, normal: str | None = None) -> int | None:
    """Return the column of the normal class: the one named, or the only one whose label or name says so; else None.

    Raises:
        DataError: If the class named is none of them, or several say so.
    """
    if normal is not None:
        if normal not in classes.labels:
            raise DataError(
                "is none of the classes", item=f"normal: {normal}", remedy=f"use one of {', '.join(classes.labels)}"
            )
        return classes.labels.index(normal)
    says_so = [
        column
        for column, label in enumerate(classes.labels)
        if label.lower().startswith(NORMAL_WORDS) or classes.names[label].lower().startswith(NORMAL_WORDS)
    ]
    if len(says_so) > 1:
        several = " and ".join(repr(classes.labels[column]) for column in says_so)
        raise DataError(f"{several} could both be the normal class", item="classes", remedy="name it with --normal")
    return says_so[0] if says_so else None


def pool_of(
    model: Any, asked: Question, templates: str | Sequence[str], *, limit: int = 5000, seed: int = 0
) -> tuple[PromptPool, Floats]:
    """The pool of prompt classifiers behind the classes' names, and the unit vectors (P, D) of its texts.

    Raises:
        DataError: As ``medvlp.zeroshot.slide_prompts.prompt_pool``.
    """
    chosen = wordings.load(templates) if isinstance(templates, str) else wordings.checked(templates, "templates")
    pool = prompt_pool(names_of(asked.prompts), chosen, limit=limit, seed=seed)
    (text_PD,) = prompt_vectors(model, [pool.texts])
    return pool, unit_vectors(text_PD, "prompts")

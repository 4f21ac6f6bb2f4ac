"""KEEP's caption augmentation: dropped words, and knowledge captions built from names and hypernym paths.

Source: Zhou et al. 2026 (KEEP), methods and the data code published with it; wordings are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from medvlp.config import Config as BaseConfig
from medvlp.zeroshot import templates as wordings

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

Share = Annotated[float, Field(ge=0, le=1)]
_KINDS = frozenset({"preferred", "exact"})


class TextAugment:
    """Changes the caption of a training image, and sometimes replaces it by what the graph knows.

    Args:
        config: How often and how much.
        names: Names of each concept by graph row, preferred first; see :func:`concept_names`.
        graph: Hierarchy of the paths: real, permuted, or None for no paths.
        class_names: What to call a label without a concept.
    """

    class Config(BaseConfig):
        """Settings; the defaults are KEEP's."""

        drop: Share = Field(0.5, description="Probability that words are dropped.")
        drop_share: Share = Field(0.4, description="Words drawn for dropping, with replacement, as share of all.")
        knowledge: Share = Field(0.5, description="Probability that a knowledge caption replaces the caption.")
        path: Share = Field(0.5, description="Probability that a knowledge caption names the whole hypernym path.")
        synonyms: bool = Field(True, description="Draw any exact name at every level, not only the preferred one.")
        templates: str = Field("pathology", description="Wordings: general, pathology, radiology, plain, or a file.")
        general_depth: int = Field(1, ge=-1, description="Concepts this near to a root are too general for a path.")
        stop: list[str] = Field([], description="Further concept ids that end a path on its way up.")

    def __init__(
        self,
        config: TextAugment.Config,
        names: Mapping[int, Sequence[str]],
        graph: DiseaseGraph | None,
        class_names: Mapping[str, str],
    ) -> None:
        self.config, self.names, self.graph, self.class_names = config, names, graph, class_names
        self.templates = wordings.load(config.templates)
        self.stop = general_concepts(graph, config.general_depth, config.stop) if graph is not None else frozenset()

    def __call__(
        self, text: str, concepts: Sequence[int], label: str | None, rng: np.random.Generator
    ) -> tuple[str, bool]:
        """Return the caption for one step and whether it is a knowledge caption.

        Args:
            text: The image's own caption.
            concepts: Its concepts as graph rows; one is drawn.
            label: Its class.
            rng: The only source of randomness.
        """
        if rng.random() < self.config.drop:
            text = drop_words(text, self.config.drop_share, rng)
        if rng.random() < self.config.knowledge:
            name = self.knowledge_name(concepts, label, rng)
            if name is not None:
                return wordings.fill(self.templates[rng.integers(len(self.templates))], name), True
        return text, False

    def knowledge_name(self, concepts: Sequence[int], label: str | None, rng: np.random.Generator) -> str | None:
        """Return a path or a name of one of the concepts; the class name where there is no concept."""
        known = [row for row in concepts if self.names.get(row)]
        if not known:
            return None if label is None else self.class_names.get(label, label.replace("_", " "))
        row = known[rng.integers(len(known))]
        if self.graph is None or rng.random() >= self.config.path:
            return self._name(row, rng)
        path = self.graph.hypernym_path(self.graph.ids[row], rng, self.stop)
        return " ".join(self._name(self.graph.index(concept), rng) for concept in path)

    def _name(self, row: int, rng: np.random.Generator) -> str:
        names = self.names[row]
        return names[rng.integers(len(names))] if self.config.synonyms else names[0]


def drop_words(text: str, share: float, rng: np.random.Generator) -> str:
    """Remove words at ``round(share · n)`` positions drawn with replacement (so fewer than that go); never all."""
    words = text.split()
    if not words:
        return text
    gone = set(rng.integers(len(words), size=round(share * len(words))).tolist())
    left = [word for position, word in enumerate(words) if position not in gone]
    return " ".join(left) if left else text


def concept_names(graph: DiseaseGraph) -> dict[int, list[str]]:
    """Return the preferred and exact names of every concept by row, preferred first."""
    return {
        row: [name.text for name in graph.names(concept) if name.kind in _KINDS]
        for row, concept in enumerate(graph.ids)
    }


def general_concepts(graph: DiseaseGraph, depth: int, extra: Sequence[str] = ()) -> frozenset[str]:
    """Return the ids at most ``depth`` edges below a root (-1: none) together with ``extra``."""
    near = np.flatnonzero(graph.depth() <= depth)
    return frozenset(graph.ids[row] for row in near) | frozenset(graph.ids[graph.index(concept)] for concept in extra)

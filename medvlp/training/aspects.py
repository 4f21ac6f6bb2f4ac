"""Texts of several aspects for one image, made from what the graph knows of its concepts, as MAKE reads them.

Source: MAKE (Yan et al., MICCAI 2025), where a language model wrote these texts; here the graph does, so that real,
rewired and absent knowledge give equally many. Rows are rows of the graph.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from medvlp.config import Config as BaseConfig
from medvlp.data.pairs import Text
from medvlp.errors import ConfigError
from medvlp.training.align_data import concept_rows
from medvlp.training.text_augment import concept_names, general_concepts
from medvlp.zeroshot import templates as wordings

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsSplit, PairsStore
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.training.align import AlignConfig

PATH, CONCEPTS, SENTENCE = "ontology-path", "concepts", "sentence"
KNOWLEDGE = frozenset({PATH, "definition", "appearance"})
"""Aspects that tell of a concept and not of an image: a row's own ones are used with real knowledge alone."""
_END = re.compile(r"(?<=[.;])\s+(?=[A-Z])")
_EXCHANGE = 5  # random stream of the control's definitions


class AspectTexts:
    """Gives the texts of an image for one step: a caption, an ontology sentence, its concepts, and sub-captions.

    Args:
        config: How many and how worded.
        concepts: Concepts of each row of the data, as graph rows.
        graph: Names and definitions; None where only class names are known.
        hierarchy: Graph of the paths: real, permuted, or None for bare names and no definitions.
        class_names: What to call a label without a concept.
        seed: Decides whose definitions a concept gets from the permuted graph.

    Raises:
        ConfigError: If there are fewer wordings than sub-captions, so that some could not be filled up.
    """

    class Config(BaseConfig):
        """Settings; with them texts per image are at most 3 + ``num_sub``."""

        num_sub: int = Field(8, ge=0, description="Sub-captions per image.")
        templates: str = Field("general", description="Wordings: general, pathology, radiology, plain, or a file.")
        general_depth: int = Field(1, ge=-1, description="Concepts this near to a root are too general for a path.")
        stop: list[str] = Field([], description="Further concept ids that end a path on its way up.")

        def check(self, recipe: AlignConfig) -> None:
            """Refuse settings of a recipe that would spoil these texts.

            Raises:
                ConfigError: Naming the setting.
            """
            if recipe.text_augment is not None:
                raise ConfigError(
                    "would drop words of aspect texts, or put others in their place",
                    item="text_augment",
                    remedy="set text_augment: null",
                )
            if recipe.repeat_texts:
                raise ConfigError(
                    "would give an image a second ontology sentence", item="repeat_texts", remedy="set it to false"
                )

    def __init__(
        self,
        config: AspectTexts.Config,
        concepts: Sequence[tuple[int, ...]],
        graph: DiseaseGraph | None,
        hierarchy: DiseaseGraph | None,
        class_names: dict[str, str],
        seed: int,
    ) -> None:
        self.config, self.concepts, self.hierarchy, self.class_names = config, concepts, hierarchy, class_names
        self.templates = wordings.load(config.templates)
        if len(self.templates) < config.num_sub:
            raise ConfigError(
                f"{len(self.templates)} wordings are too few for {config.num_sub} sub-captions",
                item="aspect_texts.templates",
                remedy="name a larger set, or lower num_sub",
            )
        self.real = hierarchy is not None and hierarchy is graph
        self.names = {} if graph is None else concept_names(graph)
        self.definitions: dict[int, list[str]] = {}
        self.stop: frozenset[str] = frozenset()
        if graph is not None and hierarchy is not None:
            self.stop = general_concepts(hierarchy, config.general_depth, config.stop)
            known = {row: graph.definitions(concept) for row, concept in enumerate(graph.ids)}
            known = {row: texts for row, texts in known.items() if texts}
            self.definitions = known if self.real else exchanged(known, seed)

    @classmethod
    def of_recipe(
        cls,
        recipe: AlignConfig,
        split: PairsSplit,
        store: PairsStore,
        graph: DiseaseGraph | None,
        hierarchy: DiseaseGraph | None,
    ) -> AspectTexts | None:
        """Build what a recipe asks for; names come from its graph even where the knowledge is none."""
        if recipe.aspect_texts is None:
            return None
        concepts, _ = concept_rows(split, store, graph)
        names = recipe.validation.prompts.display_names
        return cls(recipe.aspect_texts, concepts, graph, hierarchy, dict(names), recipe.seed)

    def __call__(self, row: int, own: Sequence[Text], label: str | None, rng: np.random.Generator) -> list[Text]:
        """Return the texts of one step, aspects in a fixed order and no sub-caption twice.

        Real, permuted and absent knowledge give equally many. A row of which neither concept nor label is known has
        its own texts alone.

        Args:
            row: Row of the data.
            own: Its own texts; those of an aspect that would be made here are preferred.
            label: Its class.
            rng: The only source of randomness.
        """
        own = [text for text in own if self.real or text.aspect not in KNOWLEDGE]
        captions = [text for text in own if text.aspect not in {*KNOWLEDGE, CONCEPTS, SENTENCE}]
        found = [captions[rng.integers(len(captions))]] if captions else []
        concepts = [concept for concept in self.concepts[row] if self.names.get(concept)]
        concept = concepts[rng.integers(len(concepts))] if concepts else None
        name = self._name(concept, label)
        found += _first(own, PATH) or self._made(PATH, self._path(concept, name, rng))
        names = [self.names[one][0] for one in concepts] or ([] if name is None else [name])
        found += _first(own, CONCEPTS) or self._made(CONCEPTS, ", ".join(names))
        return found + self._sub_captions(own, concept, name, rng)

    def _name(self, concept: int | None, label: str | None) -> str | None:
        if concept is not None:
            return self.names[concept][0]
        return None if label is None else self.class_names.get(label, label.replace("_", " "))

    def _path(self, concept: int | None, name: str | None, rng: np.random.Generator) -> str:
        """``X, a kind of Y, a kind of Z``; the bare name without a hierarchy."""
        if concept is None or self.hierarchy is None:
            return name or ""
        path = self.hierarchy.hypernym_path(self.hierarchy.ids[concept], rng, self.stop)
        return ", a kind of ".join(self.names[self.hierarchy.index(one)][0] for one in reversed(path))

    def _sub_captions(
        self, own: Sequence[Text], concept: int | None, name: str | None, rng: np.random.Generator
    ) -> list[Text]:
        """The row's own sentences, then definitions and synonyms in random order, then the name in many wordings."""
        texts = [text.text for text in own if text.aspect == SENTENCE or text.aspect in KNOWLEDGE - {PATH}]
        order = rng.permutation(len(self.templates))
        if concept is not None and self.hierarchy is not None:
            synonyms = self.names[concept][1:]
            worded = [
                wordings.fill(self.templates[order[place % len(order)]], synonym)
                for place, synonym in enumerate(synonyms)
            ]
            told = [sentence for text in self.definitions.get(concept, []) for sentence in sentences(text)] + worded
            texts += [told[place] for place in rng.permutation(len(told))]
        if name is not None:
            texts += [wordings.fill(self.templates[place], name) for place in order]
        distinct = {text.casefold(): text for text in reversed(texts)}  # of equal ones the first stays, for its place
        kept = [text for text in dict.fromkeys(texts) if distinct[text.casefold()] == text]
        return [Text(text, SENTENCE) for text in kept[: self.config.num_sub]]

    def _made(self, aspect: str, text: str) -> list[Text]:
        return [Text(text, aspect)] if text else []


def sentences(text: str) -> list[str]:
    """Split a definition at full stops and semicolons that a capital follows."""
    return [part.strip() for part in _END.split(text) if part.strip()]


def exchanged(texts: dict[int, list[str]], seed: int) -> dict[int, list[str]]:
    """Give every row the texts of another one, no row its own (the control); a single row keeps nothing.

    Args:
        texts: By row.
        seed: Decides who gets whose.
    """
    rows = np.random.default_rng([seed, _EXCHANGE]).permutation(sorted(texts)).tolist()
    if len(rows) < 2:
        return {}
    return {row: texts[other] for row, other in zip(rows, [*rows[1:], rows[0]], strict=True)}


def _first(own: Sequence[Text], aspect: str) -> list[Text]:
    return [text for text in own if text.aspect == aspect][:1]

"""What is said about training images: a name of a leaf in a sentence, a wrong one at times, at times only the root.

Shape legend: N images, L leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise
from medvlp.zeroshot.templates import GENERAL, PATHOLOGY, PLACEHOLDER, RADIOLOGY

TEMPLATES: dict[str, Sequence[str]] = {"tissue": PATHOLOGY, "radiograph": (*RADIOLOGY, *GENERAL[1:])}
ROOT = -1


def draw_named(
    leaf_N: NDArray[np.int64],
    training_N: NDArray[np.bool_],
    caption_noise: float,
    missing: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw which leaf the captions of each image name: its own, another that training shows, or :data:`ROOT`.

    The same generator with more noise makes the images that were wrong wrong again, and further ones.

    Returns:
        Row of the leaf, int64 (N,); that of the image itself outside the training images.
    """
    known = np.unique(leaf_N[training_N])
    level_N, pick_N = rng.random(len(leaf_N)), rng.random(len(leaf_N))
    named_N = leaf_N.copy()
    for row in np.flatnonzero(training_N & (level_N < caption_noise)):
        others = known[known != leaf_N[row]]
        named_N[row] = others[int(pick_N[row] * len(others))]
    named_N[training_N & (level_N >= 1 - missing) & (level_N >= caption_noise)] = ROOT
    return named_N


def names_of(graph: DiseaseGraph, concept: str, unspeakable: Collection[str] = ()) -> list[str]:
    """Return the names of a concept, preferred first, without those that hold an unspeakable (normalised) name."""
    return [text for text in graph.texts(concept) if not says(text, unspeakable)]


def says(text: str, unspeakable: Collection[str]) -> bool:
    """Tell whether a text holds one of the normalised names, be it as part of a word."""
    plain = normalise(text)
    return any(name in plain for name in unspeakable)


def write_captions(
    names_N: Sequence[Sequence[str]], templates: Sequence[str], count: int, rng: np.random.Generator
) -> list[list[str]]:
    """Put names into templates: ``count`` different captions per image, all names equally often.

    Args:
        names_N: The names that may be used for each image; none for an image without captions.
        templates: Wordings.
        count: Captions per image; fewer where there are not so many.
        rng: Source of the choices.
    """
    written: list[list[str]] = []
    for names in names_N:
        total = len(names) * len(templates)
        chosen = rng.choice(total, min(count, total), replace=False).tolist() if total else []
        written.append(
            [templates[at % len(templates)].replace(PLACEHOLDER, names[at // len(templates)]) for at in chosen]
        )
    return written


def check_unsaid(captions_N: Sequence[Sequence[str]], unspeakable: Collection[str]) -> None:
    """Refuse captions that say a name which training must not know.

    Raises:
        DataError: Naming the name.
    """
    texts = {normalise(text) for captions in captions_N for text in captions}
    for name in sorted(unspeakable):
        if any(name in text for text in texts):
            raise DataError("a training caption says this name of an unseen leaf", item=name, remedy="report this")

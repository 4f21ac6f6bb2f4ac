"""Swapped captions without knowledge: as many as with it, but only the order of words is another.

Source: Yuksekgonul et al. 2023 (negative captions of shuffled words); the control of :mod:`medvlp.data.swaps`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from medvlp.data.batch import Swap, Triple
from medvlp.data.swaps import Swaps


class WordOrderSwaps(Swaps):
    """Takes the place of :class:`medvlp.data.swaps.Swaps`: the same number, of the same texts."""

    def __call__(
        self,
        texts: Sequence[str],
        rng: np.random.Generator,
        *,
        triples: Sequence[Sequence[Triple]] = (),
        true: Collection[str] = (),
    ) -> list[Swap]:
        """Return what :class:`medvlp.data.swaps.Swaps` would, each with its text's own words in another order."""
        drawn = super().__call__(texts, rng, triples=triples, true=true)
        return [swap if swap.of < 0 else replace(swap, text=reordered(texts[swap.of], rng)) for swap in drawn]


def swaps_for(config: Swaps.Config | None, knowledge: str) -> Swaps | None:
    """Return what draws the swapped captions of a run: without knowledge, of the order of words alone."""
    if config is None:
        return None
    return WordOrderSwaps(config) if knowledge == "none" else Swaps(config)


def reordered(text: str, rng: np.random.Generator) -> str:
    """Return the words of a text in another order; one that has none (a single word) loses its first letter."""
    words = text.split()
    if len(set(words)) < 2:
        return " ".join(words)[1:]
    while True:
        other = [words[place] for place in rng.permutation(len(words))]
        if other != words:
            return " ".join(other)

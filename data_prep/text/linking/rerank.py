"""The re-rank tier: a trained knowledge encoder says which of the candidates means what the mention says.

Shape letters: T texts, D embedding size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_MOST = 50_000


class Reranker:
    """Cosine of texts under an encoder; vectors of texts seen before are kept."""

    def __init__(self, embed: Callable[[list[str]], Vectors]) -> None:
        """Take a function from texts to unit vectors (T, D)."""
        self._embed = embed
        self._vectors: dict[str, Vectors] = {}

    @classmethod
    def load(cls, folder: str) -> Reranker:
        """Read a text encoder that stage 1 saved (or a run that holds one).

        Raises:
            CheckpointError: If it cannot be read.
        """
        from medvlp.config import resolve_path
        from medvlp.encoders.text import TextEncoder
        from medvlp.training.name_retrieval import embed_texts

        encoder = TextEncoder.load(resolve_path(folder))
        return cls(lambda texts: embed_texts(encoder, texts, batch_size=64))

    def prepare(self, texts: Iterable[str]) -> None:
        """Embed texts in one go, those already known left out."""
        new = sorted({text for text in texts if text not in self._vectors})
        if new:
            if len(self._vectors) + len(new) > _MOST:
                self._vectors.clear()
            for start in range(0, len(new), 1024):
                part = new[start : start + 1024]
                self._vectors.update(zip(part, self._embed(part), strict=True))

    def cosine(self, one: str, other: str) -> float:
        """Return the cosine of two prepared texts, rounded so that it does not depend on the batch they came in."""
        return round(float(self._vectors[one] @ self._vectors[other]), 4)

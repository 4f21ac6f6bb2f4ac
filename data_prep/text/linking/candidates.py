"""A concept that a mention may mean, and when resemblance deceives."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_DESIGNATOR = re.compile(r"\d|^\w$")
_LACKING, _ADDED = 0.2, 0.05


@dataclass(frozen=True)
class Candidate:
    """A concept that a mention may mean.

    Attributes:
        row: Row in the graph.
        name: The concept's name that is nearest to the mention, normalised.
        similarity: Its resemblance to the mention, 1 if they are the same name.
        tier: What gave the score.
        cosine: The encoder's, in the re-rank tier.
        score: What candidates are ranked by.
    """

    row: int
    name: str
    similarity: float
    tier: str
    cosine: float = 0.0
    score: float = 0.0

    def mixed(self, weight: float) -> Candidate:
        """Return the candidate with the encoder's share in its score set to ``weight``."""
        return replace(self, score=(1 - weight) * self.similarity + weight * self.cosine)


def agreement(mention: str, name: str) -> float:
    """Return a factor for resemblance: 1 if numbers and single letters ("type 2", "hepatitis b") are the same.

    They weigh little among 3-grams and decide what is meant: one the name lacks costs more than one it adds.
    """
    said, named = ({word for word in text.split() if _DESIGNATOR.search(word)} for text in (mention, name))
    return 1.0 - _LACKING * bool(said - named) - _ADDED * bool(named - said)

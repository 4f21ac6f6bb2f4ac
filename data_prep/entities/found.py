"""What a source of entities gives to the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.data.batch import Triple
from medvlp.data.entities import Position

TextTriples = Mapping[str, tuple[Triple, ...]]


@dataclass(frozen=True)
class Found:
    """Entities of N images, before they are described. Shapes: N images, Q entities, P positions.

    Attributes:
        names: Q display names.
        concepts: Concept ids of each, may be empty.
        positions: P positions.
        keys: N keys.
        state_NQP: State of each entity at each position.
        label_NQ: State of each entity; None: by the positions.
        triples: By key and text.
        plain: Names that are words of reports, not to be looked up in the graph ("stable" is no concept there).
        hidden: Names that no description may spell out.
        header: What the manifest shall say further.
    """

    names: Sequence[str]
    concepts: Sequence[Sequence[str]]
    positions: Sequence[Position]
    keys: Sequence[str]
    state_NQP: NDArray[np.int64]
    label_NQ: NDArray[np.int64] | None = None
    triples: Mapping[str, TextTriples] = field(default_factory=dict)
    hidden: Sequence[str] = ()
    plain: frozenset[str] = frozenset()
    header: Mapping[str, Any] = field(default_factory=dict)

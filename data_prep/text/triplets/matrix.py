"""The matrix of a report: what is said of each entity (E columns) at each position (P rows).

MedKLIP's matrix (Wu et al. 2023), with the uncertain kept: there it was never written and so looked like "not
mentioned".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.text.assertion import Assertion

if TYPE_CHECKING:
    from data_prep.text.triplets.extract import Triplet
    from data_prep.text.triplets.vocabulary import Vocabulary

NOT_MENTIONED, ABSENT, PRESENT, UNCERTAIN = -1, 0, 1, 2
VALUES = {Assertion.absent: ABSENT, Assertion.uncertain: UNCERTAIN, Assertion.present: PRESENT}
_RANK = {NOT_MENTIONED: 0, ABSENT: 1, UNCERTAIN: 2, PRESENT: 3}


def matrix(triplets: Iterable[Triplet], vocabulary: Vocabulary) -> NDArray[np.int8]:
    """Return the matrix (P, E) of one report: -1 not mentioned, 0 absent, 1 present, 2 uncertain.

    Where a report says several things of one cell, present outweighs uncertain, and uncertain outweighs absent. What is
    history or of the family says nothing about the picture and is not written.
    """
    row = {name: number for number, name in enumerate(vocabulary.positions)}
    column = {name: number for number, name in enumerate(vocabulary.entities)}
    matrix_PE = np.full((len(row), len(column)), NOT_MENTIONED, dtype=np.int8)
    for triplet in triplets:
        value = VALUES.get(triplet.existence)
        if value is None:
            continue
        cell = row[triplet.position], column[triplet.entity]
        if _RANK[value] > _RANK[int(matrix_PE[cell])]:
            matrix_PE[cell] = value
    return matrix_PE


def negatives(matrix_PE: NDArray[np.int8], entity: int, vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Return which positions (P,) may serve as negatives of an entity that is present: no false ones.

    Left out: positions where it is present or uncertain, and whatever contains, or is contained in, one where it is
    present: a finding in the left lower lung is in the left lung too, and one in "the left lung" may be in its lower
    part.
    """
    column_P = matrix_PE[:, entity]
    present_P = column_P == PRESENT
    free_P: NDArray[np.bool_] = ~vocabulary.excluded_PP[present_P].any(0) & (column_P != UNCERTAIN)
    return free_P

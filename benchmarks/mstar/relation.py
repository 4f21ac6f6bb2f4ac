"""The stated function: what a case's expression says about the tiles of its slide, their places and its report.

Shape legend: C cases, G genes, K kinds of tiles, T tiles of a slide, X = 2 (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.mstar.config import Relation

LEVELS = (
    (0.3, ("some", "a little", "scattered")),
    (1.01, ("mostly", "predominant", "extensive")),
)
"""Words for an amount below a share; what makes up less than :data:`LEAST` is not mentioned at all."""
LEAST = 0.12
BANDS = ("The tissue lies in bands.", "Its kinds are neatly parted.", "Arrangement is in stripes, each of one kind.")
MIXED = ("The tissue is intermingled.", "Its kinds are scattered among each other.", "Arrangement is a patchwork.")


@dataclass(frozen=True)
class Truth:
    """What expression says about each case.

    Attributes:
        share_CK: Share of each kind of tile, rows sum to 1.
        bands_C: Whether kinds lie in bands, else scattered.
    """

    share_CK: NDArray[np.float64]
    bands_C: NDArray[np.bool_]


def truth(
    values_CG: NDArray[np.floating],
    genes: Sequence[str],
    sets: Mapping[str, Sequence[str]],
    train_C: NDArray[np.bool_],
    relation: Relation,
) -> Truth:
    """Compute shares and arrangement.

    A pathway's score is the mean of its genes' standardised expression, standardised again. Shares are the softmax of
    ``strength`` times the scores. A case lies in bands if the arrangement's score, less what a linear fit on the other
    scores explains, is above 0. Means, deviations and the fit come from training cases.

    Args:
        values_CG: Expression on a log scale.
        genes: Names of the genes.
        sets: Gene sets by name.
        train_C: Training cases.
        relation: Settings.
    """
    standard_CG = _standardised(values_CG.astype(np.float64), train_C)
    place = {gene: column for column, gene in enumerate(genes)}

    def score_C(name: str) -> NDArray[np.float64]:
        columns = [place[gene] for gene in sets[name] if gene in place]
        return _standardised(standard_CG[:, columns].mean(1, keepdims=True), train_C)[:, 0]

    score_CK = np.stack([score_C(kind.pathway) for kind in relation.kinds.values()], 1)
    weight_CK = np.exp(relation.strength * (score_CK - score_CK.max(1, keepdims=True)))
    known_CK = np.concatenate([score_CK, np.ones((len(score_CK), 1))], 1)
    own_C = score_C(relation.arrangement)
    fit_K = np.linalg.lstsq(known_CK[train_C], own_C[train_C], rcond=None)[0]
    return Truth(weight_CK / weight_CK.sum(1, keepdims=True), own_C - known_CK @ fit_K > 0)


def _standardised(values: NDArray[np.float64], train_C: NDArray[np.bool_]) -> NDArray[np.float64]:
    deviation = values[train_C].std(0)
    centred: NDArray[np.float64] = (values - values[train_C].mean(0)) / np.where(deviation > 1e-9, deviation, 1.0)
    return centred


def layout(kind_T: NDArray[np.int64], bands: bool, grid: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (column, row) of each tile (T, X) on a square: kinds in bands from left to right, or scattered.

    Which kind lies where is drawn per case, so that the place of a single tile says nothing.
    """
    cells_TX = np.stack(np.divmod(np.arange(grid * grid), grid), 1)
    order_T = rng.permutation(len(kind_T))
    if bands:
        rank_K = rng.permutation(int(kind_T.max()) + 1)
        order_T = order_T[np.argsort(rank_K[kind_T[order_T]], kind="stable")]
    out_TX = np.empty_like(cells_TX)
    out_TX[order_T] = cells_TX[: len(kind_T)]
    return out_TX


def report(share_K: NDArray[np.float64], bands: bool, relation: Relation, rng: np.random.Generator) -> str:
    """Return a report: kinds by falling amount, then the arrangement; with synonyms, gaps and errors.

    With the chance ``wrong``, a kind that is too scarce to mention is mentioned, and one that is not, is not.
    """
    sentences, kinds = [], list(relation.kinds.values())
    for place in np.argsort(-share_K, kind="stable").tolist():
        mentioned = (share_K[place] >= LEAST) != (rng.random() < relation.wrong)
        words = next(words for limit, words in LEVELS if share_K[place] < limit)
        text = f"{words[rng.integers(len(words))]} {kinds[place].names[rng.integers(len(kinds[place].names))]}"
        if mentioned and rng.random() >= relation.silent:
            sentences.append(text.capitalize())
    said = ". ".join(sentences) + "." if sentences else "Nothing of note."
    if rng.random() >= relation.silent:
        wordings = BANDS if bands else MIXED
        said += " " + wordings[rng.integers(len(wordings))]
    return said

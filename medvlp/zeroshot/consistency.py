"""Does a model tell a caption from the same caption with one fact exchanged (side, place, presence, severity)?

For each kind: the share of swapped captions that lie further from their image than the true one, by cosine; equal ones
count half, so chance is one half. The floor is the same share with the mean of all images in place of each image: what
the texts alone give away. Source: Huang et al. 2024 (Structure-CLIP), section 4, with facts in place of words.

Shape legend: N images, K swapped captions, D embedding size, S bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.data.batch import SWAPS, Triple
from medvlp.data.swaps import KINDS, SwapKind, Swaps
from medvlp.errors import DataError
from medvlp.metrics.bootstrap import Interval, intervals
from medvlp.zeroshot.classifier import Floats, to_numpy, unit_vectors

CHANCE = 0.5
ALL = "all"


@dataclass(frozen=True)
class SwappedCaption:
    """A caption of an image and what is false of it; ``row`` is the image's place."""

    row: int
    true: str
    swapped: str
    kind: str


@dataclass(frozen=True)
class Consistency:
    """The result of one kind of swap.

    Attributes:
        share: Share of swapped captions below the true one, with an interval by case.
        floor: The same without looking at the image.
        num: Swapped captions.
        num_images: Images that have any.
        num_cases: Cases that have any.
        chance: What guessing gives.
    """

    share: Interval
    floor: Interval
    num: int
    num_images: int
    num_cases: int
    chance: float = CHANCE


def swapped_captions(
    captions: Sequence[Sequence[str]],
    seed: int,
    *,
    kinds: Sequence[SwapKind] = KINDS,
    per_kind: int = 1,
    triples: Callable[[int, str], Sequence[Triple]] | None = None,
) -> list[SwappedCaption]:
    """Make the swapped captions of images; the same captions and seed give the same ones.

    Args:
        captions: Captions of each image; none comes to another true one of its image.
        seed: Decides which of several possible swaps is taken.
        kinds: Facts to exchange.
        per_kind: Most swapped captions of a kind per image.
        triples: What a caption of an image (its place, the text) says, for the exchange of two places.
    """
    out = []
    for row, texts in enumerate(captions):
        said = [triples(row, text) if triples is not None else () for text in texts]
        for kind in kinds:
            swaps = Swaps(Swaps.Config(kinds=[kind], per_image=per_kind))
            rng = np.random.default_rng([seed, row, SWAPS.index(kind)])
            found = swaps(texts, rng, triples=said)
            out += [SwappedCaption(row, texts[swap.of], swap.text, swap.kind) for swap in found if swap.of >= 0]
    return out


def consistency(
    model: Any,
    image_ND: ArrayLike,
    captions: Sequence[SwappedCaption],
    cases: Sequence[Any],
    *,
    num_draws: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, Consistency]:
    """Score a model on swapped captions, by kind and over all kinds.

    Args:
        model: Anything with ``encode_text(list of strings) -> (M, D)``.
        image_ND: Embeddings of the images.
        captions: Of :func:`swapped_captions`.
        cases: Case of each image.
        num_draws: Bootstrap draws.
        seed: Seed of the draws.
        batch_size: Texts per call.

    Raises:
        DataError: If there is no swapped caption, or an embedding is zero or not finite.
    """
    if not captions:
        raise DataError("no caption holds a fact that can be exchanged", item="captions", remedy="name more kinds")
    distinct = sorted({text for one in captions for text in (one.true, one.swapped)}, key=lambda t: (len(t), t))
    parts = [
        to_numpy(model.encode_text(distinct[begin : begin + batch_size]))
        for begin in range(0, len(distinct), batch_size)
    ]
    text_MD = unit_vectors(np.concatenate(parts), "captions")
    place = {text: number for number, text in enumerate(distinct)}
    true_KD = text_MD[[place[one.true] for one in captions]]
    swapped_KD = text_MD[[place[one.swapped] for one in captions]]
    row_K = np.array([one.row for one in captions])
    image_ND = unit_vectors(to_numpy(image_ND), "images")
    blind_D = image_ND.mean(0)
    below_K = below(image_ND[row_K], true_KD, swapped_KD)
    blind_K = below(np.broadcast_to(blind_D, true_KD.shape), true_KD, swapped_KD)
    kind_K = np.array([one.kind for one in captions])
    chosen: Mapping[str, NDArray[np.bool_]] = {
        ALL: np.ones(len(captions), dtype=bool),
        **{kind: kind_K == kind for kind in SWAPS if (kind_K == kind).any()},
    }
    out = {}
    for name, mask_K in chosen.items():
        of_case = [cases[row] for row in row_K[mask_K]]
        every = np.ones(len(of_case), dtype=bool)
        statistics = {
            "share": partial(weighted_mean, below_K[mask_K], every),
            "floor": partial(weighted_mean, blind_K[mask_K], every),
        }
        found = intervals(statistics, of_case, num_draws, seed)
        num_images = len(set(row_K[mask_K].tolist()))
        out[name] = Consistency(found["share"], found["floor"], len(of_case), num_images, len(set(of_case)))
    return out


def below(image_KD: Floats, true_KD: Floats, swapped_KD: Floats) -> Floats:
    """Return 1 where the true caption is nearer to the image, one half where both are as near (K,).

    Args:
        image_KD: Unit rows: the image of each pair.
        true_KD: Unit rows: its caption.
        swapped_KD: Unit rows: that caption with a fact exchanged.
    """
    lead_K = (image_KD * (true_KD - swapped_KD)).sum(1)
    return np.where(np.abs(lead_K) < 1e-9, CHANCE, (lead_K > 0).astype(np.float64))


def weighted_mean(value_K: Floats, mask_K: NDArray[np.bool_], weight: Any) -> Any:
    """Return the mean of the values that a mask marks, undefined (NaN) where none of them weighs anything.

    Args:
        value_K: Values.
        mask_K: Which of them count.
        weight: None for equal weights, one row (K,) of weights, or several (S, K), which give one mean each.
    """
    value_K = value_K[mask_K]
    if weight is None:
        return value_K.mean() if len(value_K) else np.nan
    own = np.asarray(weight, dtype=np.float64)[..., mask_K]
    total_S = own.sum(-1)
    return np.divide(own @ value_K, total_S, out=np.full_like(total_S, np.nan), where=total_S > 0)

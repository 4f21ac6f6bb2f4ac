"""Many prompt classifiers for one slide, and which of them to trust without a label (KEEP's prompt screening).

A classifier is one wording and one name per class. Every distinct text is embedded once, and scores are summed over
blocks of tiles, so no table of classifiers x tiles x classes is ever held.

Shape legend: N tiles, K classes, D embedding size, P distinct texts, Q classifiers.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.zeroshot import templates as wordings
from medvlp.zeroshot.classifier import Floats, to_numpy, unit_vectors
from medvlp.zeroshot.prompts import PromptSet
from medvlp.zeroshot.slide_pooling import checked

_BLOCK_ROWS = 4096
_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True)
class PromptPool:
    """Classifiers by the numbers of their texts.

    Attributes:
        classes: Class labels.
        texts: The P distinct texts.
        text_QK: Number of the text of every classifier and class.
        num_left_out: Combinations that a limit left out.
    """

    classes: tuple[str, ...]
    texts: tuple[str, ...]
    text_QK: NDArray[np.int64]
    num_left_out: int = 0

    def __len__(self) -> int:
        return len(self.text_QK)

    def classifier(self, number: int) -> tuple[str, ...]:
        """The texts of one classifier, in class order."""
        return tuple(self.texts[column] for column in self.text_QK[number])


def prompt_pool(
    names: Mapping[str, Sequence[str]], templates: Sequence[str], *, limit: int = 5000, seed: int = 0
) -> PromptPool:
    """Every combination of one name per class, in every wording.

    Args:
        names: Names of each class, in class order.
        templates: Wordings with ``{name}``.
        limit: Most classifiers; from more than that so many are drawn.
        seed: Draws them.

    Raises:
        DataError: If there are fewer than two classes, a class has no name, two classes share one, or two names or
            wordings were run together.
    """
    if len(names) < 2 or any(not found for found in names.values()) or limit < 1:
        raise DataError("needs two classes, a name for each and a limit of at least 1", item="prompt pool")
    chosen = wordings.checked(templates, "templates")
    _check_names(names, chosen)
    lists = [list(dict.fromkeys(found)) for found in names.values()]
    sizes = (len(chosen), *map(len, lists))
    total = math.prod(sizes)
    if total <= limit:
        picked = np.arange(total)
    else:
        picked = np.sort(np.random.default_rng(seed).choice(total, limit, replace=False))
    number: dict[str, int] = {}
    rows = []
    for template, *places in zip(*np.unravel_index(picked, sizes), strict=True):
        texts = [wordings.fill(chosen[template], found[place]) for found, place in zip(lists, places, strict=True)]
        rows.append([number.setdefault(text, len(number)) for text in texts])
    return PromptPool(tuple(names), tuple(number), np.array(rows, dtype=np.int64), total - len(picked))


def names_of(prompts: PromptSet) -> dict[str, list[str]]:
    """The distinct names behind a prompt set, class by class, for :func:`prompt_pool`; definitions have none."""
    return {
        label: list(dict.fromkeys(prompt.name for prompt in found if prompt.name is not None))
        for label, found in zip(prompts.classes, prompts.prompts, strict=True)
    }


@dataclass(frozen=True)
class Screened:
    """What screening chose.

    Attributes:
        score_Q: Score of every classifier, larger is better.
        kept: Numbers of the classifiers kept, best first.
        class_KD: Unit class vectors: the sum of the kept ones, made unit length.
        num_tiles: Tiles the scores rest on.
    """

    score_Q: Floats
    kept: tuple[int, ...]
    class_KD: Floats
    num_tiles: int


def screening_scores(
    tiles: Iterable[Any], text_PD: Any, text_QK: NDArray[np.int64], *, compat: Literal["keep"] | None = None
) -> tuple[Floats, int]:
    """Score every classifier by how decided it is, without labels.

    With v1, v2 the two largest cosines of a tile: the mean over tiles of v1 - v2; with ``compat="keep"`` the mean of
    (v1 - v2) - abs(v1 + v2 - 1), as published. There the margin cancels wherever v1 + v2 <= 1, which is the rule, and
    2 v1 - 1 is left.

    Args:
        tiles: Unit tile vectors (N, D), or blocks of them, of one slide or of several.
        text_PD: Unit vectors of the pool's texts.
        text_QK: Which text every classifier uses for each class.
        compat: ``keep`` for the published score.

    Returns:
        Scores (Q,), and the number of tiles.

    Raises:
        DataError: If there is no tile, or a cosine is not finite.
    """
    text_PD = to_numpy(text_PD)
    sum_Q, num = np.zeros(len(text_QK)), 0
    for block_ND in _blocks(tiles):
        cosine_NP = checked(to_numpy(block_ND) @ text_PD.T)
        num += len(cosine_NP)
        width = max(1, _BLOCK_VALUES // (len(cosine_NP) * text_QK.shape[1]))
        for begin in range(0, len(text_QK), width):
            cosine_NqK = cosine_NP[:, text_QK[begin : begin + width]]
            two_Nq2 = np.partition(cosine_NqK, -2, axis=2)[:, :, -2:]
            second_Nq, first_Nq = two_Nq2[:, :, 0], two_Nq2[:, :, 1]
            score_Nq = first_Nq - second_Nq
            if compat == "keep":
                score_Nq = score_Nq - np.abs(first_Nq + second_Nq - 1)
            sum_Q[begin : begin + width] += score_Nq.sum(0)
    if num == 0:
        raise DataError("there is no tile to screen prompts on", item="prompt screening")
    return sum_Q / num, num


def screen(
    tiles: Iterable[Any], text_PD: Any, pool: PromptPool, *, keep: int = 50, compat: Literal["keep"] | None = None
) -> Screened:
    """Keep the most decided classifiers and add their class vectors up.

    Args:
        tiles: Unit tile vectors, or blocks of them.
        text_PD: Unit vectors of ``pool.texts``.
        pool: The classifiers.
        keep: How many to keep; of equals the first.
        compat: See :func:`screening_scores`.

    Raises:
        DataError: As :func:`screening_scores`, or if ``keep`` is below 1 or a class's vectors cancel out.
    """
    if keep < 1:
        raise DataError(f"cannot keep {keep} classifiers", item="prompt screening", remedy="keep at least 1")
    text_PD = to_numpy(text_PD)
    score_Q, num = screening_scores(tiles, text_PD, pool.text_QK, compat=compat)
    kept = np.argsort(-score_Q, kind="stable")[:keep]
    class_KD = unit_vectors(text_PD[pool.text_QK[kept]].sum(0), "screened class vectors")
    return Screened(score_Q, tuple(kept.tolist()), class_KD, num)


def _blocks(tiles: Iterable[Any]) -> Iterable[Any]:
    parts: Iterable[Any] = [tiles] if hasattr(tiles, "shape") else tiles
    for part_ND in parts:
        for begin in range(0, len(part_ND), _BLOCK_ROWS):
            yield part_ND[begin : begin + _BLOCK_ROWS]


def _check_names(names: Mapping[str, Sequence[str]], templates: Sequence[str]) -> None:
    """Refuse a name of two classes, a wording that holds a class name, and names run together by a lost comma."""
    from medvlp.knowledge.names import normalise

    owner: dict[str, str] = {}
    for label, found in names.items():
        for name in found:
            other = owner.setdefault(normalise(name) or name, label)
            if other != label:
                raise DataError(f"{name!r} is a name of {other!r} and of {label!r}", item="prompt pool")
    every = [name for found in names.values() for name in found]
    for template, name in itertools.product(templates, every):
        rest = wordings.fill(template, " ")
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", rest, re.IGNORECASE):
            raise DataError(f"the wording {template!r} holds the class name {name!r}", item="prompt pool")
    words = {word for text in [*every, *templates] for word in re.findall(r"\w+", text.lower())}
    for name in every:
        if any(_run_together(word, words) for word in re.findall(r"\w+", name.lower())) and len(name.split()) > 2:
            raise DataError(f"{name!r} looks like two names run together", item="prompt pool", remedy="part them")


def _run_together(word: str, words: set[str]) -> bool:
    """Whether a word is two longer words of the pool glued, as a lost separator leaves them."""
    cuts = range(_LETTERS, len(word) - _LETTERS + 1)
    return any(word[:cut] in words and word[cut:] in words for cut in cuts)


_LETTERS = 6
"""Shorter parts make words of their own ("cystadenoma", "lymphoma"); "tissuenormal" is two of at least six."""

"""Swap consistency: whether a caption lies nearer to its image than the same caption with one fact exchanged.

Side, place, presence and severity are exchanged by rules (``medvlp.data.swaps``), so every swapped caption is false of
its image; the score is the share that lies further away than the true one, equal ones counting half. Guessing gives
one half. What the texts alone give away is the floor ``text-only``: the mean image of another part for every image.

Shape legend: N images, K swapped captions, D embedding size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.features import features
from benchmarks.harness.outcome import Floats, Metric, Outcome, Skipped
from benchmarks.harness.protocol import Context, draw_seed
from medvlp.config import Config as BaseConfig
from medvlp.data.batch import SWAPS
from medvlp.data.swaps import KINDS, SwapKind
from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.ledger import Ledger
from medvlp.metrics import bootstrap
from medvlp.zeroshot.consistency import ALL, CHANCE, SwappedCaption, below, swapped_captions, weighted_mean
from medvlp.zeroshot.floors import UNTRAINED
from medvlp.zeroshot.retrieval_task import MADE_FROM_CLASSES

if TYPE_CHECKING:
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig
    from medvlp.data.pairs import PairsSplit, PairsStore

TEXT_ONLY = "text-only"
ABILITIES = frozenset({"image", "text"})
FLOORS: tuple[str, ...] = ()
FLOORS_OF_MODEL = (UNTRAINED, TEXT_ONLY)
SEEDED = frozenset({UNTRAINED})
PROMPTED = False
_TITLES = {
    ALL: "Swapped captions further away",
    **{kind: f"Swapped captions further away, {kind} exchanged" for kind in SWAPS},
}
_FEW_CASES = 30


class Config(BaseConfig):
    """Settings of swap consistency."""

    name: Literal["consistency"] = Field(description="True captions against captions with one fact exchanged.")
    aspects: list[str] | None = Field(None, description="Aspects of texts to use; all but class names by default.")
    kinds: list[SwapKind] = Field(list(KINDS), min_length=1, description="Facts that are exchanged.")
    per_kind: int = Field(1, ge=1, description="Most swapped captions of a kind per image.")
    draw: int = Field(0, ge=0, description="Seed that chooses among several possible swaps.")


def open(task: TaskConfig, settings: Config, context: Context) -> Question:
    """Read captions and make the swapped ones.

    Raises:
        DataError: If there is no store, no text has one of the aspects, or no caption holds a fact to exchange.
    """
    if context.store is None:
        raise DataError("needs images with texts", item=task.title, remedy="use data of the form pairs")
    split = context.store.split(task.split)
    ledger = Ledger()
    captions = _captions(split, settings.aspects)
    swapped = swapped_captions(captions, settings.draw, kinds=settings.kinds, per_kind=settings.per_kind)
    asked = {one.row for one in swapped}
    for row, key in enumerate(split.keys):
        if row in asked:
            ledger.keep()
        else:
            ledger.drop(key, "no fact that can be exchanged" if captions[row] else "no text of these aspects")
    if not swapped:
        raise DataError(
            "no caption holds a fact that can be exchanged", item=f"split {split.name}", remedy="name more kinds"
        )
    other = next((name for name in (task.fit_split, "train") if name != task.split), None)
    return Question(settings, context, context.store, split, swapped, ledger, other)


@dataclass
class Question:
    """One split's captions, true and swapped.

    Attributes:
        settings: Settings.
        context: What the grid hands out.
        store: The pairs store.
        split: The scored split.
        captions: The swapped captions, with what they were made from.
        ledger: Images with a swapped caption, and those without.
        other: Split whose mean image is the floor.
    """

    settings: Config
    context: Context
    store: PairsStore
    split: PairsSplit
    captions: list[SwappedCaption]
    ledger: Ledger
    other: str | None
    prompts_digest: str | None = None

    @cached_property
    def rows(self) -> list[int]:
        """Images that have a swapped caption."""
        return sorted({one.row for one in self.captions})

    @property
    def num(self) -> int:
        """Images."""
        return len(self.rows)

    @cached_property
    def case_K(self) -> list[str]:
        """Case of each swapped caption."""
        cases = self.split.column("case")
        return [cases[one.row] for one in self.captions]

    @property
    def num_cases(self) -> int:
        """Units of resampling."""
        return len(set(self.case_K))

    @cached_property
    def digest(self) -> str:
        """Sha256 over images, captions, units and settings."""
        made = [[self.split.keys[one.row], one.true, one.swapped, one.kind] for one in self.captions]
        settings = self.settings.model_dump(mode="json")
        return sha256_json(
            [self.store.digest, self.split.name, made, self.case_K, settings, self.context.num_draws, self.other]
        )

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Compare each true caption with its swapped one; ``seed`` plays no part."""
        image_ND = features(subject, self.split, self.rows, self.context.folder)
        place = {row: number for number, row in enumerate(self.rows)}
        return self._outcome(subject, image_ND[[place[one.row] for one in self.captions]])

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Let a floor answer."""
        assert subject is not None, f"{name} is made from a model"
        if name == UNTRAINED:
            fresh = subject.untrained(seed)
            if fresh is None:
                return Skipped("the model is not a network whose weights can be redrawn")
            return self.score(fresh, seed)
        other = None if self.other is None else self.store.split(self.other)
        if other is None or len(other) == 0:
            return Skipped("there is no other part to take a mean image from")
        mean_D = features(subject, other, None, self.context.folder).mean(0)
        return self._outcome(subject, np.broadcast_to(mean_D, (len(self.captions), len(mean_D))))

    def _outcome(self, subject: Subject, image_KD: Floats) -> Outcome:
        distinct = sorted({text for one in self.captions for text in (one.true, one.swapped)})
        text_MD = subject.encode_texts(distinct)
        row = {text: number for number, text in enumerate(distinct)}
        true_KD, swapped_KD = (
            text_MD[[row[text] for text in texts]]
            for texts in ([one.true for one in self.captions], [one.swapped for one in self.captions])
        )
        below_K = below(image_KD, true_KD, swapped_KD)
        kind_K = np.array([one.kind for one in self.captions])
        masks = {ALL: np.ones(len(kind_K), dtype=bool), **{k: kind_K == k for k in SWAPS if (kind_K == k).any()}}
        statistics = {name: partial(weighted_mean, below_K, mask_K) for name, mask_K in masks.items()}
        drawn = bootstrap.draws(statistics, self.case_K, self.context.num_draws, draw_seed(self.digest))
        metrics = [
            Metric(
                name=name,
                title=_TITLES[name],
                value=float(statistic(None)),
                draw_S=drawn[name],
                n=int(masks[name].sum()),
                num_cases=len({case for case, own in zip(self.case_K, masks[name], strict=True) if own}),
                chance=CHANCE,
            )
            for name, statistic in statistics.items()
        ]
        predictions: dict[str, Any] = {
            "key": np.array([self.split.keys[one.row] for one in self.captions]),
            "kind": kind_K,
            "below": below_K,
        }
        details = {"rows": {**self.ledger.to_json(), "examples": {}}, "kinds": list(self.settings.kinds)}
        return Outcome(tuple(metrics), None, predictions, details, self._limits())

    def _limits(self) -> tuple[str, ...]:
        out = []
        if self.num_cases < _FEW_CASES:
            out.append(f"The captions come from {self.num_cases} independent cases; the intervals are rough.")
        if self.split.name != "test":
            out.append(f"Scores on the {self.split.name} split, not on held-out test data.")
        dropped = sum(self.ledger.dropped.values())
        if dropped:
            out.append(f"{dropped} images have no caption with a fact that can be exchanged and are not asked about.")
        return tuple(out)


def _captions(split: PairsSplit, aspects: list[str] | None) -> list[list[str]]:
    """Return the texts of each row.

    Raises:
        DataError: If no text has a named aspect.
    """
    texts = split.column("texts")
    found = {text.aspect for row in texts for text in row}
    used = found - set(MADE_FROM_CLASSES) if aspects is None else set(aspects)
    unknown = sorted(used - found)
    if unknown:
        known = ", ".join(sorted(found)) or "none"
        raise DataError(
            f"no text has the aspect {unknown[0]!r}", item=f"split {split.name}", remedy=f"use some of {known}"
        )
    return [[text.text for text in row if text.aspect in used] for row in texts]

"""Retrieval of texts by images and of images by texts, many to many.

Shape legend: I images, T distinct texts, Q queries, G gallery items, D embedding size, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.harness.features import features
from benchmarks.harness.outcome import Floats, Metric, Outcome, Skipped
from benchmarks.harness.protocol import Context, draw_seed
from medvlp.config import Config as BaseConfig
from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.metrics import bootstrap, ranking
from medvlp.metrics.chance import RandomOrder
from medvlp.zeroshot.floors import UNTRAINED
from medvlp.zeroshot.retrieval_task import RetrievalTask, build_retrieval_task

if TYPE_CHECKING:
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig
    from medvlp.data.pairs import PairsStore

RANDOM = "random"
ABILITIES = frozenset({"image", "text"})
FLOORS = (RANDOM,)
FLOORS_OF_MODEL = (UNTRAINED,)
SEEDED = frozenset({UNTRAINED})
PROMPTED = False
TO_TEXT = "image_to_text"
DIRECTIONS = {TO_TEXT: "Image to text", "text_to_image": "Text to image"}
Statistics = dict[str, Callable[[Any], Any]]
_TIED = 1e-6  # cosines of float32 embeddings
_CHUNK = 512
_FEW_CASES = 30


class Config(BaseConfig):
    """Settings of retrieval."""

    name: Literal["retrieval"] = Field(description="Retrieval, both ways.")
    aspects: list[str] | None = Field(None, description="Aspects of texts to use; all but class names by default.")
    recall_at: list[Annotated[int, Field(ge=1)]] = Field([1, 5, 10], min_length=1, description="The k of recall at k.")
    gain_at: int = Field(10, ge=1, description="Places counted by the discounted gain.")
    ties: ranking.Ties = Field(
        "realistic", description="Rank of a right item among equally good wrong ones: first, last, or their mean."
    )


def open(task: TaskConfig, settings: Config, context: Context) -> Question:
    """Find images and texts.

    Raises:
        DataError: If there is no store, or its split holds fewer than two distinct texts.
    """
    if context.store is None:
        raise DataError("retrieval needs images with texts", item="data", remedy="use the form pairs")
    found = build_retrieval_task(context.store.split(task.split), settings.aspects)
    return Question(settings, context, context.store, found)


@dataclass
class Question:
    """One split's images and texts, looked up among each other."""

    settings: Config
    context: Context
    store: PairsStore
    task: RetrievalTask
    prompts_digest: str | None = None

    @property
    def num(self) -> int:
        """Images."""
        return len(self.task.rows_I)

    @property
    def num_cases(self) -> int:
        """Units of resampling."""
        return self.task.num_cases

    @cached_property
    def digest(self) -> str:
        """Sha256 over images, texts, units and settings."""
        settings = self.settings.model_dump(mode="json")
        return sha256_json(
            [self.store.digest, self.task.digest, settings, [self.context.num_draws, self.context.level]]
        )

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Rank all texts for each image and all images for each text; ``seed`` plays no part."""
        split = self.store.split(self.task.split)
        image_ID = features(subject, split, None, self.context.folder)[self.task.rows_I]
        text_TD = subject.encode_texts(list(self.task.texts_T))
        found = {way: look_up(image_ID, text_TD, self.task, way, self.settings) for way in DIRECTIONS}
        statistics = {way: self._of_ranks(*ranked) for way, ranked in found.items()}
        return self._outcome(statistics, {f"{way}.rank": rank_Q for way, (rank_Q, _) in found.items()})

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Let a floor answer."""
        if name == RANDOM:
            return self._outcome({way: self._of_chance(way) for way in DIRECTIONS}, {})
        assert subject is not None, f"{name} is made from a model"
        fresh = subject.untrained(seed)
        if fresh is None:
            return Skipped("the model is not a network whose weights can be redrawn")
        return self.score(fresh, seed)

    def _of_ranks(self, rank_Q: Floats, gain_Q: Floats) -> Statistics:
        out: Statistics = {f"recall_at_{k}": partial(_recall, rank_Q, k) for k in self.settings.recall_at}
        return out | {
            "mean_reciprocal_rank": partial(ranking.mean_reciprocal_rank, rank_Q),
            "median_rank": partial(ranking.median_rank, rank_Q),
            f"ndcg_at_{self.settings.gain_at}": partial(ranking.mean_gain, gain_Q),
        }

    def _of_chance(self, way: str) -> Statistics:
        """The exact expectation of a random order; the gain of a constant score is that of a random order."""
        right_Q, num = _side(self.task, way)
        order = RandomOrder([len(right) for right in right_Q], num)
        gain_Q = np.concatenate(
            [ranking.ndcg(np.zeros(flags.shape), flags, self.settings.gain_at) for flags in _flags(right_Q, num)]
        )
        out: Statistics = {f"recall_at_{k}": partial(order.recall_at, k) for k in self.settings.recall_at}
        return out | {
            "mean_reciprocal_rank": order.mean_reciprocal_rank,
            "median_rank": order.median_rank,
            f"ndcg_at_{self.settings.gain_at}": partial(ranking.mean_gain, gain_Q),
        }

    def _outcome(self, statistics: dict[str, Statistics], predictions: dict[str, NDArray[Any]]) -> Outcome:
        metrics, curve = [], {}
        for way, of_way in statistics.items():
            case_Q = self.task.case_I if way == TO_TEXT else self.task.case_T
            drawn = bootstrap.draws(of_way, case_Q, self.context.num_draws, draw_seed(self.digest))
            chance = self._of_chance(way)
            metrics += [
                Metric(
                    name=f"{way}.{name}",
                    title=f"{DIRECTIONS[way]}: {_title(name)}",
                    value=float(statistic(None)),
                    draw_S=drawn[name],
                    n=len(case_Q),
                    num_cases=len(set(case_Q)),
                    higher_is_better=name != "median_rank",
                    unit="rank" if name == "median_rank" else "fraction",
                    chance=float(chance[name](None)),
                )
                for name, statistic in of_way.items()
            ]
            curve[way] = {"num_queries": len(case_Q), "num_gallery": _side(self.task, way)[1]}
        details = {
            "galleries": curve,
            "ties": self.settings.ties,
            "num_shared_texts": self.task.num_shared,
            "rows": self.task.ledger.to_json(),
        }
        return Outcome(tuple(metrics), None, predictions, details, self._limits())

    def _limits(self) -> tuple[str, ...]:
        out = []
        if self.task.num_cases < _FEW_CASES:
            out.append(f"The queries come from {self.task.num_cases} independent cases; the intervals are rough.")
        if self.task.split != "test":
            out.append(f"Scores on the {self.task.split} split, not on held-out test data.")
        dropped = sum(self.task.ledger.dropped.values())
        if dropped:
            out.append(f"{dropped} images have no text of these aspects and are not looked for.")
        return tuple(out)


def look_up(
    image_ID: Floats, text_TD: Floats, task: RetrievalTask, way: str, settings: Config
) -> tuple[Floats, Floats]:
    """Return the rank (Q,) of each query's best right item and its discounted gain (Q,), by cosine.

    Args:
        image_ID: Unit rows.
        text_TD: Unit rows.
        task: Which belongs to which.
        way: One of :data:`DIRECTIONS`.
        settings: How ties count, and how many places the gain counts.
    """
    query_QD, gallery_GD = (image_ID, text_TD) if way == TO_TEXT else (text_TD, image_ID)
    right_Q, num = _side(task, way)
    ranks, gains, begin = [], [], 0
    for right_CG in _flags(right_Q, num):
        cosine_CG = query_QD[begin : begin + len(right_CG)] @ gallery_GD.T
        begin += len(right_CG)
        found = ranking.similarity_ranks(cosine_CG, right_CG, _TIED)
        ranks.append(getattr(found, f"{settings.ties}_Q"))
        gains.append(ranking.ndcg(cosine_CG, right_CG, settings.gain_at, ties=settings.ties, tolerance=_TIED))
    return np.concatenate(ranks), np.concatenate(gains)


def _side(task: RetrievalTask, way: str) -> tuple[Sequence[NDArray[np.int64]], int]:
    """Numbers of each query's right items, and the size of the gallery."""
    return (task.texts_of_I, len(task.texts_T)) if way == TO_TEXT else (task.images_of_T, len(task.rows_I))


def _flags(right_Q: Sequence[NDArray[np.int64]], num: int) -> Iterator[NDArray[np.bool_]]:
    """Yield blocks (C, G) of flags, so that memory stays bounded for large galleries."""
    for begin in range(0, len(right_Q), _CHUNK):
        part = right_Q[begin : begin + _CHUNK]
        flag_CG = np.zeros((len(part), num), dtype=bool)
        for place, right in enumerate(part):
            flag_CG[place, right] = True
        yield flag_CG


def _recall(rank_Q: Floats, k: int, weight: Any) -> Any:
    return ranking.recall_at(rank_Q, k, weight)


def _title(name: str) -> str:
    named = {"median_rank": "median rank", "mean_reciprocal_rank": "mean reciprocal rank"}
    kind, _, at = name.rpartition("_at_")
    return named.get(name) or f"{'recall' if kind == 'recall' else 'nDCG'} at {at}"

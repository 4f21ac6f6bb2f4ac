"""From records to scores: which scores a set has, and every cell's value with its bootstrap draws.

A score is the mean over seeds, and so is each draw of cases; all cells share the draws, so that differences
are paired. Shape legend: N images, K classes, R seeds, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.objectives.ask import OWN
from benchmarks.objectives.config import ObjectiveTableConfig
from benchmarks.objectives.run import Done
from benchmarks.objectives.sets import SEEN, UNSEEN, Prepared
from benchmarks.objectives.texts import PreparedTexts, own_cases, right_answers
from benchmarks.simulation.questions import Question
from medvlp.data.batch import SWAPS
from medvlp.metrics import bootstrap, curves
from medvlp.metrics._weighted import nanmean_columns
from medvlp.metrics.chance import RandomOrder
from medvlp.metrics.localisation import mean_over_images
from medvlp.metrics.paired import Measured
from medvlp.metrics.ranking import mean_reciprocal_rank, recall_at
from medvlp.zeroshot.consistency import CHANCE

AT = 5
_DRAWS = 0  # seed of the draws
Record = Mapping[str, Any]
Statistic = Callable[[Any], Any]
_AUROC = {
    "scenes": ("auroc", "AUROC"),
    "names": ("auroc_names", "AUROC, unseen synonyms"),
    "combination": ("auroc_combination", "AUROC, unseen combination"),
    "side": ("auroc_side", "AUROC, unseen side"),
    "finding": ("auroc_finding", "AUROC, unseen finding"),
}
_MAPS = {
    "pointing": ("grounding", "pointing", "Pointing game"),
    "pointing_own": ("grounding_own", "pointing", "Pointing game, own queries"),
    "dice": ("grounding", "dice", "Dice"),
    "iou": ("grounding", "iou", "IoU"),
    "cnr": ("grounding", "cnr", "CNR"),
}


@dataclass(frozen=True)
class Score:
    """One score of a set.

    Attributes:
        name: Short name.
        title: Column.
        cases: Case of each sample.
        of: The statistic of a record, None where it has no such answer.
        chance: What guessing gives, None where that is not defined.
    """

    name: str
    title: str
    cases: list[str]
    of: Callable[[Record], Statistic | None]
    chance: float | None = None


def scores_of(prepared: Prepared | PreparedTexts) -> list[Score]:
    """Return the scores a set has, in the order of the table."""
    if isinstance(prepared, PreparedTexts):
        return _of_reports(prepared)
    out = []
    for question in prepared.questions:
        name, title = _AUROC[question.name]
        out.append(_of_classes(prepared, question, name, title, UNSEEN if question.unseen_names else SEEN))
    out.insert(1, _of_classes(prepared, prepared.questions[0], "auroc_own", "AUROC, own queries", OWN))
    if prepared.gallery is not None:
        out += _of_texts(prepared)
    if prepared.marked:
        cases = [item.case for item in prepared.marked["test"]]
        area = float(np.mean([item.mask.mean() for item in prepared.marked["test"]]))
        chance = {"pointing": area, "pointing_own": area, "cnr": 0.0}
        out += [
            Score(name, title, cases, partial(_mean, part=part, key=key), chance.get(name))
            for name, (part, key, title) in _MAPS.items()
        ]
    if prepared.swaps:
        cases = [prepared.cases[one.row] for one in prepared.swaps]
        for name, title, key in (
            ("consistency", "swapped captions below", "below"),
            ("consistency_blind", "same without the image", "blind"),
        ):
            out.append(Score(name, title, cases, partial(_mean, part="swaps", key=key), CHANCE))
    return out


class Measurer:
    """Scores of one set's cells, each computed once.

    Args:
        done: What there is.
        num_draws: Bootstrap draws of cases.
    """

    def __init__(self, done: Done, num_draws: int) -> None:
        self.done, self.num_draws = done, num_draws
        self._known: dict[tuple[str, str, str, tuple[int, ...]], Measured | None] = {}

    def seeds(self, config: ObjectiveTableConfig, method: str, *arms: str) -> tuple[int, ...]:
        """Return the seeds of which every one of some arms of a method has a record."""
        return tuple(s for s in config.seeds if all((method, arm, s) in self.done.records for arm in arms))

    def __call__(self, score: Score, method: str, arm: str, seeds: tuple[int, ...]) -> Measured | None:
        """Return a score of a method's arm over some seeds."""
        key = (score.name, method, arm, seeds)
        if key not in self._known:
            records = [self.done.records[method, arm, seed] for seed in seeds]
            self._known[key] = measured(score, records, self.num_draws)
        return self._known[key]


def measured(score: Score, records: Sequence[Record], num_draws: int) -> Measured | None:
    """Return a score over the records of several seeds; None where they have no such answer."""
    statistics = [statistic for record in records if (statistic := score.of(record)) is not None]
    if len(statistics) < len(records) or not records:
        return None
    by_seed_R = np.array([float(statistic(None)) for statistic in statistics])
    named = {str(number): statistic for number, statistic in enumerate(statistics)}
    drawn = bootstrap.draws(named, score.cases, num_draws, _DRAWS)
    return Measured(by_seed_R, np.mean(list(drawn.values()), axis=0), len(set(score.cases)))


def _of_classes(prepared: Prepared, question: Question, name: str, title: str, wording: str) -> Score:
    columns = [prepared.kinds.index(kind) for kind in question.kinds]

    def of(record: Record) -> Statistic | None:
        found = record["scores"].get(wording)
        if found is None:
            return None
        score_NK = np.array(found, dtype=np.float64)[:, columns]
        return partial(_macro, question.present_NK, question.counts_NK, score_NK)

    return Score(name, title, prepared.cases, of, CHANCE)


def _macro(present_NK: Any, counts_NK: Any, score_NK: Any, weight: Any) -> Any:
    """AUROC of each class among the samples that count for it, mean over the classes where it is defined."""
    out = []
    for column in range(score_NK.shape[1]):
        rows = np.flatnonzero(counts_NK[:, column])
        chosen = np.ones((1, len(rows))) if weight is None else weight[:, rows]
        score_N = score_NK[rows, column]
        known = not np.isnan(score_N).any()  # a floor may not know a class
        truth_N = present_NK[rows, column]
        out.append(curves.auroc(truth_N, score_N, chosen) if known else np.full(len(chosen), np.nan))
    mean_S = nanmean_columns(np.stack(out, 1))
    return mean_S[0] if weight is None else mean_S


def _of_texts(prepared: Prepared) -> list[Score]:
    gallery = prepared.gallery
    assert gallery is not None, "asked for by the caller"
    cases = [prepared.cases[row] for row in gallery.rows_R]
    luck = RandomOrder(gallery.own_RG.sum(1), len(gallery.texts))
    return _of_ranks("image_to_text", "image → text", cases, luck, ("recall_at_5", "mrr"))


def _of_ranks(
    key: str, title: str, cases: list[str], luck: RandomOrder, names: tuple[str, str], rows: Any = slice(None)
) -> list[Score]:
    """R@5 and MRR of the ranks that records hold under a key, of some queries or of all."""

    def of(score: Callable[[Any, Any], Any], record: Record) -> Statistic | None:
        found = record.get("ranks")
        return None if found is None else partial(score, np.array(found[key], dtype=np.float64)[rows])

    recall, reciprocal = (
        partial(of, lambda rank_R, weight: recall_at(rank_R, AT, weight)),
        partial(of, mean_reciprocal_rank),
    )
    return [
        Score(names[0], f"R@{AT}, {title}", cases, recall, float(luck.recall_at(AT))),
        Score(names[1], f"MRR, {title}", cases, reciprocal, float(luck.mean_reciprocal_rank())),
    ]


def _of_reports(prepared: PreparedTexts) -> list[Score]:
    asked, cases, right = prepared.asked, own_cases(prepared), right_answers(prepared)
    every_NK = np.ones_like(asked.truth_NK)
    told = {sentence.statement for report in prepared.reports.training for sentence in report}
    new = np.flatnonzero([query.statement not in told for query in asked.queries])
    fresh: list[Score] = []
    if len(new) > 0:
        new_cases, (num_right, size) = [cases["sentence"][row] for row in new], right["sentence"]
        luck, names = RandomOrder(num_right[new], size), ("recall_new", "mrr_new")
        fresh = _of_ranks("sentence", "statement new to training → sentence", new_cases, luck, names, new)[:1]

    def of(wording: str, record: Record) -> Statistic:
        return partial(_macro, asked.truth_NK, every_NK, np.array(record["scores"][wording], dtype=np.float64))

    return [
        Score("auroc", "AUROC, coded findings by name", cases["codes"], partial(of, "name"), CHANCE),
        Score("auroc_stated", "AUROC, coded findings by statement", cases["codes"], partial(of, "stated"), CHANCE),
        *_of_ranks("sentence", "statement → sentence", cases["sentence"], RandomOrder(*right["sentence"]),
                   ("recall_at_5", "mrr")),
        *fresh,
        *_of_ranks("impression", "findings → impression", cases["impression"], RandomOrder(*right["impression"]),
                   ("recall_impression", "mrr_impression")),
        *_of_swaps(prepared, cases["swaps"]),
    ]  # fmt: skip


def _of_swaps(prepared: PreparedTexts, cases: list[str]) -> list[Score]:
    """All swapped sentences together, and each kind that there is."""
    kinds = [one.kind for one in prepared.asked.swaps]

    def of(kind: str | None, record: Record) -> Statistic:
        below_S = np.array(record["swaps"]["below"], dtype=np.float64)
        return partial(mean_over_images, np.where([kind in (None, one) for one in kinds], below_S, np.nan))

    out = [Score("consistency", "swapped sentences below", cases, partial(of, None), CHANCE)]
    known = [kind for kind in SWAPS if kind in kinds]
    return out + [Score(f"consistency_{kind}", kind, cases, partial(of, kind), CHANCE) for kind in known]


def _mean(record: Record, part: str, key: str) -> Statistic | None:
    found = record.get(part, {}).get(key)
    if found is None:
        return None
    value_N = np.array(found, dtype=np.float64)
    return lambda weight: mean_over_images(value_N, weight)

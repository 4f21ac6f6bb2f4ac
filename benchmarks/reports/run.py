"""Annotate every coded report once, then compare with its codes: all reports, and the two halves apart.

The rules were tuned on the half of the reports whose digest of the id is even ("development"); the other half was only
counted. Shape legend: N reports, F findings asked for, S bootstrap draws.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reports.config import Question, ReportsBenchmarkConfig
from data_prep.reports.config import TableSource
from data_prep.reports.prepare import Counts, Reader
from data_prep.reports.sources import open_source
from data_prep.text.triplets.extract import Triplet
from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.metrics.bootstrap import intervals

Bools = NDArray[np.bool_]
Weighted = Callable[[Any], Any]


@dataclass(frozen=True)
class Answers:
    """What is coded, and what each way of reading says of it."""

    coded_NF: Bools
    said: dict[str, Bools]
    normal_N: Bools
    development_N: Bools
    keys: list[str]
    frequent: list[tuple[str, int]]
    seconds: float
    num_left_out: dict[str, int]


def codes_of(cell: str) -> list[tuple[str, ...]]:
    """Split a cell of codes: ``"Opacity/lung/right;Markings"`` gives two, each a heading with its qualifiers."""
    return [tuple(word.strip() for word in code.split("/")) for code in cell.split(";") if code.strip()]


def is_coded(codes: list[tuple[str, ...]], question: Question) -> bool:
    """Whether any of a question's codes is among a report's."""
    wanted = [code.split("/") for code in question.codes]
    return any(c[0] == heading and set(rest) <= set(c[1:]) for heading, *rest in wanted for c in codes)


def is_said(triplets: list[Triplet], question: Question, existence: set[str] | None) -> bool:
    """Whether any triplet answers a question; ``existence`` None asks for the words alone, whatever is said of them."""
    for triplet in triplets:
        regions = set((triplet.anatomy or "").split("; "))
        for answer in question.answers:
            at = not answer.at or bool(regions & set(answer.at))
            if triplet.finding == answer.finding and at and (existence is None or triplet.existence.value in existence):
                return True
    return False


def finding_names(codes: list[tuple[str, ...]], config: ReportsBenchmarkConfig) -> set[str]:
    """Name the findings of a report's codes: its headings, of body parts together with their state."""
    names: set[str] = set()
    for heading, *qualifiers in codes:
        heading = config.same.get(heading, heading)
        if heading in {config.normal, config.not_coded, *config.not_findings}:
            continue
        if heading in config.body_parts:
            names.update(f"{heading}/{state}" for state in qualifiers if state in config.states)
        else:
            names.add(heading)
    return names


def read(config: ReportsBenchmarkConfig) -> Answers:
    """Annotate the reports.

    Raises:
        DataError: If a report has codes and no row of its own, or a question names an unknown finding or region.
    """
    source = config.reports.source
    if not isinstance(source, TableSource) or source.key is None:
        raise DataError("codes are read from a table with a key", item="reports.source")
    with resolve_path(source.file).open(encoding="utf-8", newline="") as stream:
        cells = {row[source.key]: row[config.codes] for row in csv.DictReader(stream)}
    reader = Reader(config.reports, already_deidentified=True)
    _check(config, reader)
    counts, kept = Counts(), []
    start = time.perf_counter()
    for report in open_source(config.reports).read():
        codes = codes_of(cells[report.key])
        if any(code[0] == config.not_coded for code in codes):
            counts.ledger.drop(report.key, "nobody coded it")
        elif (done := reader.read(report, counts)) is not None:
            kept.append((report.key, codes, done.triplets))
    seconds = time.perf_counter() - start

    def said(existence: Callable[[Question], set[str] | None]) -> Bools:
        return np.array([[is_said(found, q, existence(q)) for q in config.questions] for _, _, found in kept])

    return Answers(
        coded_NF=np.array([[is_coded(codes, q) for q in config.questions] for _, codes, _ in kept]),
        said={
            "triplets": said(lambda q: set(q.existence)),
            "triplets, uncertain too": said(lambda q: {*q.existence, "uncertain"}),
            "words alone": said(lambda q: None),
        },
        normal_N=np.array([codes == [(config.normal,)] for _, codes, _ in kept]),
        development_N=np.array([is_development(key) for key, _, _ in kept]),
        keys=[key for key, _, _ in kept],
        frequent=Counter(n for _, codes, _ in kept for n in finding_names(codes, config)).most_common(),
        seconds=seconds,
        num_left_out=dict(counts.ledger.dropped),
    )


def is_development(key: str) -> bool:
    """Whether a report belongs to the half on which rules may be tuned."""
    return hashlib.sha256(key.encode()).digest()[0] % 2 == 0


def _check(config: ReportsBenchmarkConfig, reader: Reader) -> None:
    vocabulary = reader.vocabulary
    for question in config.questions:
        for answer in question.answers:
            unknown = [name for name in [answer.finding] if name not in vocabulary.findings]
            unknown += [name for name in answer.at if name not in vocabulary.regions]
            if unknown:
                raise DataError(f"the vocabulary has no {', '.join(unknown)}", item=f"questions: {question.name}")


def run(config: ReportsBenchmarkConfig) -> dict[str, Any]:
    """Return the scores as JSON values: per finding, and in sum for all reports and for each half."""
    answers = read(config)
    parts = {
        "all": np.ones(len(answers.keys), dtype=bool),
        "development half": answers.development_N,
        "other half": ~answers.development_N,
    }
    return {
        "num_reports": len(answers.keys),
        "num_normal": int(answers.normal_N.sum()),
        "left_out": answers.num_left_out,
        "num_draws": config.num_draws,
        "seconds": answers.seconds,
        "reports_per_second": len(answers.keys) / answers.seconds,
        "findings": [_finding(config, answers, number) for number in range(len(config.questions))],
        "sums": {
            name: {way: _sums(config, answers, part_N, way) for way in answers.said} for name, part_N in parts.items()
        },
        "frequent": answers.frequent[: len(config.questions) + 5],
    }


def _prf(coded: Any, said: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Precision, recall and F1, weighted; NaN where nothing is said or coded."""
    w = np.ones((1, len(coded))) if weight is None else weight
    both, all_said, all_coded = (w @ (x.astype(np.float64)) for x in (coded & said, said, coded))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = both / all_said, both / all_coded, 2 * both / (all_said + all_coded)
    return tuple(x[0] if weight is None else x for x in (precision, recall, f1))


def _one(place: int, coded_N: Bools, said_N: Bools, weight: Any) -> Any:
    return _prf(coded_N, said_N, weight)[place]


def _finding(config: ReportsBenchmarkConfig, answers: Answers, number: int) -> dict[str, Any]:
    coded_N, said_N = answers.coded_NF[:, number], answers.said["triplets"][:, number]
    words_N = answers.said["words alone"][:, number]
    statistics: dict[str, Weighted] = {
        name: partial(_one, place, coded_N, said_N) for place, name in enumerate(("precision", "recall", "f1"))
    }
    scored = intervals(statistics, answers.keys, config.num_draws)
    share = float(coded_N.mean())
    return {
        "name": config.questions[number].name,
        "num_coded": int(coded_N.sum()),
        "num_said": int(said_N.sum()),
        **{name: [value.value, value.low, value.high] for name, value in scored.items()},
        "words_alone": [float(value) for value in _prf(coded_N, words_N, None)],
        "always_f1": 2 * share / (1 + share),
    }


def _sums(config: ReportsBenchmarkConfig, answers: Answers, part_N: Bools, way: str) -> dict[str, Any]:
    """Micro and macro F1; false alarms among normal reports; recall among reports with any of the findings."""
    coded_NF, said_NF = answers.coded_NF[part_N], answers.said[way][part_N]
    normal_N, keys = answers.normal_N[part_N], [k for k, kept in zip(answers.keys, part_N, strict=True) if kept]
    abnormal_N, any_N = coded_NF.any(1), said_NF.any(1)

    def micro(place: int) -> Weighted:
        def statistic(weight: Any) -> Any:
            w = np.ones((1, len(keys))) if weight is None else weight
            both, said, coded = ((w @ x.astype(np.float64)).sum(1) for x in (coded_NF & said_NF, said_NF, coded_NF))
            with np.errstate(invalid="ignore"):
                value = (both / said, both / coded, 2 * both / (said + coded))[place]
            return value[0] if weight is None else value

        return statistic

    def macro(weight: Any) -> Any:
        return np.nanmean([_prf(coded_NF[:, f], said_NF[:, f], weight)[2] for f in range(coded_NF.shape[1])], axis=0)

    def share(of_N: Bools) -> Weighted:
        def statistic(weight: Any) -> Any:
            w = np.ones((1, len(keys))) if weight is None else weight
            with np.errstate(invalid="ignore"):
                value = (w @ (of_N & any_N).astype(np.float64)) / (w @ of_N.astype(np.float64))
            return value[0] if weight is None else value

        return statistic

    statistics: dict[str, Weighted] = {
        "precision": micro(0),
        "recall": micro(1),
        "micro_f1": micro(2),
        "macro_f1": macro,
        "normal_alarm": share(normal_N),
        "abnormal_any": share(abnormal_N),
    }
    scored = intervals(statistics, keys, config.num_draws)
    return {
        "num": len(keys),
        "num_normal": int(normal_N.sum()),
        "num_normal_alarms": int((normal_N & any_N).sum()),
        "num_abnormal": int(abnormal_N.sum()),
        **{name: [value.value, value.low, value.high] for name, value in scored.items()},
    }

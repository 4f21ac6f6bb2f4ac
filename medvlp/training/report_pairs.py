"""Pairs of texts from reports without images: what a sentence says, and the sentence itself.

The statement of a sentence has the form in which KAD's second stage writes reports (Zhang et al. 2023, entity
extraction): ``effusion [SEP] left pleural [SEP] present``, finding by finding, the position only where it is specified.
The folder is one of ``medvlp prepare reports``; its rules made the statements, so that they hold their errors too.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyarrow import parquet
from pydantic import Field

from medvlp.config import Config
from medvlp.errors import DataError
from medvlp.io import sha256_json, verify_manifest
from medvlp.training.concept_pairs import SEPARATOR, Pair
from medvlp.training.entity_texts import derangement

if TYPE_CHECKING:
    from medvlp.training.entity_texts import Knowledge

_STATEMENTS = 23  # random stream of the control
_NOWHERE = frozenset({"unspecified", "other"})
_REMEDY = "make it with `medvlp prepare reports`"


class ReportsHoldout(Config):
    """Reports kept out of training."""

    fraction: float = Field(0.2, ge=0, lt=1, description="Share of the reports.")
    seed: int = Field(0, ge=0, description="Draws them by a hash of their keys; apart from the run's seed.")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a part of a report that says what is seen.

    Attributes:
        report: Key of its report.
        section: Kind of its section, as ``findings`` or ``impression``.
        text: Its words; never logged.
        statement: What it says; empty if the rules found nothing in it.
    """

    report: str
    section: str
    text: str
    statement: str


@dataclass(frozen=True)
class Reports:
    """Reports, cut in sentences and split.

    Attributes:
        training: Sentences of each training report.
        held_out: Sentences of each report that is held out.
        digest: Sha256 over the files they were read from and the share held out.
        counts: Reports and sentences that are used and left out, by what they are.
    """

    training: tuple[tuple[Sentence, ...], ...]
    held_out: tuple[tuple[Sentence, ...], ...]
    digest: str
    counts: dict[str, int]

    def unseen(self) -> list[Sentence]:
        """Return held-out sentences that say something and are in no training report, each text once."""
        known = {_plain(sentence.text) for report in self.training for sentence in report}
        found: dict[str, Sentence] = {}
        for sentence in (one for report in self.held_out for one in report if one.statement):
            if _plain(sentence.text) not in known:
                found.setdefault(_plain(sentence.text), sentence)
        return list(found.values())


def read_reports(folder: Path, holdout: ReportsHoldout) -> Reports:
    """Read a folder of reports.

    Reports of equal sentences are on the same side: the hash of the first of their keys decides for all of them.

    Args:
        folder: Of ``medvlp prepare reports``.
        holdout: What is held out.

    Raises:
        DataError: If it is no such folder, a file is altered, or no report says anything.
    """
    if not (folder / "triplets.parquet").is_file():
        raise DataError("holds no triplets of reports", item=folder, remedy=_REMEDY)
    manifest = verify_manifest(folder)
    wanted = frozenset(manifest.get("config", {}).get("sections", ()))
    if "sentences" not in parquet.read_schema(folder / "reports.parquet").names:
        raise DataError("does not say where its sentences are", item=folder, remedy=f"{_REMEDY} again")
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for triplet in parquet.read_table(folder / "triplets.parquet").to_pylist():
        said[triplet["report"]].append(triplet)
    rows = parquet.read_table(folder / "reports.parquet", columns=["report", "text", "sentences"]).to_pylist()
    read = {row["report"]: _sentences(row, said[row["report"]], wanted) for row in rows}
    if not any(sentence.statement for sentences in read.values() for sentence in sentences):
        raise DataError("no report says anything", item=folder / "triplets.parquet", remedy="choose another vocabulary")
    same: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, sentences in read.items():
        same[tuple(_plain(sentence.text) for sentence in sentences)].append(key)
    held = {key for keys in same.values() if _is_held(min(keys), holdout) for key in keys}
    files = [manifest["files"][f"{name}.parquet"]["sha256"] for name in ("reports", "triplets")]
    training, held_out = (
        tuple(sentences for key, sentences in read.items() if sentences and (key in held) == side)
        for side in (False, True)
    )
    out = Reports(training, held_out, sha256_json([*files, sorted(wanted), holdout.model_dump(mode="json")]), {})
    queries = {_plain(one.text) for sentences in held_out for one in sentences if one.statement}
    out.counts.update(
        reports=len(read),
        training_reports=len(training),
        held_out_reports=len(held_out),
        reports_without_sentence=sum(not sentences for sentences in read.values()),
        reports_without_triplet=sum(not any(one.statement for one in sentences) for sentences in read.values()),
        reports_equal_to_another=sum(len(keys) - 1 for texts, keys in same.items() if texts),
        reports_on_the_side_of_an_equal_one=sum(
            (key in held) != _is_held(key, holdout) for texts, keys in same.items() if texts for key in keys
        ),
        triplets_without_place=sum(one["start"] < 0 for found in said.values() for one in found),
        held_out_sentences=len(queries),
        held_out_sentences_also_in_training=len(queries) - len(out.unseen()),
    )
    return out


def _sentences(row: dict[str, Any], triplets: list[dict[str, Any]], wanted: frozenset[str]) -> tuple[Sentence, ...]:
    out = []
    for span in (one for one in row["sentences"] if one["section"] in wanted):
        inside = [one for one in triplets if span["start"] <= one["start"] and one["end"] <= span["end"]]
        text = " ".join(row["text"][span["start"] : span["end"]].split())
        out.append(Sentence(row["report"], span["section"], text, statement(inside)))
    return tuple(out)


def statement(triplets: list[dict[str, Any]]) -> str:
    """Return what triplets (``finding``, ``position``, ``existence``) say, each once, in their order."""
    said = [
        SEPARATOR.join(
            part for part in (_words(one["finding"]), place_words(one["position"]), one["existence"]) if part
        )
        for one in triplets
    ]
    return SEPARATOR.join(dict.fromkeys(said))


def place_words(position: str) -> str:
    """Return a position in words, empty for one that says nothing."""
    return "" if position in _NOWHERE else _words(position.removesuffix("_unspec"))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _is_held(key: str, holdout: ReportsHoldout) -> bool:
    number = int.from_bytes(hashlib.sha256(f"{holdout.seed}:{key}".encode()).digest()[:8], "big")
    return number < holdout.fraction * 2**64


class ReportPairs:
    """Pairs of training reports; each distinct sentence that says something is one.

    Args:
        reports: Of :func:`read_reports`; what is held out is not touched.
        knowledge: ``real``: a sentence with its own statement; equal statements are positives of one another.
            ``permuted``: statements exchanged by a derangement of the distinct ones, so that no sentence has its own
            (which sentences mean the same stays known). ``none``: as many pairs without any statement, each of a
            sentence and the next one of its report (the one before the last one, itself if there is no other); equal
            next sentences are positives.
        seed: Decides the control.
        first_row: Number of the first row; rows of the graph lie below.

    Raises:
        DataError: If no training report says anything, or there are not two statements to exchange.
    """

    def __init__(self, reports: Reports, knowledge: Knowledge, seed: int, first_row: int) -> None:
        found: dict[str, tuple[Sentence, str]] = {}
        for sentences in reports.training:
            for place, sentence in enumerate(sentences):
                if sentence.statement:
                    near = sentences[place + 1 :] or sentences[max(0, place - 1) :]
                    found.setdefault(_plain(sentence.text), (sentence, near[0].text))
        if not found:
            raise DataError("no training report says anything", item="reports", remedy="lower reports_holdout.fraction")
        distinct = sorted({sentence.statement for sentence, _ in found.values()})
        told = dict(zip(distinct, distinct, strict=True))
        if knowledge == "permuted":
            order: np.ndarray = derangement(len(distinct), [seed, _STATEMENTS])
            told = {own: distinct[other] for own, other in zip(distinct, order, strict=True)}
        if knowledge == "none":
            texts = [(sentence.text, following, _plain(following)) for sentence, following in found.values()]
        else:
            texts = [(told[one.statement], one.text, one.statement) for one, _ in found.values()]
        row_of = {meaning: first_row + row for row, meaning in enumerate(dict.fromkeys(text[2] for text in texts))}
        self.pairs = [Pair(first, second, row_of[meaning]) for first, second, meaning in texts]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def draw(self, number: int) -> Pair:
        """Return a pair."""
        return self.pairs[number]

"""What is asked of an encoder of texts about held-out reports, as numbers from which every score can be computed again.

Findings coded by people; a statement and its sentence; a report's findings and its impression, which no run trains for;
sentences with one fact exchanged. All by cosine. The statements exist by rules alone (``data_prep.text``), the codes do
not. Shape legend: N coded reports, K headings, T texts, R retrieval queries, G gallery, S swapped sentences, D size.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import normalize

from benchmarks.objectives.config import Codes
from medvlp.errors import DataError
from medvlp.metrics.ranking import similarity_ranks
from medvlp.training.concept_pairs import SEPARATOR
from medvlp.training.report_pairs import Reports, Sentence
from medvlp.zeroshot.consistency import CHANCE, SwappedCaption, swapped_captions

Embed = Callable[[list[str]], Any]
"""Texts to unit rows (T, D), dense or sparse; zero rows where a text has nothing known."""

PRESENT = "present"
_SWAP_SEED = 0  # the same swapped sentences for every run
_TIED_RANK, _TIED_LEAD = 1e-6, 1e-9
_DIGITS = 6
Bag = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """Everything that is asked about the held-out reports of a set.

    Attributes:
        headings: Names of the coded findings, in words.
        coded: Keys of the N reports that somebody coded.
        sentences: Their sentences.
        truth_NK: Which report is coded with which heading.
        queries: Held-out sentences that say something and are in no training report: their statements ask for them.
        own_RG: Which of them say the same, word for word.
        sections: Findings and impression of each report that has both, with its key.
        impressions: The distinct impressions.
        swaps: Queries' sentences with one fact exchanged; ``row`` is the query.
    """

    headings: tuple[str, ...]
    coded: tuple[str, ...]
    sentences: tuple[Bag, ...]
    truth_NK: NDArray[np.bool_]
    queries: tuple[Sentence, ...]
    own_RG: NDArray[np.bool_]
    sections: tuple[tuple[str, Bag, Bag], ...]
    impressions: tuple[Bag, ...]
    swaps: tuple[SwappedCaption, ...]

    @property
    def own_impression_RG(self) -> NDArray[np.bool_]:
        """Which impression is that of which report."""
        place = {bag: number for number, bag in enumerate(self.impressions)}
        own = np.array([place[impression] for _, _, impression in self.sections])
        return np.asarray(own[:, None] == np.arange(len(self.impressions)))


def asked_of(reports: Reports, codes_of: dict[str, list[str]], codes: Codes) -> Asked:
    """Return what is asked.

    Args:
        reports: Their held-out part is asked.
        codes_of: Codes of each report by key; a report that is missing was not coded.
        codes: Which of them are findings.

    Raises:
        DataError: If too few held-out reports are coded, or no held-out sentence is unknown to training.
    """
    held = {sentences[0].report: sentences for sentences in reports.held_out}
    coded = [key for key in held if codes_of.get(key) and codes.not_coded not in codes_of[key]]
    heads = {key: {code.split("/")[0].strip() for code in codes_of[key]} for key in coded}
    counts = Counter(head for found in heads.values() for head in found)
    kept = sorted(h for h, num in counts.items() if num >= codes.fewest and h not in {codes.normal, *codes.left_out})
    queries = reports.unseen()
    if not kept or len({one.statement for one in queries}) < 2:
        raise DataError("too few held-out reports to ask about", item="holdout", remedy="hold out more")
    statement_R = np.array([one.statement for one in queries])
    sections = [(key, _bag(found, "findings"), _bag(found, "impression")) for key, found in held.items()]
    whole = tuple(one for one in sections if one[1] and one[2])
    return Asked(
        tuple(plain_name(heading) for heading in kept),
        tuple(coded),
        tuple(tuple(sentence.text for sentence in held[key]) for key in coded),
        np.array([[heading in heads[key] for heading in kept] for key in coded]),
        tuple(queries),
        statement_R[:, None] == statement_R,
        whole,
        tuple(dict.fromkeys(impression for _, _, impression in whole)),
        tuple(swapped_captions([[one.text] for one in queries], _SWAP_SEED)),
    )


def _bag(sentences: Sequence[Sentence], section: str) -> Bag:
    return tuple(sentence.text for sentence in sentences if sentence.section == section)


def plain_name(heading: str) -> str:
    """Return a heading as one would say it: ``Fractures, Bone`` is ``bone fractures``."""
    return " ".join(reversed(heading.split(", "))).lower()


def read_codes(file: Path, key: str, column: str) -> dict[str, list[str]]:
    """Return the codes of each report of a CSV file, parted by semicolons.

    Raises:
        DataError: If a column is missing.
    """
    with open(file, encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        for name in (key, column):
            if name not in (rows.fieldnames or ()):
                raise DataError("has no such column", item=f"{file}: {name}", remedy="name another in codes.column")
        return {row[key]: [code.strip() for code in row[column].split(";") if code.strip()] for row in rows}


def answer(embed: Embed, asked: Asked) -> dict[str, Any]:
    """Ask an encoder everything.

    Returns:
        JSON values: ``scores`` (N, K) with the headings' names and with statements of them, ``ranks`` of the right
        answers, ``swaps`` (1 where the true sentence is nearer to its statement, one half where both are as near).
    """
    names = list(asked.headings)
    stated = [name + SEPARATOR + PRESENT for name in names]
    bags = [*asked.sentences, *(one[1] for one in asked.sections), *asked.impressions]
    texts = [*names, *stated, *(text for bag in bags for text in bag), *(one.text for one in asked.queries)]
    texts += [one.statement for one in asked.queries] + [one.swapped for one in asked.swaps]
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    vector_TD = embed(list(place))

    def rows(wanted: Sequence[str]) -> Any:
        return vector_TD[[place[text] for text in wanted]]

    scores = {}
    first_N = np.cumsum([0, *(len(bag) for bag in asked.sentences)])[:-1]
    said = rows([text for bag in asked.sentences for text in bag])
    for wording, queries in (("name", names), ("stated", stated)):
        scores[wording] = np.maximum.reduceat(_dense(said @ rows(queries).T), first_N, axis=0)
    own = rows([one.text for one in asked.queries])
    ask = rows([one.statement for one in asked.queries])
    to_sentence = similarity_ranks(_dense(ask @ own.T), asked.own_RG, _TIED_RANK).realistic_Q
    findings, impressions = (
        _means(vector_TD, place, chosen) for chosen in ([one[1] for one in asked.sections], asked.impressions)
    )
    to_impression = similarity_ranks(_dense(findings @ impressions.T), asked.own_impression_RG, _TIED_RANK).realistic_Q
    apart = rows([one.true for one in asked.swaps]) - rows([one.swapped for one in asked.swaps])
    told = rows([asked.queries[one.row].statement for one in asked.swaps])
    lead_S = np.asarray((told.multiply(apart) if sparse.issparse(told) else told * apart).sum(1)).ravel()
    below_S = np.where(np.abs(lead_S) < _TIED_LEAD, CHANCE, (lead_S > 0).astype(np.float64))
    return {
        "by": {"scores": "cosine", "texts": "cosine"},
        "scores": {wording: np.round(score_NK, _DIGITS).tolist() for wording, score_NK in scores.items()},
        "ranks": {"sentence": to_sentence.tolist(), "impression": to_impression.tolist()},
        "swaps": {"below": below_S.tolist()},
    }


def _dense(product: Any) -> NDArray[np.float64]:
    return np.asarray(product.toarray() if sparse.issparse(product) else product, dtype=np.float64)


def _means(vector_TD: Any, place: dict[str, int], bags: Sequence[Bag]) -> Any:
    """Return the unit mean of the sentences of each text: longer ones than an encoder reads are not cut."""
    columns = [place[text] for bag in bags for text in bag]
    start = np.cumsum([0, *(len(bag) for bag in bags)])
    mean = sparse.csr_matrix((np.ones(len(columns)), columns, start), shape=(len(bags), vector_TD.shape[0]))
    return normalize(mean @ vector_TD)

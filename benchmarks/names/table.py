"""The table of the held-out-name benchmark: scores with intervals, differences, and the floors beside them.

A value is the mean over seeds; its 95 % interval resamples concepts (all names of a concept come together), and
differences are paired on the same names. Shape legend: R seeds, Q queries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.names.config import NamesConfig
from benchmarks.names.run import FLOORS
from medvlp.metrics.bootstrap import draw_weights, interval

Record = dict[str, Any]


def _scores(records: list[Record]) -> dict[str, np.ndarray]:
    """Mean over seeds of each query's hit and reciprocal rank."""
    rank_RQ = np.array([record["rank_Q"] for record in records])
    return {"R@1": (rank_RQ <= 1).mean(0), "MRR": (1 / rank_RQ).mean(0)}


def _recall_ambiguous(records: list[Record]) -> float | None:
    if not records[0]["ambiguous_Q"]:
        return None
    return float(np.mean([np.mean(np.array(record["ambiguous_Q"]) <= 1) for record in records]))


def build(config: NamesConfig, records: dict[str, list[Record]]) -> dict[str, Any]:
    """Return rows and differences as JSON values."""
    titles = {**FLOORS, **{name: arm.title for name, arm in config.arms.items()}}
    concept_Q = np.array(records["tfidf"][0]["concept_Q"])
    num_concepts = len(np.unique(concept_Q))
    scores = {name: _scores(done) for name, done in records.items()}
    weights = list(draw_weights(concept_Q, config.num_draws, seed=0))

    def with_interval(value_Q: np.ndarray) -> dict[str, float]:
        draw_S = np.concatenate([weight_SQ @ value_Q / weight_SQ.sum(1) for weight_SQ in weights])
        found = interval(float(value_Q.mean()), draw_S, num_concepts)
        return {"value": found.value, "low": found.low, "high": found.high}

    rows = [
        {
            "arm": name,
            "title": titles[name],
            **{metric: with_interval(value_Q) for metric, value_Q in scores[name].items()},
            "R@1 by seed": [float((np.array(record["rank_Q"]) <= 1).mean()) for record in done],
            "R@1 of ambiguous names": _recall_ambiguous(done),
            "seconds": float(np.mean([record["seconds"] for record in done])),
        }
        for name, done in records.items()
    ]
    floor = max(FLOORS, key=lambda name: float(scores[name]["R@1"].mean()))
    pairs = [(config.full, floor), (config.full, config.control)]
    pairs += [(after, before) for before, after in zip(config.arms, list(config.arms)[1:], strict=False)]
    differences = [
        {
            "first": titles[first],
            "second": titles[second],
            **{metric: with_interval(scores[first][metric] - scores[second][metric]) for metric in ("R@1", "MRR")},
        }
        for first, second in dict.fromkeys(pairs)
        if second != config.full or first != config.control
    ]
    return {
        "num_names": len(concept_Q),
        "num_concepts_asked": num_concepts,
        "num_concepts_searched": records["tfidf"][0]["num_concepts"],
        "num_ambiguous": len(records["tfidf"][0]["ambiguous_Q"]),
        "seeds": config.seeds,
        "rows": rows,
        "differences": differences,
    }


def markdown(table: dict[str, Any]) -> str:
    """Return the table as Markdown, as printed and as kept in the docs."""
    lines = [
        f"{table['num_names']:,} held-out names of {table['num_concepts_asked']:,} concepts, searched among "
        f"{table['num_concepts_searched']:,} concepts; {len(table['seeds'])} seeds; 95 % intervals over concepts. "
        f"{table['num_ambiguous']} names of several concepts are counted apart (any of them is right).",
        "",
        "| arm | R@1 | MRR | R@1 by seed | R@1 of ambiguous names | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        ambiguous = row["R@1 of ambiguous names"]
        by_seed = " ".join(f"{value:.3f}" for value in row["R@1 by seed"])
        lines.append(
            f"| {row['title']} | {_range(row['R@1'])} | {_range(row['MRR'])} | {by_seed} "
            f"| {'–' if ambiguous is None else format(ambiguous, '.3f')} | {row['seconds']:.0f} |"
        )
    lines += ["", "| difference | R@1 | MRR |", "|---|---|---|"]
    lines += [
        f"| {row['first']} − {row['second']} | {_range(row['R@1'], sign=True)} | {_range(row['MRR'], sign=True)} |"
        for row in table["differences"]
    ]
    return "\n".join(lines) + "\n"


def _range(score: dict[str, float], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"

"""Scores with intervals over scenes, and the differences to both controls on the same draws.

A value is the mean over seeds. Shape legend: R seeds, N test scenes, K findings, S bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.config import SimulationBenchmarkConfig
from benchmarks.simulation.controls import ARMS, CONTROLS
from benchmarks.simulation.questions import Question, questions
from data_prep.simulation.side_files import read_scenes
from data_prep.simulation.simulate import WARNING
from medvlp.data.pairs import PairsStore
from medvlp.metrics import bootstrap, curves
from medvlp.metrics._weighted import nanmean_columns

Record = Mapping[str, Any]
Floats = NDArray[np.float64]


def build(
    config: SimulationBenchmarkConfig, store: PairsStore, records: Mapping[str, Sequence[Record]]
) -> dict[str, Any]:
    """Return every condition's scores, per arm and as differences, as JSON values."""
    kinds = list(store.manifest["names"])
    held_out = store.manifest["held_out"]
    truth = {scene["scene"]: scene for scene in read_scenes(store.folder)}
    scenes = [truth[key] for key in store.split("test").keys]
    weights = list(bootstrap.draw_weights([scene["scene"] for scene in scenes], config.num_draws, seed=0))
    return {
        "warning": WARNING,
        "scenes_sha256": store.digest,
        "num_scenes": store.manifest["num_rows_per_split"],
        "parts": store.manifest["parts"],
        "held_out": held_out,
        "names": store.manifest["names"],
        "seeds": config.seeds,
        "multi_score": config.multi_score,
        "draws": config.num_draws,
        "seconds": {arm: float(np.mean([record["seconds"] for record in done])) for arm, done in records.items()},
        "arms": ARMS,
        "conditions": [
            _condition(question, kinds, records, weights) for question in questions(scenes, held_out, kinds)
        ],
    }


def _condition(
    question: Question, kinds: Sequence[str], records: Mapping[str, Sequence[Record]], weights: Sequence[Floats]
) -> dict[str, Any]:
    columns = [kinds.index(kind) for kind in question.kinds]
    prompts = "unseen" if question.unseen_names else "seen"
    score_RNK = {
        arm: np.array([record["scores"][prompts] for record in done])[:, :, columns] for arm, done in records.items()
    }
    value_1K = {arm: _auroc(question, score, None) for arm, score in score_RNK.items()}
    draw_SK = {
        arm: np.concatenate([_auroc(question, score, weight) for weight in weights]) for arm, score in score_RNK.items()
    }
    num_scenes = int(question.counts_NK.any(1).sum())

    def entry(value_1K: Floats, draw_SK: Floats) -> dict[str, float | None]:
        found = bootstrap.interval(float(nanmean_columns(value_1K)[0]), nanmean_columns(draw_SK), num_scenes)
        return {key: _plain(getattr(found, key)) for key in ("value", "low", "high")}

    def rows(pick: slice) -> dict[str, Any]:
        return {
            "arms": {arm: entry(value_1K[arm][:, pick], draw_SK[arm][:, pick]) for arm in ARMS},
            "leads": {
                arm: entry(
                    value_1K["real"][:, pick] - value_1K[arm][:, pick], draw_SK["real"][:, pick] - draw_SK[arm][:, pick]
                )
                for arm in CONTROLS
            },
        }

    positive_K = (question.counts_NK & question.present_NK).sum(0)
    negative_K = (question.counts_NK & ~question.present_NK).sum(0)
    return {
        "name": question.name,
        "title": question.title,
        "num_scenes": num_scenes,
        **rows(slice(None)),
        "findings": [
            {
                "kind": kind,
                "num_positive": int(positive_K[column]),
                "num_negative": int(negative_K[column]),
                **rows(slice(column, column + 1)),
            }
            for column, kind in enumerate(question.kinds)
        ],
    }


def _auroc(question: Question, score_RNK: Floats, weight_SN: Floats | None) -> Floats:
    """AUROC (S, K) of each finding among the scenes that count for it, mean over seeds."""
    out = []
    for column in range(len(question.kinds)):
        rows = np.flatnonzero(question.counts_NK[:, column])
        weight = np.ones((1, len(rows))) if weight_SN is None else weight_SN[:, rows]
        truth_N = question.present_NK[rows, column]
        out.append(np.mean([curves.auroc(truth_N, score[rows, column], weight) for score in score_RNK], axis=0))
    return np.stack(out, axis=1)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def headline(table: Mapping[str, Any]) -> list[str]:
    """The score on held-out scenes with both controls, a line each."""
    first = table["conditions"][0]
    lines = [f"simulated radiographs, {first['title']}, mean AUROC: {score(first['arms']['real'])}"]
    lines += [
        f"  control, {ARMS[arm]}: {score(first['arms'][arm])}, lead {lead(first['leads'][arm])}" for arm in CONTROLS
    ]
    return [*lines, f"  {table['warning']}"]


def verdict(table: Mapping[str, Any]) -> str:
    """Say in one sentence whether the model beats both controls on held-out scenes."""
    leads = table["conditions"][0]["leads"]
    unclear = [ARMS[arm] for arm in CONTROLS if leads[arm]["low"] is None or leads[arm]["low"] <= 0]
    if not unclear:
        return "On held-out scenes the model beats both controls: neither interval of its lead holds zero."
    return f"On held-out scenes the model cannot be told apart from a control ({', '.join(unclear)})."


def markdown(table: Mapping[str, Any]) -> str:
    """Return the table as Markdown, as printed and as kept in the docs."""
    head = ["AUROC", *ARMS.values(), *(f"lead over {ARMS[arm]}" for arm in CONTROLS)]
    lines = [
        f"{table['warning']}. {table['num_scenes']['train']} training scenes; seeds "
        f"{', '.join(map(str, table['seeds']))}; 95 % intervals from {table['draws']} draws of scenes.",
        "",
        f"| {' | '.join(['condition', 'positive, negative', *head[1:]])} |",
        f"|{'---|' * (len(head) + 1)}",
    ]
    for condition in table["conditions"]:
        lines.append(_line(f"**{condition['title']}**", f"{condition['num_scenes']} scenes", condition))
        lines += [
            _line(found["kind"], f"{found['num_positive']}, {found['num_negative']}", found)
            for found in condition["findings"]
        ]
    return "\n".join([*lines, "", verdict(table)]) + "\n"


def _line(name: str, count: str, row: Mapping[str, Any]) -> str:
    cells = [*(score(row["arms"][arm]) for arm in ARMS), *(lead(row["leads"][arm]) for arm in CONTROLS)]
    return f"| {' | '.join([name, count, *cells])} |"


def score(entry: Mapping[str, float | None]) -> str:
    """A value with its interval."""
    return _written(entry, ".3f")


def lead(entry: Mapping[str, float | None]) -> str:
    """A difference with its interval."""
    return _written(entry, "+.3f")


def _written(entry: Mapping[str, float | None], form: str) -> str:
    if entry["value"] is None:
        return "undefined"
    if entry["low"] is None or entry["high"] is None:
        return format(entry["value"], form)
    return f"{entry['value']:{form}} [{entry['low']:{form}}, {entry['high']:{form}}]"

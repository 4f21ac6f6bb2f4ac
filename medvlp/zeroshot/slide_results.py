"""``results.json`` and ``tiles.parquet`` of one slide: every way to pool its tiles, chance, and what is not known.

Shape legend: N tiles, K classes, X = 2 (x, y).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medvlp.zeroshot import results
from medvlp.zeroshot.classifier import Floats
from medvlp.zeroshot.slide import METHODS, RATIOS, Method, SlideRule, SlideScore, score_slide
from medvlp.zeroshot.slide_classes import Question
from medvlp.zeroshot.smoothing import Places

FORMAT = "medvlp-slide-1"
SCHEMA = Path(__file__).with_name("slide.schema.json")
_FEW_TILES = 20
_CLOSE = 0.1

TITLES: dict[Method, str] = {
    "tumour_ratio": "Share of tiles, normal left out unless nothing else is there",
    "ratio_with_normal": "Share of tiles, normal counted like any class",
    "top_k": "Mean cosine of the k best tiles",
    "mean": "Mean cosine of all tiles",
    "lse": "Log-mean-exp of cosines",
}


def method_entries(
    cosine_NK: Floats,
    rule: SlideRule,
    asked: Question,
    *,
    scale: float,
    coords_NX: Any,
    step: float | None,
) -> tuple[list[dict[str, Any]], SlideScore]:
    """Score a slide by every method, and return the entries with the score of the rule's own."""
    own: SlideScore | None = None
    entries = []
    for method in METHODS:
        changed = rule if method == rule.method else _open(rule, method)
        score = score_slide(cosine_NK, changed, asked.normal, scale=scale, coords_NX=coords_NX, step=step)
        if method == rule.method:
            own = score
        entries.append(_entry(score, changed, asked))
    assert own is not None
    return entries, own


def _open(rule: SlideRule, method: Method) -> SlideRule:
    """The rule with another method: a cut fitted for one method's scores means nothing for another's."""
    return rule.with_changes(method=method, slide_threshold=None, source="fixed", split=None, num_slides=None)


def _entry(score: SlideScore, rule: SlideRule, asked: Question) -> dict[str, Any]:
    labels = asked.classes.labels
    ratio = score.method in RATIOS
    return {
        "method": score.method,
        "title": TITLES[score.method],
        "unit": "share of tiles" if ratio else "cosine",
        "scores": dict(zip(labels, score.score_K.tolist(), strict=True)),
        "decision": labels[score.decision],
        "tie": score.tie,
        "tumour_score": score.tumour_score,
        "used_k": score.used_k,
        "slide_threshold": rule.slide_threshold,
        "floor": {
            "name": "chance",
            "value": 1 / len(labels) if ratio else None,
            "tumour_score": 1 - 1 / len(labels) if ratio and asked.normal is not None else None,
            "description": f"Tiles answered at random give every class 1/{len(labels)} of them."
            if ratio
            else f"A random answer is right once in {len(labels)}; a cosine alone has no chance level.",
        },
    }


def answer_entry(score: SlideScore, rule: SlideRule, asked: Question) -> dict[str, Any]:
    """The answer, with what may and may not be concluded from it."""
    label = asked.classes.labels[score.decision]
    num = len(asked.classes.labels)
    fitted = rule.source == "development"
    return {
        "label": label,
        "name": asked.classes.names[label],
        "is_normal": score.decision == asked.normal,
        "method": rule.method,
        "tie": score.tie,
        "tumour_score": score.tumour_score,
        "calibrated": False,
        "statement": f"Thresholds were fitted on {rule.num_slides or 'the'} slides of the {rule.split} split; "
        "the scores are not calibrated probabilities."
        if fitted
        else "Not calibrated, no threshold fitted: the score ranks classes on this slide and is no probability of "
        "disease.",
        "chance": 1 / num,
        "prior": None,
        "prior_reason": "one slide says nothing about how frequent its classes are",
    }


def tile_entry(probability_NK: Floats, cosine_NK: Floats, asked: Question) -> dict[str, Any]:
    """What the tiles look like before they are pooled."""
    two_N2 = np.sort(cosine_NK, axis=1)[:, -2:]
    share_K = np.bincount(probability_NK.argmax(1), minlength=probability_NK.shape[1]) / len(probability_NK)
    labels = asked.classes.labels
    return {
        "mean_probability": dict(zip(labels, probability_NK.mean(0).tolist(), strict=True)),
        "answered_share": dict(zip(labels, share_K.tolist(), strict=True)),
        "mean_best_probability": float(probability_NK.max(1).mean()),
        "mean_margin": float((two_N2[:, 1] - two_N2[:, 0]).mean()),
    }


def limits(value: dict[str, Any], asked: Question) -> list[str]:
    """What a reader has to know before relying on the answer, in plain words."""
    out = []
    grid, answer = value["grid"], value["answer"]
    if grid["num_scored"] < _FEW_TILES:
        out.append(f"Only {grid['num_scored']} tiles were scored; shares of so few are rough.")
    if grid["num_unreadable"]:
        out.append(f"{grid['num_unreadable']} of {grid['num_tiles']} tiles could not be decoded and count for nothing.")
    if asked.normal is None:
        out.append("No class is called normal, so every slide gets a disease; name one with --normal.")
    best, chance = value["tiles"]["mean_best_probability"], answer["chance"]
    if best - chance < _CLOSE:
        out.append(
            f"The best class of a tile has probability {best:.3f} on average where {chance:.3f} is chance: the model "
            "hardly tells the classes apart here."
        )
    others = {entry["decision"] for entry in value["methods"]} - {answer["label"]}
    if others:
        out.append(f"Other ways to pool the tiles answer {', '.join(sorted(others))}.")
    if answer["tie"]:
        out.append("The scores left a tie, which went to the class of larger mean probability.")
    if value["graph"] is None:
        out.append("Without a graph the classes are asked for in their own words, with no synonyms.")
    elif value["prompts"]["fallback"]:
        named = ", ".join(label.replace("_", " ") for label in value["prompts"]["fallback"])
        out.append(f"No concept of the graph names {named}: asked for in their own words.")
    for reason, count in value["prompts"]["dropped"].items():
        out.append(f"{count} names were left out of the prompts: {reason}.")
    if value["slide"]["mpp_source"] == "given":
        out.append("The micrometres per pixel were given by hand; a wrong value changes every score.")
    elif value["slide"]["mpp_source"] == "unknown":
        out.append("The micrometres per pixel are unknown: nothing can be measured, and no scale bar is drawn.")
    out += [f"About the file: {note}." for note in value["slide"]["notes"]]
    return out


def write_tiles(path: Path, place_NX: Places, probability_NK: Floats, classes: tuple[str, ...]) -> None:
    """Write ``tiles.parquet``: x, y (level-0 pixels) and one column per class, its probability."""
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {"x": place_NX[:, 0], "y": place_NX[:, 1]}
    columns |= {label: probability_NK[:, k].astype(np.float32) for k, label in enumerate(classes)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def validate(value: dict[str, Any]) -> None:
    """Check against ``slide.schema.json``; a :class:`DataError` names the first place that does not fit."""
    results.validate(value, path=SCHEMA)

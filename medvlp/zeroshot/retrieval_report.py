"""The page of a retrieval evaluation, in the style of the zero-shot report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvlp.zeroshot import count_plots
from medvlp.zeroshot.classifier import Floats
from medvlp.zeroshot.report import interval_text, lead_text, score_text, spaced, style, thumbnail

if TYPE_CHECKING:
    from medvlp.zeroshot.retrieval import RetrievalConfig
    from medvlp.zeroshot.retrieval_task import RetrievalTask

TEMPLATE = Path(__file__).with_name("retrieval.html.j2")
HEADLINE = "mean_reciprocal_rank"
_SIDE = 150
_FOUND = 5
TITLES = {"image_to_text": "From an image to its text", "text_to_image": "From a text to its image"}


@dataclass(frozen=True)
class Found:
    """A text query: its best images, which of them are right, and the rank of its best right one."""

    key: str
    text: str | None
    rank: float
    images: tuple[tuple[str, str, bool], ...]  # thumbnail, key, right


def draw_examples(
    config: RetrievalConfig,
    split: Any,
    task: RetrievalTask,
    image_ID: Floats,
    text_TD: Floats,
    by_direction: dict[str, Floats],
) -> list[Found]:
    """Draw text queries at random and show what they find first."""
    rng = np.random.default_rng([config.seed, 2])
    out = []
    for t in rng.permutation(len(task.texts_T))[: config.num_examples].tolist():
        best = np.argsort(-(image_ID @ text_TD[t]), kind="stable")[:_FOUND].tolist()
        images = tuple(
            (thumbnail(split[int(task.rows_I[i])].image, _SIDE), task.keys_I[i], i in set(task.images_of_T[t].tolist()))
            for i in best
        )
        own = ", ".join(task.keys_I[i] for i in task.images_of_T[t])
        text = task.texts_T[t] if config.show_texts else None
        out.append(Found(own, text, float(by_direction["text_to_image"][t]), images))
    return out


def render(results: dict[str, Any], examples: list[Found]) -> str:
    """Return the page.

    Args:
        results: What ``results.json`` holds.
        examples: Text queries to show; none leaves that part out.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(score=score_text, interval=interval_text, lead=lead_text, spaced=spaced)
    curves = {
        name: count_plots.recall_plot(
            {"this model": part["curve"]["model"], "random order": part["curve"]["random"]}, TITLES[name]
        )
        for name, part in results["directions"].items()
    }
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        style=style(),
        titles=TITLES,
        headline=HEADLINE,
        curves=curves,
        examples=examples,
        verdict=verdict(results),
        level=f"{100 * results['bootstrap']['level']:.0f}%",
    )


def verdict(results: dict[str, Any]) -> dict[str, str]:
    """Say how the model stands to its best floor in both directions, by mean reciprocal rank.

    Returns:
        ``state`` (better, unclear, worse, unknown) and ``text``.
    """
    states, told = [], []
    for name, part in results["directions"].items():
        found = [
            (entry["value"], floor["name"], entry["lead"])
            for floor in part["floors"]
            for entry in floor["metrics"]
            if entry["name"] == HEADLINE and entry["value"] is not None
        ]
        if not found:
            states.append("unknown")
            continue
        _, floor, lead = max(found, key=lambda row: row[0])
        if lead["low"] is None:
            states.append("unknown")
        else:
            states.append("better" if lead["low"] > 0 else "worse" if lead["high"] < 0 else "unclear")
        told.append(f"{TITLES[name].lower()} its lead over the best floor ({spaced(floor)}) is {lead_text(lead)}")
    worst = next(state for state in ("unknown", "worse", "unclear", "better") if state in states)
    said = {
        "better": "The model beats every floor both ways",
        "unclear": "The model cannot be told apart from its best floor at least one way",
        "worse": "The model is worse than a floor at least one way",
        "unknown": "Without floors and intervals nothing can be said about this score",
    }[worst]
    return {"state": worst, "text": f"{said}{': mean reciprocal rank, ' + '; '.join(told) if told else ''}."}

"""What the viewer's pages and its JSON hold: chosen field by field, so that nothing of a slide's metadata slips in.

Shape legend: N tiles, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medvlp.viewer.answers import Answer
from medvlp.viewer.overlay import Cells

TEMPLATES = Path(__file__).parent
_TYPICAL = 8


def plain(text: str) -> str:
    """A label as words."""
    return text.replace("_", " ")


def title(number: int, answer: Answer, show_names: bool) -> str:
    """What a slide is called: its number, and its file's name only if names are to be shown."""
    return f"Slide {number} ({answer.results['slide']['key']})" if show_names else f"Slide {number}"


def limits_of(answer: Answer, column: int) -> tuple[float, float]:
    """The lowest and the highest probability of a class on the slide."""
    return float(answer.probability_NK[:, column].min()), float(answer.probability_NK[:, column].max())


def slide_json(answer: Answer, cells: Cells, shown: int) -> dict[str, Any]:
    """What the page's script needs to draw.

    Args:
        answer: The answer.
        cells: Of its heat map.
        shown: Column of the class to begin with.
    """
    typical_KR = np.argsort(-answer.probability_NK, axis=0, kind="stable")[:_TYPICAL].T
    return {
        "size": answer.results["slide"]["size"],
        "mpp": answer.results["slide"]["mpp"],
        "heat": cells.rectangle,
        "shown": shown,
        "classes": [
            {"name": plain(row["name"]), "range": limits_of(answer, k), "typical": typical_KR[k].tolist()}
            for k, row in enumerate(answer.results["classes"])
        ],
    }


def tile_json(answer: Answer, row: int) -> dict[str, Any]:
    """One tile: where it lies, the probability of each class, and the prompts nearest to it."""
    prompts = answer.results["prompts"]["classes"]
    classes = []
    for k, entry in enumerate(answer.results["classes"]):
        found = zip(answer.nearest.prompt_NKR[row, k].tolist(), answer.nearest.cosine_NKR[row, k].tolist(), strict=True)
        texts = prompts[entry["label"]]
        classes.append(
            {
                "name": plain(entry["name"]),
                "probability": float(answer.probability_NK[row, k]),
                "nearest": [
                    {"text": texts[number]["text"], "cosine": cosine} for number, cosine in found if number >= 0
                ],
            }
        )
    x, y = answer.place_NX[row].tolist()
    return {"row": row, "x": x, "y": y, "side": answer.side, "classes": classes}


def slide_page(answer: Answer, number: int, total: int, cells: Cells, shown: int, show_names: bool) -> str:
    """The page about one slide; its script fetches the rest."""
    results = answer.results
    own = next(entry for entry in results["methods"] if entry["method"] == results["answer"]["method"])
    return _render(
        "page.html.j2",
        title=title(number, answer, show_names),
        number=number,
        total=total,
        results=results,
        own=own,
        shown=shown,
        cells=cells,
        side_um=None if results["slide"]["mpp"] is None else results["slide"]["mpp"] * answer.side,
    )


def index_page(answers: list[Answer], show_names: bool) -> str:
    """The list of slides."""
    rows = [
        {"number": number, "title": title(number, answer, show_names), "answer": answer.results["answer"]}
        for number, answer in enumerate(answers, start=1)
    ]
    return _render("index.html.j2", rows=rows)


def _render(name: str, **values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(label=plain)
    return page.from_string((TEMPLATES / name).read_text(encoding="utf-8")).render(**values)

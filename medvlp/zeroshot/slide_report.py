"""The page about one slide: a single HTML file without outside requests or scripts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from medvlp.ledger import Ledger
from medvlp.zeroshot.classifier import Floats
from medvlp.zeroshot.report import style, thumbnail

if TYPE_CHECKING:
    from medvlp.slides.reader import Slide
    from medvlp.zeroshot.smoothing import Places

TEMPLATE = Path(__file__).with_name("slide_report.html.j2")
_MAX_PROMPTS_SHOWN = 200
_SIDE = 160


@dataclass(frozen=True)
class TopTile:
    """One tile as a small picture, with its probability and its level-0 place."""

    picture: str
    probability: float
    x: int
    y: int


def top_tiles(
    slide: Slide, place_NX: Places, side: int, probability_NK: Floats, classes: Sequence[str], num: int = 6
) -> tuple[dict[str, list[TopTile]], Ledger]:
    """The ``num`` most probable tiles of each class as pictures; those that cannot be read are counted."""
    from medvlp.slides.reader import UnreadableRegion

    out: dict[str, list[TopTile]] = {}
    ledger = Ledger()
    for k, label in enumerate(classes):
        out[label] = []
        for row in np.argsort(-probability_NK[:, k], kind="stable")[:num].tolist():
            x, y = place_NX[row].tolist()
            try:
                pixels = slide.square(x, y, side, min(_SIDE, side))
            except UnreadableRegion:
                ledger.drop(f"tile at {x}, {y}", "pixels cannot be decoded")
                continue
            ledger.keep()
            picture = thumbnail(Image.fromarray(pixels), _SIDE)
            out[label].append(TopTile(picture, float(probability_NK[row, k]), x, y))
    return out, ledger


def render(value: dict[str, Any], heat_png: bytes, heat_label: str, tops: dict[str, list[TopTile]]) -> str:
    """Return the page.

    Args:
        value: What ``results.json`` holds.
        heat_png: The heat map.
        heat_label: What it shows.
        tops: Most probable tiles of each class.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(label=lambda text: text.replace("_", " "), share=_share)
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=value,
        style=style(),
        heat="data:image/png;base64," + base64.b64encode(heat_png).decode(),
        heat_label=heat_label,
        tops=tops,
        names={row["label"]: row["name"] for row in value["classes"]},
        max_prompts=_MAX_PROMPTS_SHOWN,
    )


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"

"""The page: one HTML file without outside requests, from the table and a few scenes with their masks outlined."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.simulation import table as tables
from benchmarks.simulation.controls import ARMS, CONTROLS
from data_prep.simulation.preview import COLOURS, outlined
from data_prep.simulation.side_files import read_masks, read_organs, read_scenes
from medvlp.data.pairs import PairsStore

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Picture:
    """One test scene: as it is, with the outlines of its findings, from organ masks alone; and what is in it."""

    plain: str
    outlined: str
    organs: str
    findings: tuple[tuple[str, str], ...]
    part: str


def pictures(store: PairsStore, count: int) -> list[Picture]:
    """Take test scenes with findings, as many of each part as possible, in row order."""
    split = store.split("test")
    truth = {scene["scene"]: scene for scene in read_scenes(store.folder)}
    masks, organs = read_masks(store.folder), read_organs(store.folder)
    by_part: dict[str, list[int]] = {}
    for row, key in enumerate(split.keys):
        if truth[key]["findings"]:
            by_part.setdefault(truth[key]["part"], []).append(row)
    turns = [row for rank in range(count) for rows in by_part.values() for row in rows[rank : rank + 1]]
    out = []
    for row in sorted(turns[:count]):
        pair, scene = split[row], truth[split.keys[row]]
        image_PP = np.asarray(pair.image.convert("L"))
        own = [masks[scene["scene"], finding["kind"]] for finding in scene["findings"]]
        told = tuple(
            ("#{:02x}{:02x}{:02x}".format(*COLOURS[number % len(COLOURS)]), _told(finding))
            for number, finding in enumerate(scene["findings"])
        )
        beside = Image.open(io.BytesIO(organs[scene["scene"]])).convert("L")
        out.append(
            Picture(
                _uri(outlined(image_PP, [])),
                _uri(outlined(image_PP, own)),
                _uri(outlined(np.asarray(beside), [])),
                told,
                scene["part"],
            )
        )
    return out


def _told(finding: Mapping[str, Any]) -> str:
    place = finding["lobe"] or finding["side"]
    return f"{finding['grade']} {finding['label']}" + (f", {place}" if place else "")


def _uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def render(table: Mapping[str, Any], shown: Sequence[Picture]) -> str:
    """Return the page."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(score=tables.score, lead=tables.lead)
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        table=table, arms=ARMS, controls=CONTROLS, verdict=tables.verdict(table), pictures=shown
    )

"""The report page: one HTML file without outside requests, made from ``results.json`` and a few thumbnails."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from medvlp.zeroshot import plots

TEMPLATE = Path(__file__).with_name("report.html.j2")
_THUMBNAIL = 220
_TOP_ANSWERS = 3
_HEADLINE = {"single": ("balanced_accuracy", "auroc", "f1_macro"), "multi": ("auroc", "average_precision", "f1_macro")}
_MAX_PROMPTS_SHOWN = 200


@dataclass(frozen=True)
class Example:
    """One image with its truth and its best answers, largest probability first."""

    thumbnail: str
    truth: tuple[str, ...]
    answers: tuple[tuple[str, float], ...]

    @property
    def is_right(self) -> bool:
        """Whether the first answer is true."""
        return self.answers[0][0] in self.truth


def example(image: Image.Image, truth: list[str], classes: list[str], probability_K: Any) -> Example:
    """Make an example with a small JPEG of the image inside."""
    order = sorted(range(len(classes)), key=lambda k: -probability_K[k])[:_TOP_ANSWERS]
    return Example(thumbnail(image), tuple(truth), tuple((classes[k], float(probability_K[k])) for k in order))


def thumbnail(image: Image.Image, side: int = _THUMBNAIL) -> str:
    """Return a small JPEG as a data URI."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def style() -> str:
    """Return the style sheet that every page of the project shares."""
    return TEMPLATE.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]


def render(results: dict[str, Any], examples: list[Example] | None = None, leaks: dict[str, str] | None = None) -> str:
    """Return the page.

    Args:
        results: What ``results.json`` holds.
        examples: Images to show; none leaves that part out.
        leaks: ``status`` (``ok`` or ``violated``, shown in red) and ``line`` of a leak report; none leaves it out.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(
        score=score_text, interval=interval_text, lead=lead_text, label=_label, spaced=spaced, share=_share
    )
    metrics = {entry["name"]: entry for entry in results["metrics"]}
    floors = [floor for floor in results["floors"] if floor["skipped"] is None]
    by_floor = {floor["name"]: {entry["name"]: entry for entry in floor["metrics"]} for floor in floors}
    headline = _HEADLINE[results["task"]["mode"]]
    area = {kind: {row["label"]: row["metrics"][kind]["value"] for row in results["classes"]}
            for kind in ("auroc", "average_precision")}  # fmt: skip
    data = results["plots"]
    matrix = data["confusion_matrix"]
    panels = []
    for name in headline:
        beside = [(spaced(floor["name"]), by_floor[floor["name"]][name]) for floor in floors]
        panels.append((metrics[name]["title"], [("this model", metrics[name]), *beside]))
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        metrics=metrics,
        headline=[metrics[name] for name in headline],
        floors=floors,
        by_floor=by_floor,
        skipped=[floor for floor in results["floors"] if floor["skipped"] is not None],
        verdict=verdict(results),
        examples=examples or [],
        leaks=leaks,
        max_prompts=_MAX_PROMPTS_SHOWN,
        floors_plot=plots.floors_plot(panels) if floors else None,
        roc=plots.curve_plot(data["roc"], "roc", area["auroc"]) if data["roc"] else None,
        precision_recall=plots.curve_plot(data["precision_recall"], "precision_recall", area["average_precision"])
        if data["precision_recall"]
        else None,
        confusion=plots.confusion_plot(matrix, results["task"]["classes"]) if matrix is not None else None,
    )


def verdict(results: dict[str, Any]) -> dict[str, str]:
    """Say in one sentence how the model stands to its best floor, on the first headline metric.

    Returns:
        ``state`` (better, unclear, worse, unknown) and ``text``.
    """
    name = _HEADLINE[results["task"]["mode"]][0]
    found = []
    for floor in results["floors"]:
        entry = next((entry for entry in floor["metrics"] if entry["name"] == name), None)
        if entry is not None and entry["value"] is not None:
            found.append((entry["value"], spaced(floor["name"]), entry))
    if not found:
        return {
            "state": "unknown",
            "text": "No floor could be computed, so there is nothing to hold this score against.",
        }
    _, floor_name, entry = max(found, key=lambda item: item[0])
    lead, title = entry["lead"], entry["title"].lower() if not entry["title"].isupper() else entry["title"]
    told = f"on {title} its lead over the best floor ({floor_name}) is {lead_text(lead)}"
    if lead["low"] is None or lead["value"] is None:
        return {"state": "unknown", "text": f"Without an interval nothing can be said: {told}."}
    if lead["low"] > 0:
        return {"state": "better", "text": f"The model beats every floor: {told}."}
    if lead["high"] < 0:
        return {"state": "worse", "text": f"The model is worse than a floor: {told}."}
    return {"state": "unclear", "text": f"The model cannot be told apart from its best floor: {told}."}


def score_text(entry: dict[str, Any]) -> str:
    """The value of a metric entry, or n/a."""
    if entry["value"] is None:
        return "n/a"
    return f"{entry['value']:g}" if entry.get("unit") == "rank" else f"{entry['value']:.3f}"


def interval_text(entry: dict[str, Any]) -> str:
    """The interval of a metric entry; empty where there is none."""
    if entry["low"] is None:
        return ""
    digits = ".1f" if entry.get("unit") == "rank" else ".3f"
    return f"{entry['low']:{digits}} to {entry['high']:{digits}}"


def lead_text(entry: dict[str, Any]) -> str:
    """A signed difference with its interval."""
    if entry["value"] is None:
        return "n/a"
    text = f"{entry['value']:+.3f}"
    return text if entry["low"] is None else f"{text} ({entry['low']:+.3f} to {entry['high']:+.3f})"


def _label(value: str) -> str:
    return value.replace("_", " ")


def spaced(value: str) -> str:
    """A system's name for reading."""
    return value.replace("-", " ")


def _share(value: float) -> str:
    return f"{100 * value:.0f}%"

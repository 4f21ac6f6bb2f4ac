"""Outlines of tumour at tile resolution: Dice and IoU of what tiles call tumour against the true mask.

One threshold serves all slides: the preset one, that of best mean Dice on the slides of ``fit_split``, and, labelled
oracle, that of best mean Dice on the scored slides. A mean-pooling floor does not exist: a pooled slide has no outline.
Shape legend: N slides of the scored split, T thresholds (the preset one comes last), M tiles of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.outcome import Outcome, Skipped
from benchmarks.harness.protocols.slide_common import OpenSlides, Score, SlideSettings, Values, untrained
from benchmarks.slides.outlines import dice_of, dice_of_everything
from benchmarks.slides.score import THRESHOLDS, areas_of, rule_of
from medvlp.errors import ConfigError, DataError
from medvlp.metrics import curves
from medvlp.metrics.localisation import mean_over_images
from medvlp.zeroshot.classifier import Floats
from medvlp.zeroshot.slide import tile_values
from medvlp.zeroshot.slide_pooling import tumour_probability

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

ABILITIES = frozenset({"image", "text"})
FLOORS = ("prior", "colour-histogram")
FLOORS_OF_MODEL = ("untrained",)
SEEDED = frozenset({"untrained"})

EVERYTHING = "The prior calls every tile tumour."
_NO_DEV = "no outlined development slides to choose a threshold on"


class Config(SlideSettings):
    """Settings of slide segmentation."""

    name: Literal["slide_segmentation"] = Field(description="Outlines of tumour at tile resolution.")


class SlideSegmentation:
    """An opened task; ``benchmarks.harness.protocol.Question``."""

    def __init__(self, task: TaskConfig, settings: Config, context: Context) -> None:
        self.slides = OpenSlides(task, settings, context)
        self.settings = settings
        if self.slides.asked.normal is None:
            raise ConfigError("outlines need a normal class", item="normal", remedy="name the classes without tumour")
        self.normal = self.slides.asked.normal
        self.digest, self.prompts_digest = self.slides.digest, self.slides.prompts_digest
        areas = {part: np.array([self.slides.found.slides[row].tumour_area() for row in rows])
                 for part, rows in self.slides.parts.items()}  # fmt: skip
        self.outlined_N = areas["test"] > 0
        if not self.outlined_N.any():
            raise DataError(
                "no scored slide has an outline of tumour", item=task.title, remedy="choose slides with masks"
            )
        self.num = int(self.outlined_N.sum())
        self.num_cases = len({case for case, used in zip(self.slides.cases, self.outlined_N, strict=True) if used})
        self.limits = self.slides.limits
        bare = sum(self.slides.found.slides[row].tumour is not None for row in self.slides.parts["test"]) - self.num
        if bare:
            self.limits += (f"{bare} tumour slides without an outline are left out.",)

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Call tiles by their probability of tumour; ``seed`` draws nothing."""
        return self._outcome(self.slides.values(subject))

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Every tile tumour, colours, or random weights."""
        if name == "untrained":
            assert subject is not None
            fresh = untrained(subject, seed)
            return fresh if isinstance(fresh, Skipped) else self._outcome(self.slides.values(fresh))
        if name == "prior":
            return self._everything()
        assert name == "colour-histogram", name
        if self.slides.found.planted is None:
            return Skipped("no tile of these slides is labelled, and a slide's colours have no outline")
        found = self.slides.colours()
        return found if isinstance(found, Skipped) else self._outcome(found, colours=True)

    # ------------------------------------------------------------------ inside

    def _outcome(self, values: Values, colours: bool = False) -> Outcome:
        settings = self.settings
        rule = rule_of("tumour_ratio", settings.threshold, settings.smoothing, settings.radius, values.scale)
        areas = areas_of(rule, values.by_tile, values.tiles, self.slides.parts, self.normal)
        dice_NT = dice_of(areas["test"])
        mean_T = np.nanmean(dice_NT, axis=0)[:-1]
        chosen = self._chosen(areas)
        best = int(mean_T.argmax())
        dev_N = np.full(len(dice_NT), np.nan) if chosen is None else dice_NT[:, chosen]
        scores = [
            *self._pair("preset", f"threshold {settings.threshold:g}, fixed beforehand", dice_NT[:, -1]),
            *self._pair("dev", "threshold chosen on dev", dev_N),
            self._tile_auroc(values, rule),
            *self._pair("oracle", "oracle: threshold chosen on the scored slides", dice_NT[:, best]),
        ]
        return Outcome(
            self.slides.metrics(scores),
            prompts=None if colours else self.slides.prompts,
            predictions={"key": self._keys(), "dice_preset": dice_NT[:, -1], "dice_dev": dev_N},
            details={
                "fitted": {"threshold": None if chosen is None else float(THRESHOLDS[chosen]),
                           "split": self.slides.task.fit_split, "oracle_threshold": float(THRESHOLDS[best])},
                "curves": {"dice": {"threshold": THRESHOLDS.tolist(), "dice": mean_T.tolist()}},
            },
            limits=self.limits,
        )  # fmt: skip

    def _chosen(self, areas: dict[str, Any]) -> int | None:
        """The threshold of best mean Dice on development slides; None without one that has an outline."""
        if not any(value > 0 for value in areas["dev"]["truth"]):
            return None
        return int(np.nanmean(dice_of(areas["dev"]), axis=0)[:-1].argmax())

    def _pair(self, name: str, title: str, dice_N: Floats) -> list[Score]:
        iou_N = dice_N / (2 - dice_N)
        used_N = self.outlined_N
        return [
            Score(f"dice_{name}", f"Dice, {title}", lambda w: mean_over_images(dice_N, w), used_N, None, _NO_DEV),
            Score(f"iou_{name}", f"IoU, {title}", lambda w: mean_over_images(iou_N, w), used_N, None, _NO_DEV),
        ]

    def _tile_auroc(self, values: Values, rule: Any) -> Score:
        """AUROC of the tiles of outlined slides, a tile being tumour if more than half of it is."""
        rows = [row for row, used in zip(self.slides.parts["test"], self.outlined_N, strict=True) if used]
        tiles = [values.tiles[row] for row in rows]
        score_M = np.concatenate([
            tumour_probability(tile_values(values.by_tile[row], rule, coords_NX=one.coords_NX, step=one.step)[1],
                               self.normal)
            for row, one in zip(rows, tiles, strict=True)
        ])  # fmt: skip
        target_M = np.concatenate([one.tumour_N > 0.5 for one in tiles])
        slide_M = np.repeat(np.flatnonzero(self.outlined_N), [len(one.tumour_N) for one in tiles])
        return Score("tile_auroc", "AUROC of tiles, those of outlined slides together",
                     lambda w: curves.auroc(target_M, score_M, None if w is None else w[:, slide_M]),
                     self.outlined_N, 0.5)  # fmt: skip

    def _everything(self) -> Outcome:
        tiles = self.slides.tiles(None)
        nothing = [np.zeros((len(one.tumour_N), len(self.slides.asked.tumours) + 1)) for one in tiles]
        rule = rule_of("tumour_ratio", self.settings.threshold, "none", self.settings.radius, 1.0)
        areas = areas_of(rule, nothing, tiles, {"test": self.slides.parts["test"]}, self.normal)
        dice_N = dice_of_everything(areas["test"])
        title = "every tile called tumour"
        scores = [one for name in ("preset", "dev", "oracle") for one in self._pair(name, title, dice_N)]
        return Outcome(
            self.slides.metrics(scores),
            predictions={"key": self._keys(), "dice_preset": dice_N},
            limits=(*self.limits, EVERYTHING),
        )

    def _keys(self) -> Any:
        return np.array([self.slides.found.slides[row].key for row in self.slides.parts["test"]])


def open(task: TaskConfig, settings: Config, context: Context) -> SlideSegmentation:
    """Open the slides of a task and make its prompts.

    Raises:
        ConfigError: Without a normal class; else as :class:`OpenSlides`.
        DataError: If no scored slide has an outline.
    """
    return SlideSegmentation(task, settings, context)

"""What both slide protocols share: settings, the opened slides, tiles embedded once per model, colours, draws.

Shape legend: N tiles, K prompted classes, J answers (tumour classes, then normal), D embedding size, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from benchmarks.harness.outcome import Metric, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.harness.slides import SlideSet, open_set
from benchmarks.slides.embed import Cut, Tiles, embed_slides
from benchmarks.slides.score import Asked, Smoothing, log_probabilities, pooled_cosines
from data_prep.slides.locks import Locks
from medvlp import __version__
from medvlp.config import Config
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_json
from medvlp.metrics import bootstrap
from medvlp.slides.grid import GridConfig
from medvlp.slides.tissue import TissueConfig
from medvlp.zeroshot.classifier import Floats, mean_vectors, prompt_vectors, refuse_test
from medvlp.zeroshot.prompts import from_config

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

Share = Annotated[float, Field(gt=0, lt=1)]
_NO_COLOURS = "there are no labelled training images or slides with two classes"


class SlideSettings(Config):
    """Settings of every slide protocol."""

    normal: list[str] = Field([], description="Classes that are no tumour; planted slides say it themselves.")
    tissue: TissueConfig = Field(TissueConfig(), description="How tissue is found.")
    grid: GridConfig = Field(GridConfig(tile_size=224), description="Tiles that are embedded.")
    batch_size: int = Field(16, ge=1, description="Tiles embedded at once.")
    smoothing: Smoothing = Field("none", description="Average each tile with its neighbours first.")
    radius: int = Field(1, ge=1, le=10, description="Neighbours to each side where tiles are smoothed.")
    scale: float | None = Field(None, gt=0, description="Multiplier of cosines; null is the model's own.")
    threshold: Share = Field(0.5, description="Preset probability above which a tile is tumour.")


@dataclass(frozen=True)
class Values:
    """What the slides' tiles say, as one system sees them.

    Attributes:
        tiles: Tiles of each slide.
        by_tile: Values (N, J) of each slide.
        by_mean: The same of its mean embedding (1, J).
        scale: Multiplier that turns values into logits.
    """

    tiles: Sequence[Tiles]
    by_tile: Sequence[Floats]
    by_mean: Sequence[Floats]
    scale: float


@dataclass(frozen=True)
class Score:
    """A metric before it is drawn.

    Attributes:
        name: Machine name.
        title: For people.
        function: Weights (S, N) of the scored slides, or None, to values.
        used_N: Which of the scored slides it is about.
        chance: Value of a system without information.
        reason: Why it is undefined, where it is.
    """

    name: str
    title: str
    function: bootstrap.Statistic
    used_N: NDArray[np.bool_]
    chance: float | None = None
    reason: str = "undefined on these slides"


class OpenSlides:
    """The slides of a task with their prompts, and the seed of their draws.

    Args:
        task: The task.
        settings: Of the protocol.
        context: Of the grid.

    Raises:
        ConfigError: If thresholds would be fitted on the test split, or the task has no slides.
        DataError: If the scored split is empty, or its counts are not what the task expects.
    """

    def __init__(self, task: TaskConfig, settings: SlideSettings, context: Context) -> None:
        if task.data.form != "slides":
            raise ConfigError("needs slides", item=f"data.form: {task.data.form}", remedy="write form: slides")
        refuse_test(task.fit_split)
        self.task, self.settings, self.context = task, settings, context
        self.found: SlideSet = open_set(task.data, context.folder / "slides", task.classes, settings.normal)
        prompts = from_config(
            context.prompts or task.prompts,
            context.graph,
            {name: task.class_concepts.get(name, []) for name in self.found.classes},
            seed=0,
        )
        self.asked = Asked.of(prompts, [name for name in self.found.classes if name not in self.found.normals])
        self.parts = {"dev": self.found.rows(task.fit_split), "test": self.found.rows(task.split)}
        if not self.parts["test"]:
            raise DataError("has no slides", item=f"split {task.split}", remedy="choose another split")
        self._expected()
        normal = len(self.asked.tumours)
        names = [slide.tumour for slide in self.found.slides]
        self.target = [normal if name is None else self.asked.tumours.index(name) for name in names]
        self.digest = sha256_json(
            [
                self.found.digest,
                task.split,
                task.fit_split,
                prompts.digest,
                settings.model_dump(mode="json"),
                context.num_draws,
            ]
        )
        self.prompts_digest: str | None = prompts.digest
        self.cases = [self.found.cases[row] for row in self.parts["test"]]
        self.num, self.num_cases = len(self.cases), len(set(self.cases))
        self.limits = self.found.limits
        if not self.parts["dev"]:
            self.limits += (f"There are no {task.fit_split} slides, so no threshold is fitted.",)

    def _expected(self) -> None:
        expect, split = self.task.expect, self.task.split
        for part, wanted in expect.num.items():
            if (count := len(self.found.rows(part))) != wanted:
                raise DataError(f"{count} slides, expected {wanted}", item=f"split {part}", remedy="check the data")
        labels = [self.found.labels[row] for row in self.parts["test"]]
        for name, wanted in expect.classes.items():
            label = None if self.found.planted is not None and name in self.found.normals else name
            if (count := labels.count(label)) != wanted:
                raise DataError(f"{count} {split} slides, expected {wanted}", item=name, remedy="check the data")
        truth = [[self.found.slides[row].key, self.found.cases[row], self.found.labels[row]] for row in
                 self.parts["test"]]  # fmt: skip
        if expect.sha256 is not None and (digest := sha256_json(truth)) != expect.sha256:
            raise DataError(f"keys, cases and truth have the digest {digest}", item="expect.sha256",
                            remedy="use the data that the task is about")  # fmt: skip

    @property
    def prompts(self) -> dict[str, Any]:
        """What a record says of the prompts."""
        made = self.asked.prompts
        return {"digest": made.digest, "source": made.source, "num": sum(len(texts) for texts in made.texts)}

    # ------------------------------------------------------------------ what is seen

    def values(self, subject: Subject) -> Values:
        """Embed the tiles once per model and cut, and compare them with the prompts."""
        tiles = self.tiles(subject)
        class_KD = mean_vectors(prompt_vectors(subject, self.asked.prompts.texts))
        pairs = [pooled_cosines(one.features_NI.astype(np.float64), class_KD) for one in tiles]
        by_tile, by_mean = ([self.asked.merge(pair[place]) for pair in pairs] for place in (0, 1))
        return Values(tiles, by_tile, by_mean, self.settings.scale or subject.scale)

    def colours(self) -> Values | Skipped:
        """Colour histograms of tiles, fitted on the planted set's training images.

        For slides of a list the histogram of a whole slide is fitted on training slides (else those of
        ``fit_split``), so there is one value per slide.
        """
        from benchmarks.harness.data import quiet
        from benchmarks.slides.arms import fit_colours, prepare_training

        tiles = self.tiles(None)
        if self.found.planted is not None:
            stores = self.context.folder / "slides" / f"stores-{self.found.digest[:16]}"
            with Locks(self.context.folder / "slides" / "locks" / stores.name).guard(), quiet():
                store = prepare_training(self.found.planted, self.found.digest, stores)
            answer = fit_colours(store, list(self.asked.prompts.classes))
            logs = log_probabilities(self.asked, [answer(one.colour_NF) for one in tiles])
            return Values(tiles, logs, [log.mean(0, keepdims=True) for log in logs], 1.0)
        return self._slide_colours(tiles)

    def _slide_colours(self, tiles: Sequence[Tiles]) -> Values | Skipped:
        from medvlp.zeroshot.floors import colour_classifier

        rows = self.found.rows("train") if self.task.split != "train" else []
        rows = rows or self.parts["dev"]
        if len({self.target[row] for row in rows}) < 2:
            return Skipped(_NO_COLOURS)
        mean_SF = np.stack([one.colour_NF.mean(0) for one in tiles])
        fitted = colour_classifier().fit(mean_SF[rows], [self.target[row] for row in rows])
        count = len(self.asked.tumours) + (self.asked.normal is not None)
        logs_SJ = np.full((len(tiles), count), np.log(1e-9))
        logs_SJ[:, fitted.classes_] = np.log(fitted.predict_proba(mean_SF) + 1e-9)
        whole = [row[None] for row in logs_SJ]
        return Values(tiles, whole, whole, 1.0)

    def tiles(self, subject: Subject | None) -> list[Tiles]:
        """The tiles of every slide, embedded by a model, or with their colours alone."""
        cut = Cut(self.settings.tissue, self.settings.grid, self.settings.batch_size)
        made_from = {
            "version": __version__,
            "slides": self.found.digest,
            "encoder": None if subject is None else subject.identity,
            "tissue": cut.tissue.model_dump(mode="json"),
            "grid": cut.grid.model_dump(mode="json"),
        }
        name = sha256_json(made_from)[:20]

        def encode(images: list[Image.Image]) -> NDArray[np.float32]:
            assert subject is not None
            return subject.encode_images(images).astype(np.float32)

        label = f"embedding {self.task.title}"
        if subject is not None and subject.identity is None:  # nothing tells it from another model: nothing is kept
            with TemporaryDirectory() as folder:
                return embed_slides(cut, self.found.slides, encode, Path(folder), label)
        kept = self.context.folder / "slides" / "tiles" / name
        with Locks(self.context.folder / "slides" / "locks" / name).guard():  # cells of one model wait, then read
            return embed_slides(cut, self.found.slides, None if subject is None else encode, kept, label)

    # ------------------------------------------------------------------ scores

    def metrics(self, scores: Sequence[Score]) -> tuple[Metric, ...]:
        """Values and draws by case, the same draws for all systems of this question."""
        seed = draw_seed(self.digest)
        drawn = bootstrap.draws({one.name: one.function for one in scores}, self.cases, self.context.num_draws, seed)
        out = []
        for one in scores:
            value = float(one.function(None))
            cases = [case for case, used in zip(self.cases, one.used_N, strict=True) if used]
            reason = one.reason if np.isnan(value) else None
            out.append(
                Metric(one.name, one.title, value, drawn[one.name], len(cases), len(set(cases)), chance=one.chance,
                       reason=reason)
            )  # fmt: skip
        return tuple(out)


def untrained(subject: Subject, seed: int) -> Subject | Skipped:
    """The same network with redrawn weights, or why there is none."""
    found = subject.untrained(seed)
    return Skipped("its weights cannot be redrawn") if found is None else found

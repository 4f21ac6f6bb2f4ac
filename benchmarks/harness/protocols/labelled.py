"""What probes, neighbours and few shots share: a labelled pairs store in three parts, floors, and scores of answers.

Answers are learned from the split ``train``, every choice is made on the task's ``fit_split``, and the task's ``split``
is scored. Rows of each part are taken in the order of their keys, so the order of a store changes nothing.

Shape legend: N training images, M development images, R scored images, I feature width, K classes, S draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.features import features
from benchmarks.harness.groups import by_group
from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.harness.protocols.zero_shot_details import lead_statistic
from medvlp.config import Config
from medvlp.errors import DataError
from medvlp.finetune.few_shot import subset
from medvlp.io import sha256_json
from medvlp.metrics import classification, curves
from medvlp.zeroshot import floors, results
from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.prompts import PromptSet, from_config
from medvlp.zeroshot.scoring import SPECS, Scored, System, score_systems
from medvlp.zeroshot.task import Hierarchy, Task, build_hierarchy, build_task

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import Subgroups, TaskConfig
    from medvlp.data.pairs import PairsStore

Floats = NDArray[np.float64]
FLOORS = (floors.PRIOR, floors.COLOUR)
FLOORS_OF_MODEL = (floors.UNTRAINED,)
NOT_RANDOM = "its weights cannot be redrawn"
LEADING = {"single": ("balanced_accuracy", "accuracy"), "multi": ("auroc", "average_precision")}
_OPTIMISTIC = "roc_point_sensitivity"  # chooses its threshold on the scored images
_SPECIFICITY = 0.95


@dataclass(frozen=True)
class Parts:
    """The labelled rows to learn from, to choose on and to score.

    Attributes:
        store: The pairs store.
        concepts: Concept ids of each scored class.
        train: What is learned from.
        dev: What choices are made on; None where the split is empty, or is the one learned from.
        scored: What is scored.
        places: The classes in the graph, where there is one.
        subgroups: Groups whose scores are compared, where the task names any.
    """

    store: PairsStore
    concepts: dict[str, list[str]]
    train: Task
    dev: Task | None
    scored: Task
    places: Hierarchy | None
    subgroups: Subgroups | None = None


@dataclass(frozen=True)
class Inputs:
    """Features (rows, I) of the three parts, in their order."""

    train_NI: Floats
    dev_MI: Floats | None
    scored_RI: Floats


def open_parts(task: TaskConfig, context: Context) -> Parts:
    """Read the truth of the three parts.

    Raises:
        DataError: If something would be fitted on test, or on what is scored; if a part is empty; if classes are wrong.
    """
    refuse_test(task.fit_split)
    store = context.store
    if store is None:
        raise DataError("needs images in a pairs store", item=task.title, remedy="use data of the form pairs")
    for name in ("train", task.fit_split):
        if name == task.split:
            raise DataError("is scored and fitted on", item=f"split {name} of {task.title}", remedy="score another")
    classes = store.classes if task.classes is None else list(task.classes)
    unknown = sorted((set(classes) | set(task.class_concepts)) - set(store.classes))
    if unknown:
        known = ", ".join(store.classes) or "none"
        raise DataError("is not a class of the data", item=unknown[0], remedy=f"its classes are {known}")
    if len(set(classes)) != len(classes) or len(classes) < (2 if task.mode == "single" else 1):
        raise DataError(f"{len(set(classes))} distinct classes", item=task.title, remedy="name at least two, once each")
    concepts = {label: ({**store.class_concepts, **task.class_concepts})[label] for label in classes}

    def part(name: str) -> Task:
        found = build_task(
            store.split(name), classes, concepts, mode=task.mode, graph=context.graph, positive=task.positive
        )
        return subset(found, np.argsort(np.array(found.keys)))

    train, scored = part("train"), part(task.split)
    for found in (train, scored):
        if len(found) == 0:
            raise DataError("holds no labelled row", item=f"split {found.split}", remedy="prepare the data with one")
    dev = part(task.fit_split) if task.fit_split != "train" else None
    places = build_hierarchy(context.graph, classes, concepts)
    dev = dev if dev is not None and len(dev) else None
    return Parts(store, concepts, train, dev, scored, places, task.subgroups)


def digest_of(parts: Parts, settings: Config, context: Context, *more: Any) -> str:
    """Return the sha256 of everything but the system."""
    rows = [part.digest if part is not None else None for part in (parts.train, parts.dev, parts.scored)]
    graph = None if context.graph is None or parts.places is None else context.graph.digest
    return sha256_json(
        [parts.store.digest, rows, list(parts.scored.columns), settings.model_dump(mode="json"), graph,
         context.num_draws, *more]
    )  # fmt: skip


def prompts_of(task: TaskConfig, context: Context, concepts: Mapping[str, Sequence[str]]) -> PromptSet:
    """Return the texts of every class: of the cell's prompt variant, or the task's own."""
    config = task.prompts if context.prompts is None else context.prompts
    return from_config(config, context.graph, concepts, seed=0)


def prompts_entry(prompts: PromptSet) -> dict[str, Any]:
    """Return what an outcome says about its prompts."""
    return {"digest": prompts.digest, "source": prompts.source, "num": sum(map(len, prompts.texts))}


def embedded(subject: Subject, store: PairsStore, part: Task, folder: Path) -> Floats:
    """Return the image embeddings (rows, D) of a part, from the shared cache where they are known."""
    return np.asarray(
        features(subject, store.split(part.split), part.rows_N.tolist(), folder / "features"), dtype=np.float64
    )


def colours(store: PairsStore, part: Task) -> Floats:
    """Return the colour histograms (rows, 176) of a part."""
    split = store.split(part.split)
    return np.stack([floors.colour_features(split[int(row)].image) for row in part.rows_N]).astype(np.float64)


def development_score(dev: Task, probability_MK: Floats) -> float:
    """Return what choices are made by: balanced accuracy, or the mean AUROC of the classes where it is defined."""
    if dev.mode == "single":
        answer_M = probability_MK.argmax(1)
        return float(classification.balanced_accuracy(dev.target_N, answer_M, len(dev.classes)))
    found = np.array([float(curves.auroc(dev.target_NK[:, k], probability_MK[:, k])) for k in dev.columns])
    return float(np.mean(found[~np.isnan(found)])) if (~np.isnan(found)).any() else float("nan")


def best(tried: Sequence[tuple[float, float]]) -> int:
    """Return the place of the highest score; of equal ones that of the lowest loss, then the first.

    Args:
        tried: Score and loss of each candidate. An undefined score is below all others.
    """
    order = [(float("-inf") if np.isnan(score) else round(score, 12), -loss) for score, loss in tried]
    return max(range(len(order)), key=lambda place: (*order[place], -place))


def metrics_of(scored: Scored, task: Task) -> tuple[Metric, ...]:
    """Return every score with its draws, the leading one first."""
    leading = LEADING[task.mode]
    present = int(task.target_NK.any(0).sum())
    chance = {"auroc": 0.5, "balanced_accuracy": 1 / max(1, present)}
    names = [*leading, *(name for name in SPECS if name in scored.value and name not in (*leading, _OPTIMISTIC))]
    out = []
    for name in names:
        value = float(scored.value[name][0])
        spec = SPECS[name]
        out.append(
            Metric(
                name, spec.title, value, scored.draws[name], len(task), task.num_cases, spec.higher_is_better,
                spec.unit, chance.get(name), "undefined on these images" if np.isnan(value) else None,
            )
        )  # fmt: skip
    return tuple(out)


class LabelledQuestion(ABC):
    """A task opened for a protocol that learns from features: of a model, or of colours.

    Attributes:
        digest: Sha256 of everything but the system.
        prompts_digest: None where no text is used.
        num: Scored images.
        num_cases: Their cases.
    """

    digest: str
    prompts_digest: str | None = None

    def __init__(self, parts: Parts, context: Context) -> None:
        self.parts, self.context = parts, context
        self.num, self.num_cases = len(parts.scored), parts.scored.num_cases
        self._colours: Inputs | None = None

    @abstractmethod
    def answer(self, inputs: Inputs, seed: int) -> Outcome:
        """Learn from features, choose, and score."""

    @abstractmethod
    def answer_prior(self, seed: int) -> Outcome:
        """Score the class frequencies of what is learned from."""

    def inputs(self, subject: Subject) -> Inputs:
        """Embed the three parts."""
        found = [
            None if part is None else embedded(subject, self.parts.store, part, self.context.folder)
            for part in (self.parts.train, self.parts.dev, self.parts.scored)
        ]
        assert found[0] is not None
        assert found[2] is not None
        return Inputs(found[0], found[1], found[2])

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Let a model answer."""
        return self.answer(self.inputs(subject), seed)

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Let a floor answer; ``colour-histogram`` has the protocol's own rule on colours instead of embeddings."""
        if name == floors.PRIOR:
            return self.answer_prior(seed)
        if name == floors.COLOUR:
            return self.answer(self.colour_inputs(), seed)
        if name == floors.UNTRAINED and subject is not None:
            fresh = subject.untrained(seed)
            return Skipped(NOT_RANDOM) if fresh is None else self.score(fresh, seed)
        return Skipped(f"this protocol has no floor {name}")

    def colour_inputs(self) -> Inputs:
        """Return the colour histograms of the three parts."""
        if self._colours is None:
            parts = self.parts
            dev = None if parts.dev is None else colours(parts.store, parts.dev)
            self._colours = Inputs(colours(parts.store, parts.train), dev, colours(parts.store, parts.scored))
        return self._colours

    def outcome(self, probability_RK: Floats, dev_MK: Floats | None, details: dict[str, Any]) -> Outcome:
        """Score probabilities on the question's draws; thresholds are fitted on the development part."""
        parts = self.parts
        scored = score_systems(
            parts.scored,
            parts.dev,
            [System("system", "", probability_RK, dev_MK)],
            places=parts.places,
            specificity=_SPECIFICITY,
            num_draws=self.context.num_draws,
            seed=draw_seed(self.digest),
        )[0]
        details = {**details, "classes": results.class_entries(scored, parts.scored, self.context.level)}
        if parts.subgroups is not None:
            lead = LEADING[parts.scored.mode][0]
            statistic = lead_statistic(parts.scored, probability_RK, lead)
            columns = by_group(
                parts.subgroups, parts.scored.keys, parts.scored.cases, statistic,
                self.context.num_draws, self.context.level, draw_seed(self.digest),
            )  # fmt: skip
            details["subgroups"] = {"metric": lead, "columns": columns}
        kept = {
            "key": np.array(parts.scored.keys),
            "probability": probability_RK.astype(np.float32),
            "target": parts.scored.target_NK,
        }
        return Outcome(metrics_of(scored, parts.scored), predictions=kept, details=details, limits=self.limits())

    def limits(self) -> tuple[str, ...]:
        """Return what a reader of any outcome has to know."""
        out = []
        if self.parts.dev is None:
            out.append("There is no development part, so nothing was chosen and no threshold was fitted.")
        if self.num_cases == self.num:
            out.append("Every image counts as its own case; the intervals are too narrow if patients gave several.")
        return tuple(out)


def share(task: Task, num: int) -> Floats:
    """Return the class frequencies of a part, once per row (num, K); refuses a split named test."""
    refuse_test(task.split)
    share_K = task.target_NK.mean(0)
    return np.tile(share_K, (num, 1))

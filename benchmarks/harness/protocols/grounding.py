"""Grounding: whether a model's map of a text lies where the mask of that class is.

A model brings its own maps (``heat_maps``, or the attention of its query decoder), or gets occlusion maps
(``occlusion``). Pointing game and contrast need no threshold; Dice and IoU cut each map, scaled to 0 .. 1 over its
image, at one threshold that is fitted on the task's ``fit_split``.

Shape legend: N marked classes in images, H, W pixels of a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocol import draw_seed
from benchmarks.harness.protocols import labelled
from benchmarks.harness.protocols.labelled import Floats
from benchmarks.harness.protocols.masks import Item, Mask, items_of, read_masks
from benchmarks.harness.protocols.occlusion import occlusion_maps
from medvlp.config import Config as BaseConfig
from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.metrics import bootstrap, localisation, overlap
from medvlp.zeroshot import floors
from medvlp.zeroshot.classifier import refuse_test, to_numpy
from medvlp.zeroshot.explain import explain

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

ABILITIES = frozenset({"image"})
CENTRE, PRIOR_MAP, OTHER_TEXT = "centre", "prior-map", "other-text"
FLOORS = (CENTRE, PRIOR_MAP)
FLOORS_OF_MODEL = (floors.UNTRAINED, OTHER_TEXT)
SEEDED = frozenset({floors.UNTRAINED})
_THRESHOLDS = np.linspace(0.025, 0.975, 39)
_TITLES = {"pointing": "Pointing game", "cnr": "Contrast-to-noise ratio", "dice": "Dice", "iou": "IoU"}
_SIDE = 64  # of the mean masks


class Config(BaseConfig):
    """Settings of grounding."""

    name: Literal["grounding"] = Field(description="Maps of texts against masks.")
    masks: str | None = Field(
        None, description="Store of simulated scenes, or folder with masks.csv (key, label, file); the task's store."
    )
    maps: Literal["auto", "own", "occlusion"] = Field(
        "auto", description="The model's own maps, occlusion maps, or its own where it has any."
    )
    grid: int = Field(7, ge=2, le=64, description="Occlusion patches per side.")
    num_texts: int = Field(4, ge=1, description="Prompts of a class whose maps are averaged, the first ones.")
    most: int | None = Field(200, ge=1, description="Marked classes to ask of each split, drawn by a hash; null: all.")
    centre_width: float = Field(0.25, gt=0, description="Deviation of the floor `centre`, as a share of each side.")


class GroundingQuestion:
    """A task opened for grounding: marked classes to score, and those that the threshold is fitted on."""

    def __init__(self, task: TaskConfig, settings: Config, context: Context) -> None:
        refuse_test(task.fit_split)
        store = context.store
        if store is None:
            raise DataError("needs images in a pairs store", item=task.title, remedy="use data of the form pairs")
        if task.fit_split == task.split:
            raise DataError("is scored and fitted on", item=f"split {task.split}", remedy="score another")
        self.store, self.settings, self.context = store, settings, context
        folder = Path(store.folder) if settings.masks is None else resolve_path(settings.masks)
        masks = read_masks(folder, store)
        classes = sorted({label for _, label in masks}) if task.classes is None else list(task.classes)
        known = {**store.class_concepts, **task.class_concepts}
        missing = [label for label in classes if label not in known]
        if missing:
            raise DataError("has masks and is no class of the data", item=missing[0], remedy="name classes in the task")
        self.split, self.fit_split = task.split, task.fit_split
        self.scored = items_of(masks, store, task.split, classes, settings.most)
        self.fitted = items_of(masks, store, task.fit_split, classes, settings.most)
        self.train = items_of(masks, store, "train", classes, None) if task.split != "train" else []
        if not self.scored:
            raise DataError("has no marked image", item=f"split {task.split} of {folder}", remedy="score another")
        prompts = labelled.prompts_of(task, context, {label: known[label] for label in classes})
        self.classes, self.prompts, self.prompts_digest = classes, prompts, prompts.digest
        self.num, self.num_cases = len(self.scored), len({item.case for item in self.scored})
        parts = [[item.digest for item in part] for part in (self.scored, self.fitted, self.train)]
        made_from = [store.digest, *parts, settings.model_dump(mode="json"), prompts.digest, context.num_draws]
        self.digest = sha256_json(made_from)

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Let a model point; nothing is drawn, so ``seed`` changes nothing."""
        return self._of_model(subject, {label: label for label in self.classes})

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Let a floor point.

        ``centre`` is the same bump everywhere, ``prior-map`` the mean mask of the class in training, ``untrained`` the
        network with random weights, ``other-text`` the model asked for another class than the one that is marked.
        """
        if name == CENTRE:
            width = self.settings.centre_width
            return self._outcome([[bump(item.mask.shape, width) for item in part] for part in self._asked()])
        if name == PRIOR_MAP:
            if not self.train:
                return Skipped("no training image has a mask")
            means = mean_masks(self.train)
            return self._outcome([[_prior_map(means, item) for item in part] for part in self._asked()])
        if name == floors.UNTRAINED and subject is not None:
            fresh = subject.untrained(seed)
            return Skipped(labelled.NOT_RANDOM) if fresh is None else self.score(fresh, seed)
        if name == OTHER_TEXT and subject is not None:
            if len(self.classes) < 2:
                return Skipped("there is no other class")
            return self._of_model(subject, dict(zip(self.classes, [*self.classes[1:], self.classes[0]], strict=True)))
        return Skipped(f"this protocol has no floor {name}")

    def _asked(self) -> tuple[list[Item], list[Item]]:
        return self.scored, self.fitted

    def _of_model(self, subject: Subject, asked_as: dict[str, str]) -> Outcome | Skipped:
        own = "maps" in subject.abilities and self.settings.maps != "occlusion"
        if not own and self.settings.maps == "own":
            return Skipped("gives no maps")
        if not own and ("text" not in subject.abilities or subject.encode_keys is not None):
            return Skipped("gives no maps, and occlusion maps need a model that encodes images and texts")
        maps = [self._maps(subject, part, split, asked_as, own) for part, split in self._named()]
        return self._outcome(maps, {"maps": "own" if own else "occlusion"})

    def _named(self) -> list[tuple[list[Item], str]]:
        return [(self.scored, self.split), (self.fitted, self.fit_split)]

    def _maps(
        self, subject: Subject, items: list[Item], split: str, asked_as: dict[str, str], own: bool
    ) -> list[Floats]:
        """Return a map per item in its mask's shape, image by image, so that no split is held in memory."""
        texts = {
            label: list(texts[: self.settings.num_texts])
            for label, texts in zip(self.prompts.classes, self.prompts.texts, strict=True)
        }
        part, out = self.store.split(split), {}
        for row in sorted({item.row for item in items}):
            image = part[row].image
            of_image = [item for item in items if item.row == row]
            wanted = [texts[asked_as[item.label]] for item in of_image]
            if own:
                found = [_own_map(subject, image, several) for several in wanted]
            else:
                found = occlusion_maps(subject, [image] * len(wanted), wanted, self.settings.grid)
            for item, value in zip(of_image, found, strict=True):
                if not np.isfinite(value).all():
                    raise DataError("its map is not finite", item=item.key, remedy="check the model's weights")
                out[item.key, item.label] = resized(value, item.mask.shape)
        return [out[item.key, item.label] for item in items]

    def _outcome(self, maps: Sequence[list[Floats]], more: dict[str, Any] | None = None) -> Outcome:
        scored, fitted = maps
        threshold, curve = fit_threshold(fitted, [item.mask for item in self.fitted], self.fit_split)
        value = values(scored, [item.mask for item in self.scored], threshold)
        cases = [item.case for item in self.scored]
        statistics = {name: partial(localisation.mean_over_images, value_N) for name, value_N in value.items()}
        drawn = bootstrap.draws(statistics, cases, self.context.num_draws, draw_seed(self.digest))
        area = float(np.mean([item.mask.mean() for item in self.scored]))
        metrics = []
        for name, statistic in statistics.items():
            mean = float(statistic(None))
            reason = None
            if np.isnan(mean):
                cut = name in ("dice", "iou") and threshold is None
                reason = f"no marked image in the {self.fit_split} split to fit a threshold on" if cut else "undefined"
            defined = int((~np.isnan(value[name])).sum())
            metrics.append(
                Metric(
                    name, _TITLES[name], mean, drawn[name], defined, self.num_cases,
                    unit="ratio" if name == "cnr" else "fraction",
                    chance={"pointing": area, "cnr": 0.0}.get(name), reason=reason,
                )
            )  # fmt: skip
        label_N = np.array([item.label for item in self.scored])
        rows = [_of_class(label, value, label_N == label) for label in sorted(set(label_N.tolist()))]
        details: dict[str, Any] = {"threshold": threshold, "threshold_dice": curve, "marked_area": area}
        details |= {"classes": rows, **(more or {})}
        kept: dict[str, Any] = {"key": np.array([item.key for item in self.scored]), "label": label_N, **value}
        prompts = labelled.prompts_entry(self.prompts) if more else None
        return Outcome(tuple(metrics), prompts=prompts, predictions=kept, details=details)


def open(task: TaskConfig, settings: Config, context: Context) -> GroundingQuestion:
    """Read the masks, find their images, and make the prompts.

    Raises:
        DataError: If a threshold would be fitted on test or on what is scored, or masks and images do not match.
    """
    return GroundingQuestion(task, settings, context)


def values(maps: Sequence[Floats], masks: Sequence[Mask], threshold: float | None) -> dict[str, Floats]:
    """Return pointing, signed contrast, Dice and IoU of every map (N,); without a threshold the last two are NaN."""
    out: dict[str, list[float]] = {name: [] for name in _TITLES}
    for found, mask in zip(maps, masks, strict=True):
        out["pointing"].append(localisation.pointing(found, mask))
        out["cnr"].append(localisation.contrast_to_noise(found, mask, signed=True))
        cut = None if threshold is None else unit_range(found) >= threshold
        out["dice"].append(float("nan") if cut is None else overlap.dice(mask, cut))
        out["iou"].append(float("nan") if cut is None else overlap.iou(mask, cut))
    return {name: np.array(found, dtype=np.float64) for name, found in out.items()}


def fit_threshold(
    maps: Sequence[Floats], masks: Sequence[Mask], split: str
) -> tuple[float | None, list[tuple[float, float]]]:
    """Return the threshold of highest mean Dice, the lowest of equals, and the mean Dice of each that was tried.

    Raises:
        DataError: If the split is named test.
    """
    refuse_test(split)
    if not maps:
        return None, []
    scaled = [unit_range(found) for found in maps]
    dice = [
        float(np.mean([overlap.dice(mask, found >= cut) for mask, found in zip(masks, scaled, strict=True)]))
        for cut in _THRESHOLDS
    ]
    return float(_THRESHOLDS[int(np.argmax(dice))]), [(float(cut), d) for cut, d in zip(_THRESHOLDS, dice, strict=True)]


def unit_range(found: Floats) -> Floats:
    """Scale a map to 0 .. 1; a constant map is 0."""
    low, high = float(found.min()), float(found.max())
    return (found - low) / (high - low) if high > low else np.zeros_like(found)


def bump(shape: tuple[int, ...], width: float) -> Floats:
    """Return a Gaussian (H, W) at the centre whose deviation is a share of each side."""
    y, x = (((np.arange(side) + 0.5) / side - 0.5) / width for side in shape)
    return np.exp(-0.5 * (y[:, None] ** 2 + x[None, :] ** 2))


def mean_masks(items: Sequence[Item]) -> dict[str, Floats]:
    """Return the mean mask of each class, and of all under the empty name, on a common small grid."""
    small = [(item.label, resized(item.mask.astype(np.float64), (_SIDE, _SIDE))) for item in items]
    labels = {label for label, _ in small}
    out = {label: np.mean([mask for own, mask in small if own == label], axis=0) for label in labels}
    return {**out, "": np.mean([mask for _, mask in small], axis=0)}


def resized(found: Floats, shape: tuple[int, ...]) -> Floats:
    """Return a map at another size, bilinear; as it is where the size is right."""
    if found.shape == shape:
        return found
    picture = Image.fromarray(found.astype(np.float32), mode="F")
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), dtype=np.float64)


def _prior_map(means: Mapping[str, Floats], item: Item) -> Floats:
    return resized(means.get(item.label, means[""]), item.mask.shape)


def _own_map(subject: Subject, image: Image.Image, texts: Sequence[str]) -> Floats:
    """Return the mean of the model's maps of some texts; where it saw nothing of the image, the lowest value."""
    if not callable(getattr(subject.model, "heat_maps", None)):
        map_Mhw = explain(subject.model, image, list(texts), source="attention").maps[0]
        mean_hw = map_Mhw.mean(0, dtype=np.float64)
        return np.where(np.isnan(mean_hw), np.nanmin(mean_hw), mean_hw)
    maps_NMhw = to_numpy(subject.model.heat_maps([image], list(texts)))
    if maps_NMhw.ndim != 4 or maps_NMhw.shape[:2] != (1, len(texts)):
        raise DataError(f"maps of shape {maps_NMhw.shape}", item=subject.name, remedy="give (images, texts, h, w)")
    return np.asarray(maps_NMhw[0].mean(0))


def _of_class(label: str, value: Mapping[str, Floats], own_N: Mask) -> dict[str, Any]:
    means = {name: float(localisation.mean_over_images(found_N[own_N])) for name, found_N in value.items()}
    known = {name: None if np.isnan(mean) else mean for name, mean in means.items()}
    return {"label": label, "n": int(own_N.sum()), **known}

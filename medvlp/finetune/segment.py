"""Fine-tuning on a class for every pixel, scored by Dice beside floors that see no shapes.

Shape legend: N images, K classes, H, W pixels, P sampled pixels.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from medvlp.data.image import read_image
from medvlp.data.plan import PairPlan
from medvlp.errors import ConfigError
from medvlp.finetune.config import FewShot, FinetuneConfig, Probe, Segmentation
from medvlp.finetune.losses import PixelObjective
from medvlp.finetune.masks import MaskData, Masked, MaskSet, read_folder, read_mask
from medvlp.finetune.model import FOLDER, save
from medvlp.finetune.recipe import Learning
from medvlp.finetune.segmenter import Segmenter
from medvlp.finetune.stepwise import Place, train_steps
from medvlp.io import atomic_folder, require, write_json, write_manifest
from medvlp.metrics import bootstrap
from medvlp.metrics._weighted import Floats, nanmean_columns, ratio, weights
from medvlp.zeroshot import results

FORMAT = "medvlp-segmentation-results-1"
RESULTS = "results"
_PIXELS_PER_IMAGE = 2000
Maps = Sequence[NDArray[np.uint8]]


def read(task: Segmentation) -> MaskSet:
    """Read which images there are; see :func:`medvlp.finetune.masks.read_folder`."""
    return read_folder(task.data)


def run(config: FinetuneConfig, tower: Any, place: Place, out: Path, start: Mapping[str, Any]) -> None:
    """Fit a segmenter, score the test images once, and write network and results into ``out``."""
    task, method = config.task, config.method
    assert isinstance(task, Segmentation)
    assert not isinstance(method, Probe | FewShot)
    found = read(task)
    torch.manual_seed(config.seed)
    network = Segmenter(copy.deepcopy(tower), task.data.classes, task.width)
    data = MaskData(found.splits["train"], task.data, network.preprocess, task.flips, config.seed)
    plan = PairPlan(len(data), config.batch_size, config.seed)
    objective = PixelObjective(task.data.ignore, config.label_smoothing)
    development = found.splits["dev"]
    if not development and config.select == "best":
        raise ConfigError("needs a development split", item="select: best", remedy="use last")

    def score() -> dict[str, float]:
        return _development(network, development, found, objective) if development else {}

    facts = train_steps(config, method, Learning(network, data, plan, objective, score), out, place)
    if place.dry_run or place.fabric.global_rank != 0:
        return
    network.cpu().eval()
    save(network, out / FOLDER, {"start": dict(start), "seed": config.seed, **facts})
    test = found.splits["test"]
    truth = [read_mask(item, task.data, read_image(item.image).size) for item in test]
    systems = {"model": predict(network, test), **floors(found, truth, config.seed)}
    value = _results(config, found, truth, systems, {**start}, {"method": method.name, **facts})
    with atomic_folder(out / RESULTS, replace=True, own=True) as partial:
        write_json(partial / "results.json", value)
        write_manifest(partial, {"format": FORMAT})
    console = Console(stderr=True)
    for name, entry in value["systems"].items():
        dice = entry["mean_dice"]
        console.print(f"{name}: mean Dice {_number(dice['value'])}", highlight=False)


def predict(network: Segmenter, items: Sequence[Masked]) -> list[NDArray[np.uint8]]:
    """Return the class maps (H, W) of images on disk, one image in memory at a time."""
    return [network.predict([read_image(item.image)])[0] for item in items]


@torch.no_grad()
def _development(
    network: Segmenter, items: Sequence[Masked], found: MaskSet, objective: PixelObjective
) -> dict[str, float]:
    """Return loss and mean Dice on the development images, at the network's input size."""
    network.eval()
    device = next(network.parameters()).device
    data = MaskData(items, found.config, network.preprocess, flips=False, seed=0)
    losses, maps, truth = [], [], []
    from medvlp.training.draws import Draw

    for row in range(len(data)):
        item = data[Draw(0, 0, row)]
        assert item.image_CHW is not None
        logits_1KHW = network(item.image_CHW[None].to(device)).float()
        losses.append(float(sum(objective.terms(logits_1KHW, item.target[None].to(device)).values())))
        maps.append(logits_1KHW[0].argmax(0).cpu().numpy().astype(np.uint8))
        truth.append(item.target.numpy().astype(np.uint8))
    mean = mean_dice(dice(maps, truth, len(found.config.classes), found.config.ignore))
    return {"loss": float(np.mean(losses)), "dice": float(mean)}


def dice(maps: Maps, truth: Maps, num_classes: int, ignore: int | None) -> Floats:
    """Return MONAI's Dice of each image and foreground class (N, K - 1); NaN where the truth has no such pixel."""
    metric = require("monai.metrics", "finetune").DiceMetric(include_background=False, reduction="none")
    rows = []
    for map_HW, truth_HW in zip(maps, truth, strict=True):
        counts_HW = np.ones_like(truth_HW, dtype=bool) if ignore is None else truth_HW != ignore
        both = [
            torch.from_numpy(np.where(counts_HW, labels_HW, 0).astype(np.int64)) for labels_HW in (map_HW, truth_HW)
        ]
        one_hot = [torch.nn.functional.one_hot(labels_HW, num_classes).movedim(2, 0)[None] for labels_HW in both]
        rows.append(metric(one_hot[0], one_hot[1])[0].numpy().astype(np.float64))
    return np.stack(rows)


def mean_dice(dice_NK: Floats, weight: Any = None) -> Any:
    """Mean over images of each class, then over classes; classes and images without the class are left out."""
    mean_SK = class_dice(dice_NK, weights(weight, len(dice_NK)))
    mean_S = nanmean_columns(mean_SK)
    return mean_S[0] if weight is None or np.ndim(weight) == 1 else mean_S


def class_dice(dice_NK: Floats, weight_SN: Floats) -> Floats:
    """Weighted mean over the images that have the class (S, K)."""
    defined_NK = ~np.isnan(dice_NK)
    return ratio(weight_SN @ np.nan_to_num(dice_NK), weight_SN @ defined_NK.astype(np.float64))


def floors(found: MaskSet, truth: Maps, seed: int) -> dict[str, Maps]:
    """Return what sees no shapes: the most frequent foreground class everywhere, and colours of single pixels.

    Both learn from the training images alone; the second is a logistic regression on RGB, its products and classes
    weighed equally.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    rng = np.random.default_rng([seed, 6])
    colours, labels = [], []
    for item in found.splits["train"]:
        pixels_PC, label_P = _pixels(item, found)
        chosen = rng.permutation(len(label_P))[:_PIXELS_PER_IMAGE]
        colours.append(pixels_PC[chosen])
        labels.append(label_P[chosen])
    colour_PC, label_P = np.concatenate(colours), np.concatenate(labels)
    counts = np.bincount(label_P, minlength=len(found.config.classes))
    frequent = 1 + int(np.argmax(counts[1:]))
    out: dict[str, Maps] = {"one-class": [np.full_like(truth_HW, frequent) for truth_HW in truth]}
    if len(set(label_P.tolist())) > 1:
        model = make_pipeline(
            PolynomialFeatures(2), StandardScaler(), LogisticRegression(C=1.0, max_iter=500, class_weight="balanced")
        )
        model.fit(colour_PC, label_P)
        answers = []
        for item, truth_HW in zip(found.splits["test"], truth, strict=True):
            rgb_PC = np.asarray(read_image(item.image)).reshape(-1, 3) / 255
            answers.append(model.predict(rgb_PC).reshape(truth_HW.shape).astype(np.uint8))
        out["pixel-colour"] = answers
    return out


def _pixels(item: Masked, found: MaskSet) -> tuple[Floats, NDArray[np.int64]]:
    image = read_image(item.image)
    label_P = read_mask(item, found.config, image.size).reshape(-1).astype(np.int64)
    rgb_PC = np.asarray(image).reshape(-1, 3) / 255
    counts_P = np.ones(len(label_P), dtype=bool) if found.config.ignore is None else label_P != found.config.ignore
    return rgb_PC[counts_P], label_P[counts_P]


def _results(
    config: FinetuneConfig,
    found: MaskSet,
    truth: Maps,
    systems: Mapping[str, Maps],
    start: Mapping[str, Any],
    fit: Mapping[str, Any],
) -> dict[str, Any]:
    """Every system's Dice with intervals by case, and the model's paired lead over each floor."""
    names, cases = found.config.classes, [item.case for item in found.splits["test"]]
    tables = {name: dice(maps, truth, len(names), found.config.ignore) for name, maps in systems.items()}
    options: dict[str, Any] = {"num_draws": config.bootstrap_draws, "seed": config.seed, "level": config.level}
    value: dict[str, Any] = {}
    for name, table_NK in tables.items():
        statistics: dict[str, bootstrap.Statistic] = {"mean": partial(mean_dice, table_NK)}
        for k, label in enumerate(names[1:]):
            statistics[label] = partial(mean_dice, table_NK[:, k : k + 1])
        intervals = {
            label: _interval(found_) for label, found_ in bootstrap.intervals(statistics, cases, **options).items()
        }
        value[name] = {"mean_dice": intervals.pop("mean"), "dice": intervals}
        if name != "model":
            lead = bootstrap.paired_difference(
                partial(mean_dice, tables["model"]), partial(mean_dice, table_NK), cases, **options
            )
            value[name]["lead"] = _interval(lead)
    present = {label: int((~np.isnan(tables["model"][:, k])).sum()) for k, label in enumerate(names[1:])}
    return {
        "format": FORMAT,
        "title": config.title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": {
            "classes": names,
            "num": len(truth),
            "num_cases": len(set(cases)),
            "num_with_class": present,
            "num_train": len(found.splits["train"]),
            "rows": found.ledger.to_json(),
        },
        "start": dict(start),
        "data": {"source": found.config.images, "sha256": found.digest},
        "fit": dict(fit),
        "systems": value,
        "bootstrap": {"draws": config.bootstrap_draws, "level": config.level, "unit": "case"},
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "versions": results.versions(),
        "command": results.command(),
    }


def _interval(found: bootstrap.Interval) -> dict[str, float | None]:
    return {name: results.number(getattr(found, name)) for name in ("value", "low", "high")}


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"

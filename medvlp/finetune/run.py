"""The fine-tuning command: open the start, fit, score on test once, write the network and its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from medvlp.config import dump, resolve_path
from medvlp.errors import ConfigError, TrainingError
from medvlp.finetune import classify, scoring, segment
from medvlp.finetune.config import Classification, FewShot, FinetuneConfig, Linear, Probe, Segmentation
from medvlp.finetune.model import FOLDER, save
from medvlp.finetune.start import open_start
from medvlp.finetune.stepwise import Place
from medvlp.io import full_disk_told, read_json, sha256_json, write_json, write_text
from medvlp.training.features import tower_digest
from medvlp.training.loop import make_fabric
from medvlp.training.resume import identity, refuse_changes
from medvlp.training.settings import HARMLESS

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore

_IDENTITY = "identity.json"
_NOT_LEARNED = frozenset({"title", "cache", "floors", "bootstrap_draws", "level", "specificity"})


def run(config: FinetuneConfig, out: str | Path, *, resume: str = "auto", dry_run: bool = False) -> Path:
    """Fine-tune, and score the test split once, after every choice is made.

    Args:
        config: What is fine-tuned on what, and how.
        out: Folder of the run. It gets ``config.yaml``, ``model/`` (opened by :func:`medvlp.finetune.load`),
            ``results/`` and, for methods that take steps, ``training/`` (log, checkpoints); few-shot runs have
            ``seed-N/`` for each draw.
        resume: ``auto`` goes on with an interrupted run, ``never`` refuses a folder that holds one.
        dry_run: Check settings and data, do one real step (or embed a few images), write nothing.

    Returns:
        ``out``.

    Raises:
        ConfigError: If settings contradict one another.
        DataError: If a choice would be made on test, a class is missing or too small, or a split is empty.
        TrainingError: If the run cannot go on, or a loss is not finite.
    """
    check(config, resume)
    if isinstance(config.task, Classification):
        classify.check_splits(config.task)  # before anything is written
    out = Path(out)
    fabric = make_fabric(config)
    torch.manual_seed(config.seed)  # a start without weights is drawn, and must be the same on resume
    tower = open_start(config.start)
    start = {"source": config.start.model, "weights_sha256": tower_digest(tower), "image_size": tower.preprocess.size}
    data = _data_digest(config)
    facts: dict[str, str | None] = {
        "start": sha256_json([start["weights_sha256"], tower.preprocess.to_json()]),
        "task.data": data,
    }
    chooses = {"validate_every", "ema.validation"} if config.select == "best" else set()
    own = identity(config, (HARMLESS | _NOT_LEARNED) - chooses, facts)
    place = Place(fabric, own, {"start": start, "data_digest": data}, resume, dry_run)
    if not dry_run and fabric.global_rank == 0:
        _claim(config, out, own, resume)
    fabric.barrier()
    with full_disk_told(out, TrainingError):
        if isinstance(config.task, Segmentation):
            segment.run(config, tower, place, out, start)
        else:
            _classify(config, tower, place, out, start)
    return out


def check(config: FinetuneConfig, resume: str) -> None:
    """Refuse settings that contradict one another.

    Raises:
        ConfigError: Naming the settings.
    """
    method = config.method.method if isinstance(config.method, FewShot) else config.method
    if resume not in ("auto", "never"):
        raise ConfigError(f"{resume!r} is not a way to resume", item="resume", remedy="use auto or never")
    if isinstance(config.task, Segmentation) and isinstance(config.method, Probe | FewShot):
        raise ConfigError(
            "is for classes of whole images", item=f"method: {config.method.name}", remedy="use linear, full or lora"
        )
    if isinstance(config.task, Segmentation) and config.image_augment is not None:
        raise ConfigError("would not move the masks", item="image_augment", remedy="use task.flips")
    if isinstance(config.task, Segmentation) and (config.class_weights != "none" or config.sampling != "natural"):
        raise ConfigError(
            "are for classes of whole images", item="class_weights, sampling", remedy="leave them at none and natural"
        )
    if isinstance(method, Probe | Linear) and config.image_augment is not None:
        raise ConfigError(
            f"method {method.name} embeds each image once", item="image_augment", remedy="set it to null, or use full"
        )
    if isinstance(method, Probe) and config.label_smoothing > 0:
        raise ConfigError("is for methods that take steps", item="label_smoothing", remedy="set it to 0, or use linear")


def _data_digest(config: FinetuneConfig) -> str:
    if isinstance(config.task, Classification):
        return _store(config.task).digest
    return segment.read(config.task).digest


def _store(task: Classification) -> PairsStore:
    from medvlp.data.pairs import PairsStore

    return PairsStore.load(resolve_path(task.data))


def _claim(config: FinetuneConfig, out: Path, own: Mapping[str, Any], resume: str) -> None:
    """Take a folder for this run, or go on in it if it is the same one.

    Raises:
        TrainingError: If it holds another run, or one at all with ``never``.
    """
    path = out / _IDENTITY
    if path.is_file():
        if resume == "never":
            raise TrainingError("already holds a run", item=out, remedy="use --resume auto or another --out")
        refuse_changes(read_json(path), own, out)
    elif out.is_dir() and any(out.iterdir()):
        raise TrainingError("is not empty and holds no run of this command", item=out, remedy="use another --out")
    write_json(path, dict(own))
    write_text(out / "config.yaml", dump(config))


def _classify(config: FinetuneConfig, tower: Any, place: Place, out: Path, start: Mapping[str, Any]) -> None:
    assert isinstance(config.task, Classification)
    store = _store(config.task)
    job = classify.Job(config, store, classify.build_tasks(config.task, store), tower, place)
    if place.dry_run:
        classify.rehearse(job, out)
        return
    fitted = classify.fit_all(job, out)
    if place.fabric.global_rank != 0:
        return
    for answers, network, folder in fitted:
        save(network.cpu(), folder / FOLDER, {"start": dict(start), "seed": answers.seed, **answers.facts})
    done = scoring.write(config, out, store, job.tasks, [answers for answers, _, _ in fitted], start)
    _print(read_json(done / "results.json"))


def _print(value: Mapping[str, Any]) -> None:
    console = Console(stderr=True)
    for row in [{"name": "model", "metrics": value["metrics"]}, *value["floors"]]:
        shown = {entry["name"]: entry for entry in row["metrics"]}
        found = shown.get("balanced_accuracy") or shown.get("auroc")
        if found is not None and found["value"] is not None:
            width = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
            console.print(f"{row['name']}: {found['title'].lower()} {found['value']:.3f}{width}", highlight=False)

"""Fine-tuning on classes of whole images: one call per training part, whatever the method.

Shape legend: N images, K classes, I tower width.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp.config import resolve_path
from medvlp.data.augment import Augment
from medvlp.data.plan import PairPlan
from medvlp.errors import ConfigError, DataError
from medvlp.finetune import few_shot, probe
from medvlp.finetune.classifier import Classifier
from medvlp.finetune.config import Classification, FewShot, FinetuneConfig, Full, Linear, Lora, Probe
from medvlp.finetune.data import ClassData
from medvlp.finetune.losses import ClassObjective, balanced_weights
from medvlp.finetune.recipe import Learning
from medvlp.finetune.scoring import Answers
from medvlp.finetune.stepwise import Place, train_steps
from medvlp.metrics import classification
from medvlp.training.features import cached_features, embed
from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.task import Task, build_task

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore

Trained = Linear | Full | Lora
_DRY_IMAGES = 4


@dataclass(frozen=True)
class Job:
    """What every draw of a run shares.

    Attributes:
        config: Settings.
        store: The images.
        tasks: ``train``, ``dev`` (possibly empty) and ``test``.
        tower: The start, never changed.
        place: Where and how to fit.
    """

    config: FinetuneConfig
    store: PairsStore
    tasks: Mapping[str, Task]
    tower: Any
    place: Place

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in order."""
        return self.tasks["train"].classes

    def network(self) -> Classifier:
        """Return a fresh classifier on a copy of the start."""
        task = self.config.task
        assert isinstance(task, Classification)
        return Classifier(copy.deepcopy(self.tower), self.classes, task.mode)

    def features(self, network: Any, task: Task) -> NDArray[np.float32]:
        """Return the start's outputs for all rows of a task's split, computed once per data and tower."""
        cache = resolve_path(self.config.cache)
        return cached_features(
            network, self.store.split(task.split), self.store.digest, cache, self.place.fabric.device
        )


def check_splits(task: Classification) -> None:
    """Refuse to learn or choose on test, or to use a split twice (:class:`DataError`)."""
    for name in (task.train, task.dev):
        refuse_test(name)
    if len({task.train, task.dev, task.test}) < 3:
        raise DataError(
            "a split is used twice", item=f"train {task.train}, dev {task.dev}, test {task.test}", remedy="name three"
        )


def build_tasks(task: Classification, store: PairsStore) -> dict[str, Task]:
    """Read the truth of the three splits.

    Raises:
        DataError: If a split to learn or choose on is test, splits are shared, classes are unknown, or one is empty.
    """
    check_splits(task)
    classes = store.classes if task.classes is None else list(task.classes)
    unknown = sorted(set(classes) - set(store.classes))
    if unknown:
        raise DataError(
            "is not a class of the data", item=unknown[0], remedy=f"its classes are {', '.join(store.classes)}"
        )
    if len(set(classes)) != len(classes) or len(classes) < (2 if task.mode == "single" else 1):
        raise DataError(f"{len(set(classes))} distinct classes", item="task.classes", remedy="name at least two")
    splits = {"train": task.train, "dev": task.dev, "test": task.test}
    tasks = {
        part: build_task(store.split(name), classes, store.class_concepts, mode=task.mode)
        for part, name in splits.items()
    }
    for part in ("train", "test"):
        if len(tasks[part]) == 0:
            raise DataError("holds no labelled row", item=f"split {splits[part]} of {task.data}", remedy="prepare one")
    return tasks


def fit_all(job: Job, out: Path) -> list[tuple[Answers, Classifier, Path]]:
    """Fit once, or once per seed of few-shot; each with the folder its network belongs into."""
    method = job.config.method
    train, dev = job.tasks["train"], job.tasks["dev"] if len(job.tasks["dev"]) else None
    if isinstance(method.method if isinstance(method, FewShot) else method, Probe | Linear):
        with job.place.fabric.rank_zero_first():  # one process fills the cache, the others then only read it
            network = job.network()
            for task in job.tasks.values():
                if len(task) > 0:
                    job.features(network, task)
    if not isinstance(method, FewShot):
        answers, network = fit_one(job, method, job.config.seed, train, dev, out)
        return [(answers, network, out)]
    fitted = []
    for seed in method.seeds:
        few = few_shot.subset(train, few_shot.draw(train, method.shots, seed, strict=True))
        num_dev = method.shots if method.dev_shots is None else method.dev_shots
        few_dev = None
        if dev is not None and num_dev > 0:
            few_dev = few_shot.subset(dev, few_shot.draw(dev, num_dev, seed, strict=False))
        folder = out / f"seed-{seed}"
        fitted.append((*fit_one(job, method.method, seed, few, few_dev, folder), folder))
    return fitted


def rehearse(job: Job, out: Path) -> None:
    """Check what a run would need and do one real step, or embed a few images; nothing is written."""
    method, train = job.config.method, job.tasks["train"]
    dev = job.tasks["dev"] if len(job.tasks["dev"]) else None
    if isinstance(method, FewShot):
        for seed in method.seeds:
            few = few_shot.subset(train, few_shot.draw(train, method.shots, seed, strict=True))
        train, method = few, method.method
    probe.refuse_absent(train)
    network = job.network()
    if isinstance(method, Probe):
        if method.C is None and dev is None:
            raise DataError(probe.NO_DEV, item="split dev", remedy=probe.NO_DEV_REMEDY)
        rows = train.rows_N[:_DRY_IMAGES].tolist()
        embed(network, job.store.split(train.split), job.place.fabric.device, rows=rows)  # type: ignore[arg-type]
    else:
        steps(job, method, network, job.config.seed, train, dev, out)


def fit_one(
    job: Job, method: Probe | Trained, seed: int, train: Task, dev: Task | None, out: Path
) -> tuple[Answers, Classifier]:
    """Fit one method on one training part, and answer for the development and the test part."""
    network = job.network()
    facts: dict[str, Any]
    if isinstance(method, Probe):
        facts = solve_probe(job, method, network, train, dev)
    else:
        facts = steps(job, method, network, seed, train, dev, out)
    network.eval()
    frozen = isinstance(method, Probe | Linear)
    test_NK = answer(job, network, job.tasks["test"], frozen=frozen)
    dev_NK = None if dev is None else answer(job, network, dev, frozen=frozen)
    return Answers(
        seed, train, dev, test_NK, dev_NK, {"method": method.name, "num_train": len(train), **facts}
    ), network


def solve_probe(job: Job, method: Probe, network: Classifier, train: Task, dev: Task | None) -> dict[str, Any]:
    """Fit the probe and put it into the network's head."""
    balanced = job.config.class_weights == "balanced"
    train_NI = job.features(network, train)[train.rows_N]
    dev_MI = None if dev is None else job.features(network, dev)[dev.rows_N]
    solved = probe.solve(method, balanced, train, train_NI, dev, dev_MI)
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(solved.weight_KI))
        network.head.bias.copy_(torch.from_numpy(solved.bias_K))
    head = network.head.weight.numel() + network.head.bias.numel()
    return {
        "C": solved.C,
        "dev_log_loss": {f"{C:.4g}": round(loss, 6) for C, loss in solved.dev_log_loss.items()},
        "converged": solved.converged,
        "trained_share": head / sum(parameter.numel() for parameter in network.parameters()),
    }


def steps(
    job: Job, method: Trained, network: Classifier, seed: int, train: Task, dev: Task | None, out: Path
) -> dict[str, Any]:
    """Train by the engine; the network then holds the chosen weights, additions merged."""
    probe.refuse_absent(train)
    if dev is None and job.config.select == "best":
        raise ConfigError("needs a development split", item="select: best", remedy="use last")
    config = job.config.model_copy(update={"seed": seed})
    if isinstance(config.method, FewShot):
        config = config.model_copy(update={"batch_size": min(config.batch_size, len(train))})
    features = job.features(network, train) if isinstance(method, Linear) and not job.place.dry_run else None
    augment = None if config.image_augment is None else Augment(config.image_augment)
    data = ClassData(job.store.split(train.split), train, network.preprocess, augment, features, seed)
    labels = [train.classes[k] for k in train.target_N] if train.mode == "single" else None
    plan = PairPlan(len(train), config.batch_size, seed, config.sampling, labels)
    weight_K = balanced_weights(train) if config.class_weights == "balanced" else torch.ones(len(train.classes))
    objective = ClassObjective(weight_K, config.label_smoothing, train.mode == "single")

    def score() -> dict[str, float]:
        return {} if dev is None else development(dev, answer(job, network, dev, frozen=features is not None))

    learning = Learning(network, data, plan, objective, score)
    return train_steps(config, method, learning, out, job.place)


def answer(job: Job, network: Classifier, task: Task, *, frozen: bool) -> NDArray[np.float64]:
    """Return the probabilities (N, K) for the images of a task; a frozen tower's outputs come from the cache."""
    device = job.place.fabric.device
    if frozen:
        features_NI = job.features(network, task)[task.rows_N]
    else:
        features_NI = embed(network, job.store.split(task.split), device, rows=task.rows_N.tolist())  # type: ignore[arg-type]
    with torch.no_grad():
        logits_NK = network.to(device).head(torch.from_numpy(np.ascontiguousarray(features_NI)).to(device))
    return network.probabilities(logits_NK.cpu()).numpy()


def development(dev: Task, probability_NK: NDArray[np.float64]) -> dict[str, float]:
    """Return the log-loss and (single-label) balanced accuracy on the development part."""
    logit_NK = np.log(np.clip(probability_NK, 1e-12, 1.0))
    if dev.mode == "multi":
        return {"loss": probe.log_loss(dev, logit_NK - np.log(np.clip(1 - probability_NK, 1e-12, 1.0)))}
    balanced = classification.balanced_accuracy(dev.target_N, probability_NK.argmax(1), len(dev.classes))
    return {"loss": probe.log_loss(dev, logit_NK), "balanced_accuracy": float(balanced)}

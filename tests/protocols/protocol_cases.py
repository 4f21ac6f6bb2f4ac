"""Small worlds for protocols: features drawn around class centres, coloured images, an encoder of mean colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness.protocol import Context
from benchmarks.harness.protocols.labelled import Inputs, Parts
from benchmarks.harness.task import PairsData, TaskConfig
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.ledger import Ledger
from medvlp.zeroshot.task import Task

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 60, 190)}


def target_of(num, num_classes):
    return np.eye(num_classes, dtype=bool)[np.arange(num) % num_classes]


def task_of(target_NK, split="train", mode="single", per_case=1):
    num = len(target_NK)
    return Task(
        split, tuple(f"class {k}" for k in range(target_NK.shape[1])), mode, np.arange(num), target_NK,
        tuple(f"{split}-{n:03d}" for n in range(num)), tuple(f"{split} case {n // per_case:03d}" for n in range(num)),
        tuple(range(target_NK.shape[1])), Ledger(),
    )  # fmt: skip


def drawn(sizes=(45, 30, 36), num_classes=3, mode="single", effect=1.0, seed=0, width=6):
    """Parts without a store, and features around the classes' centres."""
    rng = np.random.default_rng(seed)
    centre_KI = rng.normal(size=(num_classes, width))
    tasks, features = [], []
    for split, num in zip(("train", "dev", "test"), sizes, strict=True):
        target_NK = target_of(num, num_classes)
        if mode == "multi":
            target_NK = target_NK | (rng.random(target_NK.shape) < 0.3)
        tasks.append(task_of(target_NK, split, mode))
        features.append(effect * target_NK @ centre_KI + rng.normal(size=(num, width)))
    return Parts(None, {}, tasks[0], tasks[1], tasks[2], None), Inputs(*features)


class FakeStore:
    """Only an identity: for questions that are given their features."""

    digest = "0" * 64


def with_store(parts):
    return Parts(FakeStore(), parts.concepts, parts.train, parts.dev, parts.scored, parts.places)


def relabelled(parts, times=40):
    """The same parts with the training labels dealt out anew, several times."""
    for seed in range(times):
        order = np.random.default_rng(seed).permutation(len(parts.train))
        yield replace(with_store(parts), train=replace(parts.train, target_NK=parts.train.target_NK[order]))


def write_store(folder: Path, per_class=9, order_seed=None, labels=tuple(COLOURS), empty=None, side=24, noise=60):
    """Classes differ in colour; ``empty`` has no training image; rows may be stored in another order."""
    rng, rows = np.random.default_rng(0), []
    for split in ("train", "dev", "test"):
        for label in labels:
            for i in range(per_class):
                colour = np.array(COLOURS[label]) + rng.normal(0, noise, 3)
                pixels = np.clip(colour + rng.normal(0, 20, (side, side, 3)), 0, 255).astype(np.uint8)
                key, case = f"{split}-{label}-{i:02d}", f"case-{split}-{label}-{i // 2}"
                if not (split == "train" and label == empty):
                    rows.append(Row(key, Image.fromarray(pixels), [Text("x")], split, case, len(rows), label, []))
    if order_seed is not None:
        rows = [rows[place] for place in np.random.default_rng(order_seed).permutation(len(rows))]
    return PairsStore.write(folder, rows, classes={label: [] for label in labels})


def task_config(protocol, **changes):
    settings = {
        "title": "colours", "citation": "none", "licence": "none", "data": PairsData(store="store"),
        "protocols": [protocol], **changes,
    }  # fmt: skip
    return TaskConfig(**settings)


def context_of(folder, store=None, num_draws=60, **more):
    return Context(folder=folder, graph=None, num_draws=num_draws, level=0.95, store=store, **more)


class ColourEncoder:
    """Embeds an image by its centred mean colour and a text by the colour it names; has heat maps of that colour."""

    def __init__(self, gain=1.0):
        self.gain = gain
        self.num_images = 0

    def encode_image(self, images):
        self.num_images += len(images)
        mean = np.stack([np.asarray(image, dtype=np.float64).reshape(-1, 3).mean(0) for image in images])
        return self._unit(mean)

    def encode_text(self, texts):
        named = [next((colour for name, colour in COLOURS.items() if name in text), (90, 90, 100)) for text in texts]
        return self._unit(np.array(named, dtype=np.float64))

    def scale(self):
        return 10.0

    def _unit(self, colour_N3):
        centred = self.gain * (colour_N3 / 255 - 0.36) + 1e-4
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)


class Subject:
    """What protocols need of ``benchmarks.harness.subjects.Subject``, for an object."""

    def __init__(self, model, abilities=("image", "text"), name="colours"):
        self.model, self.abilities, self.name = model, frozenset(abilities), name
        self.weights_sha256, self.encode_keys, self.scale = None, None, 10.0

    def encode_images(self, images):
        return np.asarray(self.model.encode_image(images))

    def encode_texts(self, texts):
        return np.asarray(self.model.encode_text(texts))

    def untrained(self, seed):
        return None


def means_of(outcome):
    return {metric.name: metric.value for metric in outcome.metrics}

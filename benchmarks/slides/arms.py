"""The models that are compared: trained, trained on permuted labels, untrained heads, random towers, colours alone.

Shape legend: M training images, N tiles, K prompted classes, F colour features.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import medvlp
from benchmarks.slides.config import SlidesBenchmarkConfig
from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.planted.store import PlantedSlides
from data_prep.planted.training import CONFIG, TABLE
from medvlp.config import load
from medvlp.data.pairs import SPLITS, PairsStore, Row
from medvlp.errors import ConfigError
from medvlp.io import MANIFEST, read_json
from medvlp.model import DualEncoder
from medvlp.training.align import AlignConfig, train
from medvlp.zeroshot.floors import colour_classifier, colour_features, untrained_copy

TRAINED, PERMUTED, START, RANDOM, COLOUR = "trained", "permuted", "start", "random", "colour"
TITLES = {
    TRAINED: "trained",
    PERMUTED: "trained on permuted labels",
    START: "untrained heads on published towers",
    RANDOM: "untrained towers",
    COLOUR: "colour histograms, logistic regression",
}
SEEDED = (TRAINED, PERMUTED, START)


def prepare_training(found: PlantedSlides, digest: str, out: Path) -> PairsStore:
    """Write the pairs store of the training images; open what is there."""
    folder = out / "real"
    if not _made_from(folder, digest):
        overrides = [f"source.images={found.folder}", f"source.table={found.folder / TABLE}"]
        settings = load(found.folder / CONFIG, overrides, kind="pairs")
        assert isinstance(settings, PairsConfig)
        prepare(settings, folder, overwrite=True)
        (folder.with_suffix(".txt")).write_text(digest, encoding="utf-8")
    return PairsStore.load(folder)


def permuted_copy(real: PairsStore, out: Path, seed: int) -> PairsStore:
    """Write a store's copy with permuted labels, another permutation for each seed; open what is there.

    One permutation for all seeds would be one draw of the control, however many seeds are trained on it.
    """
    control = out / f"permuted-{seed}"
    if not (control / MANIFEST).is_file() or read_json(control / MANIFEST).get("made_from") != real.digest:
        header = {"kind": "pairs", "made_from": real.digest}
        PairsStore.write(control, _permuted(real, seed), header, classes=real.class_concepts, replace=True)
    return PairsStore.load(control)


def _made_from(folder: Path, digest: str) -> bool:
    note = folder.with_suffix(".txt")
    return (folder / MANIFEST).is_file() and note.is_file() and note.read_text(encoding="utf-8") == digest


def _permuted(store: PairsStore, seed: int) -> Iterator[Row]:
    """Every image with the label, texts, concepts and group of another one, drawn at random within its part."""
    for name in SPLITS:
        split = store.split(name)
        texts, labels, concepts, groups = (split.column(column) for column in ("texts", "label", "concepts", "group"))
        cases = split.column("case")
        donors = np.random.default_rng([seed, len(split)]).permutation(len(split)).tolist()
        for row, donor in enumerate(donors):
            yield Row(
                key=split.keys[row],
                image=split.image_bytes(row),
                texts=texts[donor],
                split=name,
                case=cases[row],
                group=int(groups[donor]),
                label=labels[donor],
                concepts=concepts[donor],
            )


def recipe(config: SlidesBenchmarkConfig, store: PairsStore, out: Path, seed: int) -> AlignConfig:
    """The alignment of one arm: only data and seed differ.

    Each step takes images of every class, so that no class is a false negative of itself.

    Raises:
        ConfigError: If the image tower may learn: tiles are embedded once for all arms.
    """
    own = [f"data={store.folder}", f"seed={seed}", f"cache={out / 'features'}"]
    groups = len(set(store.split("train").column("group").tolist()))
    own += [f"batches.groups_per_batch={groups}", f"batches.instances={max(1, config.rows_per_step // groups)}"]
    found = load(config.align, [*own, *config.set], kind="align")
    assert isinstance(found, AlignConfig)
    if "image_tower" not in found.freeze.always:
        raise ConfigError("the image tower must stay frozen", item="align", remedy="add it to freeze.always")
    return found


def start_model(settings: AlignConfig) -> DualEncoder:
    """The model as its run would start."""
    torch.manual_seed(settings.seed)
    return DualEncoder(settings.model).eval()


def random_model(settings: AlignConfig) -> DualEncoder:
    """The network with every weight drawn at random."""
    found = untrained_copy(start_model(settings), settings.seed)
    assert isinstance(found, DualEncoder)
    return found


def trained_model(settings: AlignConfig, run: Path) -> DualEncoder:
    """Train one arm and return its model; the run folder keeps its log, not its checkpoint."""
    shutil.rmtree(run, ignore_errors=True)
    checkpoint = train(settings, run, "never")
    model = medvlp.load(str(checkpoint)).eval()
    assert isinstance(model, DualEncoder)
    shutil.rmtree(checkpoint.parent)
    return model


def fit_colours(store: PairsStore, classes: list[str]) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Fit colour histograms of the training images; returns a function from features (N, F) to probabilities (N, K)."""
    split = store.split("train")
    feature_MF = np.stack([colour_features(split[row].image) for row in range(len(split))])
    target_M = [classes.index(label) for label in split.column("label")]
    fitted = colour_classifier().fit(feature_MF, target_M)

    def answer(colour_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        out_NK = np.zeros((len(colour_NF), len(classes)))
        out_NK[:, fitted.classes_] = fitted.predict_proba(colour_NF)
        return out_NK

    return answer

"""What a model says about the test part, kept as arrays, so that every score can be computed again without it.

Shape legend: N test images, K classes, G distinct free texts, D embedding size, M training images, F colour features.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.knowledge.sets import Prepared
from medvlp.encoders.text import TextEncoder
from medvlp.errors import DataError
from medvlp.io import sha256_file
from medvlp.training.features import cached_features
from medvlp.zeroshot.classifier import class_vectors, scale_of, to_numpy
from medvlp.zeroshot.floors import COLOUR, PRIOR, colour_features, colour_floor, prior_floor
from medvlp.zeroshot.task import build_task

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsSplit
    from medvlp.model import DualEncoder

Arrays = dict[str, NDArray[Any]]
NOTES = "notes"


def free_texts(split: PairsSplit) -> list[str]:
    """Return the distinct free texts of a split in order of first appearance; sentences from templates do not count."""
    texts = (text.text for row in split.column("texts") for text in row if text.aspect == "caption")
    return list(dict.fromkeys(texts))


def answer(model: DualEncoder, prepared: Prepared, cache: Path) -> Arrays:
    """Return cosines of the test images with all classes, with the set's free texts if asked, and the scale.

    Args:
        model: A trained or untrained model whose image tower is frozen.
        prepared: The set.
        cache: Folder of cached image tower outputs.
    """
    split = prepared.store.split("test")
    features_NI = cached_features(model, split, prepared.store.digest, cache, torch.device("cpu"))
    with torch.no_grad():
        image_ND = to_numpy(model.project_image(torch.from_numpy(features_NI.copy())))
    found = {
        "class_cosine_NK": (image_ND @ class_vectors(model, prepared.prompts).T).astype(np.float32),
        "scale": np.array(scale_of(model)),
    }
    if prepared.settings.retrieval:
        text_GD = to_numpy(model.encode_text(free_texts(split)))
        found["text_cosine_NG"] = (image_ND @ text_GD.T).astype(np.float32)
    return found


def floor_answers(prepared: Prepared) -> Arrays:
    """Return what the floors say: class probabilities over all scored classes, and text cosines if asked."""
    train, test = prepared.store.split("train"), prepared.store.split("test")
    classes, concepts = prepared.classes, prepared.store.class_concepts
    fit_on, task = (build_task(part, classes, concepts) for part in (train, test))
    prior = prior_floor(fit_on, len(task), 0)
    colour = colour_floor((train, fit_on), (test, task), None, seed=0)
    found = {PRIOR: prior.probability_NK, COLOUR: colour.probability_NK}
    arrays = {f"{name}_probability_NK": value for name, value in found.items() if value is not None}
    if prepared.settings.retrieval:
        arrays[f"{COLOUR}_text_cosine_NG"] = _colours_to_texts(train, test)
    return arrays


def _colours_to_texts(train: PairsSplit, test: PairsSplit) -> NDArray[np.float32]:
    """Guess each image's text embedding from its colours: ridge regression to the published encoder.

    Its penalty comes from leaving out one training image at a time.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    encoder = TextEncoder().eval()

    def embed(texts: list[str]) -> NDArray[np.float64]:
        with torch.no_grad():
            text_MD = to_numpy(encoder(*encoder.tokenizer(texts, False)))
        return text_MD / np.linalg.norm(text_MD, axis=1, keepdims=True)

    own = [[text.text for text in row if text.aspect == "caption"] for row in train.column("texts")]
    rows = [row for row, texts in enumerate(own) if texts]
    target_MD = np.stack([embed(own[row]).mean(0) for row in rows])
    colour_MF = np.stack([colour_features(train[row].image) for row in rows])
    guess = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 5, 11))).fit(colour_MF, target_MD)
    image_ND = guess.predict(np.stack([colour_features(test[row].image) for row in range(len(test))]))
    image_ND /= np.maximum(np.linalg.norm(image_ND, axis=1, keepdims=True), 1e-9)
    return (image_ND @ embed(free_texts(test)).T).astype(np.float32)


def save(path: Path, arrays: Arrays) -> str:
    """Write arrays to an ``.npz`` file, whole or not at all; return its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        np.savez_compressed(partial, **arrays)
        digest = sha256_file(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def read(path: Path, digest: str) -> Arrays:
    """Read arrays back.

    Raises:
        DataError: If the file is missing or not the one that was written.
    """
    if not path.is_file() or sha256_file(path) != digest:
        raise DataError("is missing or was changed", item=path, remedy="remove its .json beside it and run again")
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}

"""The zero-shot score while training: three numbers on a development split, no floors and no bootstrap.

Shape legend: N images, K classes, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.metrics import classification, curves
from medvlp.metrics._weighted import nanmean_columns
from medvlp.zeroshot.classifier import Floats, class_vectors, classify, embed_images, in_eval, scale_of, to_numpy
from medvlp.zeroshot.existence import ExistenceQueries, chosen_scorer, presence
from medvlp.zeroshot.prompts import PromptSet


def development_score(model: Any, image_ND: Any, labels_N: Sequence[Any], prompts: PromptSet) -> dict[str, float]:
    """Score image embeddings zero-shot.

    Args:
        model: Anything with ``encode_text`` and ``scale()``; switched to eval mode for the call, then back.
        image_ND: L2-normalised image embeddings, tensor or array.
        labels_N: Class label (or class number) of each image; None or -1 is left out.
        prompts: Prompts of the classes.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``macro_auroc`` (NaN where undefined), and ``num``.

    Raises:
        DataError: If a label has no prompts, counts differ, or nothing is labelled.
    """
    target_N = class_numbers(labels_N, prompts.classes)
    image_ND = to_numpy(image_ND)
    if len(target_N) != len(image_ND):
        raise DataError(f"{len(target_N)} labels for {len(image_ND)} embeddings", item="development split")
    if not (target_N >= 0).any():
        raise DataError("has no labelled image", item="development split", remedy="label it or switch validation off")
    with in_eval(model):
        class_KD = class_vectors(model, prompts)
    return _scores(target_N, classify(image_ND, class_KD, scale_of(model)))


def _scores(target_N: NDArray[np.int64], probability_NK: Floats) -> dict[str, float]:
    probability_NK, target_N = probability_NK[target_N >= 0], target_N[target_N >= 0]
    classes = range(probability_NK.shape[1])
    answer_N = probability_NK.argmax(1)
    auroc_1K = np.array([[curves.auroc(target_N == k, probability_NK[:, k]) for k in classes]])
    return {
        "accuracy": float(classification.accuracy(target_N, answer_N)),
        "balanced_accuracy": float(classification.balanced_accuracy(target_N, answer_N, len(classes))),
        "macro_auroc": float(nanmean_columns(auroc_1K)[0]),
        "num": float(len(target_N)),
    }


def score_split(
    model: Any, split: Any, prompts: PromptSet, batch_size: int = 64, *, num_images: int | None = None
) -> dict[str, float]:
    """Score the first images of a split of a pairs store, all by default, by the model's decoder where it has one.

    Returns and raises what :func:`development_score` does.
    """
    labels = split.column("label")[:num_images]
    rows = range(len(labels))
    with in_eval(model):
        if chosen_scorer("auto", model) == "cosine":
            return development_score(model, embed_images(model, split, batch_size, rows=rows), labels, prompts)
        target_N = class_numbers(labels, prompts.classes)
        if not (target_N >= 0).any():
            raise DataError("has no labelled image", item=split.name, remedy="label it or switch validation off")
        logits = ExistenceQueries(model, prompts.texts).of_split(split, rows, batch_size)
    return _scores(target_N, presence(logits, "single"))


def class_numbers(labels_N: Sequence[Any], classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Turn labels (or numbers) into class numbers (N,), -1 for None.

    Raises:
        DataError: If a label is not among the classes.
    """
    number = {label: position for position, label in enumerate(classes)}
    out = []
    for label in labels_N.tolist() if hasattr(labels_N, "tolist") else labels_N:
        if label is None:
            out.append(-1)
        elif isinstance(label, str):
            if label not in number:
                raise DataError(f"the label {label!r} has no prompts", item="labels", remedy="add it to the classes")
            out.append(number[label])
        elif -1 <= int(label) < len(classes):
            out.append(int(label))
        else:
            raise DataError(f"class number {int(label)} is outside 0..{len(classes) - 1}", item="labels")
    return np.array(out, dtype=np.int64)

"""The zero-shot score while training: three numbers on a development split, no floors and no bootstrap.

Shape legend: N images, K classes, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medvlp.errors import DataError
from medvlp.metrics import classification, curves
from medvlp.metrics._weighted import nanmean_columns
from medvlp.zeroshot.classifier import class_vectors, classify, embed_images, scale_of, to_numpy
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
    image_ND, target_N = image_ND[target_N >= 0], target_N[target_N >= 0]
    if len(target_N) == 0:
        raise DataError("has no labelled image", item="development split", remedy="label it or switch validation off")
    was_training = bool(getattr(model, "training", False))
    if was_training:
        model.eval()
    class_KD = class_vectors(model, prompts)
    probability_NK = classify(image_ND, class_KD, scale_of(model))
    if was_training:
        model.train()
    answer_N = probability_NK.argmax(1)
    auroc_1K = np.array([[curves.auroc(target_N == k, probability_NK[:, k]) for k in range(len(prompts.classes))]])
    return {
        "accuracy": float(classification.accuracy(target_N, answer_N)),
        "balanced_accuracy": float(classification.balanced_accuracy(target_N, answer_N, len(prompts.classes))),
        "macro_auroc": float(nanmean_columns(auroc_1K)[0]),
        "num": float(len(target_N)),
    }


def score_split(model: Any, split: Any, prompts: PromptSet, batch_size: int = 64) -> dict[str, float]:
    """Embed a split of a pairs store and return :func:`development_score` of it."""
    return development_score(model, embed_images(model, split, batch_size), split.column("label"), prompts)


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

"""What a score has to beat: class frequencies, colours alone, and the same network before any training.

Shape legend: N evaluated images, M development images, K classes.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from medvlp.zeroshot.classifier import refuse_test
from medvlp.zeroshot.scoring import System
from medvlp.zeroshot.task import Task

_SIDE = 96
_MAX_TRAINING_IMAGES = 4000
PRIOR = "prior"
COLOUR = "colour-histogram"
UNTRAINED = "untrained"
DESCRIPTIONS = {
    PRIOR: "Answers with the class frequencies of the labelled training split, whatever the image.",
    COLOUR: "Logistic regression on colour histograms, fitted on the labelled training split; sees colours, no shapes.",
    UNTRAINED: "The same network with random weights, same prompts, same protocol.",
}


def prior_floor(training: Task | None, num: int, num_development: int) -> System:
    """Constant probabilities: the share of each class in the training split (:class:`DataError` for test)."""
    description = DESCRIPTIONS[PRIOR]
    if training is None or len(training) == 0:
        return System(PRIOR, description, skipped="there is no labelled training split")
    refuse_test(training.split)
    share_K = training.target_NK.mean(0)
    return System(PRIOR, description, np.tile(share_K, (num, 1)), np.tile(share_K, (num_development, 1)))


def colour_features(image: Image.Image) -> NDArray[np.float32]:
    """Square roots of a joint hue-saturation-value histogram (8 x 4 x 4) and of three 16-bin RGB histograms (176,)."""
    small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    rgb = np.asarray(small).reshape(-1, 3)
    hsv = np.asarray(small.convert("HSV")).reshape(-1, 3).astype(np.int64)
    cell = (hsv[:, 0] // 32) * 16 + (hsv[:, 1] // 64) * 4 + hsv[:, 2] // 64
    parts = [np.bincount(cell, minlength=128), *(np.bincount(rgb[:, c] // 16, minlength=16) for c in range(3))]
    return np.sqrt(np.concatenate(parts) / len(rgb)).astype(np.float32)


def colour_classifier() -> Any:
    """Return the unfitted classifier of :func:`colour_features`: logistic regression, classes balanced."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))


def colour_floor(training: Any, task: Any, development: Any, seed: int) -> System:
    """Fit colours to classes on the training split and answer for the others.

    Args:
        training: ``(split, task)`` to fit on, or None.
        task: ``(split, task)`` to answer for.
        development: ``(split, task)`` to answer for, or None.
        seed: Chooses the training images where there are more than 4,000.

    Raises:
        DataError: If the split to fit on is named test.
    """
    description = DESCRIPTIONS[COLOUR]
    if training is None or len(training[1]) == 0:
        return System(COLOUR, description, skipped="there is no labelled training split")
    split, fit_task = training
    refuse_test(fit_task.split)
    chosen = np.arange(len(fit_task))
    if len(chosen) > _MAX_TRAINING_IMAGES:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), _MAX_TRAINING_IMAGES, replace=False))
    train_MF = _features(split, fit_task.rows_N[chosen])
    answered = [_features(part[0], part[1].rows_N) if part is not None else None for part in (task, development)]
    target_MK = fit_task.target_NK[chosen]
    outputs = [None if part is None else np.zeros((len(part), target_MK.shape[1])) for part in answered]
    single = fit_task.mode == "single"
    columns = [None] if single else list(range(target_MK.shape[1]))
    for column in columns:
        truth_M = target_MK.argmax(1) if column is None else target_MK[:, column].astype(int)
        if len(set(truth_M.tolist())) < 2:
            if single:
                return System(COLOUR, description, skipped="the training split holds one class only")
            continue
        fitted = colour_classifier().fit(train_MF, truth_M)
        for features, output in zip(answered, outputs, strict=True):
            if features is None or output is None or len(features) == 0:
                continue
            probability = fitted.predict_proba(features)
            if column is None:
                output[:, fitted.classes_] = probability
            else:
                output[:, column] = probability[:, 1]
    return System(COLOUR, description, outputs[0], outputs[1])


def _features(split: Any, rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
    if len(rows_N) == 0:
        return np.zeros((0, 176), dtype=np.float32)
    return np.stack([colour_features(split[int(row)].image) for row in rows_N])


def untrained_copy(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy with every weight redrawn: matrices by He's rule, scales one, biases zero, statistics reset.

    He's rule keeps the size of signals through the depth of a network, so that the copy's embeddings stay finite.
    The logit scale and bias (scalars) keep their values: they rank nothing.
    """
    fresh = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            if parameter.ndim >= 2:
                drawn = torch.empty(parameter.shape, dtype=torch.float32)
                nn.init.kaiming_normal_(drawn, nonlinearity="relu", generator=generator)
                parameter.copy_(drawn)
            elif parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith(("weight", "gamma")) else 0.0)
        for module in fresh.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
    return fresh.eval()

"""Linear probe: multinomial (or one-against-rest) logistic regression on frozen features, penalty chosen on dev.

Shape letters: N training images · M development images · I tower width · K classes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError, TrainingError
from medvlp.finetune.config import Probe
from medvlp.zeroshot.task import Task

Floats = NDArray[np.float64]
Layer = tuple[Floats, Floats, bool]
"""Weights (K, I), biases (K,), and whether the solver converged."""
_SMALLEST = 1e-12
NO_DEV = "holds no labelled row, so C cannot be chosen"
NO_DEV_REMEDY = "set method.C, or prepare the data with a development split"


@dataclass(frozen=True)
class Solved:
    """A linear layer and how it was chosen.

    Attributes:
        weight_KI: Weights for raw features: the scaling of features is folded in.
        bias_K: Biases.
        C: Inverse penalty.
        dev_log_loss: Log-loss on the development rows by C, where C was chosen.
        converged: Whether the solver reached its optimum within ``max_iter``.
    """

    weight_KI: Floats
    bias_K: Floats
    C: float
    dev_log_loss: dict[float, float]
    converged: bool


def solve(config: Probe, balanced: bool, train: Task, train_NI: Any, dev: Task | None, dev_MI: Any) -> Solved:
    """Fit at the given C, or at the one of lowest log-loss on the development rows (the smallest of equals).

    Raises:
        DataError: If a class has no training image (or, multi-label, only such), or C cannot be chosen.
        TrainingError: If features are not finite.
    """
    refuse_absent(train)
    train_NI = np.asarray(train_NI, dtype=np.float64)
    if not np.isfinite(train_NI).all():
        row = int(np.flatnonzero(~np.isfinite(train_NI).all(1))[0])
        raise TrainingError("its features are not finite", item=train.keys[row], remedy="check the tower's weights")
    mean_I, scale_I = np.zeros(train_NI.shape[1]), np.ones(train_NI.shape[1])
    if config.standardise:
        mean_I, scale_I = train_NI.mean(0), train_NI.std(0)
        scale_I[scale_I < _SMALLEST] = 1.0
    scaled_NI = (train_NI - mean_I) / scale_I
    tried: dict[float, float] = {}
    chosen, found = config.C, None
    if chosen is None:
        if dev is None or len(dev) == 0:
            raise DataError(NO_DEV, item="split dev", remedy=NO_DEV_REMEDY)
        scaled_MI = (np.asarray(dev_MI, dtype=np.float64) - mean_I) / scale_I
        for value in grid(config):
            layer = _fit(value, config, balanced, train, scaled_NI)
            loss = log_loss(dev, _linear(scaled_MI, layer))
            if not tried or loss < min(tried.values()):
                chosen, found = value, layer
            tried[value] = loss
    if found is None:
        assert chosen is not None
        found = _fit(chosen, config, balanced, train, scaled_NI)
    weight_KI, bias_K, converged = found
    assert chosen is not None
    weight_KI = weight_KI / scale_I
    return Solved(weight_KI, bias_K - weight_KI @ mean_I, chosen, tried, converged)


def grid(config: Probe) -> list[float]:
    """Return the values of C that are tried, ascending."""
    low, high = sorted(config.grid)
    return [float(value) for value in np.logspace(low, high, config.grid_points)]


def log_loss(task: Task, logit_NK: Floats) -> float:
    """Mean negative log-probability of the truth; in multi-label tasks also a mean over classes."""
    if task.mode == "single":
        shifted_NK = logit_NK - logit_NK.max(1, keepdims=True)
        log_NK = shifted_NK - np.log(np.exp(shifted_NK).sum(1, keepdims=True))
        return float(-log_NK[task.target_NK].mean())
    return float(np.logaddexp(0.0, np.where(task.target_NK, -logit_NK, logit_NK)).mean())


def refuse_absent(task: Task) -> None:
    """Refuse a training part in which a class cannot be learned.

    Raises:
        DataError: Naming the class.
    """
    present_K = task.target_NK.any(0)
    constant_K = ~present_K if task.mode == "single" else ~present_K | task.target_NK.all(0)
    if constant_K.any():
        label = task.classes[int(np.argmax(constant_K))]
        problem = "has no training image" if not present_K[list(task.classes).index(label)] else "has no negative image"
        raise DataError(problem, item=f"class {label}", remedy="leave it out with task.classes, or add data")


def _linear(features_NI: Floats, layer: Layer) -> Floats:
    return features_NI @ layer[0].T + layer[1]


def _fit(C: float, config: Probe, balanced: bool, task: Task, scaled_NI: Floats) -> Layer:
    if task.mode == "multi":
        parts = [_solver(C, config, balanced, truth_N.astype(int), scaled_NI) for truth_N in task.target_NK.T]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), all(p[2] for p in parts)
    weight_KI, bias_K, converged = _solver(C, config, balanced, task.target_N, scaled_NI)
    if len(task.classes) == 2:
        # scikit-learn solves two classes as one logit: softmax over (0, logit) gives the same probabilities.
        weight_KI = np.concatenate([np.zeros_like(weight_KI), weight_KI])
        bias_K = np.concatenate([np.zeros(1), bias_K])
    return weight_KI, bias_K, converged


def _solver(C: float, config: Probe, balanced: bool, target_N: NDArray[np.int64], scaled_NI: Floats) -> Layer:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, max_iter=config.max_iter, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported as a fact of the result instead
        model.fit(scaled_NI, target_N)
    return model.coef_, model.intercept_, bool(np.max(model.n_iter_) < config.max_iter)

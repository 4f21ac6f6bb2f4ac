"""The linear probe is scikit-learn's, its choice is made on dev, and what it cannot learn is named."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from medvlp.errors import DataError, TrainingError
from medvlp.finetune.config import Probe
from medvlp.finetune.probe import grid, log_loss, solve
from medvlp.ledger import Ledger
from medvlp.zeroshot.task import Task


def task_of(target_NK, split="train", mode="single"):
    num = len(target_NK)
    return Task(
        split, tuple(f"class {k}" for k in range(target_NK.shape[1])), mode, np.arange(num), target_NK,
        tuple(f"{split}-{n}" for n in range(num)), tuple(f"case {n}" for n in range(num)),
        tuple(range(target_NK.shape[1])), Ledger(),
    )  # fmt: skip


def drawn(num, num_classes, seed, split="train"):
    rng = np.random.default_rng(seed)
    target_N = np.arange(num) % num_classes
    features_NI = rng.normal(size=(num, 5)) * [1, 10, 0.1, 1, 1] + 0.8 * target_N[:, None]
    return task_of(np.eye(num_classes, dtype=bool)[target_N], split), features_NI


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_equals_scikit_learn_at_the_best_c_of_dev(num_classes, balanced):
    train, train_NI = drawn(40, num_classes, 0)
    dev, dev_MI = drawn(31, num_classes, 1, "dev")
    config = Probe(grid=[-3, 3], grid_points=7)
    found = solve(config, balanced, train, train_NI, dev, dev_MI)
    mean, scale = train_NI.mean(0), train_NI.std(0)
    fits, losses = [], []
    for C in grid(config):
        model = LogisticRegression(C=C, max_iter=2000, class_weight="balanced" if balanced else None)
        fits.append(model.fit((train_NI - mean) / scale, train.target_N))
        losses.append(sklearn_log_loss(dev.target_N, model.predict_proba((dev_MI - mean) / scale)))
    best = int(np.argmin(losses))
    assert pytest.approx(grid(config)[best]) == found.C
    assert list(found.dev_log_loss.values()) == pytest.approx(losses, rel=1e-6)
    logit_MK = dev_MI @ found.weight_KI.T + found.bias_K
    power_MK = np.exp(logit_MK - logit_MK.max(1, keepdims=True))
    wanted_MK = fits[best].predict_proba((dev_MI - mean) / scale)
    np.testing.assert_allclose(power_MK / power_MK.sum(1, keepdims=True), wanted_MK, atol=1e-6)


def test_multi_label_is_one_regression_per_class():
    rng = np.random.default_rng(0)
    features_NI = rng.normal(size=(40, 4))
    target_NK = np.stack([features_NI[:, 0] + rng.normal(size=40) > 0, features_NI[:, 1] > 0.3], axis=1)
    found = solve(Probe(C=0.5, standardise=False), False, task_of(target_NK, mode="multi"), features_NI, None, None)
    for k in range(2):
        model = LogisticRegression(C=0.5, max_iter=2000).fit(features_NI, target_NK[:, k])
        np.testing.assert_allclose(found.weight_KI[k], model.coef_[0], atol=1e-4)


def test_log_loss_is_scikit_learns():
    dev, _ = drawn(12, 3, 0, "dev")
    logit_NK = np.random.default_rng(0).normal(size=(12, 3)) * 5
    power_NK = np.exp(logit_NK)
    wanted = sklearn_log_loss(dev.target_N, power_NK / power_NK.sum(1, keepdims=True))
    assert log_loss(dev, logit_NK) == pytest.approx(wanted)
    assert log_loss(dev, -logit_NK) != pytest.approx(wanted, rel=0.1)


def test_c_needs_dev_unless_it_is_given():
    train, train_NI = drawn(20, 2, 0)
    with pytest.raises(DataError, match=r"split dev: holds no labelled row, so C cannot be chosen; set method\.C"):
        solve(Probe(), False, train, train_NI, None, None)
    assert solve(Probe(C=2.0), False, train, train_NI, None, None).C == 2.0


def test_a_class_of_one_image_is_learned_and_one_of_none_is_named():
    train, train_NI = drawn(21, 2, 0)
    one = task_of(np.concatenate([train.target_NK, np.zeros((21, 1), dtype=bool)], axis=1))
    with pytest.raises(DataError, match=r"class class 2: has no training image; leave it out with task\.classes"):
        solve(Probe(C=1.0), False, one, train_NI, None, None)
    one.target_NK[0] = [False, False, True]
    train_NI[0] = 50.0
    found = solve(Probe(C=100.0), False, one, train_NI, None, None)
    assert int(np.argmax(train_NI[0] @ found.weight_KI.T + found.bias_K)) == 2


def test_features_that_are_not_finite_name_their_image():
    train, train_NI = drawn(20, 2, 0)
    train_NI[7, 1] = np.nan
    with pytest.raises(TrainingError, match=r"train-7: its features are not finite"):
        solve(Probe(C=1.0), False, train, train_NI, None, None)


def test_a_solver_that_stops_early_says_so():
    train, train_NI = drawn(40, 3, 0)
    assert not solve(Probe(C=1e4, max_iter=2), False, train, train_NI, None, None).converged
    assert solve(Probe(C=1.0), False, train, train_NI, None, None).converged

"""Score curves equal scikit-learn with heavy ties, whatever the order, and are NaN for one class."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from medvlp.metrics import curves


@pytest.fixture(params=[2, 5, 1000])
def scored(request):
    rng = np.random.default_rng(request.param)
    return rng.random(400) < 0.3, rng.integers(0, request.param, 400) / 7, rng.integers(0, 3, (4, 400)).astype(float)


def test_equal_scikit_learn_with_ties(scored):
    target, score, weights = scored
    assert curves.auroc(target, score) == pytest.approx(oracle.roc_auc_score(target, score), abs=1e-12)
    assert curves.average_precision(target, score) == pytest.approx(
        oracle.average_precision_score(target, score), abs=1e-12
    )
    for row, weight in enumerate(weights):
        assert curves.auroc(target, score, weights)[row] == pytest.approx(
            oracle.roc_auc_score(target, score, sample_weight=weight), abs=1e-12
        )
        assert curves.average_precision(target, score, weights)[row] == pytest.approx(
            oracle.average_precision_score(target, score, sample_weight=weight), abs=1e-12
        )


def test_curves_equal_scikit_learn(scored):
    target, score, _ = scored
    fpr, tpr, _ = oracle.roc_curve(target, score, drop_intermediate=False)
    ours = curves.roc_curve(target, score)
    assert np.allclose(ours[0], fpr)
    assert np.allclose(ours[1], tpr)
    precision, recall, _ = oracle.precision_recall_curve(target, score)
    ours = curves.precision_recall_curve(target, score)
    assert np.allclose(ours[0][::-1], precision[:-1])
    assert np.allclose(ours[1][::-1], recall[:-1])


def test_order_of_samples_never_matters(scored):
    target, score, _ = scored
    other = np.random.default_rng(9).permutation(len(score))
    for metric in (curves.auroc, curves.average_precision, curves.roc_point_sensitivity):
        assert metric(target, score) == pytest.approx(metric(target[other], score[other]), abs=1e-12)


def test_one_class_or_none_is_nan():
    for metric in (curves.auroc, curves.roc_point_sensitivity):
        assert np.isnan(metric([1, 1], [0.1, 0.2]))
        assert np.isnan(metric([0, 0], [0.1, 0.2]))
        assert np.isnan(metric([], []))
    assert np.isnan(curves.average_precision([0, 0], [0.1, 0.2]))
    assert curves.average_precision([1, 1], [0.1, 0.2]) == 1
    assert np.isnan(curves.threshold_at_specificity([1, 1], [0.1, 0.2]))


def test_constant_score_is_chance():
    assert curves.auroc([0, 1, 1, 0], [0.5] * 4) == 0.5
    assert curves.average_precision([0, 1, 0, 0], [0.5] * 4) == 0.25
    assert curves.roc_point_sensitivity([0, 1, 1, 0], [0.5] * 4) == 0


def test_threshold_fitted_here_is_the_roc_point_here(scored):
    target, score, _ = scored
    for specificity in (0.8, 0.95, 1.0):
        threshold = curves.threshold_at_specificity(target, score, specificity)
        assert curves.specificity(target, score, threshold) >= specificity - 1e-9
        assert curves.sensitivity(target, score, threshold) == pytest.approx(
            curves.roc_point_sensitivity(target, score, specificity)
        )


def test_roc_point_against_brute_force(scored):
    target, score, weights = scored
    for weight in weights:
        best = 0.0
        for threshold in np.unique(score):
            called = score >= threshold
            if (weight * (called & ~target)).sum() <= 0.05 * weight[~target].sum() + 1e-9:
                best = max(best, (weight * (called & target)).sum() / weight[target].sum())
        assert curves.roc_point_sensitivity(target, score, 0.95, weight) == pytest.approx(best)


def test_nan_threshold_gives_nan():
    assert np.isnan(curves.sensitivity([0, 1], [0.2, 0.4], float("nan")))


def test_best_f1_threshold():
    assert curves.threshold_at_best_f1([1, 1, 0, 0], [0.9, 0.4, 0.3, 0.1]) == 0.4

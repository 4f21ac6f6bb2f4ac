"""Class metrics equal scikit-learn, weighted draws included, and are NaN where undefined."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from medvlp.metrics import classification


@pytest.fixture(params=[0, 1, 2])
def answers(request):
    rng = np.random.default_rng(request.param)
    target = rng.integers(0, 5, 300)
    target[target == 4] = 0  # class 4 never occurs as truth
    return target, rng.integers(0, 5, 300), rng.integers(0, 4, (3, 300)).astype(float)


def test_equal_scikit_learn(answers):
    target, predicted, _ = answers
    assert classification.accuracy(target, predicted) == pytest.approx(oracle.accuracy_score(target, predicted))
    assert np.array_equal(
        classification.confusion_matrix(target, predicted, 5), oracle.confusion_matrix(target, predicted)
    )
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = oracle.balanced_accuracy_score(target, predicted)
    assert classification.balanced_accuracy(target, predicted, 5) == pytest.approx(expected)
    for average in ("macro", "weighted"):
        expected = oracle.f1_score(target, predicted, average=average)
        assert classification.f1(target, predicted, 5, average) == pytest.approx(expected)
    assert classification.binary_f1(target == 1, predicted == 1) == pytest.approx(
        oracle.f1_score(target == 1, predicted == 1)
    )


def test_each_weight_row_is_one_resample(answers):
    target, predicted, weights = answers
    several = {
        "accuracy": classification.accuracy(target, predicted, weights),
        "f1": classification.f1(target, predicted, 5, "macro", weights),
        "balanced": classification.balanced_accuracy(target, predicted, 5, weights),
        "binary": classification.binary_f1(target == 2, predicted == 2, weights),
    }
    for row, weight in enumerate(weights):
        again = np.repeat(np.arange(300), weight.astype(int))
        t, p = target[again], predicted[again]
        assert several["accuracy"][row] == pytest.approx(classification.accuracy(t, p))
        assert several["f1"][row] == pytest.approx(classification.f1(t, p, 5))
        assert several["balanced"][row] == pytest.approx(classification.balanced_accuracy(t, p, 5))
        assert several["binary"][row] == pytest.approx(classification.binary_f1(t == 2, p == 2))
    assert classification.confusion_matrix(target, predicted, 5, weights).shape == (3, 5, 5)


def test_undefined_is_nan_not_zero():
    scores = classification.class_scores([0, 0], [1, 0], 3)
    assert np.isnan(scores["sensitivity"][1])
    assert np.isnan(scores["sensitivity"][2])
    assert np.isnan(scores["f1"][2])
    assert scores["f1"][1] == 0
    assert np.isnan(classification.accuracy([], []))
    assert classification.class_scores([0, 1, 1], [1, 1, 1], 2)["specificity"][1] == 0

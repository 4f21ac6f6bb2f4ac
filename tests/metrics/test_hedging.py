"""Answers at an ancestor: a small tree by hand, and what the curve has to look like."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from medvlp.metrics import hedging, hierarchy

# disease (root) > lung > adenocarcinoma, squamous; disease > kidney > clear cell
CLOSURE = csr_matrix(
    np.array(
        [
            [1, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 1, 0, 1, 0, 0],
            [1, 0, 0, 0, 1, 0],
            [1, 0, 0, 0, 1, 1],
        ],
        dtype=bool,
    )
)
CLASSES = [2, 3, 5, -1]  # the last one has no place in the graph


@pytest.fixture(scope="module")
def where():
    return hedging.places(CLOSURE, CLASSES)


def test_places_are_classes_and_what_is_above_them_without_roots(where):
    assert where.node_A.tolist() == [1, 2, 3, 4, 5, -1]
    assert where.above_KA.astype(int).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert where.depth_A.tolist() == [1, 2, 2, 1, 2, 0]
    assert 0 in hedging.places(CLOSURE, [0, 2]).node_A  # a root that is a class can be answered


def test_the_answer_climbs_until_its_mass_is_enough(where):
    probability = [[0.9, 0.05, 0.03, 0.02], [0.45, 0.45, 0.05, 0.05], [0.3, 0.3, 0.4, 0.0], [0, 0, 0.2, 0.8]]
    assert hedging.deepest_above(probability, where, 0.7).tolist() == [1, 0, -1, 5]
    assert hedging.deepest_above(probability, where, 0.4).tolist() == [1, 1, 4, 5]
    answer = hedging.deepest_above(probability, where, 0.7)
    assert hedging.answered(answer) == 0.75
    assert hedging.accuracy_of_answered([0, 1, 0, 0], answer, where) == pytest.approx(2 / 3)
    # Named, then one of two out of four classes (half the information), none, wrong.
    assert hedging.specificity_of_answers([0, 1, 0, 0], answer, where) == pytest.approx((1 + 0.5) / 4)


def test_the_curve_trades_specificity_for_accuracy(where):
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(4), 4000)
    target = (probability.cumsum(1) > rng.random((4000, 1))).argmax(1)
    curve = hedging.accuracy_specificity_curve(target, probability, where, [0.5, 0.7, 0.9], np.ones((2, 4000)))
    assert curve["accuracy"].shape == (2, 3)
    assert (np.diff(curve["accuracy"][0]) > 0).all()
    assert (np.diff(curve["specificity"][0]) < 0).all()
    assert (curve["accuracy"][0] >= [0.5, 0.7, 0.9]).all()  # honest probabilities keep what the threshold says


def test_undefined_is_nan(where):
    none = hedging.deepest_above(np.full((2, 4), 0.25), where, 0.9)
    assert none.tolist() == [-1, -1]
    assert np.isnan(hedging.accuracy_of_answered([0, 1], none, where))
    assert hedging.specificity_of_answers([0, 1], none, where) == 0
    assert np.isnan(hedging.answered(np.zeros(0, int)))
    assert np.isnan(hedging.specificity_of_answers([0], [0], hedging.places(CLOSURE, [2])))


def test_roots_claim_nothing_and_distances_are_measured_from_the_truth():
    shared = hierarchy.ancestor_overlap(CLOSURE, [0, 2, 3, 5])
    assert shared.tolist() == [[0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 2, 0], [0, 0, 0, 2]]
    assert np.isnan(hierarchy.hierarchical_precision([1, 2], [0, 0], shared))
    assert hierarchy.hierarchical_recall([1, 2], [0, 0], shared) == 0
    assert hierarchy.hierarchical_precision([1, 1], [2, 0], shared) == 0.5
    parents = {"x": ["a"], "a": ["r"], "y": ["r"], "r": []}
    climb = hierarchy.climbs(parents.__getitem__, ["x", "y", "a"])
    assert climb.tolist() == [[0, 2, 1], [1, 0, 1], [0, 1, 0]]
    assert hierarchy.mistake_distance([0, 1, 0], [1, 0, 0], climb) == 1.5

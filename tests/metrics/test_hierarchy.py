"""Hierarchy scores on a hand-drawn DAG in which one node has two parents."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from medvlp.metrics import hierarchy

NODES = ["disease", "cancer", "infection", "carcinoma", "scc", "adeno", "wart"]
PARENTS = {"cancer": ["disease"], "infection": ["disease"], "carcinoma": ["cancer"], "scc": ["carcinoma"],
           "adeno": ["carcinoma"], "wart": ["infection", "cancer"]}  # fmt: skip
ROW = {name: row for row, name in enumerate(NODES)}


@pytest.fixture(scope="module")
def closure():
    matrix = np.eye(len(NODES), dtype=bool)

    def climb(start, node):
        for parent in PARENTS.get(node, []):
            matrix[ROW[start], ROW[parent]] = True
            climb(start, parent)

    for node in NODES:
        climb(node, node)
    return csr_matrix(matrix)


def rows(*names):
    return [ROW[name] for name in names]


def test_credit_by_hand(closure):
    credit = hierarchy.ancestor_credit(closure, [*rows("scc", "adeno", "carcinoma", "infection", "wart"), -1])
    assert np.allclose(credit, credit.T)
    assert np.allclose(np.diag(credit), 1)
    assert credit[0, 1] == pytest.approx(2 * 2 / (3 + 3))  # siblings share cancer and carcinoma; the root is left out
    assert credit[0, 2] == pytest.approx(2 * 2 / (3 + 2))
    assert credit[0, 3] == 0  # another branch
    assert credit[0, 4] == pytest.approx(2 * 1 / (3 + 3))  # shares cancer through its second parent
    assert credit[5, :5].tolist() == [0] * 5


def test_root_as_class_keeps_its_diagonal(closure):
    assert hierarchy.ancestor_credit(closure, rows("disease", "cancer")).tolist() == [[1, 0], [0, 1]]


def test_ancestor_answers_count_one_way(closure):
    right = hierarchy.equal_or_ancestor(closure, [*rows("scc", "carcinoma"), -1])
    assert right.tolist() == [[True, True, False], [False, True, False], [False, False, True]]
    assert hierarchy.hierarchical_accuracy([0, 1], [1, 0], right) == 0.5


def test_hierarchical_accuracy_is_at_least_accuracy(closure):
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 4, (2, 50))
    credit = hierarchy.ancestor_credit(closure, rows("scc", "adeno", "wart", "infection"))
    score = hierarchy.hierarchical_accuracy(target, predicted, credit)
    assert (target == predicted).mean() < score < 1
    weights = rng.integers(0, 3, (2, 50))
    again = np.repeat(np.arange(50), weights[1])
    assert hierarchy.hierarchical_accuracy(target, predicted, credit, weights)[1] == pytest.approx(
        hierarchy.hierarchical_accuracy(target[again], predicted[again], credit)
    )


def test_mistake_distance_counts_only_known_mistakes():
    edges = {frozenset(("a", "b")): 2, frozenset(("a", "c")): 4}
    distance = hierarchy.class_distances(lambda x, y: edges.get(frozenset((x, y))), ["a", "b", "c", None])
    assert distance[0, 1] == distance[1, 0] == 2
    assert np.isnan(distance[1, 2])
    assert np.isnan(distance[3, 0])
    assert hierarchy.mistake_distance([0, 0, 1, 0], [1, 2, 2, 0], distance) == 3
    assert np.isnan(hierarchy.mistake_distance([0, 1], [0, 1], distance))

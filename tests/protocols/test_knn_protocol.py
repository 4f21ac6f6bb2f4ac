"""Votes equal a loop over images; k is chosen on development; copies and order change nothing."""

from dataclasses import replace

import numpy as np
import pytest
from protocols.protocol_cases import context_of, drawn, relabelled, task_config, with_store, write_store
from pydantic import ValidationError
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.harness.protocols import knn
from benchmarks.harness.protocols.knn import Config, NeighbourQuestion, choose, votes
from medvlp.errors import DataError


def brute_force(train_NI, target_NK, asked_RI, k, T):
    out = []
    for asked in asked_RI:
        cosines = [float(asked @ row / np.linalg.norm(asked) / np.linalg.norm(row)) for row in train_NI]
        near = sorted(range(len(cosines)), key=lambda n: (-round(cosines[n], 12), n))[:k]
        weights = [np.exp(cosines[n] / T) for n in near]
        counted = sum(weight * target_NK[n].astype(float) for weight, n in zip(weights, near, strict=True))
        out.append(counted / sum(weights))
    return np.array(out)


@pytest.mark.parametrize("mode", ["single", "multi"])
@pytest.mark.parametrize("k", [1, 5, 45])
def test_votes_equal_a_loop(mode, k):
    parts, inputs = drawn(mode=mode)
    found_RK = votes(inputs.train_NI, parts.train.target_NK, inputs.scored_RI, k, 0.07)
    wanted_RK = brute_force(inputs.train_NI, parts.train.target_NK, inputs.scored_RI, k, 0.07)
    np.testing.assert_allclose(found_RK, wanted_RK, atol=1e-9)
    if mode == "single":
        np.testing.assert_allclose(found_RK.sum(1), 1.0)


def test_equal_weights_are_scikit_learns_neighbours():
    parts, inputs = drawn()
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (inputs.train_NI, inputs.scored_RI)]
    model = KNeighborsClassifier(7, metric="cosine").fit(unit[0], parts.train.target_N)
    found_RK = votes(inputs.train_NI, parts.train.target_NK, inputs.scored_RI, 7, 1e9)
    np.testing.assert_allclose(found_RK, model.predict_proba(unit[1]), atol=1e-6)


def test_of_copies_the_first_votes_and_blocks_of_rows_do_not_matter(monkeypatch):
    train_NI = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    target_NK = np.eye(3, dtype=bool)
    np.testing.assert_allclose(votes(train_NI, target_NK, np.array([[3.0, 0.1]]), 1, 0.07), [[1, 0, 0]])
    parts, inputs = drawn()
    whole_RK = votes(inputs.train_NI, parts.train.target_NK, inputs.scored_RI, 5, 0.07)
    monkeypatch.setattr(knn, "_ROWS", 7)
    np.testing.assert_allclose(votes(inputs.train_NI, parts.train.target_NK, inputs.scored_RI, 5, 0.07), whole_RK)


def test_k_is_the_best_on_development():
    parts, inputs = drawn(effect=0.7)
    settings = Config(name="knn", k=[1, 3, 9, 21, 500])
    k, tried = choose(settings, parts, inputs)
    wanted = {
        k: balanced_accuracy_score(
            parts.dev.target_N, brute_force(inputs.train_NI, parts.train.target_NK, inputs.dev_MI, k, 0.07).argmax(1)
        )
        for k in (1, 3, 9, 21)
    }
    assert tried == pytest.approx(wanted)
    assert k == max(wanted, key=lambda k: (round(wanted[k], 9), -k))


def test_an_outcome_beats_chance_and_a_control_does_not(tmp_path):
    parts, inputs = drawn(sizes=(120, 60, 300), effect=2.0)
    real = NeighbourQuestion(with_store(parts), Config(name="knn"), context_of(tmp_path)).answer(inputs, 0)
    controls = [
        NeighbourQuestion(lost, Config(name="knn"), context_of(tmp_path, num_draws=0)).answer(inputs, 0)
        for lost in relabelled(parts)
    ]
    assert real.metrics[0].value > 0.8
    assert np.mean([control.metrics[0].value for control in controls]) == pytest.approx(1 / 3, abs=0.1)
    assert real.details["k"] == 20


def test_the_order_of_a_store_changes_nothing(tmp_path):
    settings = Config(name="knn", k=[3, 5])
    found = [
        knn.open(
            task_config(settings), settings, context_of(tmp_path, write_store(tmp_path / f"s{n}", order_seed=order))
        ).floor("colour-histogram", None, 0)
        for n, order in enumerate((None, 8))
    ]
    np.testing.assert_array_equal(found[0].predictions["probability"], found[1].predictions["probability"])


def test_what_cannot_be_done_is_said():
    parts, inputs = drawn()
    with pytest.raises(DataError, match="k 46: there are 45 training images; lower k"):
        choose(Config(name="knn", k=[46]), parts, inputs)
    with pytest.raises(DataError, match="development part: k cannot be chosen"):
        choose(Config(name="knn", k=[1, 2]), replace(parts, dev=None), inputs)
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        choose(Config(name="knn", k=[1, 2]), replace(parts, dev=replace(parts.dev, split="test")), inputs)
    empty = replace(parts, train=replace(parts.train, target_NK=parts.train.target_NK & [True, True, False]))
    with pytest.raises(DataError, match="class class 2: has no training image"):
        choose(Config(name="knn"), empty, inputs)
    with pytest.raises(ValidationError, match="positive and rising"):
        Config(name="knn", k=[5, 3])

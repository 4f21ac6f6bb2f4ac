"""The probe is scikit-learn's at the C that is best on development; nothing is fitted on test; order is nothing."""

from dataclasses import replace

import numpy as np
import pytest
from protocols.protocol_cases import context_of, drawn, means_of, relabelled, task_config, with_store, write_store
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocols import labelled, linear_probe
from benchmarks.harness.protocols.linear_probe import Config, ProbeQuestion, choose, probabilities
from medvlp.errors import DataError

SETTINGS = Config(name="linear_probe")


@pytest.mark.parametrize("balanced", [False, True])
def test_equals_scikit_learn_at_the_best_c(balanced):
    parts, inputs = drawn(effect=0.6)
    solved, tried = choose(Config(name="linear_probe", balanced=balanced), parts, inputs)
    mean, scale = inputs.train_NI.mean(0), inputs.train_NI.std(0)
    train, dev, scored = ((part - mean) / scale for part in (inputs.train_NI, inputs.dev_MI, inputs.scored_RI))
    fits = {}
    for C in np.logspace(-4, 4, 9):
        weight = "balanced" if balanced else None
        model = LogisticRegression(C=C, max_iter=2000, class_weight=weight).fit(train, parts.train.target_N)
        truth = parts.dev.target_N
        score = balanced_accuracy_score(truth, model.predict(dev))
        fits[C] = (score, -log_loss(truth, model.predict_proba(dev)), -C, model)
    best = max(fits, key=lambda C: fits[C][:3])
    assert pytest.approx(best) == solved.C
    assert [score for score, _ in tried.values()] == pytest.approx([fit[0] for fit in fits.values()])
    wanted_RK = fits[best][3].predict_proba(scored)
    np.testing.assert_allclose(probabilities(solved, inputs.scored_RI, "single"), wanted_RK, atol=1e-6)


def test_several_labels_are_chosen_by_mean_auroc():
    parts, inputs = drawn(mode="multi", effect=0.8)
    solved, tried = choose(SETTINGS, parts, inputs)
    mean, scale = inputs.train_NI.mean(0), inputs.train_NI.std(0)
    for C, (score, _) in tried.items():
        found = []
        for truth_N, truth_M in zip(parts.train.target_NK.T, parts.dev.target_NK.T, strict=True):
            model = LogisticRegression(C=C, max_iter=2000).fit((inputs.train_NI - mean) / scale, truth_N)
            found.append(roc_auc_score(truth_M, model.decision_function((inputs.dev_MI - mean) / scale)))
        assert score == pytest.approx(np.mean(found), abs=1e-6)
    assert tried[solved.C][0] == max(score for score, _ in tried.values())


def test_an_outcome_has_paired_draws_and_says_what_was_chosen(tmp_path):
    parts, inputs = drawn(effect=1.5)
    question = ProbeQuestion(with_store(parts), SETTINGS, context_of(tmp_path))
    real, prior = question.answer(inputs, 0), question.answer_prior(0)
    lead = real.metrics[0]
    assert (lead.name, lead.n, lead.num_cases, lead.draw_S.shape) == ("balanced_accuracy", 36, 36, (60,))
    assert lead.chance == pytest.approx(1 / 3)
    assert prior.metrics[0].value == pytest.approx(1 / 3)
    answer = real.predictions["probability"].argmax(1)
    assert lead.value == pytest.approx(balanced_accuracy_score(parts.scored.target_N, answer))
    assert (lead.draw_S > prior.metrics[0].draw_S).mean() > 0.95
    assert real.details["C"] in [float(C) for C in real.details["development"]]
    assert [metric.name for metric in real.metrics] == [metric.name for metric in prior.metrics]
    again = question.answer(inputs, 5)
    np.testing.assert_array_equal(again.metrics[0].draw_S, lead.draw_S)


def test_shuffled_labels_leave_it_at_chance(tmp_path):
    parts, inputs = drawn(sizes=(120, 60, 300), effect=2.0)
    settings = Config(name="linear_probe", C=1.0)
    real = ProbeQuestion(with_store(parts), settings, context_of(tmp_path)).answer(inputs, 0)
    controls = [
        ProbeQuestion(lost, settings, context_of(tmp_path, num_draws=0)).answer(inputs, 0).metrics[0].value
        for lost in relabelled(parts)
    ]
    assert real.metrics[0].value > 0.8
    assert np.mean(controls) == pytest.approx(1 / 3, abs=0.1)


def test_the_order_of_a_store_changes_nothing(tmp_path):
    task = task_config(SETTINGS)
    found = []
    for number, order in enumerate((None, 3)):
        store = write_store(tmp_path / f"store{number}", order_seed=order)
        question = linear_probe.open(task, SETTINGS, context_of(tmp_path, store))
        assert list(question.parts.train.keys) == sorted(store.split("train").keys)
        found.append(question.floor("colour-histogram", None, 0))
    assert (found[0].predictions["key"] == found[1].predictions["key"]).all()
    np.testing.assert_array_equal(found[0].predictions["probability"], found[1].predictions["probability"])
    assert found[0].metrics[0].value > 0.6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fit_split": "test"}, "nothing may be fitted on the test split"),
        ({"split": "train"}, "split train of colours: is scored and fitted on"),
        ({"split": "dev"}, "split dev of colours: is scored and fitted on"),
        ({"classes": ["red", "pink"]}, "pink: is not a class of the data; its classes are blue, green, red"),
        ({"classes": ["red"]}, "1 distinct classes"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, changes, said):
    store = write_store(tmp_path / "store", per_class=3)
    with pytest.raises(DataError, match=said):
        linear_probe.open(task_config(SETTINGS, **changes), SETTINGS, context_of(tmp_path, store))


def test_a_part_renamed_test_is_refused_again_where_it_is_fitted():
    parts, inputs = drawn()
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        choose(SETTINGS, replace(parts, dev=replace(parts.dev, split="test")), inputs)
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        choose(Config(name="linear_probe", C=1.0), replace(parts, train=replace(parts.train, split="Test ")), inputs)


def test_a_class_without_training_images_is_named(tmp_path):
    store = write_store(tmp_path / "store", per_class=3, empty="green")
    question = linear_probe.open(task_config(SETTINGS), SETTINGS, context_of(tmp_path, store))
    with pytest.raises(DataError, match=r"class green: has no training image; leave it out"):
        question.floor("colour-histogram", None, 0)


def test_without_a_development_part_c_has_to_be_given(tmp_path):
    parts, inputs = drawn()
    alone = replace(with_store(parts), dev=None)
    with pytest.raises(DataError, match="so C cannot be chosen; set C"):
        ProbeQuestion(alone, SETTINGS, context_of(tmp_path)).answer(inputs, 0)
    found = ProbeQuestion(alone, Config(name="linear_probe", C=1.0), context_of(tmp_path)).answer(inputs, 0)
    assert found.details["C"] == 1.0
    assert "There is no development part" in found.limits[0]
    assert np.isnan(means_of(found)["sensitivity_at_specificity"])


def test_digests_tell_questions_apart_and_floors_without_a_network_are_skipped(tmp_path):
    parts, _ = drawn()
    digests = {
        ProbeQuestion(with_store(parts), Config(name="linear_probe", **more), context_of(tmp_path, num_draws=n)).digest
        for more, n in (({}, 60), ({"C": 1.0}, 60), ({}, 61))
    }
    assert len(digests) == 3

    class Frozen:
        def untrained(self, seed):
            return None

    question = ProbeQuestion(with_store(parts), SETTINGS, context_of(tmp_path))
    assert question.floor("untrained", Frozen(), 0) == Skipped(labelled.NOT_RANDOM)


def test_best_takes_the_higher_score_then_the_lower_loss_then_the_first():
    assert labelled.best([(0.5, 1.0), (0.7, 9.0), (0.6, 0.1)]) == 1
    assert labelled.best([(0.7, 1.0), (0.7, 0.5), (0.7, 0.5)]) == 1
    assert labelled.best([(float("nan"), 0.0), (0.1, 5.0)]) == 1


def test_subgroups_of_the_task_are_compared(tmp_path):
    store = write_store(tmp_path / "store")
    keys = store.split("test").keys
    (tmp_path / "who.csv").write_text("key,sex\n" + "".join(f"{key},{'fm'[int(key[-2:]) % 2]}\n" for key in keys))
    groups = {"table": str(tmp_path / "who.csv"), "key": "key", "columns": {"sex": "category"}}
    question = linear_probe.open(task_config(SETTINGS, subgroups=groups), SETTINGS, context_of(tmp_path, store))
    found = question.floor("colour-histogram", None, 0)
    assert found.details["subgroups"]["metric"] == "balanced_accuracy"
    answer, truth = found.predictions["probability"].argmax(1), question.parts.scored.target_N
    for row in found.details["subgroups"]["columns"]["sex"]["rows"]:
        own = np.array(["fm"[int(key[-2:]) % 2] == row["group"] for key in found.predictions["key"]])
        assert row["num"] == own.sum()
        assert row["value"] == pytest.approx(balanced_accuracy_score(truth[own], answer[own]))

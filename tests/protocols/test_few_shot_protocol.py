"""Prototypes equal a loop, the linear head is the library's, draws follow the seed and nest, scores are means."""

from dataclasses import replace

import numpy as np
import pytest
from protocols.protocol_cases import context_of, drawn, means_of, relabelled, task_config, with_store, write_store
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from benchmarks.harness.protocols import few_shot
from benchmarks.harness.protocols.few_shot import Config, FewShotQuestion, prototype_scores
from benchmarks.harness.protocols.linear_probe import probabilities
from medvlp.errors import DataError
from medvlp.finetune.config import Probe
from medvlp.finetune.few_shot import draw, subset
from medvlp.finetune.probe import solve

SETTINGS = Config(name="few_shot")


def unit(value):
    return value / np.linalg.norm(value)


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_prototypes_equal_a_loop(mode):
    parts, inputs = drawn(mode=mode)
    found_RK = prototype_scores(parts.train, inputs.train_NI, inputs.scored_RI)
    for r, asked in enumerate(inputs.scored_RI):
        for k in range(3):
            own = unit(
                np.mean([unit(x) for x, t in zip(inputs.train_NI, parts.train.target_NK, strict=True) if t[k]], 0)
            )
            rest = [unit(x) for x, t in zip(inputs.train_NI, parts.train.target_NK, strict=True) if not t[k]]
            wanted = unit(asked) @ own - (unit(asked) @ unit(np.mean(rest, 0)) if mode == "multi" else 0)
            assert found_RK[r, k] == pytest.approx(wanted, abs=1e-9)


def test_scores_are_means_over_draws_of_the_library_s_own_head(tmp_path):
    parts, inputs = drawn(sizes=(60, 30, 45), effect=1.2)
    question = FewShotQuestion(with_store(parts), Config(name="few_shot", shots=[2, 4], draws=2), context_of(tmp_path))
    found = question.answer(inputs, seed=3)
    by_method = {"prototypes": [], "linear": []}
    for own_seed in (6, 7):
        places = draw(parts.train, 4, own_seed, strict=True)
        own, features_NI = subset(parts.train, places), inputs.train_NI[places]
        held_out = draw(parts.dev, 4, own_seed, strict=False)
        solved = solve(
            Probe(grid=[-3, 3], grid_points=7),
            False,
            own,
            features_NI,
            subset(parts.dev, held_out),
            inputs.dev_MI[held_out],
        )
        by_method["linear"].append(probabilities(solved, inputs.scored_RI, "single"))
        by_method["prototypes"].append(prototype_scores(own, features_NI, inputs.scored_RI))
    for method, answers in by_method.items():
        wanted = np.mean([balanced_accuracy_score(parts.scored.target_N, a.argmax(1)) for a in answers])
        assert means_of(found)[f"balanced_accuracy.{method}.4"] == pytest.approx(wanted)
    assert found.metrics[0].name == "balanced_accuracy.prototypes.4"
    assert [row["seed"] for row in found.details["shots"]] == [6, 7, 6, 7]


def test_several_labels_are_scored_by_auroc_and_average_precision(tmp_path):
    parts, inputs = drawn(sizes=(60, 30, 45), mode="multi")
    settings = Config(name="few_shot", shots=[3], draws=1, methods=["prototypes"])
    found = FewShotQuestion(with_store(parts), settings, context_of(tmp_path)).answer(inputs, 0)
    places = draw(parts.train, 3, 0, strict=True)
    score_RK = prototype_scores(subset(parts.train, places), inputs.train_NI[places], inputs.scored_RI)
    truth_RK = parts.scored.target_NK
    assert found.metrics[0].value == pytest.approx(roc_auc_score(truth_RK, score_RK))
    assert found.metrics[1].value == pytest.approx(average_precision_score(truth_RK, score_RK))


def test_seeds_draw_and_repeat_and_all_systems_have_the_same_scores_and_draws(tmp_path):
    parts, inputs = drawn(effect=1.0)
    question = FewShotQuestion(with_store(parts), SETTINGS, context_of(tmp_path))
    first, again, other = (question.answer(inputs, seed) for seed in (0, 0, 1))
    assert means_of(first) == means_of(again)
    np.testing.assert_array_equal(first.metrics[0].draw_S, again.metrics[0].draw_S)
    images = [{row["images"] for row in found.details["shots"]} for found in (first, other)]
    assert not images[0] & images[1]
    prior = question.answer_prior(0)
    assert [m.name for m in prior.metrics] == [m.name for m in first.metrics]
    assert prior.metrics[0].value == pytest.approx(1 / 3)
    assert prior.metrics[0].draw_S.shape == first.metrics[0].draw_S.shape == (60,)


def test_more_shots_hold_fewer_and_help_and_wrong_labels_do_not(tmp_path):
    parts, inputs = drawn(sizes=(150, 60, 300), effect=1.0)
    settings = Config(name="few_shot", shots=[1, 20], draws=4)
    found = means_of(FewShotQuestion(with_store(parts), settings, context_of(tmp_path)).answer(inputs, 0))
    assert found["balanced_accuracy.linear.20"] > found["balanced_accuracy.linear.1"] + 0.05
    assert found["balanced_accuracy.prototypes.20"] > 0.6
    assert set(draw(parts.train, 1, 5, strict=True)) < set(draw(parts.train, 20, 5, strict=True))
    cheap = Config(name="few_shot", shots=[20], draws=1, methods=["prototypes"])
    controls = [
        FewShotQuestion(lost, cheap, context_of(tmp_path, num_draws=0)).answer(inputs, 0).metrics[0].value
        for lost in relabelled(parts)
    ]
    assert np.mean(controls) == pytest.approx(1 / 3, abs=0.1)


def test_the_order_of_a_store_changes_nothing(tmp_path):
    found = [
        few_shot.open(
            task_config(SETTINGS), SETTINGS, context_of(tmp_path, write_store(tmp_path / f"s{n}", order_seed=order))
        ).floor("colour-histogram", None, 0)
        for n, order in enumerate((None, 8))
    ]
    assert means_of(found[0]) == pytest.approx(means_of(found[1]), abs=1e-9)
    assert found[0].details["shots"][0]["images"] == found[1].details["shots"][0]["images"]


def test_what_cannot_be_drawn_is_named(tmp_path):
    store = write_store(tmp_path / "store", per_class=4)
    settings = Config(name="few_shot", shots=[5])
    with pytest.raises(DataError, match=r"class blue: has 4 images in the train split, fewer than 5 shots"):
        few_shot.open(task_config(settings), settings, context_of(tmp_path, store))
    missing = write_store(tmp_path / "missing", per_class=4, empty="green")
    with pytest.raises(DataError, match="class green: has no training image"):
        few_shot.open(task_config(SETTINGS), Config(name="few_shot", shots=[1]), context_of(tmp_path, missing))
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        few_shot.open(task_config(SETTINGS, fit_split="test"), SETTINGS, context_of(tmp_path, store))
    parts, inputs = drawn()
    late = replace(with_store(parts), dev=replace(parts.dev, split="test"))
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        FewShotQuestion(late, SETTINGS, context_of(tmp_path)).answer(inputs, 0)
    with pytest.raises(DataError, match="so C cannot be chosen; set C"):
        FewShotQuestion(replace(with_store(parts), dev=None), SETTINGS, context_of(tmp_path))
    with pytest.raises(ValidationError, match="positive and rising"):
        Config(name="few_shot", shots=[5, 1])

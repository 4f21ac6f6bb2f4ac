"""Cox models on made-up cases: sign and size of a known hazard, lifelines' own numbers, nothing from held-out cases."""

from dataclasses import replace

import numpy as np
import pytest
from finetune.survival_cases import halves, made_up

from medvlp.data.survival_table import SurvivalTable
from medvlp.errors import TrainingError
from medvlp.finetune.survival import cross_validate
from medvlp.finetune.survival_config import Cox, Hazard
from medvlp.finetune.survival_cox import fit_cox
from medvlp.finetune.survival_features import noise
from medvlp.finetune.survival_scores import mean_scores, score

pytestmark = pytest.mark.extras
lifelines = pytest.importorskip("lifelines", reason="extra survival is not installed")
QUICK = Cox(penalties=[0.01, 1.0], inner_folds=2)


def test_known_hazard():
    block, outcomes = made_up(400)
    risk, facts = fit_cox(Cox(penalties=[0.0001]), block.values_ND, outcomes.time_C, outcomes.event_C, 0)
    weight = risk(np.eye(3))
    assert weight[0] == pytest.approx(0.7, abs=0.15)
    assert np.abs(weight[1:]).max() < 0.2
    assert facts["penalty"] == 0.0001


def test_equals_lifelines():
    import pandas

    block, outcomes = made_up(80)
    risk, _ = fit_cox(Cox(penalties=[0.1]), block.values_ND, outcomes.time_C, outcomes.event_C, 0)
    frame = pandas.DataFrame(block.values_ND).assign(t=outcomes.time_C, e=outcomes.event_C)
    model = lifelines.CoxPHFitter(penalizer=0.1).fit(frame, "t", "e")
    found, expected = risk(block.values_ND), model.predict_log_partial_hazard(frame).to_numpy()
    assert found - found.mean() == pytest.approx(expected - expected.mean(), abs=1e-9)


def test_penalty_is_chosen_within_the_training_part():
    block, outcomes = made_up(120, width=30)
    signal = fit_cox(Cox(), block.values_ND[:, :2], outcomes.time_C, outcomes.event_C, 0)[1]["penalty"]
    nothing = fit_cox(Cox(), block.values_ND[:, 1:], outcomes.time_C, outcomes.event_C, 0)[1]["penalty"]
    assert signal < nothing


@pytest.mark.parametrize("model", [QUICK, Hazard(hidden=0, epochs=10, members=1)])
def test_nothing_is_learned_from_held_out_cases(model):
    block, outcomes = made_up(120)
    fold = halves(outcomes.cases)[:1]
    block = replace(block, components=2)
    (answers,) = cross_validate(model, [block], outcomes, fold)
    held = np.isin(outcomes.cases, fold[0].test)
    moved = SurvivalTable(
        outcomes.cases,
        np.where(held, outcomes.time_C[::-1] * 50, outcomes.time_C),
        np.where(held, ~outcomes.event_C, outcomes.event_C),
    )
    (other,) = cross_validate(model, [block], moved, fold)
    assert np.array_equal(answers.risk_N, other.risk_N)
    assert answers.facts == other.facts
    first = fold[0].test[0]
    outlier = replace(block, values_ND=block.values_ND.copy())
    outlier.values_ND[[case != first and at for case, at in zip(block.cases, held, strict=True)]] = 1e6
    (third,) = cross_validate(model, [outlier], outcomes, fold)
    assert third.risk_N[0] == answers.risk_N[0]  # neither scaling nor components saw the other held-out cases
    assert answers.facts == third.facts


def test_signal_beats_noise_and_permuted_outcomes():
    block, outcomes = made_up(240, effect=1.0)
    folds = halves(outcomes.cases)
    signal = score(cross_validate(QUICK, [block], outcomes, folds), 200, 0, 60.0)
    random = score(cross_validate(QUICK, [noise(outcomes.cases, 3, 5)], outcomes, folds), 200, 0, 60.0)
    assert signal.mean(0.95).low > 0.65
    assert random.mean(0.95).low < 0.5 < random.mean(0.95).high
    assert signal.difference(random, 0.95).low > 0.1
    permuted = [
        score(cross_validate(QUICK, [block], outcomes, folds, seed=seed, permute=True), 200, 0, 60.0)
        for seed in range(4)
    ]
    together = mean_scores(permuted).mean(0.95)
    assert together.low < 0.5 < together.high
    assert together.high - together.low > signal.mean(0.95).high - signal.mean(0.95).low  # chance of permuting is in it


def test_too_few_events_and_constant_columns():
    block, outcomes = made_up(40)
    with pytest.raises(TrainingError, match="training part: 0 events and 3 columns that vary are too few"):
        fit_cox(Cox(), block.values_ND, outcomes.time_C, np.zeros(40, bool), 0)
    values = np.c_[block.values_ND, np.full(40, 3.0)]
    risk, _ = fit_cox(Cox(penalties=[0.1]), values, outcomes.time_C, outcomes.event_C, 0)
    assert risk(np.eye(4))[3] == 0.0

"""What is fitted for trust: never on test, right by construction, and honest where nothing can be fitted."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import binom

from medvlp.errors import DataError
from medvlp.metrics import calibration, conformal, hedging, selective
from medvlp.zeroshot import trust


def exchangeable(rng, num, num_classes=4, sharpness=2.0):
    """Truths drawn from the very probabilities, which are then made too sharp."""
    honest = trust.softmax(rng.normal(0, 1.5, (num, num_classes)))
    truth = (honest.cumsum(1) > rng.random((num, 1))).argmax(1)
    return truth, trust.tempered(honest, 1 / sharpness)


@pytest.fixture(scope="module")
def places():
    return hedging.places(csr_matrix(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=bool)), [1, 2])


@pytest.mark.parametrize("split", ["test", "Test", " TEST "])
def test_nothing_is_fitted_on_test(split, places):
    truth, probability = np.array([0, 1]), np.array([[0.6, 0.4], [0.7, 0.3]])
    for fit in (
        lambda: trust.fit_temperature(truth, probability, split),
        lambda: trust.fit_abstention(truth, probability[:, 0], split),
        lambda: trust.fit_conformal(truth, probability, split),
        lambda: trust.fit_hedging(truth, probability, places, split),
    ):
        with pytest.raises(DataError, match="nothing may be fitted on the test split"):
            fit()


def test_a_known_temperature_is_found_and_lowers_the_errors():
    truth, sharp = exchangeable(np.random.default_rng(0), 20_000, sharpness=2.5)
    temperature = trust.fit_temperature(truth[:10_000], sharp[:10_000], "dev")
    assert temperature == pytest.approx(2.5, rel=0.05)
    truth, sharp = truth[10_000:], sharp[10_000:]
    mild = trust.tempered(sharp, temperature)
    assert np.array_equal(mild.argmax(1), sharp.argmax(1))
    assert calibration.brier(truth, mild) < calibration.brier(truth, sharp)
    right = truth == sharp.argmax(1)
    assert calibration.expected_calibration_error(right, mild.max(1)) < 0.02
    assert calibration.expected_calibration_error(right, sharp.max(1)) > 0.1


def test_the_temperature_is_where_the_log_loss_is_least():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        truth, probability = rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 40)
        probability[np.arange(40), truth] += 0.1 + 0.2 * rng.random()  # some use, not perfect
        probability /= probability.sum(1, keepdims=True)
        best = trust.fit_temperature(truth, probability, "dev")
        loss = [calibration.log_loss(truth, trust.tempered(probability, best * by)) for by in (0.99, 1, 1.01)]
        assert loss[1] <= min(loss), seed


def test_no_best_temperature_is_an_error_and_a_flat_score_is_left_alone():
    sure = np.array([[0.6, 0.4], [0.3, 0.7]])
    with pytest.raises(DataError, match="every answer is right"):
        trust.fit_temperature([0, 1], sure, "dev")
    with pytest.raises(DataError, match="say nothing about the truth"):
        trust.fit_temperature([1, 0], sure, "dev")
    assert trust.fit_temperature([0, 1], np.full((2, 2), 0.5), "dev") == 1
    zero = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(trust.fit_temperature([0, 1, 1], zero, "dev"))
    assert trust.tempered(zero, 1.0) == pytest.approx(zero)


def test_the_abstention_threshold_keeps_the_risk_with_the_most_answers():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        loss, confidence = rng.integers(0, 2, 12).astype(float), rng.integers(0, (1, 5, 99)[seed % 3], 12) / 99
        threshold = trust.fit_abstention(loss, confidence, "dev", risk=0.25)
        good = [t for t in set(confidence.tolist()) if loss[confidence >= t].mean() <= 0.25]
        assert threshold == min(good, default=math.inf)
        assert not selective.selective_risk(loss, confidence, threshold) > 0.25
    assert trust.fit_abstention([1, 1, 0, 0], [4, 3, 2, 1], "dev", risk=0.5) == 1
    assert trust.fit_abstention([1.0], [0.5], "dev") == math.inf
    assert selective.coverage([0.5], math.inf) == 0


def test_the_conformal_quantile_by_hand():
    probability = np.array([[1 - q / 20, q / 20] for q in range(1, 10)])
    found = trust.fit_conformal(np.zeros(9, int), probability, "dev", miss=0.1)
    assert found == pytest.approx(9 / 20)  # the 9th of 9: (9 + 1) 0.9
    assert trust.fit_conformal(np.zeros(9, int), probability, "dev", miss=0.2) == pytest.approx(8 / 20)
    assert trust.fit_conformal(np.zeros(8, int), probability[:8], "dev", miss=0.1) == math.inf
    by_class = trust.fit_conformal(np.zeros(9, int), probability, "dev", by_class=True)
    assert by_class.tolist() == [pytest.approx(9 / 20), math.inf]
    assert conformal.prediction_sets(probability, by_class)[:, 1].all()


@pytest.mark.parametrize("kind", ["least_ambiguous", "adaptive"])
@pytest.mark.parametrize("miss", [0.1, 0.3])
def test_sets_cover_exchangeable_samples_at_the_stated_rate(kind, miss):
    """49 samples to fit on and one new one: the coverage is ceil(50 (1 - miss)) / 50, to within binomial chance."""
    rng, trials, covered = np.random.default_rng(1), 1500, 0
    for _ in range(trials):
        truth, probability = exchangeable(rng, 50)
        limit = trust.fit_conformal(truth[:49], probability[:49], "dev", miss=miss, kind=kind)
        found = conformal.prediction_sets(conformal.nonconformity(probability[49:], kind), limit)
        covered += int(conformal.set_coverage(truth[49:], found))
    low, high = binom.ppf([0.001, 0.999], trials, math.ceil(50 * (1 - miss) - 1e-9) / 50)
    assert low <= covered <= high


def test_quantiles_by_class_cover_every_class():
    truth, probability = exchangeable(np.random.default_rng(2), 40_000)
    probability = probability * [1, 1, 1, 0.2]  # a model that thinks too little of the last class
    probability /= probability.sum(1, keepdims=True)
    odd = conformal.nonconformity(probability)
    worst = {}
    for by_class in (True, False):
        limit = trust.fit_conformal(truth[:20_000], probability[:20_000], "dev", by_class=by_class)
        found = conformal.prediction_sets(odd[20_000:], limit)
        assert conformal.set_coverage(truth[20_000:], found) == pytest.approx(0.9, abs=0.01)
        worst[by_class] = float(conformal.class_coverage(truth[20_000:], found).min())
    assert worst[True] > 0.88
    assert worst[False] < 0.85  # the class it misjudges pays where one quantile serves all


def test_hedging_takes_the_most_specific_threshold_that_is_accurate(places):
    truth = np.array([0, 0, 1, 1, 0])
    probability = np.array([[0.95, 0.05], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9], [0.55, 0.45]])
    threshold = trust.fit_hedging(truth, probability, places, "dev", accuracy=1.0, thresholds=[0.5, 0.65, 0.8, 0.99])
    assert threshold == 0.65
    assert trust.fit_hedging(truth, probability, places, "dev", accuracy=0.8, thresholds=[0.8, 0.5]) == 0.5
    assert trust.fit_hedging([1], [[0.9, 0.1]], places, "dev", thresholds=[0.5]) == math.inf


@pytest.mark.parametrize(
    ("truth", "probability", "said"),
    [
        ([], np.zeros((0, 2)), "do not pair"),
        ([0, 1], np.full((3, 2), 0.5), "do not pair"),
        ([0], [[0.9, 0.9]], "sum to 1"),
        ([0], [[np.nan, 0.5]], "not finite"),
        ([2], [[0.5, 0.5]], "no column"),
        ([-1], [[0.5, 0.5]], "no column"),
    ],
)
def test_unusable_samples_are_named(truth, probability, said):
    for fit in (trust.fit_temperature, trust.fit_conformal):
        with pytest.raises(DataError, match=said) as told:
            fit(truth, np.asarray(probability), "dev")
        assert "dev" in str(told.value)
    with pytest.raises(DataError, match="not finite"):
        trust.fit_abstention([0.0], [math.nan], "dev")
    with pytest.raises(DataError, match="do not pair"):
        trust.fit_abstention([0.0], [0.1, 0.2], "dev")
    with pytest.raises(DataError, match="miss is 1"):
        trust.fit_conformal([0], [[0.5, 0.5]], "dev", miss=1)

"""One check per fitting function: what it returns is found again by trying every candidate."""

import math
from collections.abc import Callable

import brute_force_trust as ref
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix

NUM_CASES = 25


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truths and probabilities that are of some use and not perfect."""
    rng = np.random.default_rng([61, seed])
    num, num_classes = int(rng.integers(8, 30)), int(rng.integers(2, 5))
    truth, raw = rng.integers(0, num_classes, num), rng.integers(1, 9, (num, num_classes)).astype(float)
    raw[np.arange(num), truth] += 6
    raw[0] = 1 + 8 * (np.arange(num_classes) != truth[0])
    return truth, raw / raw.sum(1, keepdims=True)


def check_tempered(function: Callable) -> None:
    for seed in range(NUM_CASES):
        _, probability = samples(seed)
        for temperature in (0.5, 1.0, 3.0):
            power = probability ** (1 / temperature)
            np.testing.assert_allclose(function(probability, temperature), power / power.sum(1, keepdims=True))


def check_temperature(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, probability = samples(seed)

        def loss(log_temperature: float, t: np.ndarray = truth, p: np.ndarray = probability) -> float:
            power = p ** math.exp(-log_temperature)
            return ref.log_loss(t.tolist(), (power / power.sum(1, keepdims=True)).tolist())

        best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
        assert abs(math.log(function(truth, probability, "dev")) - best.x) < 1e-4, seed


def check_abstention(function: Callable) -> None:
    for seed in range(4 * NUM_CASES):
        rng = np.random.default_rng([62, seed])
        loss, confidence = rng.integers(0, 2, 10).astype(float), rng.integers(0, 6, 10) / 7
        for risk in (0.0, 0.2, 0.5):
            good = [t for t in set(confidence.tolist()) if ref.mean(loss[confidence >= t].tolist()) <= risk]
            assert function(loss, confidence, "dev", risk=risk) == min(good, default=math.inf), (seed, risk)


def check_conformal(function: Callable) -> None:
    """The least value that at least (n + 1) (1 - miss) of the samples do not exceed."""

    def least(values: list[float], miss: float) -> float:
        enough = [v for v in values if sum(w <= v for w in values) >= (len(values) + 1) * (1 - miss) - 1e-9]
        return min(enough, default=math.inf)

    for seed in range(NUM_CASES):
        truth, probability = samples(seed)
        for kind in ("least_ambiguous", "adaptive"):
            odd = [ref.odd(row, t, kind) for row, t in zip(probability.tolist(), truth.tolist(), strict=True)]
            for miss in (0.05, 0.1, 0.25, 0.5):
                found = function(truth, probability, "dev", miss=miss, kind=kind)
                np.testing.assert_allclose(found, least(odd, miss), err_msg=str(seed))
                found = function(truth, probability, "dev", miss=miss, kind=kind, by_class=True)
                each = [[o for o, t in zip(odd, truth, strict=True) if t == k] for k in range(probability.shape[1])]
                np.testing.assert_allclose(found, [least(values, miss) for values in each], err_msg=str(seed))


def check_hedging(function: Callable) -> None:
    from medvlp.metrics import hedging

    where = hedging.places(csr_matrix([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]], dtype=bool), [2, 3])
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([63, seed])
        truth, first = rng.integers(0, 2, 12), rng.integers(1, 20, 12) / 20
        probability = np.stack([first, 1 - first], 1)
        for accuracy in (0.5, 0.75, 1.0):
            best = (-1.0, -math.inf)
            for threshold in (0.35, 0.55, 0.65, 0.8, 0.92):
                answer = hedging.deepest_above(probability, where, threshold)
                if hedging.accuracy_of_answered(truth, answer, where) >= accuracy:
                    best = max(best, (float(hedging.specificity_of_answers(truth, answer, where)), -threshold))
            found = function(
                truth, probability, where, "dev", accuracy=accuracy, thresholds=[0.92, 0.55, 0.8, 0.65, 0.35]
            )
            assert found == -best[1], (seed, accuracy)


FITS: dict[str, Callable[[Callable], None]] = {
    "tempered": check_tempered,
    "fit_temperature": check_temperature,
    "fit_abstention": check_abstention,
    "fit_conformal": check_conformal,
    "fit_hedging": check_hedging,
}

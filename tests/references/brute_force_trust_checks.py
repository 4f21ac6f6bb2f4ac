"""One check per trust, localisation or hierarchy metric: random cases with ties and gaps, product against loops."""

import math
from collections.abc import Callable

import brute_force_metrics as ref_graph
import brute_force_trust as ref
import numpy as np
from brute_force_metric_checks import closure, near, random_dag, repeated, weighted_too

NUM_CASES = 40


def probabilities(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truths and probabilities of 2 to 5 classes, some exactly equal, some zero."""
    rng = np.random.default_rng([41, seed])
    num, num_classes = int(rng.integers(1, 20)), int(rng.integers(2, 6))
    raw = rng.integers(0 if seed % 2 else 1, 5, (num, num_classes)) + (0.0 if seed % 2 == 0 else 1e-9)
    return rng.integers(0, num_classes, num), raw / raw.sum(1, keepdims=True)


def losses(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses (0/1 or any number) and confidences with ties; all equal in some."""
    rng = np.random.default_rng([42, seed])
    num = int(rng.integers(1, 25))
    loss = rng.integers(0, 2, num).astype(float) if seed % 2 else rng.random(num)
    return loss, rng.integers(0, (1, 4, 50)[seed % 3], num) / 50


def rows_too(function: Callable, arrays: list[np.ndarray], loops: Callable, seed: int) -> None:
    """As ``weighted_too``, for arrays whose first axis is samples."""
    as_lists = lambda row: [repeated(a.tolist(), row) for a in arrays]  # noqa: E731
    near(function(*arrays), loops(*as_lists(np.ones(len(arrays[0]), dtype=int))), seed)
    weight = np.random.default_rng([98, seed]).integers(0, 4, size=(3, len(arrays[0])))
    expected = [loops(*as_lists(row)) for row in weight]
    near(function(*arrays, weight=weight[0]), expected[0], seed)
    np.testing.assert_allclose(function(*arrays, weight=weight), expected, atol=1e-9, err_msg=str(seed))


def check_brier(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rows_too(function, list(probabilities(seed)), ref.brier, seed)


def check_log_loss(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rows_too(function, list(probabilities(seed)), ref.log_loss, seed)
    assert function([0, 1], [[1.0, 0.0], [1.0, 0.0]]) == math.inf
    assert function([0, 1], [[0.5, 0.5], [1.0, 0.0]], weight=[1, 0]) == math.log(2)


def check_binary_brier(function: Callable) -> None:
    for seed in range(NUM_CASES):
        loss, confidence = losses(seed)
        loops = lambda t, p: ref.mean([(a - b) ** 2 for a, b in zip(t, p, strict=True)])  # noqa: E731
        weighted_too(function, [loss.round(), confidence], {}, loops, seed)


def check_calibration_error(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([43, seed])
        num, bins = int(rng.integers(1, 40)), (15, 10, 4)[seed % 3]
        # Bin edges in number: k / 16 lies on every edge of 4 bins, and 0 and 1 are there.
        confidence = rng.integers(0, 17, num) / 16 if seed % 2 else rng.random(num)
        loops = lambda r, c, b=bins: ref.calibration_error(r, c, b)  # noqa: E731
        weighted_too(function, [rng.random(num) < 0.5, confidence], {"num_bins": bins}, loops, seed)
    near(function([False], [1 + 1e-12]), 1.0 + 1e-12, "a hair above 1 is in the last bin")


def check_aurc(function: Callable) -> None:
    for seed in range(NUM_CASES):
        weighted_too(function, list(losses(seed)), {}, ref.aurc, seed)


def check_risk_at_coverage(function: Callable) -> None:
    for seed in range(NUM_CASES):
        for share in (0.25, 0.8, 1.0):
            loops = lambda x, c, s=share: ref.risk_at_coverage(x, c, s)  # noqa: E731
            weighted_too(function, list(losses(seed)), {"coverage": share}, loops, seed)


def check_risk_coverage_curve(function: Callable) -> None:
    for seed in range(NUM_CASES):
        loss, confidence = losses(seed)
        expected = []
        for threshold in sorted(set(confidence.tolist()), reverse=True):
            taken = confidence >= threshold
            expected.append((taken.mean(), loss[taken].mean(), threshold))
        np.testing.assert_allclose(np.stack(function(loss, confidence), 1), expected, atol=1e-12)


def check_selective_risk(function: Callable) -> None:
    for seed in range(NUM_CASES):
        loops = lambda x, c: ref.mean([a for a, b in zip(x, c, strict=True) if b >= 0.04])  # noqa: E731
        weighted_too(function, list(losses(seed)), {"threshold": 0.04}, loops, seed)


def check_coverage(function: Callable) -> None:
    for seed in range(NUM_CASES):
        loops = lambda c: ref.mean([float(b >= 0.04) for b in c])  # noqa: E731
        weighted_too(function, [losses(seed)[1]], {"threshold": 0.04}, loops, seed)
    assert np.isnan(function([0.5], math.nan))


def check_nonconformity(function: Callable) -> None:
    for seed in range(NUM_CASES):
        _, probability = probabilities(seed)
        for kind in ("least_ambiguous", "adaptive"):
            expected = [[ref.odd(row, k, kind) for k in range(len(row))] for row in probability.tolist()]
            np.testing.assert_allclose(function(probability, kind), expected, atol=1e-12, err_msg=f"{seed} {kind}")


def sets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    truth, probability = probabilities(seed)
    return truth, np.random.default_rng([44, seed]).random(probability.shape) < 0.6


def check_set_coverage(function: Callable) -> None:
    for seed in range(NUM_CASES):
        loops = lambda t, s: ref.mean([float(row[k]) for k, row in zip(t, s, strict=True)])  # noqa: E731
        rows_too(function, list(sets(seed)), loops, seed)


def check_set_size(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rows_too(function, [sets(seed)[1]], lambda s: ref.mean([float(sum(row)) for row in s]), seed)


def check_single_share(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rows_too(function, [sets(seed)[1]], lambda s: ref.mean([float(sum(row) == 1) for row in s]), seed)


def check_class_coverage(function: Callable) -> None:
    for seed in range(NUM_CASES):
        truth, found = sets(seed)
        weight = np.random.default_rng([97, seed]).integers(0, 3, size=(2, len(truth)))
        for k in range(found.shape[1]):
            own = [float(row[k]) for t, row in zip(truth, found, strict=True) if t == k]
            near(function(truth, found)[k], ref.mean(own), (seed, k))
            held = zip(truth, found, weight[1], strict=True)
            own = [float(row[k]) for t, row, times in held if t == k for _ in range(times)]
            near(function(truth, found, weight)[1, k], ref.mean(own), (seed, k))


def check_ndcg(function: Callable) -> None:
    for seed in range(60):
        draw = np.random.default_rng(seed)
        shape = (int(draw.integers(1, 4)), int(draw.integers(1, 7)))
        score = draw.integers(0, 4, shape) / 4 if seed % 2 else draw.normal(size=shape)
        gain = draw.integers(0, 4, shape).astype(float)
        k = None if seed % 3 == 0 else int(draw.integers(1, shape[1] + 1))
        tolerance = 0.0 if seed % 4 < 2 else 0.26
        for ties in ("realistic", "optimistic", "pessimistic"):
            found = function(score, gain, k, ties=ties, tolerance=tolerance)
            for q in range(shape[0]):
                tied = ref.tied_scores(score[q].tolist(), tolerance)
                gains, depth = gain[q].tolist(), k or shape[1]
                if ties == "realistic":
                    expected = ref.ndcg(tied, gains, depth)
                else:
                    expected = ref.ndcg_of_order(tied, gains, depth, ties == "optimistic")
                near(found[q], expected, (seed, q, k, ties, tolerance))


def maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([46, seed])
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    return rng.integers(-2, (-1, 2, 50)[seed % 3], shape) / 7, rng.random(shape) < (0.3, 0.6, 0.0, 1.0)[seed % 4]


def check_contrast_to_noise(function: Callable) -> None:
    for seed in range(3 * NUM_CASES):
        scores, inside = maps(seed)
        expected = ref.contrast_to_noise(scores.ravel().tolist(), inside.ravel().tolist())
        near(function(scores, inside), expected, seed)
        signed = function(scores, inside, signed=True)
        near(abs(signed), expected, seed)
        if not math.isnan(expected):
            assert signed * (scores[inside].mean() - scores[~inside].mean()) >= 0
    assert math.isnan(function(1e9 + np.array([0, 2e-7, 0, 2e-7]), [1, 1, 0, 0])), "digits that rounding makes"


def check_pointing(function: Callable) -> None:
    for seed in range(3 * NUM_CASES):
        scores, inside = maps(seed)
        near(function(scores, inside), ref.pointing(scores.ravel().tolist(), inside.ravel().tolist()), seed)


def check_overlap(place: int) -> Callable[[Callable], None]:
    def check(function: Callable) -> None:
        for seed in range(3 * NUM_CASES):
            _, truth = maps(seed)
            found = np.random.default_rng([47, seed]).random(truth.shape) < 0.5
            near(function(truth, found), ref.overlap(truth.ravel().tolist(), found.ravel().tolist())[place], seed)

    return check


def check_mcnemar(function: Callable) -> None:
    for seed in range(3 * NUM_CASES):
        rng = np.random.default_rng([48, seed])
        num = 3000 if seed % 60 == 0 else (5, 40)[seed % 2]
        first, second = rng.random(num) < 0.6, rng.random(num) < (0.6, 0.3)[seed // 2 % 2]
        near(function(first, second), ref.mcnemar(first.tolist(), second.tolist()), seed)
    assert function([], []) == 1


def check_holm(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([49, seed])
        p = (rng.integers(1, 20, int(rng.integers(1, 8))) / 100).tolist()
        np.testing.assert_allclose(function(p), ref.holm(p), atol=1e-12)
        with_gap = function([p[0], math.nan, *p[1:]])
        assert math.isnan(with_gap[1])
        np.testing.assert_allclose([with_gap[0], *with_gap[2:]], ref.holm(p), atol=1e-12)


def check_sign_flip(function: Callable) -> None:
    """All sign patterns of a few cases, counted by recursion."""
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([50, seed])
        case = rng.integers(0, 6, 12)
        value = rng.integers(-2, 3, 12)
        sums = [int(value[case == c].sum()) for c in sorted(set(case.tolist()))]
        totals = [0]
        for part in sums:
            totals = [total + sign * part for total in totals for sign in (-1, 1)]
        near(function(value, case), ref.mean([float(abs(t) >= abs(sum(sums))) for t in totals]), seed)
    # More than 12 cases: random patterns, the observed one among them.
    assert function(np.ones(40), range(40), num_draws=199) == 1 / 200
    assert function(np.zeros(14), range(14), num_draws=700) == 1
    exact = sum(math.comb(15, k) for k in range(5)) / 2**14  # at least 11 of 15 signs alike
    assert abs(function([1] * 11 + [-1] * 4, range(15), num_draws=4000) - exact) < 0.03


def check_agreement(function: Callable) -> None:
    for seed in range(NUM_CASES):
        rng = np.random.default_rng([51, seed])
        given = rng.integers(0, 3, (int(rng.integers(1, 5)), int(rng.integers(1, 9))))
        near(function(given), ref.agreement(given.tolist()), seed)
        weight = rng.integers(0, 3, given.shape[1])
        near(function(given, weight), ref.agreement(np.repeat(given, weight, axis=1).tolist()), seed)


def own_set(parents: ref_graph.Parents, node: str | None, k: int) -> set:
    """A class's node and all above it without roots; a class without a node has only itself."""
    return {k} if node is None else {x for x in ref_graph.steps_up(parents, node) if parents[x]}


def hierarchy_case(seed: int) -> tuple[ref_graph.Parents, np.ndarray, list[str | None]]:
    parents = random_dag(seed)
    ids, rng = sorted(parents), np.random.default_rng([52, seed])
    node = rng.choice(len(ids), size=min(5, len(ids)), replace=False)
    node[0] = -1 if seed % 3 == 0 else node[0]
    return parents, node, [None if n < 0 else ids[n] for n in node]


def check_ancestor_overlap(function: Callable) -> None:
    for seed in range(NUM_CASES):
        parents, node, ids = hierarchy_case(seed)
        own = [own_set(parents, name, k) for k, name in enumerate(ids)]
        assert np.asarray(function(closure(parents), node)).tolist() == [[len(a & b) for b in own] for a in own], seed


def check_hierarchical(part: str) -> Callable[[Callable], None]:
    def check(function: Callable) -> None:
        from medvlp.metrics.hierarchy import ancestor_overlap

        for seed in range(NUM_CASES):
            parents, node, ids = hierarchy_case(seed)
            own = [own_set(parents, name, k) for k, name in enumerate(ids)]
            rng = np.random.default_rng([53, seed])
            truth, answer = rng.integers(0, len(ids), (2, int(rng.integers(1, 15))))

            def loops(t: list[int], a: list[int], own: list[set] = own) -> float:
                shared = sum(len(own[i] & own[j]) for i, j in zip(t, a, strict=True))
                true, found = sum(len(own[i]) for i in t), sum(len(own[j]) for j in a)
                whole = {"precision": found, "recall": true, "f1": (true + found) / 2}[part]
                return shared / whole if whole else math.nan

            shared_KK = ancestor_overlap(closure(parents), node)
            weighted_too(function, [truth, answer], {"shared_KK": shared_KK}, loops, seed)

    return check


def check_climbs(function: Callable) -> None:
    for seed in range(NUM_CASES):
        parents = random_dag(seed)
        concepts: list[str | None] = [*sorted(parents), None]
        found = np.asarray(function(lambda node, p=parents: p[node], concepts))
        for i, a in enumerate(concepts):
            for j, b in enumerate(concepts):
                expected = 0.0 if i == j else math.nan
                if i != j and a is not None and b is not None:
                    up = ref_graph.steps_up(parents, a)
                    expected = min((up[x] for x in ref_graph.lowest_common_ancestors(parents, a, b)), default=math.nan)
                near(found[i, j], expected, (seed, i, j))


def check_hedging_curve(function: Callable) -> None:
    """From the tree's places on: mass, depth, answer, accuracy and worth by loops."""
    from medvlp.metrics.hedging import places

    for seed in range(NUM_CASES):
        parents, node, ids = hierarchy_case(seed)
        graph_ids, rng = sorted(parents), np.random.default_rng([54, seed])
        num, limits = int(rng.integers(1, 6)), (0.3, 0.6, 1.0)
        truth = rng.integers(0, len(ids), num)
        raw = rng.integers(1, 9, (num, len(ids))) ** 2
        probability = raw / raw.sum(1, keepdims=True)
        where = places(closure(parents), node)
        under = {}  # candidate -> the classes at or below it
        for k, name in enumerate(ids):
            for above in [("lost", k)] if name is None else ref_graph.steps_up(parents, name):
                if isinstance(above, tuple) or parents[above] or above in ids:
                    under.setdefault(above, set()).add(k)
        above_count = {c: 0 if isinstance(c, tuple) else len(ref_graph.ancestors(parents, c)) for c in under}
        known = [n for n in under if not isinstance(n, tuple)]
        assert sorted(where.node_A[where.node_A >= 0].tolist()) == sorted(graph_ids.index(n) for n in known)
        curve = function(truth, probability, where, limits)
        # Of equals the product takes the first by row; classes without a node come last.
        row_of = {c: len(ids) * len(graph_ids) + c[1] if isinstance(c, tuple) else graph_ids.index(c) for c in under}
        for t, limit in enumerate(limits):
            given, right, worth = [], [], []
            for row, true in zip(probability, truth.tolist(), strict=True):
                mass = {c: float(row @ np.isin(np.arange(len(ids)), list(own))) for c, own in under.items()}
                enough = [c for c in under if mass[c] >= limit]
                best = min(enough, key=lambda c, m=mass, d=above_count, r=row_of: (-d[c], -m[c], r[c]), default=None)
                given.append(float(best is not None))
                hit = best is not None and true in under[best]
                worth.append(1 - math.log(len(under[best])) / math.log(len(ids)) if hit else 0.0)
                right += [float(hit)] if best is not None else []
            near(curve["answered"][t], ref.mean(given), (seed, limit))
            near(curve["accuracy"][t], ref.mean(right), (seed, limit))
            near(curve["specificity"][t], ref.mean(worth), (seed, limit))


CHECKS: dict[str, Callable[[Callable], None]] = {
    "calibration.brier": check_brier,
    "calibration.binary_brier": check_binary_brier,
    "calibration.log_loss": check_log_loss,
    "calibration.expected_calibration_error": check_calibration_error,
    "selective.aurc": check_aurc,
    "selective.risk_at_coverage": check_risk_at_coverage,
    "selective.risk_coverage_curve": check_risk_coverage_curve,
    "selective.selective_risk": check_selective_risk,
    "selective.coverage": check_coverage,
    "conformal.nonconformity": check_nonconformity,
    "conformal.set_coverage": check_set_coverage,
    "conformal.set_size": check_set_size,
    "conformal.single_share": check_single_share,
    "conformal.class_coverage": check_class_coverage,
    "ranking.ndcg": check_ndcg,
    "localisation.contrast_to_noise": check_contrast_to_noise,
    "localisation.pointing": check_pointing,
    "overlap.dice": check_overlap(0),
    "overlap.iou": check_overlap(1),
    "paired.mcnemar": check_mcnemar,
    "paired.holm": check_holm,
    "paired.sign_flip_test": check_sign_flip,
    "sensitivity.agreement": check_agreement,
    "hierarchy.ancestor_overlap": check_ancestor_overlap,
    "hierarchy.hierarchical_precision": check_hierarchical("precision"),
    "hierarchy.hierarchical_recall": check_hierarchical("recall"),
    "hierarchy.hierarchical_f1": check_hierarchical("f1"),
    "hierarchy.climbs": check_climbs,
    "hedging.accuracy_specificity_curve": check_hedging_curve,
}

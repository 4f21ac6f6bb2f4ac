"""Trust and localisation metrics as plain loops from their definitions, written apart from the product."""

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def brier(truth: Sequence[int], probability: Sequence[Sequence[float]]) -> float:
    """Squared distance to the one-hot truth, summed over classes, averaged over samples."""
    each = []
    for label, row in zip(truth, probability, strict=True):
        each.append(sum((p - (1.0 if k == label else 0.0)) ** 2 for k, p in enumerate(row)))
    return mean(each)


def log_loss(truth: Sequence[int], probability: Sequence[Sequence[float]]) -> float:
    return mean([-math.log(row[t]) if row[t] > 0 else math.inf for t, row in zip(truth, probability, strict=True)])


def calibration_error(right: Sequence[bool], confidence: Sequence[float], num_bins: int = 15) -> float:
    """Bins (b / B, (b + 1) / B], the first with 0; share of samples times |mean confidence - accuracy|."""
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        inside = [(r, c) for r, c in zip(right, confidence, strict=True) if low < c <= high or (b == 0 and c == 0)]
        if inside:
            total += len(inside) * abs(mean([c for _, c in inside]) - mean([float(r) for r, _ in inside]))
    return total / len(right) if right else math.nan


def aurc(loss: Sequence[float], confidence: Sequence[float]) -> float:
    """Mean over samples of the mean loss of all samples at least as sure."""
    pairs = list(zip(loss, confidence, strict=True))
    return mean([mean([value for value, other in pairs if other >= own]) for _, own in pairs])


def risk_at_coverage(loss: Sequence[float], confidence: Sequence[float], coverage: float) -> float:
    for threshold in sorted(set(confidence), reverse=True):
        taken = [value for value, own in zip(loss, confidence, strict=True) if own >= threshold]
        if len(taken) >= coverage * len(loss) - 1e-9:
            return mean(taken)
    return math.nan


def ndcg(score: Sequence[float], gain: Sequence[float], k: int) -> float:
    """Expected over all orders of equal scores: each item gets the mean discount of the places its score occupies."""
    discount = [1 / math.log2(place + 2) if place < k else 0.0 for place in range(len(score))]
    best = sum(g * d for g, d in zip(sorted(gain, reverse=True), discount, strict=True))
    if best == 0:
        return math.nan
    total = 0.0
    for value, own in zip(score, gain, strict=True):
        above = sum(1 for other in score if other > value)
        places = range(above, above + sum(1 for other in score if other == value))
        total += own * mean([discount[place] for place in places])
    return total / best


def tied_scores(score: Sequence[float], tolerance: float) -> list[float]:
    """Scores with those of one chain made equal: neighbours in order that lie within the tolerance."""
    order = sorted(range(len(score)), key=lambda i: score[i], reverse=True)
    out, last = [0.0] * len(score), None
    for i in order:
        joined = last is not None and score[last] - score[i] <= tolerance
        out[i] = out[last] if joined else score[i]
        last = i
    return out


def ndcg_of_order(score: Sequence[float], gain: Sequence[float], k: int, best_first: bool) -> float:
    """With the most relevant of equal scores first, or last."""
    order = sorted(range(len(score)), key=lambda i: (-score[i], -gain[i] if best_first else gain[i]))
    best = sum(g / math.log2(place + 2) for place, g in enumerate(sorted(gain, reverse=True)) if place < k)
    if best == 0:
        return math.nan
    return sum(gain[i] / math.log2(place + 2) for place, i in enumerate(order) if place < k) / best


def contrast_to_noise(scores: Sequence[float], inside: Sequence[bool]) -> float:
    """|difference of means| over the root of the summed population variances."""
    parts = [[s for s, i in zip(scores, inside, strict=True) if i == side] for side in (True, False)]
    if not parts[0] or not parts[1]:
        return math.nan
    variance = sum(mean([(s - mean(part)) ** 2 for s in part]) for part in parts)
    return abs(mean(parts[0]) - mean(parts[1])) / math.sqrt(variance) if variance > 1e-20 else math.nan


def pointing(scores: Sequence[float], inside: Sequence[bool]) -> float:
    if not any(inside):
        return math.nan
    return mean([float(i) for s, i in zip(scores, inside, strict=True) if s == max(scores)])


def overlap(truth: Sequence[bool], found: Sequence[bool]) -> tuple[float, float]:
    """Dice and intersection over union; undefined without a true pixel."""
    true = {n for n, mark in enumerate(truth) if mark}
    seen = {n for n, mark in enumerate(found) if mark}
    if not true:
        return math.nan, math.nan
    return 2 * len(true & seen) / (len(true) + len(seen)), len(true & seen) / len(true | seen)


def odd(row: Sequence[float], label: int, kind: str) -> float:
    """Nonconformity of one class."""
    if kind == "least_ambiguous":
        return 1 - row[label]
    return sum(p for p in row if p >= row[label])


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    b = sum(1 for f, s in zip(first, second, strict=True) if f and not s)
    c = sum(1 for f, s in zip(first, second, strict=True) if s and not f)
    return min(1.0, 2 * sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c))


def holm(p_values: Sequence[float]) -> list[float]:
    """The smallest level at which step-down testing rejects each hypothesis."""
    order = sorted(range(len(p_values)), key=lambda n: p_values[n])
    out = [0.0] * len(p_values)
    for step, number in enumerate(order):
        out[number] = min(1.0, max((len(order) - s) * p_values[order[s]] for s in range(step + 1)))
    return out


def agreement(answers: Sequence[Sequence[int]]) -> float:
    """Share of pairs of draws that agree, averaged over samples; `answers` is draws x samples."""
    shares = []
    for column in zip(*answers, strict=True):
        pairs = [(a, b) for i, a in enumerate(column) for b in column[:i]]
        if pairs:
            shares.append(mean([float(a == b) for a, b in pairs]))
    return mean(shares)

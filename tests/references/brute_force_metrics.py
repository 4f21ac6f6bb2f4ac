"""Metrics as plain loops from their definitions, so that the product's vectorised code has something to agree with.

Written from the definitions alone. Classes are integers; a graph is a dictionary from each id to its list of parents.
"""

import math
from collections.abc import Sequence

Parents = dict[str, list[str]]


def accuracy(truth: Sequence[int], answer: Sequence[int]) -> float:
    """Share of samples whose answer is the truth."""
    return sum(1 for t, a in zip(truth, answer, strict=True) if t == a) / len(truth)


def balanced_accuracy(truth: Sequence[int], answer: Sequence[int]) -> float:
    """Mean over the classes that occur in the truth of the share answered rightly."""
    recalls = []
    for label in sorted(set(truth)):
        own = [a for t, a in zip(truth, answer, strict=True) if t == label]
        recalls.append(sum(1 for a in own if a == label) / len(own))
    return sum(recalls) / len(recalls)


def f1_per_class(truth: Sequence[int], answer: Sequence[int], labels: Sequence[int]) -> list[float]:
    """2 TP / (2 TP + FP + FN) of every label; 0 where that is 0 / 0."""
    scores = []
    for label in labels:
        pairs = list(zip(truth, answer, strict=True))
        hits = sum(1 for t, a in pairs if t == label and a == label)
        wrong = sum(1 for t, a in pairs if (t == label) != (a == label))
        scores.append(2 * hits / (2 * hits + wrong) if hits + wrong else 0.0)
    return scores


def auroc(positive: Sequence[bool], score: Sequence[float]) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher; a tie counts one half."""
    high = [s for p, s in zip(positive, score, strict=True) if p]
    low = [s for p, s in zip(positive, score, strict=True) if not p]
    return sum(1.0 if h > n else 0.5 if h == n else 0.0 for h in high for n in low) / (len(high) * len(low))


def average_precision(positive: Sequence[bool], score: Sequence[float]) -> float:
    """Sum over distinct thresholds, from the highest, of the gain in recall times the precision there."""
    num_positive, total, before = sum(positive), 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        taken = [p for p, s in zip(positive, score, strict=True) if s >= threshold]
        recall = sum(taken) / num_positive
        total += (recall - before) * (sum(taken) / len(taken))
        before = recall
    return total


def sensitivity_at_specificity(positive: Sequence[bool], score: Sequence[float], specificity: float) -> float:
    """The highest sensitivity of any threshold (called positive: score >= threshold) that keeps the specificity."""
    high = [s for p, s in zip(positive, score, strict=True) if p]
    low = [s for p, s in zip(positive, score, strict=True) if not p]
    best = 0.0
    for threshold in set(score):
        if sum(1 for s in low if s < threshold) / len(low) >= specificity - 1e-12:
            best = max(best, sum(1 for s in high if s >= threshold) / len(high))
    return best


def ranks(score: Sequence[float], target: int) -> tuple[int, int, float]:
    """1-based rank of `target` in one row of scores: (optimistic, pessimistic, realistic) about ties."""
    above = sum(1 for s in score if s > score[target])
    tied = sum(1 for index, s in enumerate(score) if index != target and s == score[target])
    return 1 + above, 1 + above + tied, 1 + above + tied / 2


# Hierarchy -----------------------------------------------------------------------------------------------------------


def steps_up(parents: Parents, start: str) -> dict[str, int]:
    """Every ancestor of `start`, itself included, with the fewest is-a steps that reach it."""
    found, edge, distance = {start: 0}, [start], 0
    while edge:
        distance += 1
        edge = sorted({p for node in edge for p in parents[node] if p not in found})
        found.update(dict.fromkeys(edge, distance))
    return found


def ancestors(parents: Parents, node: str) -> set[str]:
    """All ancestors, without the node."""
    return set(steps_up(parents, node)) - {node}


def related(parents: Parents, a: str, b: str) -> bool:
    """Whether two concepts are the same, or one is an ancestor of the other."""
    return a == b or a in ancestors(parents, b) or b in ancestors(parents, a)


def depth(parents: Parents, node: str) -> int:
    """Fewest steps to a root."""
    return min(steps for ancestor, steps in steps_up(parents, node).items() if not parents[ancestor])


def tree_distance(parents: Parents, a: str, b: str) -> int | None:
    """Fewest steps from `a` up to a common ancestor and down to `b`; None where there is none."""
    left, right = steps_up(parents, a), steps_up(parents, b)
    both = [left[node] + right[node] for node in left if node in right]
    return min(both) if both else None


def lowest_common_ancestors(parents: Parents, a: str, b: str) -> set[str]:
    """Common ancestors-or-self that are not an ancestor of another one."""
    both = set(steps_up(parents, a)) & set(steps_up(parents, b))
    return {node for node in both if not any(node in ancestors(parents, other) for other in both)}


def information_content(parents: Parents, node: str) -> float:
    """Minus the logarithm of the share of all concepts that lie at or below the node."""
    return -math.log(sum(1 for other in parents if node in steps_up(parents, other)) / len(parents))


def lin(parents: Parents, a: str, b: str) -> float | None:
    """Lin's similarity: twice the highest content of a common ancestor over the sum of both; None for 0 / 0."""
    both = set(steps_up(parents, a)) & set(steps_up(parents, b))
    total = information_content(parents, a) + information_content(parents, b)
    shared = max((information_content(parents, node) for node in both), default=0.0)
    return 2 * shared / total if total > 0 else None

"""mSTAR's losses as plain loops, written from the formulas alone, and random cases with missing modalities for them.

Sources: Xu et al. 2025 (mSTAR): symmetric contrast of each present pair, farthest positive and nearest negative with
L2 distance of joined embeddings and margin 0.3, similarity term of weight 0.6. Rules of the project where the paper is
silent: pairs of modalities with fewer than two cases leave the mean; distances use what both cases have, their square
scaled by the number of modalities over the number shared; cosine distance in stage 2.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from brute_force_cases import Case, unit, unit_t

NAMES = ("slide", "report", "genes")
PAIRS = ((0, 1), (0, 2), (1, 2))


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def pair(left, right, both, scale):
    """Mean of the two directions over the rows with both; rows without are not there at all."""
    rows = [row for row, marked in enumerate(both) if marked]
    if not rows:
        return 0.0
    total = 0.0
    for row in rows:
        forward = math.fsum(math.exp(scale * dot(left[row], right[other])) for other in rows)
        backward = math.fsum(math.exp(scale * dot(right[row], left[other])) for other in rows)
        own = scale * dot(left[row], right[row])
        total += (math.log(forward) - own) + (math.log(backward) - own)
    return total / (2 * len(rows))


def contrast(modalities, present, scale, weights):
    """Weighted mean over the pairs of modalities that at least two rows have."""
    top, bottom = 0.0, 0.0
    for (a, b), weight in zip(PAIRS, weights, strict=True):
        both = [row[a] and row[b] for row in present]
        if sum(both) >= 2:
            top += weight * pair(modalities[a], modalities[b], both, scale)
            bottom += weight
    return top / bottom if bottom else 0.0


def distance(modalities, present, one, other):
    """None where nothing is shared."""
    shared = [m for m in range(3) if present[one][m] and present[other][m]]
    if not shared:
        return None
    square = sum((x - y) ** 2 for m in shared for x, y in zip(modalities[m][one], modalities[m][other], strict=True))
    return math.sqrt(square * 3 / len(shared))


def triplet(modalities, present, cancer, margin):
    """Mean hinge over anchors that have a positive and a negative."""
    hinges = []
    for anchor, own in enumerate(cancer):
        near, far = [], []
        for other, theirs in enumerate(cancer):
            gap = distance(modalities, present, anchor, other)
            if gap is None or own < 0 or theirs < 0 or other == anchor:
                continue
            (far if own == theirs else near).append(gap)
        if near and far:
            hinges.append(max(0.0, max(far) - min(near) + margin))
    return sum(hinges) / len(hinges) if hinges else 0.0


def cosine_distance(left, right):
    return 1 - dot(left, right) / math.sqrt(dot(left, left) * dot(right, right))


def self_taught(student, teacher, average, similarity):
    """Mean over tiles of both cosine distances, the second weighted."""
    rows = zip(student, teacher, average, strict=True)
    return sum(cosine_distance(z, y) + similarity * cosine_distance(z, a) for z, y, a in rows) / len(student)


def decoder(decoded, features, lengths):
    """Mean over slides of the mean over tiles."""
    start, means = 0, []
    for length in lengths:
        rows = range(start, start + length)
        means.append(sum(cosine_distance(decoded[row], features[row]) for row in rows) / length)
        start += length
    return sum(means) / len(means)


def _draw(rng, rows):
    width = int(rng.integers(2, 5))
    present = rng.random((rows, 3)) < 0.7
    if rng.random() < 0.3:
        present[:] = True
    inputs = {name: rng.normal(size=(rows, width)) for name in NAMES}
    return inputs, present, torch.tensor(present)


def _stacked(tensors):
    return torch.stack([unit_t(tensors[name]) for name in NAMES], 1)


def _units(arrays):
    return [unit(arrays[name]) for name in NAMES]


def contrast_cases(num: int = 60) -> Iterator[Case]:
    """One to seven cases, all kinds of gaps, weights 0 included."""
    choices = ((1.0, 1.0, 1.0), (0.5, 2.0, 1.0), (1.0, 0.0, 0.3))
    for index in range(num):
        rng = np.random.default_rng([31, index])
        rows = int(rng.integers(2, 8))
        inputs, present, marks = _draw(rng, rows)
        if not any(np.sum(present[:, a] & present[:, b]) >= 2 for a, b in PAIRS):
            present[:2] = True
            marks = torch.tensor(present)
        inputs["scale"] = np.array((1.0, 14.3, 60.0)[index % 3])
        weights = choices[index // 3 % 3]
        yield Case(
            f"contrast[{index}] {rows}x",
            inputs,
            lambda a, p=present, w=weights: contrast(_units(a), p.tolist(), float(a["scale"]), w),
            lambda f, t, m=marks, w=weights: f(_stacked(t), m, t["scale"], w)[0],
        )


def triplet_cases(num: int = 60) -> Iterator[Case]:
    """Two or three cancers, some unknown, anchors without a positive or a negative."""
    for index in range(num):
        rng = np.random.default_rng([32, index])
        rows = int(rng.integers(4, 9))
        inputs, present, marks = _draw(rng, rows)
        present[:3] = True
        marks = torch.tensor(present)
        cancer = rng.integers(-1, 3, size=rows)
        cancer[:3] = (0, 0, 1)
        margin = (0.3, 1.5)[index % 2]
        codes = torch.tensor(cancer)
        yield Case(
            f"triplet[{index}] {rows}x",
            inputs,
            lambda a, p=present, c=cancer, g=margin: triplet(_units(a), p.tolist(), c.tolist(), g),
            lambda f, t, m=marks, c=codes, g=margin: f(_stacked(t), m, c, g)[0],
        )


def self_taught_cases(num: int = 50) -> Iterator[Case]:
    """Teacher and average are targets: no gradient, so they are constants of the case."""
    for index in range(num):
        rng = np.random.default_rng([33, index])
        rows, width = int(rng.integers(1, 6)), int(rng.integers(2, 6))
        teacher, average = rng.normal(size=(2, rows, width))
        similarity = (0.6, 0.0, 2.0)[index % 3]
        constant = torch.tensor(teacher), torch.tensor(average)
        yield Case(
            f"self_taught[{index}] {rows}x",
            {"student": rng.normal(size=(rows, width))},
            lambda a, y=teacher, e=average, s=similarity: self_taught(a["student"], y, e, s),
            lambda f, t, k=constant, s=similarity: torch.stack(f(t["student"], *k, s)).sum(),
        )


def decoder_cases(num: int = 50) -> Iterator[Case]:
    """Slides of unequal length."""
    for index in range(num):
        rng = np.random.default_rng([34, index])
        lengths = rng.integers(1, 5, size=int(rng.integers(1, 4)))
        features = rng.normal(size=(int(lengths.sum()), 3))
        constant = torch.tensor(features), torch.tensor(lengths)
        yield Case(
            f"decoder[{index}] {len(lengths)}x",
            {"decoded": rng.normal(size=features.shape)},
            lambda a, x=features, n=lengths: decoder(a["decoded"], x, n.tolist()),
            lambda f, t, k=constant: f(t["decoded"], *k),
        )

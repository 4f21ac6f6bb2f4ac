"""Objectives as plain loops over Python floats: something independent for the product's tensor code to agree with.

Written from the published formulas alone, without reading the product's code, and deliberately naive: no stabilised
log-sum-exp, no matrices, one `math.exp` per term. Every function takes lists of lists and returns a float.

Sources: CLIP (Radford et al. 2021, section 2.3), SigLIP (Zhai et al. 2023, equation 1), AdaSP (Zhou et al. 2023,
equations 4-9), KEP (Zhou et al. 2024, its two contrasts), KEEP's group metric loss (the published class HyMetricLoss).
"""

import math

Matrix = list[list[float]]

VARIANTS = ("hp-hn", "lhp-hn", "hp-lhn", "lhp-lhn")


def cosine(left: Matrix, right: Matrix) -> Matrix:
    """Dot product of every row of `left` with every row of `right`."""
    return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in right] for x in left]


def transposed(matrix: Matrix) -> Matrix:
    """Rows become columns."""
    return [list(column) for column in zip(*matrix, strict=True)]


def _log_sum_exp(values: list[float]) -> float:
    """The logarithm of a sum of exponentials, with no stabilisation."""
    return math.log(math.fsum(math.exp(value) for value in values))


def _log_mean_exp(values: list[float]) -> float:
    return math.log(math.fsum(math.exp(value) for value in values) / len(values))


# CLIP ----------------------------------------------------------------------------------------------------------------


def _multi_positive_direction(logits: Matrix, positive: list[list[bool]]) -> float:
    """Mean over rows with a positive of the mean over its positives of -log softmax over the whole row."""
    per_row = []
    for row, marks in zip(logits, positive, strict=True):
        terms = [_log_sum_exp(row) - value for value, mark in zip(row, marks, strict=True) if mark]
        if terms:
            per_row.append(sum(terms) / len(terms))
    return sum(per_row) / len(per_row)


def info_nce(image: Matrix, text: Matrix, scale: float, positive: list[list[bool]]) -> float:
    """CLIP loss with several positives per row: the mean of both directions."""
    logits = [[scale * value for value in row] for row in cosine(image, text)]
    marks = [list(row) for row in zip(*positive, strict=True)]
    return 0.5 * (_multi_positive_direction(logits, positive) + _multi_positive_direction(transposed(logits), marks))


def _soft_direction(logits: Matrix, target: Matrix) -> float:
    """Cross-entropy of every row against its targets divided by their sum; rows without a target do not count."""
    per_row = []
    for row, weights in zip(logits, target, strict=True):
        total = sum(weights)
        if total > 0:
            log_z = _log_sum_exp(row)
            per_row.append(sum(w / total * (log_z - value) for value, w in zip(row, weights, strict=True)))
    return sum(per_row) / len(per_row)


def soft_info_nce(image: Matrix, text: Matrix, scale: float, target: Matrix) -> float:
    """CLIP loss with soft targets: rows normalised for image to text, columns for text to image."""
    logits = [[scale * value for value in row] for row in cosine(image, text)]
    return 0.5 * (_soft_direction(logits, target) + _soft_direction(transposed(logits), transposed(target)))


# KEP -----------------------------------------------------------------------------------------------------------------


def _direction_without(
    rows: Matrix, columns: Matrix, scale: float, positive: list[list[bool]], dropped: list[list[bool]]
) -> float:
    """Mean over rows with a positive of -log softmax over the columns that are positive or not dropped."""
    per_row = []
    for i, row in enumerate(rows):
        logit = [scale * sum(a * b for a, b in zip(row, column, strict=True)) for column in columns]
        seen = [value for j, value in enumerate(logit) if positive[i][j] or not dropped[i][j]]
        terms = [_log_sum_exp(seen) - value for j, value in enumerate(logit) if positive[i][j]]
        if terms:
            per_row.append(sum(terms) / len(terms))
    return sum(per_row) / len(per_row)


def _turned(marks: list[list[bool]]) -> list[list[bool]]:
    return [list(column) for column in zip(*marks, strict=True)]


def kep(
    image: Matrix,
    text: Matrix,
    knowledge: Matrix,
    scale: float,
    image_marks: tuple[list[list[bool]], list[list[bool]]],
    text_marks: tuple[list[list[bool]], list[list[bool]]],
    weights: tuple[float, float] = (1.0, 0.3),
) -> float:
    """KEP's loss: image-text and text-knowledge contrasts, each the mean of both directions, weighted, weights sum 1.

    `image_marks` and `text_marks` hold who is positive and who is dropped, rows images (texts), columns texts.
    """
    terms = []
    for rows, columns, (positive, dropped) in ((image, text, image_marks), (text, knowledge, text_marks)):
        there = _direction_without(rows, columns, scale, positive, dropped)
        back = _direction_without(columns, rows, scale, _turned(positive), _turned(dropped))
        terms.append(0.5 * there + 0.5 * back)
    return (weights[0] * terms[0] + weights[1] * terms[1]) / sum(weights)


# SigLIP --------------------------------------------------------------------------------------------------------------


def sigmoid_loss(image: Matrix, text: Matrix, scale: float, bias: float, positive: list[list[bool]]) -> float:
    """SigLIP loss: -(1/B) sum over all pairs of log sigmoid(z (t s + b)), B the number of images."""
    total = 0.0
    for row, marks in zip(cosine(image, text), positive, strict=True):
        for value, mark in zip(row, marks, strict=True):
            z = 1.0 if mark else -1.0
            total += math.log1p(math.exp(-z * (scale * value + bias)))
    return total / len(image)


# AdaSP ---------------------------------------------------------------------------------------------------------------


def _adasp_positives(similarity: Matrix, group_size: int, a: float) -> list[tuple[float, float]]:
    """(hardest, least-hard) positive of every group."""
    found = []
    for start in range(0, len(similarity), group_size):
        members = range(start, start + group_size)
        everything = [-a * similarity[i][j] for i in members for j in members]
        anchors = [-_log_sum_exp([-a * similarity[i][j] for j in members]) for i in members]
        found.append((-_log_sum_exp(everything) / a, _log_sum_exp(anchors) / a))
    return found


def adasp_weights(embedding: Matrix, group_size: int, temperature: float) -> list[float]:
    """The adaptive weight of every group: harmonic mean of both positives, 0 where the hardest is negative."""
    pairs = _adasp_positives(cosine(embedding, embedding), group_size, 1.0 / temperature)
    return [0.0 if hard < 0 else 2.0 * hard * least / (hard + least) for hard, least in pairs]


def adasp(embedding: Matrix, group_size: int, temperature: float, weights: list[float] | None = None) -> float:
    """AdaSP loss; `weights` fixes the adaptive weights, which no gradient passes through."""
    a = 1.0 / temperature
    similarity = cosine(embedding, embedding)
    if weights is None:
        weights = adasp_weights(embedding, group_size, temperature)
    pairs = _adasp_positives(similarity, group_size, a)
    num_groups = len(pairs)
    total = 0.0
    for g in range(num_groups):
        positive = weights[g] * pairs[g][0] + (1.0 - weights[g]) * pairs[g][1]
        rest = 0.0
        for h in range(num_groups):
            if h == g:
                continue
            rows = range(g * group_size, (g + 1) * group_size)
            columns = range(h * group_size, (h + 1) * group_size)
            negative = _log_sum_exp([a * similarity[i][j] for i in rows for j in columns]) / a
            rest += math.exp(a * (negative - positive))
        total += math.log(1.0 + rest)
    return total / num_groups


# KEEP's semantic groups ----------------------------------------------------------------------------------------------


def _group_direction(
    similarity: Matrix, size: int, scale: float, dropped: list[list[bool]], variant: str, reduce: str
) -> float:
    """One direction of the group loss: rows are queries, the diagonal blocks are positives."""
    inside = _log_mean_exp if reduce == "mean" else _log_sum_exp
    positive_kind, negative_kind = variant.split("-")
    num_groups = len(similarity) // size
    total = 0.0
    for g in range(num_groups):
        rows = range(g * size, (g + 1) * size)
        if positive_kind == "hp":
            positive = -inside([-scale * similarity[i][j] for i in rows for j in rows])
        else:
            positive = inside([-inside([-scale * similarity[i][j] for j in rows]) for i in rows])
        competitors = [positive]
        for h in range(num_groups):
            if h == g or dropped[g][h]:
                continue
            columns = range(h * size, (h + 1) * size)
            if negative_kind == "hn":
                competitors.append(inside([scale * similarity[i][j] for i in rows for j in columns]))
            else:
                competitors.append(-inside([-inside([scale * similarity[i][j] for j in columns]) for i in rows]))
        total += _log_sum_exp(competitors) - positive
    return total / num_groups


def group_metric(
    similarity: Matrix,
    group_size: int,
    scale: float,
    exclude: list[list[bool]] | None = None,
    variant: str = "lhp-hn",
    aggregate: str = "mean",
    compat: str | None = None,
) -> float:
    """KEEP's loss between semantic groups: the mean of both directions.

    `exclude[g][h]` removes image group g and text group h from each other's negatives; the diagonal never counts.
    `compat="keep"` sums, and instead of removing an excluded pair sets its cosines to -1.
    """
    num_groups = len(similarity) // group_size
    nothing = [[False] * num_groups for _ in range(num_groups)]
    dropped = nothing if exclude is None else exclude
    if compat == "keep":
        similarity = [
            [
                -1.0 if i // group_size != j // group_size and dropped[i // group_size][j // group_size] else value
                for j, value in enumerate(row)
            ]
            for i, row in enumerate(similarity)
        ]
        dropped, aggregate = nothing, "sum"
    turned = [list(row) for row in zip(*dropped, strict=True)]
    forward = _group_direction(similarity, group_size, scale, dropped, variant, aggregate)
    backward = _group_direction(transposed(similarity), group_size, scale, turned, variant, aggregate)
    return 0.5 * (forward + backward)

"""Attention, rotary position and gated pooling as plain loops in float64, written from the formulas alone.

Sources: scaled dot-product attention (Vaswani et al. 2017, equation 1) and its gradient by the chain rule, rotary
position (Su et al. 2021, equation 15, one axis per half of the channels), gated attention pooling (Ilse et al. 2018,
equations 8 and 9), linear distance bias (Press et al. 2022).
"""

import math
from itertools import pairwise

import numpy as np

Array = np.ndarray


def softmax(scores: Array) -> Array:
    """Softmax of one row of numbers."""
    weights = np.array([math.exp(score - max(scores)) for score in scores])
    return weights / weights.sum()


def _bags(lengths: list[int]) -> list[slice]:
    ends = np.cumsum([0, *lengths])
    return [slice(int(a), int(b)) for a, b in pairwise(ends)]


def _weights(q: Array, k: Array, bias: Array | None) -> Array:
    """Weights of one bag and head, one row per query."""
    rows = []
    for i, query in enumerate(q):
        scores = [float(query @ key) / math.sqrt(len(query)) for key in k]
        if bias is not None:
            scores = [score + float(bias[i, j]) for j, score in enumerate(scores)]
        rows.append(softmax(np.array(scores)))
    return np.array(rows)


def attention(
    q: Array, k: Array, v: Array, lengths: list[int], kv_lengths: list[int], bias: list[Array] | None = None
) -> Array:
    """Attention inside each bag; arrays are (rows, heads, width), a bias is (heads, queries, keys) per bag."""
    out = np.zeros(q.shape)
    for s, (rows, keys) in enumerate(zip(_bags(lengths), _bags(kv_lengths), strict=True)):
        for h in range(q.shape[1]):
            weights = _weights(q[rows, h], k[keys, h], None if bias is None else bias[s][h])
            out[rows, h] = weights @ v[keys, h]
    return out


def gradients(
    q: Array, k: Array, v: Array, lengths: list[int], kv_lengths: list[int], upstream: Array
) -> tuple[Array, Array, Array]:
    """Gradients of sum(attention * upstream) for queries, keys and values, without a bias."""
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    scale = 1.0 / math.sqrt(q.shape[2])
    for rows, keys in zip(_bags(lengths), _bags(kv_lengths), strict=True):
        for h in range(q.shape[1]):
            weights = _weights(q[rows, h], k[keys, h], None)
            given = upstream[rows, h]
            dv[keys, h] = weights.T @ given
            by_weight = given @ v[keys, h].T
            by_score = weights * (by_weight - (by_weight * weights).sum(1, keepdims=True))
            dq[rows, h] = scale * by_score @ k[keys, h]
            dk[keys, h] = scale * by_score.T @ q[rows, h]
    return dq, dk, dv


def turned(vector: Array, place: tuple[float, float], shortest: float, longest: float) -> Array:
    """One head of one tile, turned by its place: complex numbers times exp(2 pi i place / wavelength)."""
    pairs = len(vector) // 4
    out = np.array(vector, dtype=np.float64)
    for axis in (0, 1):
        half = axis * 2 * pairs
        for f in range(pairs):
            wave = shortest if pairs == 1 else shortest * (longest / shortest) ** (f / (pairs - 1))
            number = complex(vector[half + f], vector[half + pairs + f])
            number *= complex(math.cos(2 * math.pi * place[axis] / wave), math.sin(2 * math.pi * place[axis] / wave))
            out[half + f], out[half + pairs + f] = number.real, number.imag
    return out


def distance_bias(places: Array, heads: int, unit: float) -> Array:
    """Minus slope times distance, slopes 2 ** (-8 h / heads) for h from 1."""
    out = np.zeros((heads, len(places), len(places)))
    for h in range(heads):
        for i, one in enumerate(places):
            for j, two in enumerate(places):
                out[h, i, j] = -(2.0 ** (-8.0 * (h + 1) / heads)) * math.dist(one, two) / unit
    return out


def gated_weights(
    tiles: Array, tanh: tuple[Array, Array], gate: tuple[Array, Array], score: tuple[Array, Array]
) -> Array:
    """Weights of the tiles of one slide, one column per head; each layer is (weight, bias)."""
    scores = []
    for tile in tiles:
        hidden = np.array([math.tanh(value) for value in tanh[0] @ tile + tanh[1]])
        opened = np.array([1.0 / (1.0 + math.exp(-value)) for value in gate[0] @ tile + gate[1]])
        scores.append(score[0] @ (hidden * opened) + score[1])
    return np.array([softmax(column) for column in np.array(scores).T]).T

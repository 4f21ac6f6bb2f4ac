"""Texts of one batch in a few groups of like length, so that short names do not pay for long definitions.

Shape legend: M texts, L tokens, I tower width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def encode_in_buckets(
    encode: Callable[[Tensor, Tensor], Tensor], ids_ML: Tensor, mask_ML: Tensor, num_buckets: int = 3
) -> Tensor:
    """Encode texts (M, I) in their given order, each padded only to the longest of its bucket.

    The order of work is a function of the lengths alone; results equal one padded call up to rounding.

    Args:
        encode: Ids and mask to features.
        ids_ML: Token ids, padded at the end.
        mask_ML: 1 on real tokens.
        num_buckets: Most calls to make; buckets cost about equally many tokens.
    """
    length_M = mask_ML.sum(1)
    order_M = torch.argsort(length_M, stable=True)
    sorted_M = length_M[order_M].tolist()
    parts = [
        encode(ids_ML[order_M[start:stop], : sorted_M[stop - 1]], mask_ML[order_M[start:stop], : sorted_M[stop - 1]])
        for start, stop in cuts(sorted_M, num_buckets)
    ]
    return torch.cat(parts)[torch.argsort(order_M)]


def cuts(ascending: list[int], num_buckets: int) -> list[tuple[int, int]]:
    """Cut ascending lengths where the padded total is least; exact for two parts, applied again to the worst part."""
    spans = [(0, len(ascending))]
    while len(spans) < num_buckets:
        gains = [_best_cut(ascending, span) for span in spans]
        worth = max(range(len(spans)), key=lambda number: gains[number][0])
        gain, cut = gains[worth]
        if gain <= 0:
            break
        start, stop = spans[worth]
        spans[worth : worth + 1] = [(start, cut), (cut, stop)]
    return spans


def _best_cut(ascending: list[int], span: tuple[int, int]) -> tuple[int, int]:
    """Tokens of padding saved by the best cut of a span, and where it is."""
    start, stop = span
    saved = [(cut - start) * (ascending[stop - 1] - ascending[cut - 1]) for cut in range(start + 1, stop)]
    if not saved:
        return 0, start
    best = max(range(len(saved)), key=saved.__getitem__)
    return saved[best], start + 1 + best

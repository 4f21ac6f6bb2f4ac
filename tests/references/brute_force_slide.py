"""Slide poolings, screening and smoothing as plain loops, written from the published formulas and nothing else.

Sources: KEEP (tumour ratio, prompt screening, 2 x 2 average), MI-Zero (top-K), and the definition of a mean over the
cells of a window.
"""

import math

Table = list[list[float]]


def probabilities(cosines: Table, scale: float) -> Table:
    out = []
    for row in cosines:
        powers = [math.exp(scale * value) for value in row]
        out.append([power / math.fsum(powers) for power in powers])
    return out


def tumour_ratio(probability: Table, normal: int, threshold: float) -> float:
    """A tile counts if its best other class, against normal alone, is above the threshold."""
    count = 0
    for row in probability:
        best = max(value for k, value in enumerate(row) if k != normal)
        count += best / (best + row[normal]) > threshold
    return count / len(probability)


def shares(table: Table) -> list[float]:
    count = [0] * len(table[0])
    for row in table:
        count[row.index(max(row))] += 1
    return [number / len(table) for number in count]


def top_k(cosines: Table, k: int) -> list[float]:
    out = []
    for column in zip(*cosines, strict=True):
        best = sorted(column, reverse=True)[:k]
        out.append(math.fsum(best) / len(best))
    return out


def mean(cosines: Table) -> list[float]:
    return [math.fsum(column) / len(column) for column in zip(*cosines, strict=True)]


def log_sum_exp(cosines: Table, scale: float) -> list[float]:
    return [
        math.log(math.fsum(math.exp(scale * value) for value in column) / len(column)) / scale
        for column in zip(*cosines, strict=True)
    ]


def screening(tiles: Table, texts: Table, pool: list[list[int]], compat: bool) -> list[float]:
    out = []
    for classifier in pool:
        terms = []
        for tile in tiles:
            found = sorted((sum(a * b for a, b in zip(tile, texts[p], strict=True)) for p in classifier), reverse=True)
            term = found[0] - found[1]
            if compat:
                term -= abs(found[0] + found[1] - 1)
            terms.append(term)
        out.append(math.fsum(terms) / len(terms))
    return out


def window(value: list[float], places: list[tuple[int, int]], step: int, radius: int) -> list[float]:
    """Mean over the cells of a window that hold a tile."""
    at = dict(zip(places, value, strict=True))
    out = []
    for x, y in places:
        steps = range(-radius, radius + 1)
        found = [at[x + i * step, y + j * step] for i in steps for j in steps if (x + i * step, y + j * step) in at]
        out.append(math.fsum(found) / len(found))
    return out


def up_left(value: list[float], places: list[tuple[int, int]], shift: int) -> list[float]:
    at = dict(zip(places, value, strict=True))
    out = []
    for x, y in places:
        found = [at[x - i, y - j] for i in (0, shift) for j in (0, shift) if (x - i, y - j) in at]
        out.append(math.fsum(found) / len(found))
    return out


def cells(value: list[float], places: list[tuple[int, int]], patch: int, step: int) -> dict[tuple[int, int], float]:
    """Pixel by pixel: each pixel of a cell adds every tile over it, and the sum is divided by their number."""
    left, top = min(x for x, _ in places), min(y for _, y in places)
    total: dict[tuple[int, int], list[float]] = {}
    for tile, (x, y) in zip(value, places, strict=True):
        for i in range(x, x + patch):
            for j in range(y, y + patch):
                cell = (left + (i - left) // step * step, top + (j - top) // step * step)
                total.setdefault(cell, []).append(tile)
    return {cell: math.fsum(found) / len(found) for cell, found in total.items()}

"""Images that two sets share, also turned, mirrored, re-encoded, brightened or cropped by about 5 %.

An image is kept as a 64 x 64 grey thumbnail and a digest of its pixels. Candidates come from sign bits of its lowest
cosine coefficients at half that size, looked up in bands (locality-sensitive hashing, Indyk and Motwani 1998), so no
N x M table is made; in every band the signs of the weakest coefficients are also tried turned (multi-probe, Lv et al.
2007). A candidate counts once the local detail of both correlates at half size in one of some slightly cropped windows,
and then at full size in the same window.

Shape legend: N images of the tested set, M images of the set learned from, O = 8 orientations, S sides of thumbnails,
K low coefficients, B those of a band, P probed ones, Q looked-up thumbnails, C candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from medvlp.errors import DataError

SIDE = 64
MIN_SIMILARITY = 0.7  # see docs/leaks.md for what it finds and flags on real sets
_LOW = 8
_POOL, _BITS, _BANDS, _PROBED = 35, 18, 32, 3  # bands of 18 of the 35 lowest coefficients, 8 probes each
_MAX_FLIPPED, _MIN_LOW_COSINE = 13, 0.75  # what nearly all 5 % crops stay within
_MIN_COARSE = 0.65  # correlation of detail at half size
_PLAIN = 2.0  # grey levels; below this spread there is nothing to recognise
_CROP = 0.95
_QUERIES, _CONFIRMED, _AT_ONCE = 1000, 256, 2_000_000  # images, confirmed candidates and looked-up pairs at once
_POPCOUNT = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True)
class Prints:
    """What is kept of N images: keys, sha256 of size and RGB pixels, uint8 thumbnails (N, 64, 64)."""

    keys: tuple[str, ...]
    digests: tuple[str, ...]
    small_NSS: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Match:
    """The image of the other set that one tested image resembles most; ``similarity`` is 1 for equal pixels."""

    key: str
    other: str
    similarity: float


def take_prints(images: Iterable[tuple[str, Image.Image]]) -> Prints:
    """Fingerprint images one after the other.

    Args:
        images: Key and image; the image is not kept.

    Raises:
        DataError: If a key occurs twice.
    """
    digests: dict[str, str] = {}
    small = []
    for key, image in images:
        if key in digests:
            raise DataError("the key occurs twice", item=key, remedy="give every image its own key")
        rgb = image.convert("RGB")
        digests[key] = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()
        small.append(np.asarray(rgb.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)))
    small_NSS = np.stack(small) if small else np.zeros((0, SIDE, SIDE), np.uint8)
    return Prints(tuple(digests), tuple(digests.values()), small_NSS)


def equal_images(tested: Prints, learned: Prints) -> list[Match]:
    """Return the tested images whose decoded pixels are all equal to those of a learned image."""
    first: dict[str, str] = {}
    for key, digest in zip(learned.keys, learned.digests, strict=True):
        first.setdefault(digest, key)
    pairs = zip(tested.keys, tested.digests, strict=True)
    return [Match(key, first[digest], 1.0) for key, digest in pairs if digest in first]


def near_images(tested: Prints, learned: Prints, min_similarity: float = MIN_SIMILARITY) -> list[Match]:
    """Return every tested image that is a near copy of a learned one in any of the 8 orientations, with its best match.

    Args:
        tested: N images.
        learned: M images.
        min_similarity: Smallest correlation of local detail, in (0, 1].

    Raises:
        DataError: If ``min_similarity`` is outside (0, 1].
    """
    if not 0 < min_similarity <= 1:
        raise DataError("is not in (0, 1]", item=f"min_similarity {min_similarity}", remedy="0.7 is the default")
    low_MK = _low(_with_middle(_half(learned.small_NSS)))
    tables = _Tables(low_MK)
    found = []
    for begin in range(0, len(tested), _QUERIES):
        keys = tested.keys[begin : begin + _QUERIES]
        turned_QSS = _orientations(tested.small_NSS[begin : begin + _QUERIES]).reshape(-1, SIDE, SIDE)
        query_C, other_C = _candidates(turned_QSS, low_MK, tables)
        similarity_C = np.zeros(len(query_C))
        for start in range(0, len(query_C), _CONFIRMED):
            part = slice(start, start + _CONFIRMED)
            similarity_C[part] = _similarity(turned_QSS[query_C[part]], learned.small_NSS[other_C[part]])
        image_C = query_C % len(keys)
        order_C = np.lexsort((other_C, -similarity_C, image_C))
        _, first = np.unique(image_C[order_C], return_index=True)
        found += [
            Match(keys[image_C[c]], learned.keys[other_C[c]], float(min(similarity_C[c], 1.0)))
            for c in order_C[first]
            if similarity_C[c] >= min_similarity
        ]
    return found


def _candidates(
    turned_QSS: NDArray[np.uint8], low_MK: NDArray[np.float32], tables: _Tables
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Turned and learned rows (C,) that may be copies; whole images and their middles are looked up."""
    low_QK = _low(_with_middle(_half(turned_QSS)))
    query_C, other_C = tables.candidates(low_QK)
    close = np.concatenate(
        [
            np.einsum("ck,ck->c", low_QK[query_C[part]], low_MK[other_C[part]]) >= _MIN_LOW_COSINE
            for part in (slice(begin, begin + _AT_ONCE) for begin in range(0, max(1, len(query_C)), _AT_ONCE))
        ]
    )
    total = max(1, len(low_MK) // 2)
    pair_C = np.unique(query_C[close] % len(turned_QSS) * total + other_C[close] % total)
    return pair_C // total, pair_C % total


class _Tables:
    """Sign patterns of the learned images, sorted per band; an image without detail is in none."""

    def __init__(self, low_MK: NDArray[np.float32]) -> None:
        row, column = np.divmod(np.arange(1, _LOW * _LOW), _LOW)
        self.pool = np.argsort(row + column, kind="stable")[:_POOL]
        rng = np.random.default_rng(0)
        self.bands = [rng.choice(self.pool, _BITS, replace=False) for _ in range(_BANDS)]
        self.code_M = _packed(low_MK[:, self.pool] > 0)
        rows = np.flatnonzero(low_MK.any(1))
        self.tables = []
        for band in self.bands:
            value = _band_value(low_MK[rows][:, band] > 0)
            order = np.argsort(value, kind="stable")
            self.tables.append((value[order], rows[order]))

    def candidates(self, low_QK: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Query and learned rows (C,) that share a band and differ in few signs, each pair once."""
        code_Q, known = _packed(low_QK[:, self.pool] > 0), np.flatnonzero(low_QK.any(1))
        total = max(1, len(self.code_M))
        kept = [np.zeros(0, np.int64)]
        for band, (value_M, row_M) in zip(self.bands, self.tables, strict=True):
            for value in _probes(low_QK[known][:, band]):
                begin, end = np.searchsorted(value_M, value), np.searchsorted(value_M, value, side="right")
                for query, place in _expanded(known, begin, end):
                    other = row_M[place]
                    flipped = _POPCOUNT[(code_Q[query] ^ self.code_M[other]).view(np.uint16).reshape(-1, 4)].sum(1)
                    near = flipped <= _MAX_FLIPPED
                    kept.append(query[near] * total + other[near])
        pair_C = np.unique(np.concatenate(kept))
        return pair_C // total, pair_C % total


def _probes(low_QB: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Values (Q,) of a band: its own, and those with the weakest coefficients' signs turned."""
    value_Q = _band_value(low_QB > 0)
    weakest_QP = np.argsort(np.abs(low_QB), axis=1, kind="stable")[:, :_PROBED]
    flip_QP = np.int64(1) << weakest_QP.astype(np.int64)
    probes = [value_Q]
    for p in range(flip_QP.shape[1]):
        probes += [value ^ flip_QP[:, p] for value in probes]
    return probes


def _expanded(
    query_Q: NDArray[np.int64], begin_Q: NDArray[np.int64], end_Q: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Turn a range of places per query into pairs, at most about :data:`_AT_ONCE` of them at once."""
    size_Q = end_Q - begin_Q
    share_Q = np.cumsum(size_Q) // _AT_ONCE
    for part in np.unique(share_Q):
        rows = np.flatnonzero(share_Q == part)
        size = size_Q[rows]
        start = np.repeat(begin_Q[rows] - np.concatenate([[0], np.cumsum(size)[:-1]]), size)
        yield np.repeat(query_Q[rows], size), start + np.arange(int(size.sum()))


def _band_value(bit_NB: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.asarray(bit_NB.astype(np.int64) @ (1 << np.arange(bit_NB.shape[1], dtype=np.int64)), dtype=np.int64)


def _packed(bit_NK: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Up to 64 bits per row as one number (N,)."""
    padded = np.zeros((len(bit_NK), 64), bool)
    padded[:, : bit_NK.shape[1]] = bit_NK
    return np.packbits(padded, axis=1).view(np.uint64).reshape(-1)


def _half(small_NSS: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels (N, S / 2, S / 2)."""
    rows = small_NSS[:, ::2].astype(np.float32) + small_NSS[:, 1::2]
    return np.asarray((rows[:, :, ::2] + rows[:, :, 1::2]) / 4, dtype=np.float32)


def _with_middle(half_NSS: NDArray[np.float32]) -> NDArray[np.float32]:
    """The images, then their middles at full size (2 N, S, S): a crop lies nearer to one of the two."""
    middle = _window(SIDE // 2, _CROP, 0.5)
    return np.concatenate([half_NSS, middle @ half_NSS @ middle.T])


def _orientations(small_NSS: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image, its mirror images and turns (8, N, S, S)."""
    straight = [small_NSS, small_NSS[:, ::-1], small_NSS[:, :, ::-1], small_NSS[:, ::-1, ::-1]]
    return np.stack(straight + [values.swapaxes(1, 2) for values in straight])


def _low(half_NSS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit-length lowest cosine coefficients without the mean (N, 63); zeros for an image without detail."""
    coefficient = dctn(half_NSS, axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW]
    low_NK = coefficient.reshape(len(half_NSS), _LOW * _LOW)[:, 1:]
    length = np.linalg.norm(low_NK, axis=1, keepdims=True)
    plain = half_NSS.std((1, 2))[:, None] < _PLAIN
    return np.where(plain, 0, low_NK / np.maximum(length, 1e-6)).astype(np.float32)


def _detail(values_NSS: NDArray[np.float32], fine: float, coarse: float) -> NDArray[np.float32]:
    """Detail between two widths with its local contrast evened out: no strong edge (a lens) decides alone."""
    detail = gaussian_filter(values_NSS, (0, fine, fine)) - gaussian_filter(values_NSS, (0, coarse, coarse))
    contrast = np.sqrt(gaussian_filter(detail * detail, (0, coarse, coarse)))
    return np.asarray(detail / (contrast + 2.0), dtype=np.float32)


def _window(side: int, scale: float, offset: float) -> NDArray[np.float32]:
    """Matrix (S, S) that stretches one cropped side of a thumbnail back to full length, linearly."""
    matrix = np.zeros((side, side), np.float32)
    for i in range(side):
        place = (i + 0.5) * scale + offset * (1 - scale) * side - 0.5
        left = int(np.floor(place))
        matrix[i, np.clip(left, 0, side - 1)] += 1 - (place - left)
        matrix[i, np.clip(left + 1, 0, side - 1)] += place - left
    return matrix


_OFFSETS = (0.0, 0.25, 0.5, 0.75, 1.0)
_PLACES = [(1.0, 0.0, 0.0), *((_CROP, y, x) for y in _OFFSETS for x in _OFFSETS)]
_COARSE, _FINE = (
    [(_window(side, scale, y), _window(side, scale, x)) for scale, y, x in _PLACES] for side in (SIDE // 2, SIDE)
)


def _similarity(first_CSS: NDArray[np.uint8], second_CSS: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Correlation (C,) of detail in the window, of either image, that fits best at half size; 0 if none fits there."""
    first, second = (_detail(_half(values), 0.5, 2.0) for values in (first_CSS, second_CSS))
    fit_WC = np.stack(
        [_correlation(down @ first @ across.T, second) for down, across in _COARSE]
        + [_correlation(first, down @ second @ across.T) for down, across in _COARSE]
    )
    best_C, similarity_C = fit_WC.argmax(0), np.zeros(len(first))
    fits = np.flatnonzero(fit_WC.max(0) >= _MIN_COARSE)
    first, second = (_detail(values[fits].astype(np.float32), 0.7, 2.5) for values in (first_CSS, second_CSS))
    for place, c in enumerate(fits):
        down, across = _FINE[best_C[c] % len(_FINE)]
        one, two = first[place], second[place]
        one, two = (down @ one @ across.T, two) if best_C[c] < len(_FINE) else (one, down @ two @ across.T)
        similarity_C[c] = _correlation(one[None], two[None])[0]
    return similarity_C


def _correlation(first_CSS: NDArray[np.float32], second_CSS: NDArray[np.float32]) -> NDArray[np.float64]:
    first = first_CSS - first_CSS.mean((1, 2), keepdims=True)
    second = second_CSS - second_CSS.mean((1, 2), keepdims=True)
    power = np.einsum("cij,cij->c", first, first) * np.einsum("cij,cij->c", second, second)
    return np.asarray(np.einsum("cij,cij->c", first, second) / np.sqrt(np.maximum(power, 1e-6)), dtype=np.float64)

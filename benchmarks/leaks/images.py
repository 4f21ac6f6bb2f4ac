"""Images that two sets share, also turned, mirrored, re-encoded, brightened or cropped by about 5 %.

An image is kept as a 32 x 32 grey thumbnail and a digest of its pixels. Candidates come from sign bits of its lowest
cosine coefficients, looked up in bands (locality-sensitive hashing, Indyk and Motwani 1998), so no N x M table is made.
In every band the signs of the weakest coefficients are also tried turned (multi-probe, Lv et al. 2007). A candidate
counts once the local detail of both thumbnails correlates after trying slightly cropped windows.

Shape legend: N images of the tested set, M images of the set learned from, O = 8 orientations, S thumbnail side,
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

SIDE = 32
MIN_SIMILARITY = 0.7  # see docs/leaks.md for what it finds and flags on real sets
_LOW = 8
_POOL, _BITS, _BANDS, _PROBED = 35, 18, 32, 3  # bands of 18 of the 35 lowest coefficients, 8 probes each
_MAX_FLIPPED, _MIN_LOW_COSINE = 13, 0.75  # what nearly all 5 % crops stay within
_PLAIN = 2.0  # grey levels; below this spread there is nothing to recognise
_CROP = 0.95
_QUERIES, _CONFIRMED = 1000, 256  # images at once, candidates at once
_POPCOUNT = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True)
class Prints:
    """What is kept of N images: keys, sha256 of size and RGB pixels, uint8 thumbnails (N, 32, 32)."""

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
    low_MK, detail_MSS = _low(_with_middle(learned.small_NSS)), _detail(learned.small_NSS)
    tables = _Tables(low_MK)
    found = []
    for begin in range(0, len(tested), _QUERIES):
        turned_ONSS = _orientations(tested.small_NSS[begin : begin + _QUERIES])
        keys = tested.keys[begin : begin + _QUERIES]
        found += _block(keys, turned_ONSS, learned.keys, low_MK, detail_MSS, tables, min_similarity)
    return found


def _block(
    keys: tuple[str, ...],
    turned_ONSS: NDArray,
    others: tuple[str, ...],
    low_MK: NDArray,
    detail_MSS: NDArray,
    tables: _Tables,
    min_similarity: float,
) -> list[Match]:
    """Matches of one block of tested images, all orientations; whole images and their middles are looked up."""
    num, turned_QSS = turned_ONSS.shape[1], turned_ONSS.reshape(-1, SIDE, SIDE)
    low_QK = _low(_with_middle(turned_QSS))
    query_C, other_C = tables.candidates(low_QK)
    close = np.einsum("ck,ck->c", low_QK[query_C], low_MK[other_C]) >= _MIN_LOW_COSINE
    total = len(detail_MSS)
    pair_C = np.unique(query_C[close] % len(turned_QSS) * max(1, total) + other_C[close] % max(1, total))
    query_C, other_C = pair_C // max(1, total), pair_C % max(1, total)
    needed_Q, place_C = np.unique(query_C, return_inverse=True)
    detail_QSS = _detail(turned_QSS[needed_Q])
    similarity_C = np.zeros(len(query_C))
    for begin in range(0, len(query_C), _CONFIRMED):
        part = slice(begin, begin + _CONFIRMED)
        similarity_C[part] = _aligned(detail_QSS[place_C[part]], detail_MSS[other_C[part]])
    image_C = query_C % num
    order_C = np.lexsort((other_C, -similarity_C, image_C))
    _, first = np.unique(image_C[order_C], return_index=True)
    best = order_C[first]
    return [
        Match(keys[image_C[c]], others[other_C[c]], float(min(similarity_C[c], 1.0)))
        for c in best
        if similarity_C[c] >= min_similarity
    ]


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
    query_Q: NDArray[np.int64], begin_Q: NDArray[np.int64], end_Q: NDArray[np.int64], most: int = 4_000_000
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Turn a range of places per query into pairs, at most about ``most`` of them at once."""
    size_Q = end_Q - begin_Q
    share_Q = np.cumsum(size_Q) // most
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


def _with_middle(small_NSS: NDArray) -> NDArray[np.float32]:
    """The thumbnails, then their middles at full size (2 N, S, S): a crop lies nearer to one of the two."""
    whole_NSS = small_NSS.astype(np.float32)
    middle = _window(_CROP, 0.5)
    return np.concatenate([whole_NSS, middle @ whole_NSS @ middle.T])


def _orientations(small_NSS: NDArray) -> NDArray:
    """The image, its mirror images and turns (8, N, S, S)."""
    straight = [small_NSS, small_NSS[:, ::-1], small_NSS[:, :, ::-1], small_NSS[:, ::-1, ::-1]]
    return np.stack(straight + [values.swapaxes(1, 2) for values in straight])


def _low(small_NSS: NDArray) -> NDArray[np.float32]:
    """Unit-length lowest cosine coefficients without the mean (N, 63); zeros for an image without detail."""
    coefficient = dctn(small_NSS.astype(np.float32), axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW]
    low_NK = coefficient.reshape(len(small_NSS), _LOW * _LOW)[:, 1:]
    length = np.linalg.norm(low_NK, axis=1, keepdims=True)
    plain = small_NSS.reshape(len(small_NSS), SIDE * SIDE).std(1, keepdims=True) < _PLAIN
    return np.where(plain, 0, low_NK / np.maximum(length, 1e-6)).astype(np.float32)


def _detail(small_NSS: NDArray) -> NDArray[np.float32]:
    """Local detail with its local contrast evened out, so that one strong edge (a lens, a ruler) does not decide."""
    values = small_NSS.astype(np.float32)
    fine = gaussian_filter(values, (0, 0.5, 0.5)) - gaussian_filter(values, (0, 2, 2))
    contrast = np.sqrt(gaussian_filter(fine * fine, (0, 2, 2)))
    return np.asarray(fine / (contrast + 2.0), dtype=np.float32)


def _window(scale: float, offset: float) -> NDArray[np.float32]:
    """Matrix (S, S) that stretches one cropped side of a thumbnail back to full length, linearly."""
    matrix = np.zeros((SIDE, SIDE), np.float32)
    for i in range(SIDE):
        place = (i + 0.5) * scale + offset * (1 - scale) * SIDE - 0.5
        left = int(np.floor(place))
        matrix[i, np.clip(left, 0, SIDE - 1)] += 1 - (place - left)
        matrix[i, np.clip(left + 1, 0, SIDE - 1)] += place - left
    return matrix


_OFFSETS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WINDOWS = [(_window(1, 0), _window(1, 0))] + [
    (_window(_CROP, y), _window(_CROP, x)) for y in _OFFSETS for x in _OFFSETS
]


def _aligned(first_CSS: NDArray[np.float32], second_CSS: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest correlation (C,) over windows of either side."""
    best_C = np.full(len(first_CSS), -1.0)
    for down, across in _WINDOWS:
        best_C = np.maximum(best_C, _correlation(down @ first_CSS @ across.T, second_CSS))
        best_C = np.maximum(best_C, _correlation(first_CSS, down @ second_CSS @ across.T))
    return best_C


def _correlation(first_CSS: NDArray[np.float32], second_CSS: NDArray[np.float32]) -> NDArray[np.float64]:
    first = first_CSS - first_CSS.mean((1, 2), keepdims=True)
    second = second_CSS - second_CSS.mean((1, 2), keepdims=True)
    power = np.einsum("cij,cij->c", first, first) * np.einsum("cij,cij->c", second, second)
    return np.asarray(np.einsum("cij,cij->c", first, second) / np.sqrt(np.maximum(power, 1e-6)), dtype=np.float64)

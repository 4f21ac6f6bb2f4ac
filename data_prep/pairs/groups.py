"""Semantic groups: images that show or say the same, found without an N x N matrix in memory.

After KEEP (stage 2): near-identical images at cosine 0.95, captions with token-set intersection over union above 0.9,
and the linked concept or class. Shape legend: N images, D embedding size, E edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_SIDE = 32
_WORD = re.compile(r"\w+")
BLOCK = 1024


def fingerprint(image: Image.Image) -> np.ndarray:
    """Embed an image so that only near-identical images have a high cosine.

    The detail left when a blurred copy is taken from a 32 x 32 grey thumbnail, zero mean, unit length: unmoved by
    brightness, contrast and recompression. It does not recognise turned or shifted copies.

    Returns:
        float32 (1024,); zeros for an image without detail, which resembles nothing.
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    blurred = small.resize((_SIDE // 4, _SIDE // 4), Image.Resampling.BOX).resize((_SIDE, _SIDE))
    detail = np.asarray(small, dtype=np.float32) - np.asarray(blurred, dtype=np.float32)
    detail = (detail - detail.mean()).ravel()
    length = float(np.linalg.norm(detail))
    return detail / length if length > _SIDE else np.zeros_like(detail)


def near_duplicate_images(embedding_ND: np.ndarray, cosine: float = 0.95, block: int = BLOCK) -> np.ndarray:
    """Cluster images connected by pairs of at least the given cosine.

    Args:
        embedding_ND: Unit-length (or zero) rows of any image encoder; :func:`fingerprint` where there is none.
        cosine: Smallest cosine of a pair.
        block: Rows compared at once; memory is block squared.

    Returns:
        Cluster number of every image, int64 (N,), numbered by first member.
    """

    def edges() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for i in range(0, len(embedding_ND), block):
            rows_BD = embedding_ND[i : i + block].astype(np.float32)
            for j in range(i, len(embedding_ND), block):
                similarity = rows_BD @ embedding_ND[j : j + block].astype(np.float32).T
                head, tail = np.nonzero(similarity >= cosine)
                yield head + i, tail + j

    return _components(len(embedding_ND), edges())


def near_duplicate_texts(texts: Sequence[str], iou: float = 0.9, block: int = BLOCK) -> np.ndarray:
    """Cluster texts connected by pairs whose token sets have an intersection over union above ``iou``.

    Args:
        texts: One text per image; an empty one (or one without a word) resembles nothing.
        iou: Bound that a pair must exceed.
        block: Different token sets compared at once.

    Returns:
        Cluster number of every text, int64 (N,), numbered by first member.
    """
    sets: dict[frozenset[str], int] = {}
    owner_N = np.empty(len(texts), dtype=np.int64)
    for index, text in enumerate(texts):
        words = frozenset(_WORD.findall(text.casefold()))
        owner_N[index] = sets.setdefault(words if words else frozenset({f"\0{index}"}), len(sets))
    vocabulary: dict[str, int] = {}
    columns = [sorted(vocabulary.setdefault(word, len(vocabulary)) for word in sorted(words)) for words in sets]
    size_U = np.array([len(column) for column in columns], dtype=np.int64)
    bag = sparse.csr_matrix(
        (
            np.ones(int(size_U.sum()), dtype=np.int32),
            np.concatenate([np.asarray(column, dtype=np.int64) for column in columns]) if columns else [],
            np.concatenate([[0], np.cumsum(size_U)]),
        ),
        shape=(len(sets), max(1, len(vocabulary))),
    )
    transposed = bag.T.tocsc()

    def edges() -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for i in range(0, len(sets), block):
            shared = (bag[i : i + block] @ transposed).tocoo()
            head, tail = shared.row.astype(np.int64) + i, shared.col.astype(np.int64)
            near = shared.data > iou * (size_U[head] + size_U[tail] - shared.data)
            yield head[near], tail[near]

    return renumber(_components(len(sets), edges())[owner_N])


def same_key(keys: Sequence[str | None]) -> np.ndarray:
    """Cluster equal keys; None resembles nothing. Returns int64 (N,)."""
    seen: dict[object, int] = {}
    return np.array(
        [seen.setdefault(("none", i) if key is None else key, len(seen)) for i, key in enumerate(keys)], dtype=np.int64
    )


def join(*clusterings: np.ndarray) -> np.ndarray:
    """Join images that any of the clusterings puts together. Returns int64 (N,), numbered by first member."""
    size = len(clusterings[0])
    rows = np.arange(size)
    links = []
    for cluster_N in clusterings:
        first = np.full(int(cluster_N.max(initial=-1)) + 1, size, dtype=np.int64)
        np.minimum.at(first, cluster_N, rows)
        links.append((rows, first[cluster_N]))
    return _components(size, links)


def renumber(cluster_N: np.ndarray) -> np.ndarray:
    """Number clusters 0, 1, ... in the order of their first members."""
    _, first, inverse = np.unique(cluster_N, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first, kind="stable")] = np.arange(len(first))
    return place[inverse.reshape(-1)]


def _components(size: int, edges: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Connected components, merged edge block by edge block so that the edges are never all in memory."""
    label_N = np.arange(size, dtype=np.int64)
    for head, tail in edges:
        a, b = label_N[head], label_N[tail]
        if np.array_equal(a, b):
            continue
        graph = sparse.coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(size, size))
        label_N = connected_components(graph, directed=False)[1].astype(np.int64)[label_N]
    return renumber(label_N) if size > 0 else label_N

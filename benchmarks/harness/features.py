"""Image embeddings of a split, kept on disk, so that the protocols of one set embed each image once.

Shape legend: N rows asked for, R rows in the file, D embedding size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from benchmarks.harness.subjects import Floats, Subject
from medvlp.errors import CheckpointError
from medvlp.io import full_disk_told, sha256_json, write_bytes
from medvlp.zeroshot.classifier import embed_images, unit_vectors

FORMAT = "medvlp-image-vectors-1"
_DIGEST = 32


def features(subject: Subject, split: Any, rows: Sequence[int] | None = None, cache: Path | None = None) -> Floats:
    """Embed rows of a split in order (N, D), unit length, each value rounded to float32 first.

    The file's name covers everything that decides the model's numbers and the split's keys, and each row in it the
    image's own bytes, so nothing stale is ever read; rows that are not in it are embedded and added. A batch of other
    images may move the last bit of a row. Nothing is kept for stored embeddings, for objects whose weights or
    preprocessing cannot be known, and for splits without ``image_bytes``.

    Args:
        subject: Who embeds.
        split: A split of a pairs store.
        rows: Rows of the split; all by default.
        cache: Folder of the files; None keeps nothing.

    Raises:
        CheckpointError: If a file of the cache was altered.
        DataError: If the subject encodes no images, or does not return one finite vector per image.
    """
    rows = list(range(len(split)) if rows is None else rows)
    identity = subject.identity
    if cache is None or identity is None or subject.encode_keys is not None or not hasattr(split, "image_bytes"):
        return _widened(_embed(subject, split, rows), split.name)
    key = sha256_json({"format": FORMAT, "model": identity, "split": split.name, "keys": list(split.keys)})
    path = cache / f"{split.name}-{key[:20]}.safetensors"
    known = _read(path, key)
    digests = {row: hashlib.sha256(split.image_bytes(row)).digest() for row in dict.fromkeys(rows)}
    missing = [row for row, digest in digests.items() if row not in known or known[row][0] != digest]
    if missing:
        found = _embed(subject, split, missing)
        known |= {row: (digests[row], vector) for row, vector in zip(missing, found, strict=True)}
        _write(path, key, known)
    width = len(next(iter(known.values()))[1]) if known else 1
    return _widened(np.stack([known[row][1] for row in rows]) if rows else np.zeros((0, width)), split.name)


def _embed(subject: Subject, split: Any, rows: Sequence[int]) -> NDArray[np.float32]:
    subject.require("image")
    return embed_images(subject.model, split, subject.entry.batch_size, rows=rows).astype(np.float32)


def _widened(vector_ND: NDArray[Any], name: str) -> Floats:
    wide_ND = vector_ND.astype(np.float64)
    return unit_vectors(wide_ND, f"images of {name}") if len(wide_ND) else wide_ND


def _read(path: Path, key: str) -> dict[int, tuple[bytes, NDArray[np.float32]]]:
    if not path.is_file():
        return {}
    remedy = "remove it, and it is made again"
    try:
        with safe_open(path, framework="numpy") as file:
            said = file.metadata() or {}
            row_R, digest_R, vector_RD = (file.get_tensor(name) for name in ("rows", "images", "vectors"))
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"is damaged ({type(error).__name__})", item=path, remedy=remedy) from None
    if said.get("key") != key or said.get("sha256") != _sum(row_R, digest_R, vector_RD):
        raise CheckpointError("was altered", item=path, remedy=remedy)
    return {int(row): (digest_R[i].tobytes(), vector_RD[i]) for i, row in enumerate(row_R)}


def _write(path: Path, key: str, known: dict[int, tuple[bytes, NDArray[np.float32]]]) -> None:
    order = sorted(known)
    tensors: dict[str, NDArray[Any]] = {
        "rows": np.array(order, dtype=np.int64),
        "images": np.frombuffer(b"".join(known[row][0] for row in order), dtype=np.uint8).reshape(-1, _DIGEST),
        "vectors": np.stack([known[row][1] for row in order]),
    }
    with full_disk_told(path, CheckpointError):
        write_bytes(path, save(tensors, {"key": key, "sha256": _sum(*tensors.values())}))


def _sum(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

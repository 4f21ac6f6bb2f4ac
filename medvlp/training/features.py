"""Cached-feature mode: a frozen image tower sees each image once, and training reads its outputs from disk.

Shape legend: N images, B images of a batch, I image tower width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medvlp.errors import CheckpointError
from medvlp.io import MANIFEST, atomic_folder, sha256_json, verify_manifest, write_manifest

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsSplit
    from medvlp.model import DualEncoder

FORMAT, TOKENS_FORMAT = "medvlp-features-1", "medvlp-tokens-1"
_FILE = "features.npy"


def tower_digest(module: nn.Module) -> str:
    """Return a sha256 over the names, shapes and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cached_features(
    model: DualEncoder, split: PairsSplit, data_digest: str, folder: Path, device: torch.device, batch_size: int = 64
) -> NDArray[np.float32]:
    """Return the image tower's outputs (N, I) of a split, memory-mapped; computed on the first call.

    The key covers the data, the split, the tower's weights and the preprocessing, so no stale cache is ever read.

    Args:
        model: The model whose image tower is frozen.
        split: Images in row order.
        data_digest: Digest of the pairs store.
        folder: Cache folder; runs over the same data share it.
        device: Where to compute.
        batch_size: Images per forward pass.

    Raises:
        CheckpointError: If a cache file was altered.
    """

    def work(file: Path) -> None:
        np.save(file, embed(model, split, device, batch_size), allow_pickle=False)

    return _cached(model, split, data_digest, folder, FORMAT, work)


def cached_tokens(
    model: DualEncoder, split: PairsSplit, data_digest: str, folder: Path, device: torch.device, batch_size: int = 64
) -> NDArray[np.float32]:
    """Return the image tower's outputs by place (N, places, I) of a split, memory-mapped; computed on the first call.

    Arguments and errors as for :func:`cached_features`.
    """

    def work(file: Path) -> None:
        out: Any = None
        with torch.no_grad():
            for start in range(0, len(split), batch_size):
                rows = range(start, min(start + batch_size, len(split)))
                images_BCHW = torch.stack([model.preprocess(split[row].image) for row in rows]).to(device)
                tokens_BNI = model.image_tokens(images_BCHW)[1].float().cpu().numpy()
                if out is None:
                    shape = (len(split), *tokens_BNI.shape[1:])
                    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
                out[rows.start : rows.stop] = tokens_BNI
        out.flush()

    training = model.image.training
    model.image.to(device).eval()
    found = _cached(model, split, data_digest, folder, TOKENS_FORMAT, work)
    model.image.train(training)
    return found


def _cached(
    model: DualEncoder, split: PairsSplit, data_digest: str, folder: Path, form: str, work: Callable[[Path], None]
) -> NDArray[np.float32]:
    key = {
        "format": form,
        "data": data_digest,
        "split": split.name,
        "tower": tower_digest(model.image),
        "preprocess": model.preprocess.to_json(),
    }
    target = folder / f"{split.name}-{sha256_json(key)[:20]}"
    if not (target / MANIFEST).is_file():
        with atomic_folder(target, replace=True, own=True) as partial:
            work(partial / _FILE)
            write_manifest(partial, {**key, "num_rows": len(split)})
    manifest = verify_manifest(target, CheckpointError)
    features: NDArray[np.float32] = np.load(target / _FILE, mmap_mode="r", allow_pickle=False)
    if len(features) != len(split) or {name: manifest.get(name) for name in key} != key:
        raise CheckpointError("does not belong to this data and tower", item=target, remedy="remove the folder")
    return features


def embed(
    model: DualEncoder, split: PairsSplit, device: torch.device, batch_size: int = 64, rows: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Run the image tower, in eval mode and without gradient, over rows of a split in order; (N, I) float32."""
    from rich.console import Console
    from rich.progress import track

    rows = range(len(split)) if rows is None else rows
    tower, console = model.image.to(device), Console(stderr=True)
    training = tower.training
    tower.eval()
    starts: Any = range(0, len(rows), batch_size)
    parts = []
    with torch.no_grad():
        for start in track(
            starts, f"embedding {split.name}", console=console, transient=True, disable=not console.is_terminal
        ):
            images = [model.preprocess(split[row].image) for row in rows[start : start + batch_size]]
            parts.append(model.image_features(torch.stack(images).to(device)).float().cpu().numpy())
    tower.train(training)
    return np.concatenate(parts) if parts else np.zeros((0, model.image.width), dtype=np.float32)

"""Tile features written in TRIDENT's layout, with this library's facts beside: whole or not at all, byte for byte.

Two writes of the same values give the same bytes: no times, a fixed version of the format, attributes in order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.io import full_disk_told, require, write_bytes
from medvlp.slides.types import SlideFeatures

_CHUNK_BYTES = 1 << 20
_MAGNIFICATIONS = (80, 60, 40, 20, 10, 5, 2.5, 1.25)
_MPP_AT_1X = 10.0


def nominal_magnification(mpp: float) -> float:
    """Return the objective power whose usual micrometres per pixel (10 / power) is nearest by ratio to ``mpp``."""
    return min(_MAGNIFICATIONS, key=lambda power: abs(np.log(power * mpp / _MPP_AT_1X)))


def write_features(
    path: str | Path,
    features: SlideFeatures,
    *,
    tissue: NDArray[np.float32] | None = None,
    tile_size: int | None = None,
    encoder_digest: str | None = None,
    grid_digest: str | None = None,
) -> Path:
    """Write the tile features of one slide.

    ``features`` (N, D) float32 and ``coords`` (N, X) int64 with TRIDENT's attributes; beside them on ``coords``
    ``mpp``, ``level0_mpp``, ``step_level0`` and ``grid_digest``, on ``features`` ``projected``, ``normalised``,
    ``encoder_digest`` and ``medvlp_version``, and ``tissue`` (N,) if given. Facts that are None are left out.

    Args:
        path: The file, replaced if it exists.
        features: At least one tile, with coordinates.
        tissue: Share of each tile that is tissue, (N,).
        tile_size: Side of a tile as the encoder saw it, pixels; by default from the micrometres per pixel.
        encoder_digest: What identifies the encoder's weights and preprocessing.
        grid_digest: What identifies the settings of tissue and grid.

    Raises:
        DataError: Without tiles or coordinates, if shapes differ, or if the disk is full (nothing is left then).
        MissingExtraError: Without h5py.
    """
    path = Path(path)
    data = encoded(features, path.name, tissue, tile_size, encoder_digest, grid_digest)
    with full_disk_told(path):
        write_bytes(path, data)
    return path


def encoded(
    features: SlideFeatures,
    name: str,
    tissue: NDArray[np.float32] | None = None,
    tile_size: int | None = None,
    encoder_digest: str | None = None,
    grid_digest: str | None = None,
) -> bytes:
    """Return the bytes of the file that :func:`write_features` writes."""
    import medvlp

    h5py: Any = require("h5py", "slides")
    tiles = len(features)
    if tiles == 0 or features.coords_NX is None or len(features.coords_NX) != tiles:
        raise DataError("features need at least one tile and a coordinate for each", item=name)
    if tissue is not None and tissue.shape != (tiles,):
        raise DataError(f"tissue shares of shape {tissue.shape}, expected ({tiles},)", item=name)
    values_ND = features.features_ND.detach().to("cpu", torch.float32).contiguous().numpy()
    coords_NX = features.coords_NX.to("cpu", torch.int64).contiguous().numpy()
    rows = max(1, min(tiles, _CHUNK_BYTES // (4 * values_ND.shape[1])))
    about_features = {
        "name": features.key,
        "savetodir": name,
        "encoder": features.encoder,
        "projected": features.projected,
        "normalised": features.normalised,
        "encoder_digest": encoder_digest,
        "medvlp_version": medvlp.__version__,
    }
    # In memory first: HDF5 cannot be trusted to report a full disk, and leaves half a file behind.
    with h5py.File(name, "w", driver="core", backing_store=False, libver=("v108", "v108")) as file:
        options: dict[str, Any] = {"track_times": False}
        stored = file.create_dataset("features", data=values_ND, chunks=(rows, values_ND.shape[1]), **options)
        _describe(stored, about_features)
        _describe(
            file.create_dataset("coords", data=coords_NX, **options),
            _about_coords(features, name, tile_size, grid_digest),
        )
        if tissue is not None:
            file.create_dataset("tissue", data=tissue.astype(np.float32), **options)
        file.flush()
        return bytes(file.id.get_file_image())


def _about_coords(features: SlideFeatures, name: str, tile_size: int | None, grid_digest: str | None) -> dict[str, Any]:
    """TRIDENT's attributes of the coordinates, then ours; the overlap is in pixels of the tile."""
    level0, step, mpp = features.patch_size_level0, features.step_level0, features.mpp
    if tile_size is None and None not in (level0, mpp, features.level0_mpp):
        tile_size = round(int(level0 or 0) * float(features.level0_mpp or 0) / float(mpp or 1))
    overlap = None
    if level0 is not None and step is not None and tile_size is not None:
        overlap = round((level0 - step) * tile_size / level0)
    width, height = features.slide_size if features.slide_size is not None else (None, None)
    powers = [None if value is None else nominal_magnification(value) for value in (features.level0_mpp, mpp)]
    return {
        "patch_size": tile_size,
        "patch_size_level0": level0,
        "level0_magnification": powers[0],
        "target_magnification": powers[1],
        "overlap": overlap,
        "name": features.key,
        "savetodir": name,
        "level0_width": width,
        "level0_height": height,
        "mpp": mpp,
        "level0_mpp": features.level0_mpp,
        "step_level0": step,
        "grid_digest": grid_digest,
    }


def _describe(dataset: Any, about: dict[str, Any]) -> None:
    for key, value in about.items():
        if value is not None:
            whole = isinstance(value, float) and key.endswith("magnification") and value == int(value)
            dataset.attrs[key] = int(value) if whole else value

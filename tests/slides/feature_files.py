"""Feature files in the exact layout of each producer, all of the same ten tiles of a 40x slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

PATCH, MPP0, SIZE = 512, 0.25, (4096, 3000)
GRID = np.array([(x, y) for y in range(2) for x in range(5)], dtype=np.int64)
COORDS = GRID * PATCH
WIDTH = 8


def vectors(unit: bool = False, width: int = WIDTH) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(len(COORDS), width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True) if unit else values


def hdf5(path: Path, datasets: dict, attributes: dict | None = None, root: dict | None = None, **options) -> Path:
    import h5py

    with h5py.File(path, "w", **options) as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
        for name, about in (attributes or {}).items():
            for key, value in about.items():
                file[name].attrs[key] = value
        for key, value in (root or {}).items():
            file.attrs[key] = value
    return path


def clam(path: Path, features=None, coords=None) -> Path:
    features = vectors() if features is None else features
    return hdf5(path, {"features": features, "coords": COORDS.astype(np.int32) if coords is None else coords})


def clam_patches(
    path: Path, coords=None, downsample: float = 1.0, patch_level: int = 0, patch_size: int = PATCH
) -> Path:
    about = {
        "patch_size": patch_size,
        "patch_level": patch_level,
        "downsample": np.array([downsample, downsample]),
        "downsampled_level_dim": np.array(SIZE) // int(downsample),
        "level_dim": np.array(SIZE) // int(downsample),
        "name": "slide",
        "save_path": "somewhere",
    }
    return hdf5(path, {"coords": COORDS if coords is None else coords}, {"coords": about})


def trident_about(**changes) -> dict:
    about = {
        "patch_size": 256,
        "patch_size_level0": PATCH,
        "level0_magnification": 40,
        "target_magnification": 20,
        "overlap": 0,
        "name": "slide",
        "savetodir": "20x_256px_0px_overlap",
        "level0_width": SIZE[0],
        "level0_height": SIZE[1],
    }
    about.update(changes)
    return {key: value for key, value in about.items() if value is not None}


def trident(path: Path, features=None, coords=None, encoder: str | None = "uni_v1x", **changes) -> Path:
    import h5py

    features = vectors() if features is None else np.asarray(features)
    coords = COORDS if coords is None else coords
    with h5py.File(path, "w") as file:
        for name, values in (("features", features), ("coords", coords)):
            file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]), maxshape=(None, *values.shape[1:]))
        for key, value in trident_about(**changes).items():
            file["coords"].attrs[key] = value
        for key, value in {"name": "slide", "savetodir": "features", "encoder": encoder}.items():
            if value is not None:
                file["features"].attrs[key] = value
    return path


def stamp(path: Path, coords=None, **root) -> Path:
    about = {
        "stamp_version": "2.3.0",
        "extractor": "some-encoder",
        "unit": "um",
        "tile_size_um": PATCH * MPP0,
        "tile_size_px": 256,
        "code_hash": "0123",
        "feat_type": "tile",
        **root,
    }
    coords = (GRID * PATCH * MPP0).astype(np.float64) if coords is None else coords
    root = {key: value for key, value in about.items() if value is not None}
    return hdf5(path, {"coords": coords, "feats": vectors()}, root=root)


def plain(path: Path, value) -> Path:
    torch.save(value, path)
    return path

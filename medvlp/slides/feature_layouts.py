"""What the files of each producer hold, as they hold it: vectors, coordinates, and what the attributes say of them.

Layouts (N tiles, D width): CLAM, GigaPath, KEEP and PathPT write ``features`` (N, D) and ``coords`` (N, 2) without
attributes; TRIDENT the same with attributes; STAMP ``feats`` and ``coords`` in micrometres with attributes on the root;
CLAM, mSTAR and others also a plain PyTorch tensor.
"""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.errors import DataError
from medvlp.slides.hdf5 import HdfFile, is_hdf5, open_hdf5

PRODUCERS = ("trident", "medvlp", "clam", "gigapath", "keep", "pathpt", "stamp", "mstar", "pt")
ENCODERS = {"gigapath": "gigapath", "keep": "keep", "pathpt": None, "mstar": "mstar"}
"""Encoder whose vectors a producer's own files hold."""

_COORD_ATTRIBUTES = (
    "patch_size",
    "patch_size_level0",
    "level0_magnification",
    "target_magnification",
    "overlap",
    "level0_width",
    "level0_height",
    "mpp",
    "level0_mpp",
    "step_level0",
    "patch_level",
    "downsample",
    "level_dim",
)
_FEATURE_ATTRIBUTES = ("encoder", "projected", "normalised", "medvlp_version")
_STAMP_ATTRIBUTES = ("unit", "tile_size_um", "tile_size_px", "tile_size", "extractor", "feat_type")
_FEATURE_NAMES = ("features", "feats", "embeddings")


@dataclass(frozen=True)
class RawFeatures:
    """A feature file as it is; what it does not say is None.

    Attributes:
        features: Vectors in the file's own type, of any shape.
        coords: Coordinates in the file's own type, of any shape.
        producer: Layout.
        unit: Of the coordinates; None if the file does not say.
        tile_size: Side of a tile as the encoder saw it, pixels.
        tile_um: Side of a tile, micrometres.
    """

    features: Tensor
    coords: NDArray[Any] | None
    producer: str
    unit: Literal["px", "um"] | None = None
    patch_size_level0: int | None = None
    step_level0: int | None = None
    tile_size: int | None = None
    tile_um: float | None = None
    mpp: float | None = None
    level0_mpp: float | None = None
    slide_size: tuple[int, int] | None = None
    encoder: str | None = None
    projected: bool | None = None
    normalised: bool | None = None


def read_raw(path: Path, item: str, producer: str | None, max_bytes: int) -> RawFeatures:
    """Read a file by its content, whatever its name.

    Raises:
        DataError: If it is missing, damaged, of no known layout, or not of the layout of ``producer``.
    """
    if producer is not None and producer not in PRODUCERS:
        raise DataError(f'unknown producer "{producer}"', item=item, remedy=f"use one of {', '.join(PRODUCERS)}")
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "file not found"
        raise DataError(problem, item=item, remedy="name one .h5 or .pt file of tile features")
    if path.stat().st_size == 0:
        raise DataError("zero-byte file", item=item, remedy="copy it again from its source")
    if is_hdf5(path):
        with open_hdf5(path, item, max_bytes) as file:
            raw = _read_hdf5(file, item)
    else:
        raw = _read_torch(path, item, max_bytes)
    return raw if producer is None else _as_producer(raw, producer, item)


def read_patches(path: Path, item: str, max_bytes: int) -> RawFeatures:
    """Read a file of coordinates alone, as CLAM and TRIDENT write before they compute features."""
    if not path.is_file() or not is_hdf5(path):
        raise DataError("not an HDF5 file of coordinates", item=item, remedy="name CLAM's or TRIDENT's patches file")
    with open_hdf5(path, item, max_bytes) as file:
        if "coords" not in file.names:
            raise DataError("holds no coords", item=item, remedy="name CLAM's or TRIDENT's patches file")
        facts = _coord_facts(file.attributes(_COORD_ATTRIBUTES, "coords"), f"{item}: coords")
        return RawFeatures(torch.empty(0), file.read("coords"), "clam", "px" if facts else None, **facts)


def _read_hdf5(file: HdfFile, item: str) -> RawFeatures:
    if "feats" in file.names and "features" not in file.names:
        return _read_stamp(file, item)
    if "features" not in file.names:
        if "coords" in file.names:
            raise DataError("holds coordinates only", item=item, remedy="name the feature file; pass this as patches=")
        names = ", ".join(sorted(file.names)[:6]) or "nothing"
        raise DataError(f"no known layout (it holds {names})", item=item, remedy="store features (N, D) and coords")
    about = file.attributes(_FEATURE_ATTRIBUTES, "features")
    coords, facts = None, {}
    if "coords" in file.names:
        facts = _coord_facts(file.attributes(_COORD_ATTRIBUTES, "coords"), f"{item}: coords")
        coords = file.read("coords")
    ours = "medvlp_version" in about
    return RawFeatures(
        torch.from_numpy(_native(file.read("features"))),
        coords,
        "medvlp" if ours else "trident" if facts else "clam",
        "px" if facts else None,
        encoder=_text(about.get("encoder")),
        projected=_flag(about.get("projected")),
        normalised=_flag(about.get("normalised")),
        **facts,
    )


def _read_stamp(file: HdfFile, item: str) -> RawFeatures:
    about = file.attributes(_STAMP_ATTRIBUTES)
    kind = _text(about.get("feat_type"))
    if kind not in (None, "tile"):
        raise DataError(f"holds {kind} features", item=item, remedy="name a file of tile features")
    unit = _text(about.get("unit"))
    if unit not in (None, "um", "px"):
        raise DataError(f'coordinates in "{unit}"', item=item, remedy="store micrometres (um) or level-0 pixels (px)")
    um, px = (_number(about, key, item) for key in ("tile_size_um", "tile_size_px"))
    return RawFeatures(
        torch.from_numpy(_native(file.read("feats"))),
        file.read("coords") if "coords" in file.names else None,
        "stamp",
        None if unit is None else "um" if unit == "um" else "px",
        tile_size=None if px is None else round(px),
        tile_um=um,
        mpp=None if um is None or px is None else um / px,
        encoder=_text(about.get("extractor")),
    )


def _coord_facts(about: dict[str, Any], item: str) -> dict[str, Any]:
    """Turn the attributes of TRIDENT, CLAM or this library into facts; an empty dict if there are none."""
    if not about:
        return {}
    size = _number(about, "patch_size", item)
    level0 = _number(about, "patch_size_level0", item)
    step = _number(about, "step_level0", item)
    overlap = _number(about, "overlap", item)
    width, height = (_number(about, key, item) for key in ("level0_width", "level0_height"))
    facts: dict[str, Any] = {}
    if level0 is None and size is not None and "patch_level" in about:  # CLAM: the size at a level, and its downsample
        downsample = about.get("downsample", 1.0)
        level0 = size * float(downsample[0] if isinstance(downsample, list) else downsample)
        if about["patch_level"] == 0 and isinstance(about.get("level_dim"), list):
            width, height = (float(side) for side in about["level_dim"][:2])
    if step is None and None not in (size, level0, overlap) and size and level0 and overlap is not None:
        step = (size - overlap) * level0 / size  # TRIDENT gives the overlap in pixels of the tile
    facts["tile_size"] = None if size is None else round(size)
    facts["patch_size_level0"] = None if level0 is None else round(level0)
    facts["step_level0"] = None if step is None else round(step)
    facts["mpp"], facts["level0_mpp"] = _number(about, "mpp", item), _number(about, "level0_mpp", item)
    facts["slide_size"] = None if width is None or height is None else (round(width), round(height))
    return facts


def _read_torch(path: Path, item: str, max_bytes: int) -> RawFeatures:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):  # an entry may be packed far smaller than it is
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    if size > max_bytes:
        raise DataError(f"{size:,} bytes, over the limit of {max_bytes:,}", item=item, remedy="raise max_bytes")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError, AttributeError, TypeError):
        raise DataError(
            "neither HDF5 nor a PyTorch file of tensors alone, or damaged",
            item=item,
            remedy="copy it again, or save a plain tensor (N, D)",
        ) from None
    coords = None
    if isinstance(value, dict):
        name = next((name for name in _FEATURE_NAMES if isinstance(value.get(name), Tensor)), None)
        found = value.get("coords")
        coords = found.detach().numpy() if isinstance(found, Tensor) and not _is_bfloat(found) else None
        if name is None or (found is not None and coords is None):
            raise DataError("holds no tensor called features", item=item, remedy="save a plain tensor (N, D)")
        value = value[name]
    if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_quantized:
        raise DataError(f"holds a {type(value).__name__}, not a dense tensor", item=item, remedy="save a plain tensor")
    if value.numel() * 4 > max_bytes:  # a stored view may repeat one number without end
        raise DataError(
            f"declares {tuple(value.shape)}, over the limit of {max_bytes:,} bytes", item=item, remedy="raise max_bytes"
        )
    return RawFeatures(value.detach(), coords, "pt")


def _as_producer(raw: RawFeatures, producer: str, item: str) -> RawFeatures:
    """Take the caller's word for who wrote a file, unless its content says otherwise."""
    same: dict[str, tuple[str, ...]] = {
        "pt": ("clam", "gigapath", "keep", "pathpt", "mstar", "stamp", "trident", "pt"),
        "clam": ("clam", "gigapath", "keep", "pathpt", "mstar"),
    }
    if producer not in same.get(raw.producer, (raw.producer,)):
        raise DataError(
            f"is in the layout of {raw.producer}, not of {producer}", item=item, remedy="leave producer out"
        )
    encoder = raw.encoder or ENCODERS.get(producer)
    return replace(raw, producer=producer, encoder=encoder)


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in this machine's byte order, which PyTorch asks for."""
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))


def _is_bfloat(tensor: Tensor) -> bool:
    return tensor.dtype is torch.bfloat16


def _number(about: dict[str, Any], key: str, item: str) -> float | None:
    value = about.get(key)
    if value is None or (isinstance(value, str) and value.strip().casefold() in {"", "na", "n/a", "none"}):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or number < 0 or (number == 0 and key != "overlap"):
        raise DataError("is not a positive number", item=f"{item}: attribute {key}", remedy="correct it")
    return number


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _flag(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | int) else None

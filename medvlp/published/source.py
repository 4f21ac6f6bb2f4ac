"""What lies at a path: weight files, whole or in parts, and the configuration beside them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from medvlp.config import resolve_path
from medvlp.encoders.weights import read_state_dict
from medvlp.errors import CheckpointError
from medvlp.io import read_json

OPEN_CLIP_CONFIG = "open_clip_config.json"
_CONFIG = "config.json"
_NAMES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Source:
    """Published weights on the disk.

    Attributes:
        path: The file or folder that was named.
        folder: The folder; None for a single file, whose neighbours may belong to something else.
        files: The weight files, in order.
        config: ``config.json`` of the folder, or empty.
        open_clip: ``open_clip_config.json`` of the folder, or empty.
    """

    path: Path
    folder: Path | None
    files: tuple[Path, ...]
    config: dict[str, Any] = field(default_factory=dict)
    open_clip: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """All tensors under the names they were published with; read once, as data only.

        Raises:
            CheckpointError: If a file is damaged, holds code, or a name stands in two files.
        """
        state: dict[str, Tensor] = {}
        for path in self.files:
            _refuse_script(path)
            part = read_state_dict(path)
            twice = sorted(state.keys() & part.keys())
            if twice:
                raise CheckpointError("stands in two of the weight files", item=f"{path}: {twice[0]}")
            state |= part
        return state


def read_source(path: str | Path) -> Source:
    """Find the weights at a path.

    Args:
        path: A weight file, or a folder with one (or with the parts an ``*.index.json`` lists).

    Raises:
        CheckpointError: If nothing is there, a folder has no weights or several, or an index names a file elsewhere.
    """
    place = resolve_path(str(path))
    if place.is_file():
        return Source(place, None, (place,))
    if not place.is_dir():
        raise CheckpointError("no such file or folder", item=path, remedy="name a weight file, or the folder it is in")
    return Source(
        place,
        place,
        _weight_files(place),
        _mapping(place / _CONFIG),
        _mapping(place / OPEN_CLIP_CONFIG),
    )


def _mapping(path: Path) -> dict[str, Any]:
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise CheckpointError("is not a JSON object", item=path, remedy="restore it")
    return value


def _weight_files(folder: Path) -> tuple[Path, ...]:
    for name in _NAMES:
        path = folder / name
        if path.is_file():
            return _parts(path) if name.endswith(".index.json") else (path,)
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:4])
        raise CheckpointError(
            f"holds {len(found)} weight files ({names})" if found else "holds no weight file",
            item=folder,
            remedy="name the file itself" if found else f"it should be called {_NAMES[0]} or {_NAMES[4]}",
        )
    return (found[0],)


def _parts(index: Path) -> tuple[Path, ...]:
    listed = _mapping(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise CheckpointError("has no `weight_map` from tensors to files", item=index, remedy="restore it")
    parts = []
    for name in sorted(set(listed.values())):
        if Path(name).name != name or name in {".", ".."}:
            raise CheckpointError(f"names a file outside its folder ({name})", item=index, remedy="do not trust it")
        parts.append(index.parent / name)
    return tuple(parts)


def _refuse_script(path: Path) -> None:
    """Refuse a TorchScript archive, which is a program with its weights."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        inside = archive.namelist()
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in inside):
        raise CheckpointError(
            "is a TorchScript archive, which is a program and not only weights",
            item=path,
            remedy="where you trust it, save its state_dict() as .safetensors and name that file",
        )

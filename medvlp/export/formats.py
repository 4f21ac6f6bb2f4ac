"""The formats an export can have, as one table: who writes it, which script reads it, what its reader has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medvlp import torchvision_guard
from medvlp.errors import ExportError
from medvlp.export.hf_folder import write_hf
from medvlp.export.onnx_folder import write_onnx
from medvlp.export.open_clip import write_open_clip
from medvlp.export.timm_folder import write_timm
from medvlp.io import MANIFEST, read_json
from medvlp.loading import OPEN_CLIP_CONFIG
from medvlp.model import DualEncoder, save_model

PREFIX = "medvlp-export/"
_SCRIPTS = Path(__file__).with_name("scripts")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        write: Writes a model into a folder that will be at another place when finished.
        reader: What opens it, in words.
        with_torch: Whether its script uses torch, and so needs the parts that do.
        texts: Whether it has a text side.
        movable: Whether the folder works wherever it is.
    """

    write: Callable[[DualEncoder, Path, Path], None]
    reader: str
    with_torch: bool = True
    texts: bool = True
    movable: bool = True


def _write_safetensors(model: DualEncoder, folder: Path, target: Path) -> None:
    save_model(model, folder)


FORMATS: dict[str, Format] = {
    "open_clip": Format(write_open_clip, "stock open_clip", movable=False),
    "hf": Format(write_hf, "stock transformers and timm"),
    "timm": Format(write_timm, "stock timm", texts=False),
    "onnx": Format(write_onnx, "onnxruntime and tokenizers, no torch", with_torch=False),
    "safetensors": Format(_write_safetensors, "timm, transformers or open_clip through its script"),
}


def find_format(name: str) -> Format:
    """Return a format by its name.

    Raises:
        ExportError: If there is none.
    """
    if name not in FORMATS:
        known = list(FORMATS)
        raise ExportError("no such format", item=name, remedy=f"use {', '.join(known[:-1])} or {known[-1]}")
    return FORMATS[name]


def format_of(folder: Path) -> str:
    """Return the name of an export's format, as its manifest says.

    Raises:
        ExportError: If the folder is no export.
    """
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    name = str(manifest.get("format", "")).removeprefix(PREFIX)
    if name in FORMATS:
        return name
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return "open_clip"
    raise ExportError(
        "its manifest names no export format", item=folder, remedy="name a folder that `medvlp export` wrote"
    )


def copy_scripts(name: str, folder: Path) -> Path:
    """Copy a format's stand-alone script, as ``embed.py``, and what it needs into a folder; return the script."""
    files = {f"embed_{name}.py": "embed.py", "embed_parts.py": "embed_parts.py"}
    if FORMATS[name].with_torch:
        shutil.copyfile(torchvision_guard.__file__, folder / "torchvision_guard.py")
        files["embed_towers.py"] = "embed_towers.py"
    for source, target in files.items():
        shutil.copyfile(_SCRIPTS / source, folder / target)
    return folder / "embed.py"

"""The export command: open a checkpoint, write one format as a whole folder, add the card, seal it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from medvlp import __version__
from medvlp.errors import ExportError
from medvlp.export.card import write_card
from medvlp.export.open_clip import write_open_clip
from medvlp.export.verify import verify
from medvlp.io import atomic_folder, is_disk_full, sha256_json, write_manifest, write_text
from medvlp.loading import checkpoint_folder, has_scheme, load
from medvlp.model import DualEncoder, save_model

Format = Literal["open_clip", "safetensors"]


def _write_safetensors(model: DualEncoder, folder: Path, target: Path) -> None:
    save_model(model, folder)


_WRITERS: dict[str, Callable[[DualEncoder, Path, Path], None]] = {
    "open_clip": write_open_clip,
    "safetensors": _write_safetensors,
}


def export(
    checkpoint: str | Path | DualEncoder,
    to: Format,
    out: Path | str,
    *,
    overwrite: bool = False,
    check: bool = False,
    results: Path | str | None = None,
) -> Path:
    """Write a model for others to use.

    Args:
        checkpoint: Anything ``medvlp.load`` opens, or a model in memory.
        to: ``open_clip`` (loaded by stock open_clip as ``local-dir:OUT``) or ``safetensors`` (this library's layout).
        out: The folder to create.
        overwrite: Replace an existing folder.
        check: Verify the finished export in another process.
        results: A ``results.json`` of ``medvlp evaluate`` for the model card.

    Returns:
        The folder.

    Raises:
        ExportError: If the format is unknown, cannot express the model, the disk is full, or the check fails.
        DataError: If ``out`` exists and ``overwrite`` is False.
    """
    if to not in _WRITERS:
        raise ExportError("no such format", item=to, remedy=f"use {' or '.join(_WRITERS)}")
    target = Path(out)
    model = checkpoint if isinstance(checkpoint, DualEncoder) else load(checkpoint)
    source = None if isinstance(checkpoint, DualEncoder) else _source(checkpoint)
    header: dict[str, Any] = {
        "format": f"medvlp-export/{to}",
        "medvlp": __version__,
        "model_config_sha256": sha256_json(model.config.model_dump(mode="json")),
    }
    try:
        with atomic_folder(target, replace=overwrite) as partial:
            _WRITERS[to](model, partial, target)
            write_text(partial / "README.md", write_card(model, to, source, None if results is None else Path(results)))
            write_manifest(partial, header)
    except OSError as error:
        full = is_disk_full(error)
        raise ExportError(
            "no space left on the disk" if full else f"could not be written ({error.strerror})",
            item=target,
            remedy="free some space and run again" if full else "check the folder's permissions",
        ) from error
    if check:
        verification = verify(target, model)
        if not verification.ok:
            raise ExportError(str(verification), item=target, remedy="do not use this export; report it as a defect")
    return target


def _source(checkpoint: str | Path) -> Path | None:
    if has_scheme(checkpoint):
        return None
    return checkpoint_folder(checkpoint)

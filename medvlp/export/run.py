"""The export command: open a checkpoint, write one format as a whole folder, add the card, seal it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from medvlp import __version__
from medvlp.errors import ExportError
from medvlp.export.card import write_card
from medvlp.export.formats import PREFIX, copy_scripts, find_format
from medvlp.export.verify import verify
from medvlp.io import atomic_folder, is_disk_full, sha256_json, write_manifest, write_text
from medvlp.loading import checkpoint_folder, load
from medvlp.model import DualEncoder


def export(
    checkpoint: str | Path | DualEncoder,
    to: str,
    out: Path | str,
    *,
    overwrite: bool = False,
    check: bool = False,
    results: Path | str | None = None,
    ema: bool = False,
) -> Path:
    """Write a model for others to use.

    Args:
        checkpoint: Anything ``medvlp.load`` opens, or a model in memory.
        to: ``open_clip`` (loaded by stock open_clip as ``local-dir:OUT``), ``hf`` (two folders for transformers),
            ``timm`` (the image tower), ``onnx`` (two graphs) or ``safetensors`` (this library's layout).
        out: The folder to create.
        overwrite: Replace an existing folder.
        check: Verify the finished export in another process.
        results: A ``results.json`` of ``medvlp evaluate`` for the model card.
        ema: Export the averaged weights the checkpoint keeps beside the last ones.

    Returns:
        The folder.

    Raises:
        ExportError: If the format is unknown, cannot express the model, the disk is full, or the check fails.
        CheckpointError: If the checkpoint cannot be read, or keeps no averaged weights and ``ema`` is asked for.
        MissingExtraError: If the format needs a package that is not installed.
        DataError: If ``out`` exists and ``overwrite`` is False.
    """
    chosen = find_format(to)
    target = Path(out)
    if isinstance(checkpoint, DualEncoder):
        if ema:
            raise ExportError("a model in memory has one set of weights", item="ema", remedy="name its checkpoint")
        model, source = checkpoint, None
    else:
        model, source = load(checkpoint, ema=ema), _source(checkpoint)
    header: dict[str, Any] = {
        "format": PREFIX + to,
        "medvlp": __version__,
        "weights": "moving average" if ema else "last step",
        "model_config_sha256": sha256_json(model.config.model_dump(mode="json")),
    }
    card = write_card(model, to, source, None if results is None else Path(results), ema=ema)
    training = model.training
    model.eval()
    try:
        with atomic_folder(target, replace=overwrite) as partial:
            chosen.write(model, partial, target)
            copy_scripts(to, partial)
            write_text(partial / "README.md", card)
            write_manifest(partial, header)
    except (OSError, SafetensorError) as error:
        full = is_disk_full(error)
        raise ExportError(
            "no space left on the disk" if full else f"could not be written ({str(error).splitlines()[0]})",
            item=target,
            remedy="free some space and run again" if full else "check the folder's permissions",
        ) from error
    finally:
        model.train(training)
    if check:
        verification = verify(target, model)
        if not verification.ok:
            raise ExportError(str(verification), item=target, remedy="do not use this export; report it as a defect")
    return target


def _source(checkpoint: str | Path) -> Path | None:
    if str(checkpoint).startswith(("open_clip:", "hf-hub:")):
        return None
    return checkpoint_folder(checkpoint)

"""Checkpoints that are complete or do not exist: written aside, flushed, manifest last, renamed, then verified.

A run folder holds ``checkpoints/step-00000100/``; an interrupted save leaves only a hidden partial folder, which the
next start removes. Old checkpoints go only after the new one has been read back.
"""

from __future__ import annotations

import pickle
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from medvlp import __version__
from medvlp.config import Config
from medvlp.errors import CheckpointError, DataError
from medvlp.io import (
    MANIFEST,
    atomic_folder,
    is_disk_full,
    read_json,
    remove_partials,
    verify_manifest,
    write_json,
    write_manifest,
)

FORMAT = "medvlp-checkpoint-1"
FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8,})")


class Retention(Config):
    """How often to save, and which checkpoints stay."""

    every: int = Field(0, ge=0, description="Steps between checkpoints; 0 saves at the end only.")
    last: int = Field(2, ge=1, description="Newest checkpoints to keep.")
    keep_every: int = Field(0, ge=0, description="Also keep each checkpoint whose step is a multiple of this; 0: none.")


@dataclass(frozen=True)
class State:
    """What a run needs to go on, beside the model.

    Attributes:
        step: Optimiser steps done.
        identity: Facts that must be equal when the run goes on (configuration, data, graph).
        tensors: State of the optimiser and of the gradient scaler; tensors, numbers, strings, lists and dicts only.
        details: Facts worth keeping that may differ (number of processes, ...).
    """

    step: int
    identity: dict[str, Any]
    tensors: dict[str, Any]
    details: dict[str, Any]


def keep(steps: Iterable[int], policy: Retention) -> set[int]:
    """Return the steps whose checkpoints stay: the newest ``last``, and all multiples of ``keep_every``."""
    ordered = sorted(set(steps))
    milestones = {step for step in ordered if policy.keep_every > 0 and step % policy.keep_every == 0}
    return set(ordered[-policy.last :]) | milestones


def latest_checkpoint(folder: Path | str) -> Path:
    """Return the newest finished checkpoint of a run; a checkpoint folder stands for itself.

    Folders without a manifest are unfinished and skipped with a warning. Files are not verified here.

    Raises:
        CheckpointError: If there is none.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file() and (folder / "state").is_dir():
        return folder
    found = _finished(folder / FOLDER)
    if not found:
        raise CheckpointError("holds no finished checkpoint", item=folder, remedy="name a run that has saved one")
    return found[max(found)]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run: The run folder.
        policy: What to keep.
    """

    def __init__(self, run: Path, policy: Retention | None = None) -> None:
        self.run, self.folder = run, run / FOLDER
        self.policy = Retention() if policy is None else policy

    def clean(self) -> int:
        """Remove what interrupted saves and removals left; return how many entries went."""
        return remove_partials(self.folder)

    def steps(self) -> list[int]:
        """Return the steps of all finished checkpoints, ascending."""
        return sorted(_finished(self.folder))

    def latest(self) -> Path | None:
        """Return the newest finished checkpoint, None if there is none; see :func:`latest_checkpoint`."""
        found = _finished(self.folder)
        return found[max(found)] if found else None

    def save(self, state: State, write_model: Callable[[Path], None], header: dict[str, Any] | None = None) -> Path:
        """Write, verify, then remove what the policy does not keep.

        Args:
            state: What resuming needs.
            write_model: Writes the model's files into the folder it is given.
            header: Further facts for the manifest (stage, digests).

        Raises:
            CheckpointError: If the disk is full or not writable; earlier checkpoints are untouched.
        """
        target = self.folder / f"step-{state.step:08d}"
        try:
            with atomic_folder(target, replace=True, own=True) as partial:
                write_model(partial)
                inside = partial / "state"
                inside.mkdir()
                torch.save(state.tensors, inside / "tensors.pt")
                write_json(
                    inside / "run.json", {"step": state.step, "identity": state.identity, "details": state.details}
                )
                write_manifest(
                    partial, {"format": FORMAT, "version": __version__, "step": state.step, **(header or {})}
                )
        except (OSError, RuntimeError) as error:
            raise _not_written(target, error) from error
        verify_manifest(target, CheckpointError)
        for step in set(self.steps()) - keep(self.steps(), self.policy):
            self._remove(self.folder / f"step-{step:08d}")
        return target

    def load(self, folder: Path) -> State:
        """Verify a checkpoint and read its state; the model's files are read by its recipe.

        Raises:
            CheckpointError: Naming the file that is missing, altered or unreadable.
        """
        manifest = verify_manifest(folder, CheckpointError)
        if manifest.get("format") != FORMAT:
            raise CheckpointError(
                f"not a checkpoint of this version (format {manifest.get('format')!r})",
                item=folder,
                remedy="use the version that wrote it",
            )
        path = folder / "state" / "tensors.pt"
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            run = read_json(folder / "state" / "run.json")
            return State(int(run["step"]), dict(run["identity"]), tensors, dict(run["details"]))
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError, DataError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"unreadable state ({reason})", item=path, remedy="use another checkpoint") from None

    def _remove(self, folder: Path) -> None:
        """Rename first: a kill in between leaves a partial folder, never half a checkpoint."""
        aside = folder.with_name(f".partial-old-{uuid.uuid4().hex[:8]}-{folder.name}")
        folder.rename(aside)
        shutil.rmtree(aside)


def _finished(folder: Path) -> dict[int, Path]:
    found = {}
    for path in sorted(folder.glob("step-*")) if folder.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        if (path / MANIFEST).is_file():
            found[int(match[1])] = path
        else:
            warnings.warn(f"{path}: skipped, it has no manifest.json and is therefore unfinished", stacklevel=3)
    return found


def _not_written(target: Path, error: Exception) -> CheckpointError:
    """Name a full disk as such: torch's zip writer reports a short write ("unexpected pos"), the system as ENOSPC."""
    disk = next(parent for parent in target.absolute().parents if parent.exists())
    full = is_disk_full(error) or "unexpected pos" in str(error) or shutil.disk_usage(disk).free < 1 << 20
    reason = "no space left on the disk" if full else (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"the checkpoint could not be written ({reason})",
        item=target,
        remedy="free some space and run again; earlier checkpoints are intact",
    )

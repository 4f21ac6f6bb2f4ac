"""Files written whole or not at all, and the manifest every store carries.

A store is a folder whose ``manifest.json`` lists each file with size and sha256. It is built under
a temporary name beside its target, flushed to disk, and renamed; a folder without a manifest is
therefore never a finished store.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from medvlp.errors import DataError, MedvlpError, MissingExtraError

MANIFEST = "manifest.json"
_PARTIAL = ".partial-"
_FULL = {errno.ENOSPC, errno.EDQUOT}


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically: temporary name, flush, rename."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: temporary name, flush, rename."""
    if path.is_dir():
        raise DataError("is a folder", item=path, remedy="name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{_PARTIAL}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        partial.write_bytes(data)
        _fsync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, refusing NaN (write ``null`` instead)."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or malformed one is a one-line :class:`DataError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("file not found", item=path, remedy="check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not valid JSON ({error})", item=path) from None


def write_manifest(folder: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Write ``manifest.json`` last: ``header`` plus size and sha256 of every file in the folder."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {**header, "files": files}
    write_json(folder / MANIFEST, manifest)
    return manifest


def verify_manifest(folder: Path, error: type[MedvlpError] = DataError) -> dict[str, Any]:
    """Check every file of a store against its manifest and return the manifest.

    Raises:
        MedvlpError: (as ``error``) naming the first missing, resized or altered file, or the manifest itself.
    """
    if not folder.is_dir():
        raise error("no such folder", item=folder, remedy="check the path")
    if not (folder / MANIFEST).is_file():
        raise error("no manifest.json, so this is not a finished store", item=folder, remedy="build it again")
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    if not _lists_files(manifest):
        raise error("does not list the store's files", item=folder / MANIFEST, remedy="restore or rebuild the store")
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise error("the manifest names a file outside the store", item=path)
        if not path.is_file():
            raise error("listed in manifest.json but missing", item=path, remedy="restore or rebuild the store")
        if path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
            raise error("differs from its sha256 in manifest.json", item=path, remedy="restore or rebuild the store")
    return manifest


def _lists_files(manifest: Any) -> bool:
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return isinstance(files, dict) and all(
        isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys() for entry in files.values()
    )


def _may_go(target: Path, own: bool) -> bool:
    return target.is_dir() and (own or (target / MANIFEST).is_file() or not any(target.iterdir()))


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False, own: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that takes its name only if the block succeeds.

    Args:
        target: The folder to create.
        replace: Allow an existing store or empty folder to be exchanged (moved aside, then removed).
        own: The name was chosen by the library, not the user, so an unfinished store may be exchanged too.

    Raises:
        DataError: If ``target`` exists and ``replace`` is False, or if it is no store and holds something.
    """
    if target.exists() and not replace:
        raise DataError("already exists", item=target, remedy="remove it, choose another name, or pass --overwrite")
    if target.exists() and not _may_go(target, own):
        raise DataError("is not a store, so it is not replaced", item=target, remedy="remove it or choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{_PARTIAL}{uuid.uuid4().hex[:8]}-{target.name}")
    partial.mkdir()
    try:
        yield partial
        for path in sorted(partial.rglob("*")):
            _fsync(path)
        _fsync(partial)
        if target.exists():
            aside = target.with_name(f"{_PARTIAL}old-{uuid.uuid4().hex[:8]}-{target.name}")
            target.rename(aside)
            partial.rename(target)
            shutil.rmtree(aside)
        else:
            partial.rename(target)
        _fsync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_disk_full(error: BaseException | None) -> bool:
    """Say whether a full disk or quota is behind an error, whichever library reported it."""
    while error is not None:
        if getattr(error, "errno", None) in _FULL or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def full_disk_told(target: Path, error: type[MedvlpError] = DataError) -> Iterator[None]:
    """Turn a full disk under the block into one line that names ``target``; other errors pass.

    Raises:
        MedvlpError: (as ``error``) if the disk is full.
    """
    try:
        yield
    except OSError as failure:
        if not is_disk_full(failure):
            raise
        raise error("no space left on the disk", item=target, remedy="free some space and run again") from failure


def remove_partials(folder: Path) -> int:
    """Remove what an interrupted writer left in ``folder``; return how many entries went."""
    leftovers = list(folder.glob(f"{_PARTIAL}*")) if folder.is_dir() else []
    for path in leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(leftovers)


def package_file(package: str, *parts: str) -> Path:
    """Return the path of a file inside an installed package without importing the package.

    Raises:
        MissingExtraError: If the package is not installed.
        DataError: If it holds no such file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the data package is not installed", item=package, remedy="run `make quickstart` or pip install it"
        )
    path = Path(spec.submodule_search_locations[0], *parts)
    if not path.exists():
        raise DataError("file not found in the installed package", item=path)
    return path


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say in one line which extra holds it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"optional dependency is not usable ({error})", item=module, remedy=f'pip install "medvlp[{extra}]"'
        ) from error

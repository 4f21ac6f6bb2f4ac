"""The 2-D sets of MedMNIST (package ``medmnist``: names, labels, checksums) as a source, from their ``.npz`` files.

The arrays are read by hand: the package loads a whole set into memory (13 GB for the largest), here the images are
unpacked to disk once and mapped, and no array of objects is ever accepted.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from PIL import Image
from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import check_sums
from medvlp.config import Config, resolve_path
from medvlp.errors import DataError
from medvlp.io import require, sha256_file

SPLITS = {"train": "train", "val": "dev", "test": "test"}
GRADES = {"retinamnist": "diabetic retinopathy, grade {}"}  # the package calls these classes by their number alone
_MAX_LABEL_BYTES = 1 << 28
_TIMEOUT = 30  # seconds without a byte


class MedMnist(Config):
    """One of the 2-D MedMNIST sets; its file is taken from ``root``, or downloaded into it."""

    name: Literal["medmnist"] = Field(description="Kind of source.")
    dataset: str = Field(description="Name of the set, for example pathmnist.")
    size: Literal[28, 64, 128, 224] = Field(default=28, description="Side of the images in pixels.")
    root: str = Field(default="${MEDMNIST_ROOT:-~/.medmnist}", description="Folder of the .npz files.")
    download: bool = Field(default=True, description="Download the file if it is not in root.")
    no_finding: str = Field(
        default="no finding", description="Label of images without any, in a set with several labels per image."
    )
    strict: bool = Field(
        default=False, description="Refuse a file whose MD5 is not the published one, instead of noting it."
    )


def list_medmnist(source: MedMnist) -> Listing:
    """List every image of a set, with its published split.

    Raises:
        MissingExtraError: If the package is not installed.
        DataError: An unknown or 3-D set, a file that cannot be had, one that is not of this layout, or with ``strict``
            one that is not the published file.
    """
    info = _info(source.dataset)
    path = _file(source, info)
    names = {int(number): name for number, name in info["label"].items()}
    if source.dataset in GRADES:
        names = {number: GRADES[source.dataset].format(name) for number, name in names.items()}
    listing = Listing([], sources={path.name: sha256_file(path)})
    if source.strict:
        check_sums(path.parent, {path.name: info[_keyed("MD5", source.size)]})
    elif _md5(path) != info[_keyed("MD5", source.size)]:
        listing.note(f"file {path.name} whose MD5 is not the published one")
    folder = Path(listing.open.enter_context(tempfile.TemporaryDirectory(prefix="medvlp-medmnist-")))
    several = "multi-label" in info["task"]
    try:
        with zipfile.ZipFile(path) as archive:
            for part, split in SPLITS.items():
                images, shape = _unpack(archive, f"{part}_images.npy", folder, source.size, path.name)
                labels_NK = _labels(archive, f"{part}_labels.npy", shape[0], path.name)
                for row in range(shape[0]):
                    item = Item(f"{part}/{row:06d}", load=_image(images, shape, row), split=split)
                    item.label, item.labels = _named(labels_NK[row], names, several, source.no_finding, path.name)
                    listing.items.append(item)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"is not a whole MedMNIST file ({type(error).__name__})", item=path, remedy="delete it and get it again"
        ) from None
    return listing


def _info(name: str) -> dict[str, Any]:
    every: dict[str, dict[str, Any]] = require("medmnist", "medmnist").INFO
    flat = [known for known in every if not known.endswith("3d")]
    if name not in flat:
        problem = "holds volumes, not images" if name in every else "no such MedMNIST set"
        raise DataError(problem, item=name, remedy=f"use one of {', '.join(flat)}")
    return every[name]


def _keyed(key: str, size: int) -> str:
    return key if size == 28 else f"{key}_{size}"


def _file(source: MedMnist, info: dict[str, Any]) -> Path:
    root = resolve_path(source.root)
    if root.suffix == ".npz":
        raise DataError("source.root is a file", item=root, remedy="name the folder it is in")
    path = root / f"{_keyed(source.dataset, source.size)}.npz"
    if path.is_file():
        return path
    url, digest = info[_keyed("url", source.size)], info[_keyed("MD5", source.size)]
    remedy = f"download {url} (MD5 {digest}) elsewhere, name it {path.name}, set source.root (--root) to its folder"
    if not source.download:
        raise DataError("not there, and source.download is off", item=path, remedy=remedy)
    if not url.startswith("https://"):
        raise DataError("has no https address", item=source.dataset, remedy=remedy)
    root.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, partial.open("wb") as stream:  # noqa: S310 - https only
            while block := answer.read(1 << 20):
                stream.write(block)
        if _md5(partial) != digest:
            raise DataError("what arrived is not the published file (MD5)", item=source.dataset, remedy=remedy)
        partial.replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"cannot be downloaded here ({reason})", item=source.dataset, remedy=remedy) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, column_order, dtype = read(stream)
    if column_order or dtype.hasobject:
        raise DataError("array of objects or in column order", item=name, remedy="get the published file")
    return shape, dtype


def _unpack(archive: zipfile.ZipFile, member: str, folder: Path, size: int, name: str) -> tuple[Path, tuple[int, ...]]:
    """Copy the pixels of one array to disk, exactly as many as its header says."""
    target = folder / member.removesuffix(".npy")
    with archive.open(member) as stream:
        shape, dtype = _header(stream, name)
        if dtype != np.uint8 or len(shape) not in (3, 4) or shape[1:3] != (size, size) or shape[3:] not in ((), (3,)):
            raise DataError(
                f"{member} holds {dtype} {shape}, not uint8 images of {size} pixels", item=name, remedy="check size"
            )
        left = int(np.prod(shape, dtype=np.int64))
        with target.open("wb") as plain:
            while left > 0 and (block := stream.read(min(left, 1 << 20))):
                plain.write(block)
                left -= len(block)
    if left > 0:
        raise EOFError
    return target, shape


def _labels(archive: zipfile.ZipFile, member: str, count: int, name: str) -> np.ndarray[Any, Any]:
    with archive.open(member) as stream:
        shape, dtype = _header(stream, name)
        if dtype.kind not in "iu" or len(shape) != 2 or shape[0] != count:
            raise DataError(f"{member} holds {dtype} {shape} for {count} images", item=name, remedy="get it again")
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size > _MAX_LABEL_BYTES:
            raise DataError(f"{member} is too large", item=name, remedy="get the published file")
        data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _image(path: Path, shape: tuple[int, ...], row: int) -> Callable[[], Image.Image]:
    def load() -> Image.Image:
        return Image.fromarray(np.array(np.memmap(path, np.uint8, "r", shape=shape)[row]))

    return load


def _named(
    label_K: np.ndarray[Any, Any], names: dict[int, str], several: bool, no_finding: str, name: str
) -> tuple[str | None, list[str]]:
    """One label, or the list of those that are present."""
    known = len(label_K) == len(names) if several else len(label_K) == 1 and int(label_K[0]) in names
    if not known:
        raise DataError("labels do not fit the set", item=name, remedy="check source.dataset")
    if not several:
        return names[int(label_K[0])], []
    return None, [names[int(k)] for k in np.flatnonzero(label_K)] or [no_finding]

"""HDF5 files of strangers, read so that nothing but the file itself is opened and nothing absurd is allocated.

HDF5 can point out of a file (external links, external storage, virtual datasets), declare more than it stores, and
hold Python objects; each is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.io import require

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FIRST_OFFSET = 512
_MAX_CHUNK_BYTES = 1 << 30
_MAX_ATTRIBUTE_ITEMS = 64
_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError)


def is_hdf5(path: Path) -> bool:
    """Say whether a file is HDF5, whatever its name; a user block may lie in front of the signature."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        offset = 0
        while offset + len(_SIGNATURE) <= size:
            stream.seek(offset)
            if stream.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            offset = _FIRST_OFFSET if offset == 0 else 2 * offset
    return False


class HdfFile:
    """The root of an open HDF5 file: names, datasets and attributes, each checked before it is read."""

    def __init__(self, file: Any, item: str, max_bytes: int) -> None:
        self._file, self._item, self._max_bytes = file, item, max_bytes
        self._h5py = require("h5py", "slides")
        self.names = frozenset(str(name) for name in file)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a dataset of the root."""
        return tuple(int(side) for side in self._dataset(name).shape)

    def read(self, name: str) -> NDArray[Any]:
        """Return a numeric dataset of the root.

        Raises:
            DataError: If it is a link, lies outside the file, is not numeric, is too large, or was not fully written.
        """
        dataset = self._dataset(name)
        item = f"{self._item}: {name}"
        declared = prod(dataset.shape) * dataset.dtype.itemsize
        if declared > self._max_bytes:
            raise DataError(
                f"declares {tuple(dataset.shape)} of {dataset.dtype}, {declared:,} bytes, over the limit of "
                f"{self._max_bytes:,}",
                item=item,
                remedy="raise max_bytes if the slide is really that large",
            )
        chunks = dataset.chunks
        if chunks is not None:
            if prod(chunks) * dataset.dtype.itemsize > _MAX_CHUNK_BYTES:
                raise DataError(f"chunks of {tuple(chunks)} are absurdly large", item=item, remedy="write it again")
            wanted = prod(-(-side // chunk) for side, chunk in zip(dataset.shape, chunks, strict=True))
            written = dataset.id.get_num_chunks()
        else:
            wanted, written = declared, max(dataset.id.get_storage_size(), 0)
        if declared and written < wanted:
            share = f"{written} of {wanted} {'bytes' if chunks is None else 'chunks'}"
            raise DataError(f"only {share} were ever written", item=item, remedy="its writer was interrupted; redo it")
        try:
            return np.asarray(dataset[()])
        except _READ_ERRORS as error:
            raise DataError(f"cannot be read ({_first_line(error)})", item=item, remedy="copy it again") from None

    def attributes(self, wanted: Iterable[str], name: str | None = None) -> dict[str, Any]:
        """Return those of the wanted attributes that are there, of a dataset or of the root, as plain Python values."""
        attributes = (self._dataset(name) if name is not None else self._file).attrs
        found: dict[str, Any] = {}
        for attribute in wanted:
            if attribute not in attributes:
                continue
            try:
                if prod(attributes.get_id(attribute).shape or ()) > _MAX_ATTRIBUTE_ITEMS:
                    raise ValueError("too long")
                value = attributes[attribute]
            except _READ_ERRORS as error:
                where = f"{self._item}: attribute {attribute}"
                raise DataError(f"cannot be read ({_first_line(error)})", item=where, remedy="copy it again") from None
            if not isinstance(value, self._h5py.Empty):
                found[attribute] = _plain(value)
        return found

    def _dataset(self, name: str) -> Any:
        h5py, item = self._h5py, f"{self._item}: {name}"
        if name not in self.names:
            raise DataError("no such dataset", item=item, remedy=f"the file holds {', '.join(sorted(self.names)[:6])}")
        link = self._file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
            raise DataError(f"is {kind}, which is not followed", item=item, remedy="write the data itself")
        try:
            dataset = self._file[name]
        except _READ_ERRORS as error:
            raise DataError(f"cannot be opened ({_first_line(error)})", item=item, remedy="copy it again") from None
        if not isinstance(dataset, h5py.Dataset):
            raise DataError("is a group, not a dataset", item=item, remedy="name a tile feature file")
        if dataset.is_virtual or dataset.external:
            raise DataError("keeps its data in other files", item=item, remedy="write the data into this file")
        if dataset.shape is None or dataset.dtype.kind not in "iuf":
            raise DataError(f"holds {dataset.dtype}, not numbers", item=item, remedy="store float32 or integers")
        return dataset


@contextmanager
def open_hdf5(path: Path, item: str, max_bytes: int) -> Iterator[HdfFile]:
    """Open an HDF5 file for reading.

    Args:
        path: The file.
        item: What errors call it.
        max_bytes: Largest dataset that is read.

    Raises:
        DataError: If it is damaged or truncated.
        MissingExtraError: Without h5py.
    """
    h5py = require("h5py", "slides")
    try:
        file = h5py.File(path, "r")
    except _READ_ERRORS as error:
        raise DataError(
            f"damaged or truncated HDF5 file ({_first_line(error)})", item=item, remedy="copy it again"
        ) from None
    with file:
        yield HdfFile(file, item, max_bytes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray):
        return [_plain(element) for element in value.ravel().tolist()]
    return value.item() if isinstance(value, np.generic) else value


def _first_line(error: BaseException) -> str:
    """The reason alone: HDF5 puts the path of the file, which may name a patient's folder, behind a comma."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(", ")[0][:120]

"""Reads RRF tables in blocks of whole lines: no quoting, no missing values, every field a text, every line checked.

A block is some tens of megabytes, parsed by polars on all cores while the next one is read and hashed; memory does
not grow with the file.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.ontologies.umls.layout import RrfFile
from medvlp.errors import GraphError
from medvlp.io import require

if TYPE_CHECKING:
    import polars as pl

BLOCK_BYTES = 48 << 20
_SUPPRESS = ("N", "O", "E", "Y")
_REMEDY = "restore the file from the release"
Advance = Callable[[int], None]


@dataclass
class Account:
    """What the manifest says about one file that was read."""

    rows: int = 0
    sha256: dict[str, str] = field(default_factory=dict)
    rows_in_mrfiles: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return rows read, rows announced, and the sha256 of each part."""
        return {"rows": self.rows, "rows_in_mrfiles": self.rows_in_mrfiles, "sha256": self.sha256}


@dataclass(frozen=True)
class Block:
    """Some rows of a table, and where they stand in it.

    Attributes:
        data: The columns asked for, all text.
        first: Line number of the first row, in the table as a whole.
        where: The file, for messages.
    """

    data: pl.DataFrame
    first: int
    where: str

    def error(self, row: int, problem: str) -> GraphError:
        """Return the error for a row of this block."""
        return GraphError(problem, item=f"{self.where}:{self.first + row}", remedy=_REMEDY)

    def cuis(self, column: str, part: pl.DataFrame | None = None) -> NDArray[np.int32]:
        """Return the numbers of a column of concept identifiers.

        Args:
            column: Its name.
            part: Some rows of the block instead of all, with their places in a column ``row``.

        Raises:
            GraphError: One that is not C and seven digits, with its line.
        """
        pl = require("polars", "ontologies")
        text = (self.data if part is None else part)[column]
        digits = text.str.slice(1).cast(pl.Int32, strict=False)
        bad = (digits.is_null() | (text.str.len_bytes() != 8) | ~text.str.starts_with("C") | (digits < 0)).arg_true()
        if len(bad):
            place = int(bad[0])
            row = place if part is None else int(part["row"][place])
            raise self.error(row, f"{column} is {text[place][:20]!r}, not C and seven digits")
        return digits.to_numpy()


def read(file: RrfFile, needed: str, account: Account, advance: Advance, strict_rows: bool) -> Iterator[Block]:
    """Yield a table's blocks in order.

    Args:
        file: The table.
        needed: Its columns to return, by blanks.
        account: Gets the rows read and the sha256 of each part.
        advance: Called with the number of bytes read from the disk.
        strict_rows: Stop if the number of rows is not that of MRFILES.RRF.

    Raises:
        GraphError: A line without the right number of fields, a value of SUPPRESS that is none, text that is not
            UTF-8, a damaged .gz (each with file and line), or a table with other than the announced number of rows.
    """
    account.rows_in_mrfiles = file.num_rows
    chunks = _checked(file, needed, account, advance)
    with ThreadPoolExecutor(1) as reader:  # reads, hashes and counts the next chunk while this one is worked on
        waiting = reader.submit(next, chunks, None)
        while (item := waiting.result()) is not None:
            waiting = reader.submit(next, chunks, None)
            chunk, first, where = item
            yield Block(_parse(chunk, file, needed.split(), first, where), first, where)
    if file.num_rows is not None and account.rows != file.num_rows and strict_rows:
        raise GraphError(
            f"has {account.rows:,} rows, but MRFILES.RRF gives {file.num_rows:,}",
            item=file.parts[0],
            remedy="restore the file, or set on_row_count: warn",
        )


def _checked(file: RrfFile, needed: str, account: Account, advance: Advance) -> Iterator[tuple[bytes, int, str]]:
    """Yield whole lines with the number of the first, once each is known to have all its fields."""
    for chunk, where in _chunks(file, account, advance):
        first = account.rows + 1
        account.rows += _check(chunk, file, needed, first, where)
        yield chunk, first, where


def _chunks(file: RrfFile, account: Account, advance: Advance) -> Iterator[tuple[bytes, str]]:
    """Yield whole lines; parts follow each other as one stream, so a line may run over from one to the next."""
    rest, where = b"", ""
    windows: bool | None = None
    for path in file.parts:
        where = str(path) if len(file.parts) == 1 else f"{path.parent / file.name} (part {path.name})"
        for block in _raw(path, account, advance):
            cut = block.rfind(b"\n") + 1
            if not cut:
                rest += block
                if len(rest) > 4 * BLOCK_BYTES:
                    raise GraphError("has no line end where one is due", item=where, remedy=_REMEDY)
                continue
            chunk, rest = rest + block[:cut], block[cut:]
            if windows is None:
                windows = chunk[: chunk.find(b"\n")].endswith(b"\r")
            yield (chunk.replace(b"\r\n", b"\n") if windows else chunk), where
    if rest:
        yield rest + b"\n", where


def _raw(path: Path, account: Account, advance: Advance) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with path.open("rb") as raw:
        stream: Any = gzip.GzipFile(fileobj=_Hashed(raw, digest)) if path.suffix == ".gz" else _Hashed(raw, digest)
        place = 0
        try:
            while block := stream.read(BLOCK_BYTES):
                advance(raw.tell() - place)
                place = raw.tell()
                yield block
        except (OSError, EOFError, zlib.error) as error:
            raise GraphError(f"cannot be read ({type(error).__name__})", item=path, remedy=_REMEDY) from None
    account.sha256[path.name] = digest.hexdigest()


class _Hashed:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, raw: BinaryIO, digest: Any) -> None:
        self._raw, self._digest = raw, digest

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self._digest.update(data)
        return data


def _check(chunk: bytes, file: RrfFile, needed: str, first: int, where: str) -> int:
    """Return the number of lines after checking that each holds all fields and ends with "|".

    Two sums are compared first. Where SUPPRESS is read, in the large tables, that is enough: a line too long and one
    too short in one block would move SUPPRESS away from its few values, which :func:`_parse` checks.
    """
    num_fields = len(file.columns)
    text = np.frombuffer(chunk, dtype=np.uint8)
    num_rows, num_bars = (int(np.count_nonzero(text == ord(mark))) for mark in "\n|")
    if num_bars == num_fields * num_rows and "SUPPRESS" in needed.split():
        return num_rows
    ends, bars = np.flatnonzero(text == ord("\n")), np.flatnonzero(text == ord("|"))
    if len(bars) == num_fields * len(ends) and np.array_equal(bars[num_fields - 1 :: num_fields], ends - 1):
        return num_rows
    for row, line in enumerate(chunk.split(b"\n")):
        if line.count(b"|") != num_fields or not line.endswith(b"|"):
            closed = line.endswith(b"|")
            found = line.count(b"|") + (not closed)
            problem = f"has {found} fields, not {num_fields}" if found != num_fields else "does not end with |"
            raise GraphError(problem, item=f"{where}:{first + row}", remedy=_REMEDY)
    raise AssertionError("the sums differ, so a line must")


def _parse(chunk: bytes, file: RrfFile, needed: list[str], first: int, where: str) -> pl.DataFrame:
    pl = require("polars", "ontologies")
    columns = [*file.columns, "(end)"]
    scan = pl.scan_csv(
        chunk,
        has_header=False,
        separator="|",
        quote_char=None,
        schema=dict.fromkeys(columns, pl.String),
        null_values=None,
        empty_string_is_null=False,
        comment_prefix=None,
    )
    try:
        data = scan.select(needed).collect()
    except pl.exceptions.ComputeError:
        for row, line in enumerate(chunk.split(b"\n")):
            try:
                line.decode()
            except UnicodeDecodeError:
                raise GraphError("is not UTF-8 text", item=f"{where}:{first + row}", remedy=_REMEDY) from None
        raise
    if "SUPPRESS" in needed:
        bad = (~data["SUPPRESS"].is_in(_SUPPRESS)).arg_true()
        if len(bad):
            row = int(bad[0])
            problem = f"SUPPRESS is {data['SUPPRESS'][row][:20]!r}, not one of {', '.join(_SUPPRESS)}"
            raise GraphError(problem, item=f"{where}:{first + row}", remedy=_REMEDY)
    return data

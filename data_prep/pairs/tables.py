"""Tables of strangers: CSV, TSV and JSON lines read strictly, with the line number in every complaint."""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path

from medvlp.errors import DataError

Row = dict[str, str]
MAX_TABLE_BYTES = 2_000_000_000


def read_table(path: Path, encoding: str = "utf-8-sig") -> list[Row]:
    """Read a table into rows of strings; missing JSON values become empty strings.

    Raises:
        DataError: Absent or empty file, wrong encoding (with the line), a row of the wrong length, a repeated column.
    """
    if not path.is_file():
        raise DataError("table not found", item=path, remedy="check the path")
    text = _decode(path, encoding)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if ".jsonl" in suffixes or ".ndjson" in suffixes:
        return _json_lines(text, path)
    return _csv(text, path, "\t" if ".tsv" in suffixes else _separator(text))


def require_columns(path: Path, rows: list[Row], needed: Iterable[str]) -> None:
    """Name the first missing column with the nearest existing one and all columns found."""
    found = list(rows[0]) if rows else []
    for column in needed:
        if column not in found:
            near = difflib.get_close_matches(column, found, n=1, cutoff=0.5)
            raise DataError(
                f"no column {column!r}; found {', '.join(repr(name) for name in found)}",
                item=path,
                remedy=f"did you mean {near[0]!r}?" if near else "name the right column under source.columns",
            )


def read_label_names(path: Path) -> dict[str, str]:
    """Read display names of labels from a CSV with the columns ``label`` and ``name``."""
    rows = read_table(path)
    require_columns(path, rows, ["label", "name"])
    return {row["label"].strip(): row["name"].strip() for row in rows}


def _decode(path: Path, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise DataError(f"unknown encoding {encoding!r}", item=path, remedy="use utf-8 or latin-1") from None
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as stream:
                data = stream.read(MAX_TABLE_BYTES + 1)
        else:
            with path.open("rb") as plain:
                data = plain.read(MAX_TABLE_BYTES + 1)
    except (OSError, EOFError) as error:
        raise DataError(f"cannot be read ({type(error).__name__})", item=path) from None
    if len(data) > MAX_TABLE_BYTES:
        raise DataError(f"larger than {MAX_TABLE_BYTES:,} bytes", item=path, remedy="split the table")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"line {line} is not {encoding}", item=path, remedy="set source.encoding, for example latin-1 or cp1252"
        ) from None


def _separator(text: str) -> str:
    """A comma, or the semicolon that spreadsheets write in many countries: whichever the header holds."""
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _csv(text: str, path: Path, delimiter: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[Row] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise DataError(f"column {repeated[0]!r} occurs twice", item=path, remedy="rename one")
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise DataError(
                    f"line {reader.line_num} has {len(values)} fields, the header {len(header)}",
                    item=path,
                    remedy="quote fields that contain the separator",
                )
            rows.append(dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} is not CSV ({error})", item=path) from None
    if not rows:
        raise DataError("holds no rows", item=path)
    return rows


def _json_lines(text: str, path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            raise DataError(f"line {number} is not JSON", item=path, remedy="write one object per line") from None
        if not isinstance(value, dict):
            raise DataError(f"line {number} is not a JSON object", item=path, remedy="write one object per line")
        rows.append({str(key): "" if entry is None else str(entry) for key, entry in value.items()})
    if not rows:
        raise DataError("holds no rows", item=path)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]

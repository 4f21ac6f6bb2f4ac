"""Tables of users (CSV, TSV, gzipped, Parquet) as Arrow: wide ones too, a bad cell named by row and column."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from medvlp.errors import DataError

_BLOCK = 1 << 27  # bytes; a row has to fit, and a row of 60,000 genes has about a megabyte
_TEXT = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}


def delimiter(path: Path) -> str | None:
    """Return what parts the cells of a text table by its file name, None for Parquet.

    Raises:
        DataError: If the name ends in nothing known, or there is no such file.
    """
    name = path.name.lower().removesuffix(".gz")
    ending = Path(name).suffix
    if not path.is_file():
        raise DataError("no such file", item=path, remedy="check the path")
    if ending in {".parquet", ".pq"}:
        return None
    if ending not in _TEXT:
        raise DataError(f'cannot read a table that ends in "{ending}"', item=path, remedy="use .csv, .tsv or .parquet")
    return _TEXT[ending]


def header(path: Path) -> list[str]:
    """Return the column names of a text table; one more, "", in front where R left out that of the row names."""
    part = delimiter(path)
    assert part is not None
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as stream
        ):
            rows = csv.reader(stream, delimiter=part)
            names, first = next(rows, []), next(rows, [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read ({type(error).__name__})", item=path, remedy="save it as UTF-8 text") from None
    if not names or not first:
        raise DataError("holds no rows", item=path, remedy="name a table with a header and rows")
    return ["", *names] if len(first) == len(names) + 1 else names


def read_text_columns(path: Path, types: dict[int, pa.DataType]) -> list[pa.ChunkedArray]:
    """Read every column of a text table, in order.

    Args:
        path: The table.
        types: Type of each column by place; text elsewhere.

    Raises:
        DataError: If a cell cannot be read as its type, naming the column, or the rows are uneven.
    """
    part = delimiter(path)
    assert part is not None
    names = header(path)
    places = [str(place) for place in range(len(names))]  # names may repeat; places do not
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK, skip_rows=1, column_names=places),
            parse_options=pyarrow.csv.ParseOptions(delimiter=part),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={str(place): types.get(place, pa.string()) for place in range(len(names))},
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        found = re.search(r"column #(\d+)", str(error))
        if found is None:
            raise DataError("rows of different lengths", item=path, remedy="repair the table") from None
        name = names[int(found[1])]
        raise DataError(f'column "{name}" holds something that is no number', item=path, remedy="remove it") from None
    return [table.column(place) for place in places]


def read_table(path: Path) -> pa.Table:
    """Read a table with text in every column of a text file, and with its own types from Parquet.

    Raises:
        DataError: If it cannot be read, or a column's name repeats.
    """
    if delimiter(path) is None:
        table = read_parquet(path)
        names, columns = table.column_names, table.columns
    else:
        names = header(path)
        columns = read_text_columns(path, {})
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f'the column "{repeated[0]}" is there twice', item=path, remedy="rename or remove one")
    return pa.table(dict(zip(names, columns, strict=True)))


def read_parquet(path: Path) -> pa.Table:
    """Read a Parquet file.

    Raises:
        DataError: If it is none.
    """
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"is no Parquet file ({type(error).__name__})", item=path, remedy="write it again") from None

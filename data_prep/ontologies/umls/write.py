"""Writes the tables of a store row group by row group, and counts and digests them column by column."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from medvlp.io import sha256_json
from medvlp.knowledge import store

if TYPE_CHECKING:
    import polars as pl

_TEXT = pa.string()
SIDE_SCHEMAS = {
    "edge_sources": pa.schema([("head", _TEXT), ("tail", _TEXT), ("source", _TEXT)]),
    "broken_edges": pa.schema(
        [("head", _TEXT), ("tail", _TEXT), ("votes", pa.int64()), ("source", _TEXT), ("cycle", pa.int64())]
    ),
    "paths": pa.schema([("concept", _TEXT), ("source", _TEXT), ("code", _TEXT), ("path", pa.list_(_TEXT))]),
}
"""Tables beside the store's five that only this builder writes; the store's reader passes them over."""

_COUNTED = {
    "concepts": ["source", "xrefs"],
    "names": ["kind", "source"],
    "definitions": ["source"],
    "edges": ["relation", "source"],
    "aliases": ["reason"],
}


class StoreWriter:
    """Appends to the tables of one folder; with no folder it only counts rows (a dry run).

    Use it as a context manager, so that every file is closed whatever happens.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.rows: dict[str, int] = dict.fromkeys(store.SCHEMAS, 0)
        self._open: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> StoreWriter:
        for name in store.SCHEMAS:
            self._writer(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._open.values():
            writer.close()

    def _writer(self, name: str) -> pq.ParquetWriter | None:
        if self.folder is None:
            return None
        if name not in self._open:
            schema = store.SCHEMAS.get(name) or SIDE_SCHEMAS[name]
            self._open[name] = pq.ParquetWriter(self.folder / f"{name}.parquet", schema, compression="zstd")
        return self._open[name]

    def add(self, name: str, rows: pl.DataFrame) -> None:
        """Append rows; columns that the table does not have are left out."""
        self.rows[name] = self.rows.get(name, 0) + len(rows)
        writer = self._writer(name)
        if writer is not None:
            writer.write_table(rows.select(writer.schema.names).to_arrow().cast(writer.schema), row_group_size=1 << 20)


def counts(folder: Path) -> dict[str, Any]:
    """Return the counts of a written store as every manifest gives them, reading only the columns that are counted."""
    tables = {name: pq.read_table(folder / f"{name}.parquet", columns=columns) for name, columns in _COUNTED.items()}
    return store.counts(store.Tables(**tables))


def digest(folder: Path) -> str:
    """Return the digest that :class:`medvlp.DiseaseGraph` would give, holding one column of two tables at a time."""

    def of(name: str) -> str:
        path = folder / f"{name}.parquet"
        return store.digest_columns(store.SCHEMAS[name].names, lambda column: pq.read_table(path, columns=[column])[0])

    with ThreadPoolExecutor(2) as pool:
        return sha256_json(dict(zip(store.SCHEMAS, pool.map(of, store.SCHEMAS), strict=True)))

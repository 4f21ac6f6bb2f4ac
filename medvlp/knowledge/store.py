"""The graph store on disk: its tables, their schemas, and reading them with every check a hostile folder needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medvlp.errors import GraphError
from medvlp.io import atomic_folder, full_disk_told, verify_manifest, write_manifest
from medvlp.knowledge.names import KINDS

IS_A = "is_a"
FORMAT = "medvlp-graph"
VERSION = 1

_TEXT = pa.string()
SCHEMAS = {
    "concepts": pa.schema(
        [
            ("id", _TEXT),
            ("name", _TEXT),
            ("semantic_types", pa.list_(_TEXT)),
            ("cui", _TEXT),
            ("source", _TEXT),
            ("xrefs", pa.list_(_TEXT)),
        ]
    ),
    "names": pa.schema([("concept", _TEXT), ("text", _TEXT), ("kind", _TEXT), ("source", _TEXT), ("licence", _TEXT)]),
    "definitions": pa.schema([("concept", _TEXT), ("text", _TEXT), ("source", _TEXT), ("licence", _TEXT)]),
    "edges": pa.schema([("head", _TEXT), ("relation", _TEXT), ("tail", _TEXT), ("source", _TEXT)]),
    "aliases": pa.schema([("alias", _TEXT), ("concept", _TEXT), ("reason", _TEXT)]),
}


@dataclass(frozen=True)
class Tables:
    """The five tables of a graph; ``aliases`` leads from old or merged ids to the concept that stands for them."""

    concepts: pa.Table
    names: pa.Table
    definitions: pa.Table
    edges: pa.Table
    aliases: pa.Table

    def items(self) -> list[tuple[str, pa.Table]]:
        """Return (table name, table) in the order of the schemas."""
        return [(name, getattr(self, name)) for name in SCHEMAS]


def table(name: str, columns: dict[str, list[Any]]) -> pa.Table:
    """Build one table of the store from columns of Python values."""
    return pa.table(columns, schema=SCHEMAS[name])


def counts(tables: Tables) -> dict[str, Any]:
    """Count concepts, names by kind, definitions, edges by relation, cross-references by prefix, and all by source."""

    def by(values: pa.ChunkedArray) -> dict[str, int]:
        found = {str(e["values"]): e["counts"] for e in values.combine_chunks().value_counts().to_pylist()}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def prefix_counts() -> dict[str, int]:
        flat = pa.chunked_array([c.flatten() for c in tables.concepts["xrefs"].chunks], type=_TEXT)
        return by(pc.list_element(pc.split_pattern(flat, ":", max_splits=1), 0))

    return {
        "concepts": len(tables.concepts),
        "names": by(tables.names["kind"]),
        "definitions": len(tables.definitions),
        "edges": by(tables.edges["relation"]),
        "xrefs": prefix_counts(),
        "aliases": by(tables.aliases["reason"]),
        "by_source": {name: by(data["source"]) for name, data in tables.items() if "source" in data.column_names},
    }


def write(
    folder: Path,
    tables: Tables,
    header: dict[str, Any],
    *,
    overwrite: bool = False,
    side: Mapping[str, pa.Table] | None = None,
) -> dict[str, Any]:
    """Write a store whole or not at all and return its manifest; ``side`` tables lie beside the five, for people."""
    with full_disk_told(folder, GraphError), atomic_folder(folder, replace=overwrite) as partial:
        for name, data in [*tables.items(), *(side or {}).items()]:
            pq.write_table(data, partial / f"{name}.parquet", compression="zstd")
        return write_manifest(
            partial, {"format": FORMAT, "format_version": VERSION, **header, "counts": counts(tables)}
        )


def read(folder: Path) -> tuple[Tables, dict[str, Any]]:
    """Read a store after checking each file against the manifest.

    Raises:
        GraphError: Naming the file that is missing, altered, of another format or of another schema.
    """
    if not folder.is_dir():
        raise GraphError("graph store not found", item=folder, remedy="build it with `medvlp graph build`")
    manifest = verify_manifest(folder, GraphError)
    if manifest.get("format") != FORMAT or manifest.get("format_version") != VERSION:
        raise GraphError(
            f"not a {FORMAT} store of format version {VERSION}",
            item=folder,
            remedy="build it with `medvlp graph build`",
        )
    found: dict[str, pa.Table] = {}
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise GraphError("the store lacks this table", item=path, remedy="build the store again")
        try:
            data = pq.read_table(path)
        except pa.ArrowException as error:
            raise GraphError(f"not a Parquet file ({error})", item=path, remedy="build the store again") from None
        if not data.schema.equals(schema):
            raise GraphError(f"columns differ from {', '.join(schema.names)}", item=path, remedy="build it again")
        found[name] = data
    return Tables(**found), manifest


def check(tables: Tables) -> dict[str, int]:
    """Check what the runtime relies on and return the row of each concept id.

    Raises:
        GraphError: No concept, a repeated or empty id, an empty name, an unknown kind, or a row of another table
            that names a concept the store does not hold.
    """
    ids = tables.concepts["id"].to_pylist()
    if not ids:
        raise GraphError("the graph holds no concept", remedy="check the sources, prefixes and roots")
    row_of = {concept: row for row, concept in enumerate(ids)}
    if len(row_of) != len(ids):
        repeated = next(c for row, c in enumerate(ids) if row_of[c] != row)
        raise GraphError("concept id occurs twice", item=repeated, remedy="give each concept one id")
    for concept, name in zip(ids, tables.concepts["name"].to_pylist(), strict=True):
        if not concept or not name or not name.strip():
            raise GraphError("concept without a name", item=concept or "(empty id)", remedy="give it a name")
    for table_name, column in (
        ("names", "concept"),
        ("definitions", "concept"),
        ("edges", "head"),
        ("edges", "tail"),
        ("aliases", "concept"),
    ):
        for concept in getattr(tables, table_name)[column].to_pylist():
            if concept not in row_of:
                raise GraphError(
                    f"column {column} of {table_name} names an unknown concept", item=concept, remedy="add the concept"
                )
    kinds = set(tables.names["kind"].to_pylist()) - set(KINDS)
    if kinds:
        raise GraphError(
            "unknown kind of name", item=sorted(map(str, kinds))[0], remedy=f"use one of {', '.join(KINDS)}"
        )
    return row_of


class Grouped:
    """The rows of a table by concept, converted to Python only for the concept asked for."""

    def __init__(self, data: pa.Table, concept_rows: NDArray[np.int64], num_concepts: int) -> None:
        order = np.argsort(concept_rows, kind="stable")
        self._columns = {name: data[name].take(order).to_pylist() for name in data.column_names if name != "concept"}
        self._starts = np.searchsorted(concept_rows[order], np.arange(num_concepts + 1)).tolist()

    def __getitem__(self, row: int) -> list[dict[str, str]]:
        span = range(self._starts[row], self._starts[row + 1])
        return [{name: column[i] for name, column in self._columns.items()} for i in span]


def content_digest(data: pa.Table) -> str:
    """Return the hex sha256 of a table's values, whatever its chunks and file layout."""
    return digest_columns(data.column_names, data.column)


def digest_columns(names: Sequence[str], column: Callable[[str], pa.ChunkedArray]) -> str:
    """Return the digest of a table whose columns are fetched one after the other, so that one alone is held."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"\x1d{name}\x1d".encode())
        for chunk in column(name).chunks:
            digest.update(_joined(chunk))
    return digest.hexdigest()


def _joined(values: pa.Array) -> bytes | memoryview:
    """Return the values one after the other: items of a list parted by 1F, null as 00, 1E behind each value."""
    if pa.types.is_list(values.type):
        values = pc.binary_join(values, "\x1f")
    values = pc.fill_null(values.cast(pa.large_string()), "\x00")
    if not len(values):
        return b""
    one = [pa.scalar(text, pa.large_string()) for text in ("\x1e", "")]
    ended = pc.binary_join_element_wise(values, *one)
    first, last = np.frombuffer(ended.buffers()[1], dtype=np.int64)[[ended.offset, ended.offset + len(ended)]]
    return memoryview(ended.buffers()[2])[first:last]

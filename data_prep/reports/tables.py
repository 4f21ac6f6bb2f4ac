"""The tables of a report store, and the matrix made of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from data_prep.text.assertion import Assertion
from data_prep.text.triplets.extract import Triplet
from data_prep.text.triplets.matrix import matrix

if TYPE_CHECKING:
    from data_prep.text.mentions import Mention
    from data_prep.text.triplets.vocabulary import Vocabulary

REPORTS = pa.schema(
    {
        "report": pa.string(),
        "text": pa.string(),
        "sections": pa.list_(pa.struct({"kind": pa.string(), "start": pa.int32(), "end": pa.int32()})),
        "sentences": pa.list_(pa.struct({"section": pa.string(), "start": pa.int32(), "end": pa.int32()})),
        "num_mentions": pa.int32(),
        "num_triplets": pa.int32(),
    }
)
MENTIONS = pa.schema(
    {
        "report": pa.string(),
        "start": pa.int32(),
        "end": pa.int32(),
        "text": pa.string(),
        "concept": pa.string(),
        "name": pa.string(),
        "semantic_types": pa.list_(pa.string()),
        "score": pa.float32(),
        "tier": pa.string(),
        "assertion": pa.string(),
        "side": pa.string(),
        "anatomy": pa.string(),
        "section": pa.string(),
        "sentence": pa.int32(),
        "finding": pa.string(),
        "positions": pa.list_(pa.string()),
    }
)
TRIPLETS = pa.schema(
    {
        "report": pa.string(),
        "entity": pa.string(),
        "position": pa.string(),
        "existence": pa.string(),
        "finding": pa.string(),
        "concept": pa.string(),
        "anatomy": pa.string(),
        "section": pa.string(),
        "sentence": pa.int32(),
        "start": pa.int32(),
        "end": pa.int32(),
    }
)
SCHEMAS = {"reports": REPORTS, "mentions": MENTIONS, "triplets": TRIPLETS}


def mention_row(report: str, mention: Mention) -> dict[str, Any]:
    """Return a mention as a row of :data:`MENTIONS`."""
    row = {name: getattr(mention, name) for name in MENTIONS.names[1:]}
    return {
        "report": report,
        **row,
        "semantic_types": list(mention.semantic_types),
        "positions": list(mention.positions),
    }


def triplet_row(report: str, triplet: Triplet) -> dict[str, Any]:
    """Return a triplet as a row of :data:`TRIPLETS`."""
    return {"report": report, **{name: getattr(triplet, name) for name in TRIPLETS.names[1:]}}


def write_tables(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write the three tables of one shard."""
    for name, schema in SCHEMAS.items():
        parquet.write_table(pa.Table.from_pylist(rows[name], schema=schema), folder / f"{name}.parquet")


def join_tables(parts: Iterable[Path], folder: Path) -> dict[str, int]:
    """Write the tables of all shards as one each; returns their numbers of rows."""
    shards, counts = list(parts), {}
    for name, schema in SCHEMAS.items():
        with parquet.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
            counts[name] = 0
            for shard in shards:
                table = parquet.read_table(shard / f"{name}.parquet", schema=schema)
                counts[name] += table.num_rows
                writer.write_table(table)
    return counts


def write_matrix(parts: Iterable[Path], file: Path, num_reports: int, vocabulary: Vocabulary) -> None:
    """Write the matrix (N, P, E) int8, row n that of row n of the reports' table; it can be memory-mapped."""
    shape = (num_reports, len(vocabulary.positions), len(vocabulary.entities))
    matrix_NPE = np.lib.format.open_memmap(file, mode="w+", dtype=np.int8, shape=shape)
    row = 0
    for shard in parts:
        keys = parquet.read_table(shard / "reports.parquet", columns=["report"]).column("report").to_pylist()
        by_report: dict[str, list[Triplet]] = {key: [] for key in keys}
        for found in parquet.read_table(shard / "triplets.parquet", schema=TRIPLETS).to_pylist():
            existence = Assertion(found["existence"])
            triplet = Triplet(found["entity"], found["position"], existence, found["finding"])
            by_report[found["report"]].append(triplet)
        for key in keys:
            matrix_NPE[row] = matrix(by_report[key], vocabulary)
            row += 1
    matrix_NPE.flush()
